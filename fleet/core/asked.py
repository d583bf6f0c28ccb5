"""Deletions that a person was asked about and did not approve: neither time nor a shorter list lets them go (R9).

The budget is counted over a sliding hour, so what it held would pass an hour later, rejected or not. Each worker keeps
what its unit asked about in its journal; an approval lets it go, and so does a commit that wants the object again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from fleet.core.ids import Digest, ObjectRef
from fleet.values import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Asked:
    """One object whose deletion was asked about. reason: of the hold that asked last."""

    ref: ObjectRef
    reason: str


class Recorded(Protocol):
    """What is asked of a row of the record."""

    @property
    def desired(self) -> Digest:
        """Of the body as applied last."""
        ...


def asked_of(known: Iterable[Asked], reason: str, refs: Collection[ObjectRef]) -> tuple[Asked, ...]:
    """With what is asked about now; what was asked about before by another hold takes its reason."""
    kept = {each for each in known if each.ref not in refs}
    return tuple(sorted(kept | {Asked(ref, reason) for ref in refs}))


def still_asked(
    known: tuple[Asked, ...], rows: Mapping[ObjectRef, Recorded], wanted: Callable[[ObjectRef], Digest | None]
) -> tuple[Asked, ...]:
    """Without what is gone, and without what is wanted again and stands as it is wanted.

    wanted: the digest of an object in the newest bundle, None where it is not in it. What is to be deleted and made
    anew is wanted, too, and stands otherwise until that is done.
    """
    return tuple(each for each in known if (row := rows.get(each.ref)) is not None and wanted(each.ref) != row.desired)
