"""What the change itself brings to a cluster before an object that needs it: its Namespace, or its kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from fleet.core.documents import documents_at, mapping_at, text_at
from fleet.core.ids import ClusterName, OverlayName
from fleet.core.objects import Bundle, BundleObject
from fleet.core.planning.live import Danger, LiveFinding
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Coming:
    """By which overlays Namespaces and kinds come to one cluster. kinds: group, kind and a version that is served.

    behind: of an overlay, those that it depends on, through others too.
    """

    namespaces: Mapping[str, frozenset[OverlayName]] = field(default_factory=dict[str, frozenset[OverlayName]])
    kinds: Mapping[tuple[str, str, str], frozenset[OverlayName]] = field(
        default_factory=dict[tuple[str, str, str], frozenset[OverlayName]]
    )
    behind: Mapping[OverlayName, Collection[OverlayName]] = field(
        default_factory=dict[OverlayName, Collection[OverlayName]]
    )

    def judge(
        self, what: str, by: Collection[OverlayName], overlay: OverlayName, cluster: ClusterName
    ) -> Iterator[LiveFinding]:
        """What `overlay` needs comes with these overlays: nothing to be told where one of them goes first, or is it."""
        if overlay in by or any(name in self.behind.get(overlay, ()) for name in by):
            return
        first = min(by)
        message = f"{what} comes with overlay {first}, and no dependsOn says that it goes first: until then this fails"
        yield LiveFinding(
            Danger.ORDER, overlay, cluster, message, None, f"dependsOn: [{first}] in {overlay}'s overlay.yaml", True
        )


def coming_of(
    bundles: Mapping[OverlayName, Bundle], depends_on: Mapping[OverlayName, Collection[OverlayName]]
) -> Coming:
    """bundles: what the change makes of the cluster's units; depends_on: as their overlays say it."""
    namespaces: dict[str, frozenset[OverlayName]] = {}
    kinds: dict[tuple[str, str, str], frozenset[OverlayName]] = {}
    for overlay, bundle in bundles.items():
        for item in bundle.objects:
            if item.ref.kind == "Namespace" and not item.ref.group:
                namespaces[item.ref.name] = namespaces.get(item.ref.name, frozenset()) | {overlay}
            for key in _defined(item):
                kinds[key] = kinds.get(key, frozenset()) | {overlay}
    return Coming(namespaces, kinds, {overlay: _behind(overlay, depends_on) for overlay in bundles})


def _defined(item: BundleObject) -> Iterator[tuple[str, str, str]]:
    if item.ref.kind == "CustomResourceDefinition":
        spec = mapping_at(item.document(), "spec")
        for version in documents_at(spec, "versions"):
            if version.get("served") is True:
                yield text_at(spec, "group"), text_at(spec, "names", "kind"), text_at(version, "name")


def _behind(overlay: OverlayName, depends_on: Mapping[OverlayName, Collection[OverlayName]]) -> set[OverlayName]:
    found: set[OverlayName] = set()
    left = [*depends_on.get(overlay, ())]
    while left:
        if (name := left.pop()) not in found:
            found.add(name)
            left += depends_on.get(name, ())
    return found
