"""Values of variables in what an overlay comes to: where they alone make two clusters differ, both are one variant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fleet.core.documents import Json, canonical
from fleet.core.field_diff import FieldDrift
from fleet.core.fleet import Unit


class Contents:
    """Values and new objects of the variants so far: what differs by values of variables alone is the same."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[Unit, str]]] = {}

    def place_of(self, what: str, unit: Unit, text: str) -> tuple[str, str]:
        """What is equal for all texts that are the same so, and the variables that make this one differ."""
        known = self._known.setdefault(what, [])
        for index, (other, its) in enumerate(known):
            if its == text:
                return str(index), ""
            if is_filled(unit):
                filled, names = filled_with(its, differing_variables(other, unit))
                if filled == text:
                    return str(index), named(names)
        known.append((unit, text))
        return str(len(known) - 1), ""


def is_filled(unit: Unit) -> bool:
    """Whether variables are put into its objects, or may be by a component."""
    return unit.overlay.substitute or bool(unit.components)


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
