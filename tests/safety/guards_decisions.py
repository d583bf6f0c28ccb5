"""Cases of the refusal table: what is decided, kept and asked for. See safety/case.py."""

# ruff: noqa: E501 - a table: names of tests are as long as their claims

from __future__ import annotations

from safety.case import Case, case_of
from safety.mutate import always, drop, gives, never, swap

_CREDENTIALS = "kube/test_credentials.py"
_GUARD = "core/test_guard.py"
_RECORD = "core/test_record.py"
_NEIGHBOURS = "core/test_neighbours.py"
_PLAN = "core/test_plan.py"
_RENAMES = "core/test_renames.py"
_RELEASE = "core/test_release.py"
_LOSSES = "core/test_losses.py"
_MOVES = "core/test_moves.py"
_GOES_WITH = "reconcile/test_goes_with.py"
_RETRY = "core/test_retry.py"
_BUNDLES = "core/test_bundles.py"
_WEBHOOK = "core/test_webhook.py"
_OPENING = "store/test_opening.py"
_ROTATION = "store/test_rotation.py"
_VALUES = "store/test_secret_values.py"
_STATE = "store/test_state_contract.py::TestMemory"
_COMMITS = "controllers/test_commits.py"
_ENTRIES = "scenarios/test_entries_and_identities.py"
_ANYTHING_ELSE = "test_anything_else_stays_and_says_why"
_MAY_GO = "test_what_is_recorded_and_still_ours_may_be_deleted_with_its_preconditions"
_NOTHING_ELSE = "test_what_an_earlier_version_took_over_from_a_cluster_costs_nothing_but_itself"
_TEAM = "test_a_team_holds_only_its_kinds_and_namespaces"

CASES: dict[str, Case] = {
    # core
    "may have been renamed": case_of(
        never("orders.unproven"), _ENTRIES,
        "test_a_cluster_that_may_be_renamed_is_kept_until_the_new_entry_says_which_it_is",
        "test_a_cluster_that_goes_as_another_comes_is_let_go"),
    "what leaves is let go, not deleted": case_of(
        swap("Detach(orders.waits)", "Apply(EMPTY_BUNDLE.digest, frozenset(), frozenset())"), _RELEASE,
        "test_a_unit_that_left_is_detached_unless_its_leaving_is_held",
        "test_a_rendered_unit_is_applied_with_what_was_permitted_and_approved"),
    "a file name is a name": case_of(
        gives("True"), _CREDENTIALS, "test_a_name_cannot_leave_the_directory",
        "test_a_file_comes_before_the_store_and_a_change_is_seen_at_once"),
    "what one cluster bars no other does": case_of(
        gives("True"), "core/test_quarantine.py",
        "test_what_only_a_parent_says_is_barred_on_its_own_cluster_alone "
        "test_neither_name_of_a_result_that_one_parent_bars_bars_the_other_on_another_cluster "
        "scenarios/test_lost_quarantine.py::test_what_one_cluster_says_was_taken_back_is_kept_from_no_other",
        "test_after_a_loss_all_clusters_whose_parents_say_so_bar_it_and_what_the_hub_took_back_is_barred_everywhere "
        "scenarios/test_lost_quarantine.py::test_it_does_not_come_back_after_the_loss_until_a_person_lets_it_in"),
    "time in which nobody looked counts for nothing": case_of(
        never("gap > GAP_SECONDS and is_awaited and (not self._waits)"), "controllers/test_unwatched_rollouts.py",
        "test_time_in_which_nobody_looked_is_no_soak",
        "test_twin_all_time_between_looks_that_follow_one_another_is_soak"),
    "no team takes back what is another's": case_of(
        gives("True"), "controllers/test_rollbacks_of_teams.py",
        "test_a_failure_takes_back_no_overlay_of_another_team_and_none_whose_policy_does_not_say_so",
        "test_another_teams_overlay_amid_its_way_is_halted_by_it_and_goes_on_alone"),
    "what was taken back where nobody was told": case_of(
        gives("entries"), "core/test_quarantine.py",
        "test_where_the_hub_knows_no_more_what_was_done_a_result_that_another_parent_bars_is_barred_too "
        "scenarios/test_lost_quarantine.py::test_it_does_not_come_after_the_loss_to_a_cluster_that_was_not_told_of_it",
        "test_what_only_a_parent_says_is_barred_on_its_own_cluster_alone "
        "scenarios/test_lost_quarantine.py::test_what_was_not_taken_back_goes_on_after_the_loss"),
    "what was taken back where it was not built yet": case_of(
        gives("kept"), "core/test_quarantine.py",
        "test_a_unit_that_was_confirmed_before_it_was_known_what_it_gets_does_not_get_what_another_parent_bars "
        "scenarios/test_lost_quarantine.py"
        "::test_nor_does_it_where_what_the_cluster_gets_could_not_be_built_as_it_was_confirmed",
        "test_twin_what_no_parent_bars_or_is_known_already_comes_to_a_unit_as_ever"),
    "a key that names no object is passed over": case_of(
        gives("False"), "core/test_judged.py",
        f"{_NOTHING_ELSE} store/test_durability.py::{_NOTHING_ELSE}",
        "store/test_durability.py::test_a_row_that_was_damaged_here_is_still_said test_what_is_written_is_read_again"),
    "a parent object is of an overlay": case_of(
        swap("is_dns_subdomain(overlay)", "overlay"), "core/test_parent.py",
        "test_what_no_overlay_can_be_called_is_no_parent_of_a_unit "
        "scenarios/test_lost_overlays.py::test_units_that_a_cluster_invents_cost_that_cluster_alone",
        "test_a_parent_whose_owner_was_changed_is_still_that_of_its_overlay"),
    "an object of nobody's": case_of(
        swap("plan.foreign.append(Foreign(item, seen, adopt))", "plan.change.append(Step(item, Cause.CHANGED, seen))"),
        _PLAN, "test_an_unmarked_object_is_foreign_and_carries_the_rule_for_adoption",
        "test_an_object_that_is_not_there_is_created"),
    "a mark of another installation": case_of(
        never("installation != mark.installation"), _RECORD,
        "test_only_the_exact_mark_is_ours test_each_damage_to_a_mark_is_told_apart", "test_what_we_applied_is_ours"),
    "a mark of another cluster": case_of(
        never("identity != mark.identity"), _RECORD,
        "test_only_the_exact_mark_is_ours test_each_damage_to_a_mark_is_told_apart", "test_what_we_applied_is_ours"),
    "a parent of another installation": case_of(
        swap("_WHOSE[verdict.kind]", "Whose.OURS"), _NEIGHBOURS,
        "test_a_parent_of_others_is_foreign_and_says_whose",
        "test_what_we_wrote_is_ours_and_is_written_over_in_this_very_state"),
    "another installation was there first": case_of(
        gives("None"), _NEIGHBOURS, "test_who_has_nothing_there_yet_is_not_the_first",
        "test_alone_on_a_cluster_there_is_no_neighbour"),
    "a copied mark": case_of(
        never("not (known_uid and text_at(metadata, 'uid') == known_uid) and (not we_applied(live))"), _RECORD,
        "test_a_copied_mark_is_not_ours_unless_the_record_knows_the_object", "test_what_we_applied_is_ours"),
    "a bundle that is not the ordered one": case_of(
        never("bundle is None or bundle != expected"), _PLAN, "test_a_proof_needs_desired_lists_and_record_complete",
        "test_what_git_dropped_is_a_candidate_with_its_uid_and_rule"),
    "kinds that were not listed": case_of(
        never("missing"), _PLAN, "test_a_proof_needs_desired_lists_and_record_complete",
        "test_what_git_dropped_is_a_candidate_with_its_uid_and_rule"),
    "a record that nobody confirmed": case_of(
        never("not confirmed"), _PLAN, "test_a_proof_needs_desired_lists_and_record_complete",
        "test_what_git_dropped_is_a_candidate_with_its_uid_and_rule"),
    "what a problem covers has not left": case_of(
        gives("None"), _RELEASE, "test_what_a_problem_covers_has_not_left", "test_a_unit_that_is_still_there_has_not_left"),
    "zero objects of a unit": case_of(
        gives("None"), _GUARD, "test_zero_objects_are_an_error_unless_the_unit_says_so",
        "core/test_release.py::test_an_absent_overlay_may_be_empty"),
    "most objects of a unit": case_of(
        never("total > FALL_SHARE * had"), _GUARD, "test_half_of_a_unit_may_go_and_more_is_a_sharp_fall",
        "test_a_few_deletions_within_the_budget_run"),
    "most clusters of an overlay": case_of(
        never("count >= FALL_FROM and count > FALL_SHARE * had[overlay]"), _RELEASE,
        "test_a_fall_is_held_exactly_above_a_quarter_and_from_four_clusters",
        "controllers/test_commits.py::test_three_clusters_may_leave_without_asking"),
    "more objects than the budget": case_of(
        never("total > budget.objects"), _GUARD, "test_one_more_than_the_budget_is_held_with_its_exact_list",
        "test_a_few_deletions_within_the_budget_run"),
    "a larger share than the budget": case_of(
        never("had >= budget.share_from and total > budget.share * had"), _GUARD,
        "test_a_share_of_the_unit_is_held_only_from_eight_objects_on", "test_a_few_deletions_within_the_budget_run"),
    "the same deletion on many clusters": case_of(
        never("len(found) > limit_clusters or ref in barred"), _RELEASE,
        "test_spreading_a_deletion_over_commits_never_permits_more_than_at_once "
        "controllers/test_commits.py::test_the_same_deletion_on_more_than_three_clusters_is_permitted_on_none",
        "test_the_same_cluster_counts_once"),
    "no deletion without a permit": case_of(
        always("item.replaced or item.ref in permits"), _GUARD,
        "test_what_the_hub_has_not_permitted_waits test_nothing_is_deleted_that_the_hub_did_not_permit",
        "test_a_few_deletions_within_the_budget_run"),
    "fewer come back than went": case_of(
        always("len(olds) <= len(news)"), _RENAMES,
        "test_of_two_equal_objects_of_which_one_comes_back_none_is_renamed",
        "test_the_same_content_under_another_name_is_a_rename"),
    "more than its text is not renamed": case_of(
        gives("True"), _RENAMES,
        "test_what_stands_for_more_than_its_text_is_never_renamed test_an_object_with_rules_of_its_own_is_a_deletion",
        "test_the_same_content_under_another_name_is_a_rename"),
    "an approval makes no room for more": case_of(
        swap("recent + done", "recent"), _GUARD, "test_what_was_approved_makes_no_room_in_the_budget_for_the_rest",
        "test_a_few_deletions_within_the_budget_run"),
    "a hook's object is in no rebuilt record": case_of(
        swap("is_hook(document)", "False"), _RECORD,
        "test_what_a_hook_left_is_in_no_rebuilt_record "
        "reconcile/test_restart.py::test_what_a_hook_left_is_no_object_of_a_record_that_is_found_again",
        "test_a_record_is_rebuilt_from_what_carries_exactly_our_mark"),
    "an approval is for the very object": case_of(
        gives("next((one for one in approved if one.ref == item.ref), None)"), _GUARD,
        "test_an_approval_passes_the_guards_for_the_very_object_that_was_shown",
        "test_an_approval_of_a_part_leaves_the_rest_held"),
    "more goes along than was approved": case_of(
        gives("approval_of(item, approved) is not None"), _GUARD,
        "test_an_approval_covers_what_would_have_gone_along_and_nothing_more",
        "test_an_approval_passes_the_guards_for_the_very_object_that_was_shown"),
    "a wipe permits nothing": case_of(
        swap("Apply(EMPTY_BUNDLE.digest, approved=orders.approved, wipe=orders.wipe.wipe)",
             "Apply(EMPTY_BUNDLE.digest, orders.permits, orders.approved, wipe=orders.wipe.wipe)"), _RELEASE,
        "test_a_wipe_carries_out_no_more_than_a_person_approved",
        "test_a_rendered_unit_is_applied_with_what_was_permitted_and_approved"),
    "a wipe is over by what came after it": case_of(
        swap("(commit, EMPTY_BUNDLE.digest)", "(report.commit, EMPTY_BUNDLE.digest)"), "core/test_wipe.py",
        "test_a_wipe_is_not_over_while_anything_is_held_left_or_unknown",
        "test_a_wipe_is_over_once_nothing_is_left_that_may_be_deleted"),
    "a wipe is for the name that was typed": case_of(
        swap("replace(leave, wipe='', wiped=False, suspend=None)", "leave"), "core/test_wipe.py",
        "test_a_wipe_ends_with_the_name_that_was_typed_and_others_go_on",
        "test_the_first_word_stays_and_only_what_is_asked_for_is_wiped"),
    "what goes along is in no plan": case_of(
        never("takes_along(deletion.ref) and deletion.inside"), "core/test_plan_approval.py",
        "test_what_goes_along_with_an_object_was_in_no_plan_and_is_asked_about",
        "test_the_very_list_is_covered_and_so_is_what_is_left_of_it"),
    "other settings are another plan": case_of(
        gives("frozenset()"), "core/test_plan_approval.py",
        "test_a_commit_that_sets_something_for_its_units_otherwise_makes_it_void",
        "test_the_commit_with_its_digest_binds_it_and_no_other_one"),
    "an owner elsewhere hides nothing": case_of(
        gives("[(part, item) for part in parts for item in part.items if not _owners(item)]"), _LOSSES,
        "test_an_owner_hides_only_what_goes_with_it_alone", "test_what_git_still_wants_goes_along_and_is_named"),
    "all of a definition goes along": case_of(
        swap("inside.items", "[item for item in inside.items if not _owners(item)]"), _LOSSES,
        "test_a_definition_takes_along_what_other_kinds_own", "test_a_definition_counts_its_objects"),
    "claims go with a StatefulSet": case_of(
        gives("(ref.group, ref.kind) in _TAKES and ref.kind != 'StatefulSet'"), _GOES_WITH,
        "test_a_plan_does_not_say_which_claims_go_with_a_stateful_set",
        "test_a_stateful_set_that_leaves_its_claims_goes_by_its_plan"),
    "an approval is for the very list": case_of(
        gives("True"), _RELEASE, "test_anything_that_was_not_approved_is_no_part_of_it",
        "test_what_is_left_of_an_approved_list_stays_approved"),
    "an approval is for its commit": case_of(
        gives("frozenset().union(*(each for (name, _), each in approvals.items() if name == unit))"),
        "controllers/test_orders.py", "test_what_was_approved_for_one_commit_is_not_for_another",
        "test_what_was_approved_goes_by_the_commit_that_was_asked_about"),
    "prune: confirm": case_of(
        never("confirm"), _GUARD, "test_prune_disabled_keeps_and_prune_confirm_asks",
        "test_a_few_deletions_within_the_budget_run"),
    "a precious kind": case_of(
        gives("False"), _GUARD, "test_even_one_precious_object_asks_a_person",
        "test_a_kind_of_another_group_with_a_precious_name_is_no_precious_kind"),
    "another incarnation is not deleted": case_of(never("not row.uid or row.uid != uid"), _RECORD, _ANYTHING_ELSE, _MAY_GO),
    "only our whole mark is deleted": case_of(
        never("verdict.kind is not MarkKind.OURS"), _RECORD, _ANYTHING_ELSE, _MAY_GO),
    "an owned object is left to its owner": case_of(
        never("(owners := documents_at(metadata, 'ownerReferences'))"), _RECORD, _ANYTHING_ELSE, _MAY_GO),
    "a released object is not deleted": case_of(
        never("row.state is RowState.RELEASED"), _RECORD, _ANYTHING_ELSE, _MAY_GO),
    "what is not ours is no candidate": case_of(
        never("row.state is RowState.RELEASED or not seen.mark.ours or seen.uid != row.uid"), _PLAN,
        "test_an_object_that_does_not_carry_exactly_our_mark_is_never_a_candidate",
        "test_what_git_dropped_is_a_candidate_with_its_uid_and_rule"),
    "what lost a label is no candidate": case_of(
        never("seen.mark.kind is not MarkKind.OURS"), _PLAN,
        "test_what_lost_a_label_before_git_dropped_it_is_let_go_unless_another_unit_takes_it",
        "test_what_git_dropped_is_a_candidate_with_its_uid_and_rule"),
    "a label that is put back brings nothing new": case_of(
        always("row is not None and row.desired == item.digest"), _PLAN,
        "test_a_label_is_put_back_by_what_git_changed_not_the_other_way_round",
        "test_a_label_of_what_git_left_as_it_was_is_put_back_whatever_became_of_the_rest"),
    "a record holds old and new": case_of(
        gives("()"), _RECORD, "test_the_record_holds_old_united_with_new", "test_a_released_row_is_not_taken_back"),
    "a rebuilt record that differs": case_of(
        swap("not judge_mark(document, mark).ours", "False"), _RECORD,
        "test_a_record_is_rebuilt_from_what_carries_exactly_our_mark",
        "test_the_digest_of_a_record_does_not_depend_on_the_order"),
    "nothing is made anew unasked": case_of(
        never("not obj.options.replace"), _GUARD, "test_replacing_an_object_counts_as_a_deletion",
        "test_a_few_deletions_within_the_budget_run"),
    "two units want one object": case_of(
        never("rivals"), _PLAN, "test_two_units_that_want_one_object_both_leave_it_and_are_named",
        "test_an_object_moves_between_units_without_being_deleted"),
    "what another unit takes is no deletion": case_of(
        never("takers"), _PLAN, "test_an_object_moves_between_units_without_being_deleted",
        "test_what_git_dropped_is_a_candidate_with_its_uid_and_rule"),
    "a field of another manager": case_of(
        never("foreign"), "core/test_conflicts.py",
        "test_a_field_that_was_never_ours_is_reported test_one_field_that_was_never_ours_stops_the_force_over_all_others",
        "test_a_field_that_was_ours_may_be_forced_once_with_the_events_uid_and_version"),
    "missing rights are asked seldom": case_of(
        gives("usual"), _RETRY, "test_refusals_are_asked_seldom_and_outages_soon",
        "test_a_wait_stays_between_its_bounds"),
    "Retry-After is obeyed": case_of(
        never("asked is not None"), _RETRY, "test_a_repeat_never_comes_before_retry_after",
        "test_an_outage_is_repeated_a_bounded_number_of_times"),
    "an old status is Unknown": case_of(
        gives("Age.FRESH"), "core/test_fold.py", "test_a_report_is_unknown_after_three_missed_intervals_and_not_before",
        "test_an_age_never_overstates"),
    "one definition of an object": case_of(
        never("made.ref in seen"), _BUNDLES, "test_an_object_that_is_defined_twice_is_refused",
        "test_the_same_name_elsewhere_is_another_object"),
    "a size of objects": case_of(
        (never("len(documents) > limits.objects"),
         never("len(made.body) > limits.object_bytes or total > limits.total_bytes")), _BUNDLES,
        "test_too_many_or_too_large_objects_are_refused", "test_a_large_build_is_warned_of"),
    "a size of Secret values": case_of(
        never("self._size_bytes > most.secret_bytes or count > most.secret_values"), _BUNDLES,
        "test_secret_values_have_a_size_together_and_equal_ones_count_once",
        "test_secret_values_are_sealed_and_come_back_whole"),
    "encrypted text reaches no cluster": case_of(
        never("'sops' in document"), _BUNDLES, "test_encrypted_objects_are_refused_by_name",
        "test_secret_values_are_sealed_and_come_back_whole"),
    "kinds of a team": case_of(
        never("rights.kinds is not None and (not names & set(rights.kinds))"), _GUARD, _TEAM,
        "test_a_kind_may_be_named_with_its_group"),
    "namespaces of a team": case_of(
        never("rights.namespaces is not None"), _GUARD,
        f"{_TEAM} test_without_a_list_of_kinds_namespaces_still_bound_a_team", "test_a_kind_may_be_named_with_its_group"),
    "a place that only the cluster says": case_of(
        gives("None"), _GUARD, "test_a_custom_kind_that_a_cluster_keeps_outside_of_namespaces_must_be_named",
        "test_a_custom_kind_outside_of_namespaces_is_a_teams_where_it_is_named_or_nothing_limits_it"),
    "of a team that nobody knows": case_of(
        swap("UNREAD_TEAM", "None"), _RELEASE,
        "test_a_unit_of_which_nobody_knows_whose_it_is_is_held_to_the_least_where_there_are_teams",
        "test_a_worker_is_told_what_the_team_of_a_unit_is_held_to"),
    "replace is a right": case_of(
        never("obj.options.replace and (not rights.replace)"), _GUARD, "test_replace_needs_the_right_to_replace",
        "test_a_kind_may_be_named_with_its_group"),
    "a report tells a large value by its size": case_of(
        gives("value"), "core/test_diff.py", "test_a_report_tells_of_a_value_that_is_too_large_its_size_alone",
        "test_a_report_tells_values_as_they_are"),
    "values of Secrets are masked": case_of(
        gives("False"), "core/test_diff.py", "reconcile/test_drift.py::test_secret_values_in_drift_are_masked",
        "reconcile/test_drift.py::test_drift_is_reported_with_both_values_and_manager_where_self_heal_is_off"),
    "a webhook without a secret": case_of(
        never("not secret"), _WEBHOOK, "test_without_a_secret_even_the_signature_of_the_empty_secret_is_refused",
        "test_the_example_of_githubs_documentation_is_accepted"),
    "a webhook that is too large": case_of(
        never("len(body) > BODY_LIMIT_BYTES"), _WEBHOOK, "test_a_body_of_the_limit_is_read_and_one_byte_more_is_not",
        "test_the_example_of_githubs_documentation_is_accepted"),
    "a webhook that is not signed": case_of(
        always("same"), _WEBHOOK, "test_another_body_or_secret_is_wrong",
        "test_a_right_signature_is_accepted_under_either_header_in_any_case"),
    # controllers
    "the cluster of another entry": case_of(
        gives("None"), _ENTRIES, "test_two_entries_of_one_cluster_are_both_stopped_by_name_and_all_others_go_on",
        "test_a_cluster_that_goes_as_another_comes_is_let_go"),
    "a fleet file that does not parse": case_of(
        never("before is not None and fleet.unknown.everything is not None"),
        _COMMITS, "test_a_commit_that_is_not_taken_over_goes_nowhere_until_it_is_mended",
        "scenarios/test_hub_on_simulated_clusters.py::test_a_commit_reaches_all_its_units_and_a_one_line_commit_is_one_write_each"),
    "another name of the fleet": case_of(
        gives("fleet"), "scenarios/test_what_a_broken_file_hides.py", "test_another_name_of_the_fleet_is_not_taken_over",
        "test_an_overlay_whose_file_breaks_keeps_its_settings"),
    "a lost mirror keeps its promise": case_of(
        never("not kept"), _COMMITS, "test_a_lost_mirror_and_a_rewritten_history_keep_what_is_in_force",
        "test_a_lost_mirror_with_the_same_history_goes_on"),
    "what may be back is not let go": case_of(
        never("(problem := fleet.unknown.covers(name)) is not None"), "controllers/test_wipes.py",
        "test_what_may_be_back_is_neither_wiped_nor_let_go_while_that_cannot_be_read",
        "test_a_wipe_is_told_once_and_over_once_nothing_is_left"),
    "a move is no deletion": case_of(
        gives("frozenset()"), _COMMITS, "test_an_object_that_moves_to_another_overlay_is_no_deletion",
        "test_a_deletion_on_three_clusters_is_permitted_and_counts_for_an_hour"),
    "a bundle that cannot be had is not empty": case_of(
        always("loss.is_known"), "controllers/test_deletions.py",
        "test_what_may_have_moved_to_a_unit_that_cannot_be_read_is_not_permitted_and_still_counts",
        "test_what_did_not_move_to_a_unit_that_can_be_read_is_permitted"),
    "no cluster takes the room of the others": case_of(
        gives("frozenset()"), "controllers/test_deletions.py",
        "test_a_cluster_that_says_it_has_more_than_all_others_keeps_no_deletion_of_theirs",
        "test_twin_a_cluster_within_its_share_may_delete_all_of_it"),
    "what there was no room for stays asked about": case_of(
        never("name in crowded"), "controllers/test_crowded_deletions.py",
        "test_what_a_crowded_cluster_asked_about_is_not_let_go_by_the_room_that_comes",
        "test_twin_what_there_was_room_for_goes_by_itself_and_so_does_what_came_later"),
    "what was asked about stays held": case_of(
        gives("NOTHING"), "controllers/test_stays_held.py",
        "test_what_was_rejected_stays_though_its_list_changed_before_the_next_commit",
        "test_twin_what_a_commit_wanted_again_and_a_later_one_drops_is_a_new_question"),
    "no proof goes past a person's word": case_of(
        swap("loss.proven - unsettled", "loss.proven"), "controllers/test_words_and_steps.py",
        "test_an_earlier_step_proves_nothing_of_what_a_person_rejected_there_or_has_not_decided",
        "test_twin_what_was_approved_and_is_half_carried_out_goes_on_there_and_on_the_next_step"),
    "what is left of a list is shown": case_of(
        gives("[]"), "controllers/test_words_and_steps.py",
        "test_another_clusters_question_shows_what_is_left_of_an_approved_list_until_all_is_decided",
        "test_twin_what_is_gone_of_an_approved_list_is_in_no_further_question"),
    "a word counts for who has not judged yet": case_of(
        gives("False"), "controllers/test_words_model.py",
        "test_a_later_step_deletes_what_is_proven_and_nothing_that_a_person_has_not_approved_elsewhere",
        "controllers/test_words_and_steps.py"
        "::test_twin_what_was_approved_and_is_half_carried_out_goes_on_there_and_on_the_next_step"),
    "of a record that was rebuilt all is asked anew": case_of(
        gives("False"), "controllers/test_words_and_steps.py",
        "test_of_a_unit_whose_record_was_rebuilt_all_that_was_approved_is_asked_anew",
        "test_twin_what_was_approved_and_is_half_carried_out_goes_on_there_and_on_the_next_step"),
    "a rejection goes before a plan": case_of(
        gives("''"), "controllers/test_plan_approvals.py",
        "test_a_later_rejection_goes_before_an_approved_plan_though_another_cluster_asks_anew",
        "test_holds_are_looked_at_while_a_commit_is_compared"),
    "what waits for its step takes": case_of(
        swap("coming", "{}"), "controllers/test_commits.py",
        "test_what_moves_to_an_overlay_that_waits_for_its_step_is_no_deletion",
        "test_what_is_dropped_beside_an_overlay_that_waits_for_its_step_is_a_deletion"),
    "what may move is no deletion": case_of(
        gives("frozenset()"), _MOVES, "test_what_anybody_takes_or_may_take_stays_and_nothing_else",
        "test_what_a_unit_itself_will_hold_delays_nothing_of_it"),
    "what is not known yet may take": case_of(
        gives("()"), _MOVES, "test_what_is_being_built_or_cannot_be_built_is_unsure_and_says_so",
        "test_where_all_is_known_nothing_is_unsure"),
    "what leaves waits for its taker": case_of(
        gives("''"), _MOVES, "test_what_left_waits_for_the_unit_that_takes_its_objects",
        "test_what_left_and_nobody_takes_may_go"),
    "a suspend in Git keeps what leaves": case_of(
        swap("_suspensions(name, in_git, orders.suspensions)", "_suspensions(name, (), orders.suspensions)"), _RELEASE,
        "test_a_suspend_in_git_stops_what_leaves_and_what_this_commit_does_not_say",
        "test_a_suspend_of_another_cluster_stops_nothing_that_leaves"),
    "what a suspended unit has stays with it": case_of(
        never("claims.keeps(other)"), _PLAN,
        "test_what_a_suspended_unit_has_is_not_taken_over_until_it_is_resumed",
        "test_an_object_moves_between_units_without_being_deleted"),
    "a suspend reaches a gate's Job": case_of(
        gives("True"), "scenarios/test_gates.py", "test_a_suspend_reaches_a_job_that_is_about_to_be_created",
        "test_a_job_that_completes_lets_it_on_and_is_gone_afterwards"),
    "a commit is judged once it is known": case_of(
        gives("frozenset(name.overlay for name in waiting)"), _MOVES,
        "test_an_overlay_is_judged_once_nothing_is_built_on_any_cluster_where_it_waits",
        "test_only_what_is_being_built_will_be_known_soon"),
    "a person's word is for what was shown": case_of(
        swap("name in asked", "True"), "controllers/test_rollouts.py",
        "test_a_confirmed_recovery_is_for_what_was_shown_and_a_later_loss_asks_again",
        "test_what_a_parent_bars_is_barred_before_its_unit_is_confirmed_though_no_look_came_between"),
    "another record than was shown": case_of(
        gives("words"), "controllers/test_rollouts.py",
        "test_a_word_that_its_cluster_did_not_hear_is_not_for_what_answers_there_next",
        "test_a_confirmed_recovery_is_for_what_was_shown_and_a_later_loss_asks_again"),
    "a recovery waits for who may know better": case_of(
        never("unheard and (not body.unheard)"), "api/test_acting.py",
        "test_no_recovery_is_confirmed_before_all_clusters_of_its_overlays_were_heard_but_by_a_further_word "
        "scenarios/test_lost_quarantine.py"
        "::test_a_cluster_that_was_not_told_of_it_waits_for_the_one_that_was_or_for_a_further_word",
        "test_twin_a_recovery_waits_for_no_cluster_that_was_heard_or_has_nothing_to_say"),
    "a recovery waits for Git": case_of(
        never("not view.head.is_taken"), "api/test_acting.py",
        "test_no_recovery_is_confirmed_before_git_was_read scenarios/test_backup_and_restore.py"
        "::test_a_word_while_git_does_not_answer_is_refused_and_counts_once_it_does",
        "test_a_recovery_is_confirmed_for_the_list_that_was_seen"),
    "a recovery of the list that was seen": case_of(
        never("not digest.startswith(body.list_digest)"), "api/test_acting.py",
        "test_a_recovery_is_confirmed_for_the_list_that_was_seen",
        "test_a_hold_is_approved_by_its_list_once"),
    "what a team may not have": case_of(
        always("unit.team is None"), _COMMITS,
        "test_a_teams_object_outside_its_rights_is_refused_and_others_go_on",
        "test_a_one_overlay_commit_reaches_exactly_the_affected_clusters"),
    # store
    "one process to a state": case_of(
        drop("fcntl.flock"), _OPENING, "test_a_second_process_is_refused_by_the_number_of_the_first",
        "test_a_state_that_was_closed_opens_again"),
    "a newer state": case_of(
        never("found is not None and found not in known_schemas()"), _OPENING,
        "test_a_newer_schema_is_refused_and_left_as_it_is", "test_a_state_that_was_closed_opens_again"),
    "a damaged state": case_of(
        never("verdict != ('ok',) or version is None"), _OPENING, "test_a_damaged_file_is_named_never_replaced",
        "test_a_state_that_was_closed_opens_again"),
    "a lost key is not replaced": case_of(
        never("(directory / DATABASE_FILE).exists()"), _OPENING,
        "store/test_opening.py::TestKey::test_a_lost_key_is_not_replaced_behind_an_existing_database",
        "store/test_opening.py::TestKey::test_the_first_start_makes_a_private_key_and_the_next_finds_it"),
    "another key": case_of(
        drop("raise KeyMissing"), _OPENING, "test_another_key_is_refused_and_the_right_one_still_works",
        "test_a_state_that_was_closed_opens_again"),
    "a key that entries need amid an exchange": case_of(
        never("in_use.missing or in_use.said is None"), _ROTATION, "test_a_third_key_may_come_before_the_second_is_through",
        "test_entries_are_sealed_anew_in_use_and_the_old_key_may_go"),
    "a key that entries need stays": case_of(
        drop("raise self._refused('the file does not hold"), _ROTATION,
        "test_keys_without_one_that_entries_need_are_refused_and_the_old_ones_stay",
        "test_a_key_that_no_entry_needs_goes_without_a_word"),
    "a backup that the keys here do not open": case_of(
        never("not facts.keys.all_here"), _ROTATION, "test_a_backup_that_the_keys_here_do_not_open_is_none",
        "test_a_backup_names_each_key_that_it_needs"),
    "keys in use are written down first": case_of(
        drop("await self._database.write(lambda connection: note_keys"), _ROTATION,
        "test_a_hub_that_is_killed_at_any_commit_leaves_every_entry_to_one_of_the_keys",
        "test_keys_that_did_not_change_change_nothing"),
    "values of what is in use stay": case_of(
        drop("await self._database.write(lambda connection, seen=seen"), _VALUES,
        "test_twin_what_is_in_use_stays_however_old_and_an_hour_longer",
        "test_what_nothing_in_use_has_goes_after_an_hour"),
    "values that another result has stay": case_of(
        swap("~is_used", "True"), _VALUES, "test_what_nothing_in_use_has_goes_after_an_hour",
        "test_twin_what_is_in_use_stays_however_old_and_an_hour_longer"),
    "an audit log that was cut": case_of(
        never("(head or START) != last"), "store/test_audit.py", "test_what_was_done_to_the_table_is_found",
        "test_a_log_from_before_the_chain_is_sealed_by_the_upgrade_and_goes_on"),
    "an approval of a list that changed": case_of(
        never("known.list_digest != list_digest"), _STATE, "test_a_decision_on_another_list_or_after_the_end_is_refused",
        "test_a_hold_is_one_per_overlay_and_commit"),
    "an approval that comes too late": case_of(
        never("at >= known.expires_at and (not later)"), _STATE, "test_a_decision_on_another_list_or_after_the_end_is_refused",
        "test_a_hold_is_one_per_overlay_and_commit"),
    "an approval that expired": case_of(
        swap("known.decision == 'approved' and now.created_at >= known.expires_at", "False"), _STATE,
        "test_an_approval_that_expired_asks_anew",
        "test_an_approval_survives_asking_again_and_is_void_for_another_list"),
    "a rejection is never overruled": case_of(
        swap("known.decision == 'approved' and decision == 'rejected'", "True"), _STATE,
        "test_an_approval_overrules_no_rejection_and_no_word_is_said_twice",
        "test_a_rejection_overrules_an_approval_for_what_is_not_deleted_yet"),
    "a rejection of what has all gone": case_of(
        never("not left"), _STATE, "test_a_rejection_of_another_list_or_of_what_has_all_gone_overrules_nothing",
        "test_a_rejection_overrules_an_approval_for_what_is_not_deleted_yet"),
    "a deletion that was rejected does not begin": case_of(
        never("entry.action == 'delete' and (not entry.outcome) and (entry.commit == commit) and (about_of(entry) in listed)"),
        _STATE, "test_what_was_rejected_does_not_begin_to_be_deleted",
        "reconcile/test_taken_back.py::test_what_was_rejected_meanwhile_stays_without_trouble_and_the_rest_goes"),
    "a rejection is known over another list": case_of(
        swap("known.rejected_at", "0.0"), _STATE,
        "test_a_rejection_stays_known_whatever_is_asked_later_until_a_person_approves",
        "test_a_rejected_list_stays_rejected"),
    "a key that others may read": case_of(
        never("private and stat.S_IMODE(mode) & 63"), _OPENING, "store/test_opening.py::TestKey::test_a_key_that_others_may_read_is_refused",
        "store/test_opening.py::TestKey::test_the_first_start_makes_a_private_key_and_the_next_finds_it"),
    "an entry in another's place": case_of(
        swap("name.encode()", "b''"), _OPENING, "test_an_entry_moved_to_another_name_does_not_open",
        "test_a_state_that_was_closed_opens_again"),
    "a report that cannot be kept keeps no other from it": case_of(
        gives("encode_unit(unit)"), "store/test_durability.py",
        "test_a_report_that_cannot_be_written_keeps_no_other_from_being",
        "test_a_report_of_a_nested_value_is_written_whole"),
    "values at rest are encrypted": case_of(
        gives("secrets.token_bytes(12) + value"), _OPENING, "test_no_secret_lies_in_clear_in_any_file",
        "store/test_opening.py::TestKey::test_the_first_start_makes_a_private_key_and_the_next_finds_it"),
    # ownership
    "a worker that was ended": case_of(
        never("not self.is_open"), "safety/test_guards.py", "test_a_fence_whose_worker_was_ended_lets_nothing_pass",
        "test_a_fence_in_force_gives_its_epoch"),
    "no write that could not be recorded": case_of(
        never("self.owner.unwritable is not None"), "safety/test_guards.py",
        "test_no_fence_lets_a_write_pass_while_the_state_cannot_be_written_and_all_do_once_it_can",
        "test_a_fence_in_force_gives_its_epoch"),
    # api
    "the list that was seen": case_of(
        never("not row.list_digest.startswith(body.list_digest)"), "api/test_acting.py",
        "test_a_hold_is_approved_by_its_list_once", "test_a_sync_is_written_down_and_rings_and_a_repeated_key_is_the_same_operation"),
    "a suspension that is another's": case_of(
        swap("(owner,)", "tuple(standing)"), "api/test_acting.py",
        "test_nobody_replaces_or_lifts_the_suspension_of_another_unseen", "test_each_scope_is_suspended_and_resumed"),
    "an identity that is another's": case_of(
        never("taken"), "api/test_acting.py", "test_an_identity_is_accepted_for_one_entry_only",
        "test_each_scope_is_suspended_and_resumed"),
    "a wipe of what may be wanted again": case_of(
        never("fleet is not None and (problem := fleet.unknown.covers(unit)) is not None"), "api/test_wiping.py",
        "test_what_git_may_want_again_is_not_wiped_and_anything_else_may_be",
        "test_a_wipe_is_written_down_once_however_often_it_is_said"),
}  # fmt: skip
