"""Values of variables in what an overlay comes to: where they alone make two clusters differ, both are one variant."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace

from fleet.core.documents import Json, canonical
from fleet.core.field_diff import FieldDrift
from fleet.core.fleet import Unit
from fleet.core.results import takes_values
from fleet.core.variables import BUILT_IN_LABEL_PREFIX
from fleet.values import dataclass

Trial = Callable[[Unit, Sequence[str]], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What one unit has at some place. trial: what that becomes with these variables of another unit."""

    unit: Unit
    text: str
    trial: Trial

    async def with_all_of(self, reference: Unit) -> str | None:
        """The text with every variable that both have as the reference has it; None where it cannot be built so."""
        if self.unit.name == reference.name:
            return self.text
        return await self.trial(reference, tuple(differing_variables(reference, self.unit)))


class Contents:
    """Values and new objects of the variants so far: what differs by values of variables alone is the same.

    That two texts look so is no proof: with the values of one unit builds of both must come to one text. That is the
    first unit that has these variables, so that a unit is built once with them and not once for each of the others.
    """

    def __init__(self) -> None:
        self._known: dict[str, list[_Known]] = {}

    async def place_of(self, what: str, unit: Unit, text: str, trial: Trial) -> tuple[str, str]:
        """What is equal for all texts that are the same so, and the variables that make this one differ."""
        known, this = self._known.setdefault(what, []), _Known(unit, text, trial)
        for index, other in enumerate(known):
            if other.text == text:
                return str(index), ""
            if takes_values(unit):
                filled, names = filled_with(other.text, differing_variables(other.unit, unit))
                if filled == text and await _is_proven(this, other, names, known):
                    return str(index), named(names)
        known.append(this)
        return str(len(known) - 1), ""


async def _is_proven(this: _Known, other: _Known, names: Collection[str], known: Sequence[_Known]) -> bool:
    reference = next(one.unit for one in known if one.unit.variables.keys() >= {*names})
    mine = await this.with_all_of(reference)
    return mine is not None and mine == await other.with_all_of(reference)


def with_values(unit: Unit, of: Unit, names: Collection[str]) -> Unit:
    """A unit as it would be with these variables, and facts of the cluster, of another one."""
    labels = {name.removeprefix(BUILT_IN_LABEL_PREFIX) for name in names if name.startswith(BUILT_IN_LABEL_PREFIX)}
    mine, theirs = unit.cluster, of.cluster
    cluster = replace(
        mine,
        name=theirs.name if "cluster_name" in names else mine.name,
        environment=theirs.environment if "cluster_environment" in names else mine.environment,
        location=theirs.location if "cluster_location" in names else mine.location,
        labels={**mine.labels, **{key: theirs.labels[key] for key in labels if key in theirs.labels}},
    )
    variables = {name: of.variables[name] for name in names if name in of.variables}
    return replace(unit, cluster=cluster, variables={**unit.variables, **variables})


def differing_variables(one: Unit, other: Unit) -> dict[str, tuple[str, str]]:
    """Variables, and facts of the cluster, whose values differ between two units; those with the longest values first.

    One character stands at too many places to account for anything.
    """
    found = {
        name: (text_of(before.value), text_of(after.value))
        for name, after in other.variables.items()
        if (before := one.variables.get(name)) is not None
        and before.value != after.value
        and len(text_of(before.value)) > 1
    }
    return dict(sorted(found.items(), key=lambda item: -len(item[1][1])))


def filled_with(text: str, values: Mapping[str, tuple[str, str]]) -> tuple[str, list[str]]:
    """A text of one unit with the values of another in their places, and the names of those that are in it."""
    swaps: dict[str, tuple[str, str]] = {}
    for name, (before, after) in values.items():
        swaps.setdefault(before, (name, after))
    if not swaps:
        return text, []
    used: dict[str, None] = {}

    def swap(found: re.Match[str]) -> str:
        name, after = swaps[found[0]]
        used[name] = None
        return after

    one_of_them = "|".join(map(re.escape, sorted(swaps, key=len, reverse=True)))
    filled = re.sub(one_of_them, swap, text)
    return filled, [name for name in values if name in used]


def is_swapped(drift: FieldDrift, before: str, after: str) -> bool:
    """Whether a field differs by nothing but one text in the place of another."""
    return before in text_of(drift.desired) and text_of(drift.desired).replace(before, after) == text_of(drift.live)


def named(variables: Sequence[str]) -> str:
    """These variables, as a reason names them."""
    return f"variable{'s' if len(variables) > 1 else ''} {', '.join(variables)}"


def text_of(value: Json) -> str:
    """A value as it stands in a text into which a variable is put."""
    return value if isinstance(value, str) else exact(value)


def exact(value: Json) -> str:
    """A value in its one form as JSON."""
    return canonical(value).decode()
