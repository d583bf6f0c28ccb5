"""Which of a cluster's own values enter a build through the ConfigMap `fleet-cluster`: only those that are used."""

from __future__ import annotations

from fleet.core.documents import Document, Json, mapping_at, parse
from fleet.ports.render import RenderRequest
from fleet.render.inputs import Closure

_FIELDS = ("name", "environment", "location", "labels", "variables")


def facts_for(closure: Closure, request: RenderRequest) -> Json:
    """The `data` of `fleet-cluster` for this build; None where it is not used.

    Clusters whose values in use are equal share one build, so a replacement of `data.variables.region` makes a build
    per region and not per cluster.
    """
    if not request.components or closure.facts == frozenset():
        return None
    said = parse(request.facts)
    everything: Document = {name: value for name, value in mapping_at(said).items() if name in _FIELDS}
    if closure.facts is None:
        return everything
    used: Document = {}
    for path in closure.facts:
        match path.split("."):
            case ["data", "labels" | "variables" as part, key] if not key.startswith("["):
                values = used.setdefault(part, {})
                known = mapping_at(everything, part)
                if isinstance(values, dict) and key in known:
                    values[key] = known[key]
            case ["data", name] if name in everything and not isinstance(everything[name], dict):
                used[name] = everything[name]
            case _:
                return everything
    return used
