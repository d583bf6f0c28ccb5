"""Which clusters something is for, and what it brings along for them; core/targets.py decides which those are."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.core.documents import Json
from fleet.core.ids import ClusterName
from fleet.core.problems import Origin
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Variable:
    """A value of any YAML type and where it was written."""

    value: Json
    origin: Origin


Variables = Mapping[str, Variable]


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of an overlay's `clusters`. Names beat selectors."""

    origin: Origin
    all: bool = False
    names: tuple[ClusterName, ...] = ()
    environments: tuple[str, ...] = ()
    match_labels: Mapping[str, str] = field(default_factory=dict[str, str])
    excluded: tuple[ClusterName, ...] = ()
    path: str = ""
    components: tuple[str, ...] = ()
    variables: Variables = field(default_factory=dict[str, Variable])
