"""What a request asks: path to resource, method to verb, query to options (apiserver's RequestInfo)."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names. `resource` is "" for a path that is no resource."""

    path: str
    verb: str
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def is_resource(self) -> bool:
        """Whether the path is below a group and version and names a resource."""
        return bool(self.resource)


_VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def target_of(method: str, path: str, query: Mapping[str, str]) -> Target:
    """Read a path as the real server reads it."""
    parts = path.strip("/").split("/")
    plain = Target(path, method.lower())
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return plain
    verb = _VERBS.get(method, "")
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in {"status", "finalize"}:
            rest = rest[2:]
    resource, name, subresource = rest[0], rest[1] if len(rest) > 1 else "", "/".join(rest[2:])
    if not resource:
        return plain
    if not name:
        if verb == "get":
            verb = "watch" if truth(query.get("watch")) else "list"
        elif verb == "delete":
            verb = "deletecollection"
    elif verb == "get" and truth(query.get("watch")) and not subresource:
        verb = "watch"
    return Target(path, verb, group, version, namespace, resource, name, subresource)


def truth(text: str | None) -> bool:
    """A boolean of the query, as Go reads it."""
    return text is not None and text.lower() in {"1", "t", "true"}
