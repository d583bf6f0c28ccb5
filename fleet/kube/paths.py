"""URL paths of kinds and objects, escaped; a name that could reach further than one object is refused.

What a cluster calls its kinds is part of them too: behind one host there may be other clusters, a path away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote, urlencode

from fleet.core.documents import Document, mapping_at
from fleet.core.ids import is_dns_label, is_dns_subdomain
from fleet.errors import AnswerInvalid, ObjectInvalid
from fleet.ports.kube import ServedKind

_HARMLESS = re.compile(r"[A-Za-z0-9._:-]+").fullmatch


def is_place(group: str, version: str, plural: str = "-", kind: str = "") -> bool:
    """Whether what a cluster says of a kind is one segment of a path each, and so stays within its own."""
    is_group = not group or is_dns_subdomain(group)
    return is_group and is_dns_label(version) and _is_segment(plural) and (not kind or _is_segment(kind))


def is_named(document: Document) -> bool:
    """Whether what an answer says is an object that any API server could hold: its names are one segment each.

    Others become no reference: its key would not read back, in the state of all clusters.
    """
    metadata = mapping_at(document, "metadata")
    name, namespace = metadata.get("name"), metadata.get("namespace", "")
    is_here = isinstance(namespace, str) and (not namespace or _can_be_named(namespace))
    return is_here and isinstance(name, str) and _can_be_named(name)


@lru_cache(maxsize=4096)
def collection(kind: ServedKind, namespace: str) -> str:
    """The path of all objects of a kind, in a namespace or ("") in all."""
    if not is_place(kind.group, kind.version, kind.plural):
        called = f"{kind.group}/{kind.version}/{kind.plural}"
        raise AnswerInvalid(
            f"{kind.kind!r:.100} cannot be addressed",
            why=f"the cluster calls it {called!r:.200}, which leads out of its own paths",
            next_step="see what answers at this address",
        )
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    if not kind.namespaced or not namespace:
        return f"{root}/{kind.plural}"
    return f"{root}/namespaces/{_segment(namespace, kind)}/{kind.plural}"


def single(kind: ServedKind, namespace: str, name: str) -> str:
    """The path of one object; never that of a collection, whatever the name (a DELETE there deletes all)."""
    if kind.namespaced and not namespace:
        raise _refused(kind, name, "it has no namespace")
    return f"{collection(kind, namespace)}/{_segment(name, kind)}"


def with_query(path: str, query: Mapping[str, str]) -> str:
    """Path and query, escaped; empty values are left out."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def shown(kind: ServedKind, namespace: str, name: str) -> str:
    """As users write it: `Deployment shop/web`."""
    return f"{kind.kind} {namespace}/{name}" if namespace and kind.namespaced else f"{kind.kind} {name}"


def is_secret(kind: ServedKind) -> bool:
    """Whether answers about this kind may repeat secret values (R32)."""
    return kind.kind == "Secret" and not kind.group


def _is_segment(text: str) -> bool:
    return _HARMLESS(text) is not None and text not in (".", "..")


def _segment(name: str, kind: ServedKind) -> str:
    if _is_segment(name):
        return name
    if not _can_be_named(name):
        raise _refused(kind, name, "a name is one path segment without / and %")
    return quote(name, safe=":~")


def _can_be_named(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "%" not in name


def _refused(kind: ServedKind, name: str, why: str) -> ObjectInvalid:
    return ObjectInvalid(f"{kind.kind} {name!r:.100} cannot be addressed", why=why, next_step="correct metadata in Git")
