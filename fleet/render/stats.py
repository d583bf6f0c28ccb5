"""What a renderer did since its start, counted for metrics."""

from __future__ import annotations

from fleet.values import dataclass


@dataclass(slots=True)
class RenderStats:
    """Counted since the start; read for metrics."""

    builds: int = 0  # runs of kustomize
    finishes: int = 0  # substitutions into a build
    hits: int = 0
    failures: int = 0
    walks: int = 0  # closures that were read, not told from the commit before
    kustomize_cpu_seconds: float = 0.0
    slim_builds: int = 0
    slim_differences: int = 0  # samples that came out otherwise; above 0 the slim schema is not used any more
