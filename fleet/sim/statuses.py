"""Failures as the API server says them: `Status` objects with reason, code, details and causes.

The constructors follow apimachinery's api/errors; messages are part of the contract (clients and tests read them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.core.documents import Document, Json
from fleet.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet.sim.kinds import Kind


@dataclass(frozen=True, slots=True)
class Cause:
    """One field's fault, as in details.causes."""

    reason: str
    message: str
    field: str = ""

    def document(self) -> Document:
        """As in the Status."""
        made: Document = {"reason": self.reason, "message": self.message}
        if self.field:
            made["field"] = self.field
        return made


class ApiError(Exception):
    """An answer that is a failure Status."""

    def __init__(
        self, code: int, reason: str, message: str, *, details: Document | None = None, retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.details, self.retry_after = (
            code,
            reason,
            message,
            details,
            retry_after,
        )
        self.metadata: Document = {}

    def document(self) -> Document:
        """The Status object."""
        made: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            made["reason"] = self.reason
        if self.details is not None:
            made["details"] = self.details
        made["code"] = self.code
        return made


def qualified(resource: str, group: str) -> str:
    """`deployments.apps`, or `pods`."""
    return f"{resource}.{group}" if group else resource


def _details(name: str, group: str, kind: str, causes: Sequence[Cause] = ()) -> Document:
    made: Document = {}
    if name:
        made["name"] = name
    if group:
        made["group"] = group
    if kind:
        made["kind"] = kind
    if causes:
        listed: list[Json] = [cause.document() for cause in causes]
        made["causes"] = listed
    return made


def not_found(resource: str, group: str, name: str) -> ApiError:
    """404: the object is not there."""
    message = f'{qualified(resource, group)} "{name}" not found'
    return ApiError(404, "NotFound", message, details=_details(name, group, resource))


def no_such_resource() -> ApiError:
    """404: the server serves nothing at this path."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", details={})


def already_exists(resource: str, group: str, name: str) -> ApiError:
    """409: a create of what is there."""
    message = f'{qualified(resource, group)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=_details(name, group, resource))


def conflict(resource: str, group: str, name: str, why: str) -> ApiError:
    """409: the object is not as the caller believes."""
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return ApiError(409, "Conflict", message, details=_details(name, group, resource))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def apply_conflict(message: str, causes: Sequence[Cause]) -> ApiError:
    """409 of a server-side apply."""
    return ApiError(409, "Conflict", message, details=_details("", "", "", causes))


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 of an object of this kind."""
    return invalid_of(kind.kind, kind.group, name, causes)


def invalid_of(kind: str, group: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422: what is wrong with which field."""
    lines = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    unique = list(dict.fromkeys(lines))
    said = unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
    message = f'{qualified(kind, group)} "{name}" is invalid: {said}'
    return ApiError(422, "Invalid", message, details=_details(name, group, kind, causes))


def bad_request(message: str) -> ApiError:
    """400: the request cannot be read."""
    return ApiError(400, "BadRequest", message)


def forbidden(resource: str, group: str, name: str, why: str, *, causes: Sequence[Cause] = ()) -> ApiError:
    """403: of a resource, or (without one) of a path."""
    if not resource:
        return ApiError(403, "Forbidden", f"forbidden: {why}", details={})
    subject = qualified(resource, group) + (f' "{name}"' if name else "")
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details=_details(name, group, resource, causes))


def unauthorized() -> ApiError:
    """401: the token says nothing to the server."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    """405: the resource has no such verb."""
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def expired(message: str) -> ApiError:
    """410: the resourceVersion or continue token is too old."""
    return ApiError(410, "Expired", message)


def unsupported_media(supported: Sequence[str]) -> ApiError:
    """415: a body of a type that is not understood."""
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(supported)
    return ApiError(415, "UnsupportedMediaType", message)


def not_acceptable(supported: Sequence[str]) -> ApiError:
    """406: no form of answer that the client takes."""
    message = "only the following media types are accepted: " + ", ".join(supported)
    return ApiError(406, "NotAcceptable", message)


def internal(message: str) -> ApiError:
    """500."""
    return ApiError(
        500,
        "InternalError",
        f"Internal error occurred: {message}",
        details={"causes": [{"message": message}]},
    )
