"""What records mean is known by FORM: digests of well-known objects may only change together with it."""

from __future__ import annotations

import copy
import hashlib

from core.awkward import awkward_objects
from core.building import MARK, UNIT, live_of

from fleet.core.bundles import assemble
from fleet.core.fingerprint import SyncState, judge_sync, recorded_after
from fleet.core.ids import Digest
from fleet.core.record import FORM, Row, RowState, desired_digest_of, mark_body

GOLDEN = {1: "3a04f8b8c41c357ad2f6c21a7083325694ab2c23f051bc584dcde3eacb448910"}


def spelled() -> str:
    """One digest of all that goes into records: normalised form, desired digest, field set, fingerprint."""
    total = hashlib.sha256()
    documents = [copy.deepcopy(one.ours) for one in awkward_objects("shop")]
    made = assemble(documents, key=b"k" * 32)
    for obj in sorted(made.objects, key=lambda obj: obj.ref):
        desired = desired_digest_of(obj, MARK)
        body = mark_body(obj.document(), MARK)
        row = Row(UNIT, obj.ref, RowState.INTENDED)
        done = recorded_after(row, body, live_of(body), desired, rules=(), key=b"k" * 32, at=0.0)
        total.update(f"{obj.ref} {obj.digest} {desired} {done.fingerprint}\n".encode() + done.fields)
    return total.hexdigest()


def test_digests_change_only_with_the_form_of_records() -> None:
    assert GOLDEN.get(FORM) == spelled(), (
        "the same objects give other digests now: every object of every fleet would be applied at the next upgrade. "
        "If that is meant, raise FORM in fleet/core/record.py and _FORMAT in fleet/render/service.py, and add the "
        f"new digest here: {spelled()}"
    )


def test_a_row_of_another_form_is_never_read_as_changed_or_drifted() -> None:
    obj = assemble([copy.deepcopy(awkward_objects("shop")[0].ours)], key=b"k" * 32).objects[0]
    live = live_of(mark_body(obj.document(), MARK))
    old = Row(
        UNIT, obj.ref, RowState.APPLIED, uid="u1", version=obj.version, desired=Digest("1" * 64),
        fingerprint=Digest("2" * 64), form=FORM - 1,
    )  # fmt: skip
    assert judge_sync(old, desired_digest_of(obj, MARK), live).state is SyncState.ASK_ARBITER
    assert judge_sync(old, old.desired, live).state is SyncState.ASK_ARBITER
