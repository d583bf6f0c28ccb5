"""Why a unit is built where it is and with which values: each answer with file and line."""

from __future__ import annotations

from fleet.core.documents import Json, canonical
from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import UnitName
from fleet.errors import NotKnown

_VALUE_WIDTH = 60


def explain_unit(fleet: Fleet, unit: UnitName) -> list[str]:
    """Lines of text: path, components, variables, each by the line that chose it.

    Raises NotKnown if there is no such unit; one that is Unknown says why.
    """
    found = fleet.units.get(unit)
    if found is None:
        problem = fleet.unknown.covers(unit)
        raise NotKnown(
            f"no unit {unit}",
            where=str(problem.origin) if problem is not None else "",
            why=problem.what if problem is not None else "no target and no Cluster puts this overlay there",
            next_step=problem.next_step if problem is not None else "fleet validate",
        )
    return [*_path_lines(found), *_component_lines(found), *_variable_lines(found)]


def _path_lines(unit: Unit) -> list[str]:
    lines = [f"{unit.name}", f"path       {unit.path or '-':<22}  by {unit.path_origin} ({unit.path_rule})"]
    if unit.team is not None:
        lines.append(f"team       {unit.team.name}")
    return lines


def _component_lines(unit: Unit) -> list[str]:
    return [f"{'component' if index == 0 else '':<11}{component}" for index, component in enumerate(unit.components)]


def _variable_lines(unit: Unit) -> list[str]:
    shown = {name: f"{name}={_shown(variable.value)}" for name, variable in sorted(unit.variables.items())}
    width = min(max((len(text) for text in shown.values()), default=0), _VALUE_WIDTH)
    lines = [
        f"{'variables' if index == 0 else '':<11}{shown[name]:<{width}}  by {unit.variables[name].origin}"
        for index, name in enumerate(shown)
    ]
    if lines and not unit.overlay.substitute and not unit.components:
        lines.append("           not used here: no substitute: true, and no components")
    return lines


def _shown(value: Json) -> str:
    text = value if isinstance(value, str) else canonical(value).decode()
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 1] + "…"
