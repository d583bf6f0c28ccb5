"""What a cluster serves: the built-in kinds (kinds.json, the real server's discovery) and those of its CRDs."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from fleet.core.documents import Document, documents_at, items_at, mapping_at, parse_document, text_at
from fleet.sim.schema import ANY, Type, built_in
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Subresource:
    """`status`, `scale` and the like; its own kind where that differs."""

    name: str
    group: str
    version: str
    kind: str
    verbs: frozenset[str]


@dataclass(slots=True, eq=False)
class Kind:
    """One kind at one version. `resource` names the storage that all versions share."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    verbs: frozenset[str]
    type: Type
    subresources: dict[str, Subresource] = field(default_factory=lambda: {})
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    custom: Document | None = None  # the CRD's version entry with its schema
    storage_version: str = ""
    list_kind: str = ""

    resource: str = field(init=False, default="")  # `deployments.apps`: the key in the store, the name in messages
    api_version: str = field(init=False, default="")  # `apps/v1`, or `v1`
    stored_version: str = field(init=False, default="")  # in which objects lie in the store
    head: bytes = field(init=False, default=b"")  # how the JSON of an object begins

    def __post_init__(self) -> None:
        group = f"{self.group}/" if self.group else ""
        self.resource = f"{self.plural}.{self.group}" if self.group else self.plural
        self.api_version = f"{group}{self.version}"
        self.stored_version = f"{group}{self.storage_version or self.version}"
        self.head = b'{"kind":"%s","apiVersion":"%s",' % (self.kind.encode(), self.api_version.encode())

    @property
    def has_status(self) -> bool:
        """Whether status has an endpoint of its own, so that the main one ignores it."""
        return "status" in self.subresources


# A version of a group whose objects lie in the store in another one.
_STORED = {("autoscaling", "horizontalpodautoscalers"): "v2", ("", "events"): "v1"}


@cache
def _discovered() -> Document:
    return parse_document(files("fleet.sim").joinpath("kinds.json").read_bytes())


def server_version() -> Document:
    """What /version says."""
    return mapping_at(_discovered(), "version")


def built_in_groups() -> list[Document]:
    """Aggregated discovery of the built-in groups; the core group (no name) first."""
    return documents_at(_discovered(), "groups")


@cache
def built_ins() -> dict[tuple[str, str, str], Kind]:
    """The built-in kinds by (group, version, plural)."""
    found: dict[tuple[str, str, str], Kind] = {}
    for group in built_in_groups():
        name = text_at(group, "metadata", "name")
        for version in documents_at(group, "versions"):
            for entry in documents_at(version, "resources"):
                one = _built_in(name, text_at(version, "version"), entry)
                found[name, one.version, one.plural] = one
    return found


def _built_in(group: str, version: str, entry: Document) -> Kind:
    kind = text_at(entry, "responseKind", "kind")
    plural = text_at(entry, "resource")
    return Kind(
        group,
        version,
        kind,
        plural,
        text_at(entry, "singularResource"),
        text_at(entry, "scope") == "Namespaced",
        frozenset(str(verb) for verb in items_at(entry, "verbs")),
        built_in(group, version, kind) or ANY,
        {
            text_at(sub, "subresource"): Subresource(
                text_at(sub, "subresource"),
                text_at(sub, "responseKind", "group"),
                text_at(sub, "responseKind", "version"),
                text_at(sub, "responseKind", "kind"),
                frozenset(str(verb) for verb in items_at(sub, "verbs")),
            )
            for sub in documents_at(entry, "subresources")
        },
        tuple(str(one) for one in items_at(entry, "shortNames")),
        tuple(str(one) for one in items_at(entry, "categories")),
        storage_version=_STORED.get((group, plural), ""),
        list_kind=f"{kind}List",
    )


@cache
def _by_kind() -> dict[tuple[str, str, str], Kind]:
    found: dict[tuple[str, str, str], Kind] = {}
    for one in built_ins().values():
        found.setdefault((one.group, one.kind, ""), one)
        found[one.group, one.kind, one.version] = one
    return found


@cache
def _by_resource() -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for one in built_ins().values():
        found.setdefault(one.resource, one)
    return found


class Registry:
    """The kinds of one cluster. `revision` rises with each change, so that discovery documents can be cached."""

    def __init__(self) -> None:
        self.custom: dict[tuple[str, str, str], Kind] = {}
        self.revision = 0

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind served at this path."""
        key = (group, version, plural)
        return built_ins().get(key) or self.custom.get(key)

    def of(self, group: str, kind: str, version: str = "") -> Kind | None:
        """By kind instead of resource; the given version, else the first that is served."""
        found = _by_kind().get((group, kind, version))
        if found is not None:
            return found
        for one in self.custom.values():
            if one.group == group and one.kind == kind and version in {"", one.version}:
                return one
        return None

    def of_resource(self, resource: str) -> Kind | None:
        """By the key in the store (`deployments.apps`); the first version that is served."""
        found = _by_resource().get(resource)
        if found is not None:
            return found
        return next((one for one in self.custom.values() if one.resource == resource), None)

    def all(self) -> list[Kind]:
        """Every kind at every version."""
        return [*built_ins().values(), *self.custom.values()]

    def serves_group(self, group: str, version: str = "") -> bool:
        """Whether the group (at this version) exists."""
        return any(one.group == group and version in {"", one.version} for one in self.all())

    def add(self, kinds: list[Kind]) -> None:
        """Serve these kinds of a CRD; what the CRD served before is replaced."""
        for one in kinds:
            self.custom[one.group, one.version, one.plural] = one
        self.revision += 1

    def drop(self, group: str, plural: str) -> None:
        """Serve this resource no more."""
        for key in [key for key in self.custom if key[0] == group and key[2] == plural]:
            del self.custom[key]
        self.revision += 1
