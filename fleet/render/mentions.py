"""What one kustomization file says, as its readers take it."""

from __future__ import annotations

from enum import Enum

from fleet.core.documents import Json
from fleet.render.parse import Allowance
from fleet.values import dataclass, field

FILE_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
CLUSTER_FACTS = "fleet-cluster"
NODES_PER_FILE = 50_000  # half a second of the hub's own loop, and what the nodes of a file may grow to by aliases


class Role(Enum):
    """What kustomize does with a text: that decides what it may name."""

    RESOURCE = "resource"  # a file of objects, or a directory with a kustomization
    COMPONENT = "component"  # a directory
    FILE = "file"
    PLUGIN = "plugin"  # a file with configurations of built-in generators or transformers


@dataclass(frozen=True, slots=True)
class Mention:
    """A path written in a kustomization."""

    role: Role
    text: str
    line: int
    field: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that is never built: a chart, a plugin, a function (R27)."""

    what: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class ChartUse:
    """One entry of helmCharts."""

    name: str
    version: str
    repo: str
    line: int


@dataclass(slots=True)
class Kustomization:
    """What one file says. Shared by all readers of the same content: do not change it."""

    kind: str = "Kustomization"
    mentions: list[Mention] = field(default_factory=list[Mention])
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    unknown: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    unknown_texts: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    patch_files: set[str] = field(default_factory=set[str])
    inline_merge_patch: bool = False
    openapi: bool = False
    order: dict[str, Json] = field(default_factory=dict[str, Json])  # sortOptions, buildMetadata: they act at a root
    crds: set[str] = field(default_factory=set[str])
    secret_files: set[str] = field(default_factory=set[str])
    secret_texts: set[str] = field(default_factory=set[str])
    charts: list[ChartUse] = field(default_factory=list[ChartUse])
    chart_home: str = "charts"
    facts: set[str] = field(default_factory=set[str])  # field paths of `fleet-cluster` that are used
    facts_mentions: int = 0  # how often the name stands in the file; more than `facts_known`: all facts count
    facts_known: int = 0
    allowance: Allowance = field(default_factory=lambda: Allowance(NODES_PER_FILE))  # texts inside of it included
    size: int = 0  # of the file, in bytes
    visits: int = 0  # of nodes, an alias counted each time: what it takes to follow all that it says
