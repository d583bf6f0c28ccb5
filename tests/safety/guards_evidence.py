"""Cases of the refusal table: what is written down first, and stays as it was written. See safety/case.py."""

from __future__ import annotations

from safety.case import Case, case_of
from safety.mutate import drop, never

_WORKER = "reconcile/test_written_down_first.py"
_API = "api/test_written_down_first.py"
_AUDIT = "core/test_audit.py"
_FIRST = "test_nothing_goes_or_is_taken_over_before_it_is_written_down"
_ORDER = "test_an_order_that_the_log_cannot_take_changes_nothing_and_may_be_given_again"
_WHOLE = "test_a_log_that_nobody_touched_is_whole_and_proven_up_to_the_last_head_seen_elsewhere"

CASES: dict[str, Case] = {
    "what goes is written down first": case_of(
        drop("await self.audited(unit, ref, 'delete', uid=uid, reason=reason, outcome='')"), _WORKER, _FIRST,
        "reconcile/test_troubles.py::test_a_parent_goes_only_in_the_state_that_was_read"),
    "what is forced is written down first": case_of(
        drop("await site.audited(unit, ref, 'force', uid=uid, reason=reason, outcome='')"), _WORKER, _FIRST,
        "reconcile/test_troubles.py::test_a_forced_apply_has_its_last_word_in_the_audit_log"),
    "what is taken over is written down first": case_of(
        drop("await site.audited(unit, ref, 'adopt', uid=live.uid, reason=reason, outcome='')"), _WORKER, _FIRST,
        "reconcile/test_troubles.py::test_an_adoption_has_its_last_word_though_the_session_ends_in_it"),
    "what goes back is written down first": case_of(
        drop("await self._write((entry for entry in begun if not entry.outcome))"),
        "controllers/test_rollback_evidence.py", "test_nothing_goes_back_that_the_log_cannot_take",
        "test_a_cluster_that_keeps_it_is_in_the_log_too"),
    "an entry of the audit log that was changed": case_of(
        never("not hmac.compare_digest(next_head(key, last, link.entry).seal, link.seal)"), _AUDIT,
        "test_any_edit_drop_reordering_or_truncation_is_found", _WHOLE),
    "an end of the audit log that was cut off": case_of(
        never("beyond and (stored is None or max(beyond) > stored.number)"), _AUDIT,
        "test_an_end_cut_off_with_the_stored_head_is_found_by_a_head_seen_elsewhere", _WHOLE),
    "a decision on a hold is written down first": case_of(
        drop("await state.write(entry)"), _API, _ORDER, "api/test_acting.py::test_a_hold_is_approved_by_its_list_once"),
    "a wipe is written down first": case_of(
        drop("await state.write(entry)"), _API, _ORDER,
        "api/test_wiping.py::test_a_wipe_is_written_down_once_however_often_it_is_said"),
    "an override is written down first": case_of(
        drop("await _audit(call, SYNC_OVERRIDE, outcome='asked'"), _API, _ORDER,
        "api/test_acting.py::test_an_override_needs_a_reason_and_is_audited"),
    "an identity is written down first": case_of(
        drop("await _audit(call, 'accept-identity', outcome=''"), _API, _ORDER,
        "api/test_acting.py::test_an_identity_is_accepted_for_one_entry_only"),
    "a token is written down first": case_of(
        drop("await state.write(entry)"), _API, _ORDER,
        "api/test_acting.py::test_a_token_is_shown_once_and_works_until_it_is_revoked"),
    "an approval of a backup is over": case_of(
        drop("_void_approvals(connection, at)"), "store/test_restored_approvals.py",
        "test_what_was_approved_in_a_backup_is_void", "test_twin_what_was_not_approved_stays_as_it_was"),
    "a token of a backup is over": case_of(
        drop("connection.execute('UPDATE token"), "store/test_backup.py",
        "test_no_token_of_a_backup_is_in_force_and_what_is_suspended_is_said",
        "test_what_is_restored_is_what_was_there_but_only_observes"),
}  # fmt: skip
