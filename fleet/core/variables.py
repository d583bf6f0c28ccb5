"""Order of variables: who wins, and which ones are built in.

fleet < environment < overlay < target < cluster < cluster's entry for the overlay. Built-in ones say where a unit
runs and cannot be set. Putting values into objects is not done here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleet.core.fleet import Cluster, Environment
from fleet.core.selection import Variable, Variables

BUILT_IN = ("cluster_name", "cluster_environment", "cluster_location")
BUILT_IN_LABEL_PREFIX = "cluster_label_"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def is_variable_name(text: str) -> bool:
    """What may be written between `${` and `}`: letters, digits and `_`, no digit first."""
    return _NAME.match(text) is not None


def is_built_in(name: str) -> bool:
    """Whether fleet itself gives this variable its value."""
    return name in BUILT_IN or name.startswith(BUILT_IN_LABEL_PREFIX)


def built_in_variables(cluster: Cluster) -> dict[str, Variable]:
    """What is known of each cluster. A location or environment that is not given is no variable, so that its use
    without a default is an error and not an empty string. Keys of labels are kept as they are (R3).
    """
    found = {"cluster_name": Variable(cluster.name, cluster.origin)}
    if cluster.environment:
        found["cluster_environment"] = Variable(cluster.environment, cluster.origin)
    if cluster.location:
        found["cluster_location"] = Variable(cluster.location, cluster.origin)
    for key, value in cluster.labels.items():
        found[BUILT_IN_LABEL_PREFIX + key] = Variable(value, cluster.origin)
    return found


def merged_variables(layers: Iterable[Variables]) -> dict[str, Variable]:
    """One value per name, later layers win; each keeps the origin of the layer it came from."""
    result: dict[str, Variable] = {}
    for layer in layers:
        result.update(layer)
    return result


def stage_variables(fleet: Variables, environment: Environment | None) -> Variables:
    """The two lowest layers, equal for all units of an environment."""
    return merged_variables((fleet, environment.variables)) if environment is not None else fleet


def unit_variables(
    *,
    stage: Variables,
    overlay: Variables,
    target: Variables,
    cluster: Cluster,
    entry: Variables,
    built_in: Variables,
) -> dict[str, Variable]:
    """All variables of one unit, in the order above. `stage` and `built_in` come from the functions before."""
    return merged_variables((stage, overlay, target, cluster.variables, entry, built_in))
