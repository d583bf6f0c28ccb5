"""What is inside an object that takes others along: the part of an approval that says what goes too (R9, R10). Pure.

Each thing inside is one short text; an approval counts while nothing is inside that was not there when it was shown.
What left meanwhile is nobody's loss any more. What goes with an owner that is inside too is not among it, as it changes
by itself, nor what has a line of its own in the same list. What Git still wants is (R10). Custom resources of a
definition that have an owner are one text together.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet.core.documents import digest_of_bytes
from fleet.core.ids import ObjectRef

LIMIT = 500  # things by themselves; more are one text, and then nothing may differ
_LENGTH = 12
_TAKES = frozenset(
    {
        ("", "Namespace"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("", "PersistentVolumeClaim"),
        ("apps", "StatefulSet"),
    }
)


def takes_along(ref: ObjectRef) -> bool:
    """Whether things go with it that neither its own content nor its UID says."""
    return (ref.group, ref.kind) in _TAKES


def texts_of(things: Iterable[str]) -> tuple[str, ...]:
    """Things inside, as they are kept and compared."""
    found = sorted({digest_of_bytes(thing.encode())[:_LENGTH] for thing in things})
    return tuple(found) if len(found) <= LIMIT else (f"{len(found)}:{digest_of_bytes(''.join(found).encode())}",)


def covers(shown: Iterable[str], now: Iterable[str]) -> bool:
    """Whether all that is inside now was shown."""
    return set(now) <= set(shown)
