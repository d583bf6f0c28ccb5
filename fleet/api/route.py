"""Routes as values: a handler with its role, models and summary; the app and the OpenAPI document are made of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from fleet.access.policy import Caller, Role
from fleet.api.parts import ApiParts
from fleet.errors import RequestInvalid
from fleet.values import dataclass

M = TypeVar("M", bound=BaseModel)
BODY_LIMIT_BYTES = 1 << 20  # R39, R41
BODY_SECONDS = 30.0
_UNKNOWN = "extra_forbidden"  # pydantic's word
CALLER = web.RequestKey("caller", str)  # the name of who sent the request, once it is known


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    request: web.Request
    parts: ApiParts
    caller: Caller

    @property
    def name(self) -> str:
        """The resource's name in the path."""
        return self.request.match_info.get("name", "")

    def query(self, model: type[M]) -> M:
        """The query string, checked; raises RequestInvalid."""
        return _checked(model, dict(self.request.query), "query")

    async def raw_body(self) -> bytes:
        """All of the body, as it came. Raises RequestInvalid where it takes too long, or its sender left (R41)."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                return await self.request.read()
        except TimeoutError:
            raise RequestInvalid(
                f"the body did not arrive within {BODY_SECONDS:.0f} s", next_step="send it again, over a better way"
            ) from None
        except ConnectionError:
            raise RequestInvalid("the connection ended amid the body", next_step="send it again") from None

    async def body(self, model: type[M]) -> M:
        """The JSON body, checked; an empty one counts as {}. Raises RequestInvalid."""
        raw = await self.raw_body()
        if raw and self.request.content_type != "application/json":
            raise RequestInvalid(
                "the body is not JSON",
                why=f"its content type is {self.request.content_type}",
                next_step="send Content-Type: application/json",
            )
        try:
            return model.model_validate_json(raw or b"{}")
        except ValidationError as error:
            raise _invalid(error, "body") from error


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path. `role` None: no authentication (health and webhook only)."""

    method: str
    path: str
    summary: str
    role: Role | None
    handler: Callable[[Call], Awaitable[BaseModel | web.StreamResponse]]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200


def _checked(model: type[M], values: dict[str, str], place: str) -> M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _invalid(error, place) from error


def _invalid(error: ValidationError, place: str) -> RequestInvalid:
    # The input itself is left out: it may hold a credential (R32).
    found = [
        (".".join(str(step) for step in item["loc"]) or place, item["type"], item["msg"])
        for item in error.errors(include_input=False, include_url=False)
    ]
    unknown = [name for name, kind, _ in found if kind == _UNKNOWN]
    problems = [f"{name}: {said}" for name, kind, said in found if kind != _UNKNOWN]
    if unknown:
        problems.insert(0, "it has fields that are not known")
    return RequestInvalid(
        f"the {place} is not as described",
        where=", ".join(unknown[:5]),  # the client's own words: the audit log takes none of it (R43)
        why="; ".join(problems[:5]),
        next_step="see /openapi.json",
    )
