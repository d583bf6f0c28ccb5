"""What a unit owns on a cluster: the record, kept in the journal and, as a summary, on the cluster's parent object.

The record is written before an apply (old united with new) and shrinks only after an object is confirmed gone
(R12). Being in it is necessary for a deletion, never sufficient (R11).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fleet.core.ids import Digest, ObjectRef, UnitName


class RowState(StrEnum):
    """How far an object of the record is."""

    INTENDED = "intended"  # an apply was decided; whether it landed is not known yet
    APPLIED = "applied"
    DELETING = "deleting"  # a delete was sent; not yet seen to be gone
    RELEASED = "released"  # our mark was taken off: neither changed nor deleted until a person decides
    DONE = "done"  # a Job or hook that completed for this digest; it may vanish


@dataclass(frozen=True, slots=True)
class Row:
    """One owned object. Digests and text are "" where not known yet."""

    unit: UnitName
    ref: ObjectRef
    state: RowState
    uid: str = ""
    version: str = ""  # API version (without group) that it was applied at
    desired: Digest = Digest("")  # of the body as last applied, marks included
    fingerprint: Digest = Digest("")  # of our own fields' live values after that apply
    fields: bytes = b""  # our last applied field set: canonical FieldsV1 JSON
    resource_version: str = ""
    since: float = 0.0  # wall clock of the last change of this row
