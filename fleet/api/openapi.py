"""The OpenAPI 3.1 document, made from the routes and their models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias, cast

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fleet import __version__
from fleet.api.route import Route

Schema: TypeAlias = "dict[str, Any]"
REF = "#/components/schemas/{model}"
PROBLEM: Schema = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "description": "urn:fleet: and a page of docs/errors/"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "where": {"type": "string"},
        "next": {"type": "string", "description": "what to do next"},
    },
}


def document_of(routes: Sequence[Route]) -> Schema:
    """The whole document."""
    bodies = [route.body for route in routes if route.body]
    answers = [route.answer for route in routes if route.answer]
    queries = [route.query for route in routes if route.query]
    models: list[tuple[type[BaseModel], Any]] = [
        *((model, "validation") for model in _unique([*bodies, *queries])),
        *((model, "serialization") for model in _unique(answers)),
    ]
    keys, definitions = models_json_schema(models, ref_template=REF, by_alias=True)
    schemas = cast("Schema", definitions.get("$defs", {}))
    names = {key: value["$ref"].rpartition("/")[2] for key, value in keys.items()}
    paths: dict[str, Schema] = {}
    for route in routes:
        path = re.sub(r"\{(\w+):[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, path, names, schemas)
    used = {names[(model, "validation")] for model in _unique(queries)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "fleet", "version": __version__, "summary": "GitOps for fleets of Kubernetes clusters"},
        "paths": paths,
        "components": {
            "schemas": {**{name: schema for name, schema in schemas.items() if name not in used}, "Problem": PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(route: Route, path: str, names: dict[Any, str], schemas: Schema) -> Schema:
    operation: Schema = {
        "summary": route.summary,
        "operationId": _id_of(route, path),
        "responses": {
            str(route.status): _answer(route, names),
            "default": {
                "description": "What went wrong, where, why, and what to do next",
                "content": {"application/problem+json": {"schema": {"$ref": REF.format(model="Problem")}}},
            },
        },
    }
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    if route.query is not None:
        schema = schemas[names[(route.query, "validation")]]
        required = set(schema.get("required", ()))
        parameters.extend(
            {"name": name, "in": "query", "required": name in required, "schema": value}
            for name, value in schema.get("properties", {}).items()
        )
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        reference = {"$ref": REF.format(model=names[(route.body, "validation")])}
        operation["requestBody"] = {"content": {"application/json": {"schema": reference}}}
    if route.role is None:
        operation["security"] = []
    else:
        operation["description"] = f"Needs the role {route.role}."
    return operation


def _answer(route: Route, names: dict[Any, str]) -> Schema:
    if route.answer is None:
        return {"description": route.summary}
    reference = {"$ref": REF.format(model=names[(route.answer, "serialization")])}
    return {"description": route.summary, "content": {"application/json": {"schema": reference}}}


def _id_of(route: Route, path: str) -> str:
    words = re.findall(r"\w+", path.removeprefix("/api/v1"))
    return route.method.lower() + "".join(word[:1].upper() + word[1:] for word in words)


def _unique(models: Iterable[type[BaseModel]]) -> list[type[BaseModel]]:
    return list(dict.fromkeys(models))
