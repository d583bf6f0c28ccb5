"""Why an object of a kind that its cluster does not serve waits, and what would help."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.plan import DesiredObject


def why_unserved(
    item: DesiredObject, cluster: ClusterName, wanted: Iterable[tuple[OverlayName, Iterable[ObjectRef]]]
) -> tuple[str, str]:
    """Reason and next step for one object. wanted: what each overlay holds on this cluster, as far as it is known."""
    what = f"kind {item.ref.kind} of {item.source.api_version} is not served"
    bringing = sorted(overlay for overlay, refs in wanted if any(_defines(ref, item.ref) for ref in refs))
    if not bringing:
        step = "add its CustomResourceDefinition to an overlay of this cluster, or take the object out"
        return f"{what}; no overlay here installs it", step
    unit = UnitName(bringing[0], cluster)
    return f"{what} yet; {unit} installs it, and then it is applied", f"fleet describe unit {unit}"


def _defines(definition: ObjectRef, ref: ObjectRef) -> bool:
    """By name, which is PLURAL.GROUP; a plural begins like its kind, but for the last letter (policies)."""
    if definition.kind != "CustomResourceDefinition":
        return False
    plural, _, group = definition.name.partition(".")
    return group == ref.group and plural.startswith(ref.kind.lower()[:-1])
