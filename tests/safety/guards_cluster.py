"""Cases of the refusal table: what stands between the hub and a cluster. See safety/case.py."""

# ruff: noqa: E501 - a table: names of tests are as long as their claims

from __future__ import annotations

from safety.case import Case, case_of
from safety.mutate import always, drop, gives, never, swap

_IDENTITY = "kube/test_identity.py"
_ANSWERS = "kube/test_answers.py"
_TRANSPORT = "kube/test_transport.py"
_KUBECONFIG = "kube/test_kubeconfig.py"
_ADDRESSES = "kube/test_addresses.py"
_CREDENTIALS = "kube/test_credentials.py"
_REFLECTOR = "kube/test_reflector.py"
_LEVELS = "kube/test_levels.py"
_GATE = "kube/test_gate.py"
_BUDGET = "reconcile/test_budget.py"
_WAITING = "kube/test_waiting_writes.py"
_QUEUE = "scenarios/test_suspend_in_a_queue.py"
_SUSPENDED = "test_what_waits_for_its_turn_is_not_written_once_it_is_suspended"
_NOT_SUSPENDED = "test_what_waits_for_its_turn_is_written_when_that_comes"
_GOES_WITH = "reconcile/test_goes_with.py"
_LEFT = "reconcile/test_left_marks.py"
_GUARDS = "reconcile/test_guards.py"
_PLACES = "reconcile/test_team_places.py"
_NEIGHBOURS = "reconcile/test_neighbours.py"
_RENAMES = "reconcile/test_renames.py"
_LOST_KINDS = "reconcile/test_lost_kinds.py"
_TROUBLES = "reconcile/test_troubles.py"
_OLDER = "reconcile/test_older_state.py"
_LOST = "scenarios/test_lost_overlays.py"
_NOT_THE_SAME = "test_what_is_not_the_same_is_a_deletion_whatever_the_hub_says"
_RENAMED = "test_all_objects_of_a_unit_get_other_names_without_a_hold_and_count_as_no_deletion"
_HUB_REFUSES = "test_the_hub_refuses_with_rule_and_line"
_PERSON_MAY = "test_a_person_may_use_all_of_these"
_REFUSED_ADDRESS = "test_such_an_address_is_refused_with_the_reason"
_OTHERS_DIALLED = "test_private_and_public_addresses_are_dialled"
_BROKEN_WATCH = "test_a_broken_watch_is_said_and_tried_again_after_a_pause"
_NO_LIST = "test_what_is_not_surely_a_list_is_not_read_as_an_empty_one"

CASES: dict[str, Case] = {
    # kube
    "another cluster answers": case_of(
        never("found != self._expected"), _IDENTITY, "test_another_cluster_is_refused_at_the_start",
        "test_the_first_request_of_all_is_the_proof_and_it_comes_once"),
    "the identity cannot be read": case_of(
        never("reply.status != 200"), _IDENTITY, "test_a_missing_right_is_named",
        "test_the_first_request_of_all_is_the_proof_and_it_comes_once"),
    "a late write is proven anew": case_of(
        gives("False"), _IDENTITY, "test_a_cluster_exchanged_behind_the_same_certificate_is_found_by_the_late_proof",
        "test_reads_alone_never_prove_by_the_clock"),
    "time asleep counts": case_of(
        swap("max", "min"), _IDENTITY, "test_time_asleep_counts_as_time_without_a_proof",
        "test_a_late_write_proves_anew_and_an_early_one_does_not"),
    "a new certificate is proven": case_of(
        gives("True"), _IDENTITY, "test_behind_a_new_certificate_of_another_cluster_no_write_passes",
        "test_behind_a_new_certificate_of_the_same_cluster_writes_go_on_after_a_proof"),
    "a proof bears its own line's credential": case_of(
        swap("line.headers.of(request)", "self._session.for_request(request)[1]"), _IDENTITY,
        "test_a_late_proof_over_an_old_connection_says_nothing_of_the_credential_that_came_since",
        "test_behind_a_new_certificate_of_the_same_cluster_writes_go_on_after_a_proof"),
    "what is no document is no answer": case_of(
        (never("not document"), never("not reply.content_type.endswith('json')")), _ANSWERS,
        "test_an_empty_document_and_json_by_another_name_are_no_answer kube/test_transport.py::test_an_html_page_is_never_an_answer",
        "kube/test_transport.py::test_a_good_answer_comes_through"),
    "only the object's own 404 is absence": case_of(
        gives("reply.status == 404"), _ANSWERS, "test_absence_is_said_by_the_object_s_own_404_alone",
        "kube/test_transport.py::test_only_a_404_for_the_object_itself_means_absent"),
    "what is no list is not an empty one": case_of(
        never("not found.endswith('List') or 'items' not in document or (not version)"), _TRANSPORT, _NO_LIST,
        "test_an_empty_list_is_an_empty_list"),
    "items that are no objects": case_of(
        never("len(whole) != len(items) or not isinstance(document['items'], list | None)"), _TRANSPORT, _NO_LIST,
        "test_an_empty_list_is_an_empty_list"),
    "an answer is about the object": case_of(
        never("not is_kind or not is_there or text_at(metadata, 'name') != name or (not is_named(document))"), _TRANSPORT,
        "test_a_document_that_is_not_the_object_says_nothing_of_it",
        "test_an_object_in_any_form_that_a_server_has_is_it"),
    "an object has a name that can be": case_of(
        gives("True"), _TRANSPORT, f"{_NO_LIST} kube/test_reflector.py::{_BROKEN_WATCH}",
        "test_a_list_in_any_form_that_a_server_has_is_one"),
    "an event is about an object": case_of(
        never("kind != 'BOOKMARK' and (not is_named(seen))"), _REFLECTOR, _BROKEN_WATCH,
        "test_a_list_comes_first_and_the_watch_goes_on_from_it"),
    "a list is of its kind": case_of(
        gives("True"), _TRANSPORT, _NO_LIST, "test_a_list_in_any_form_that_a_server_has_is_one"),
    "items of another kind": case_of(
        never("named"), _TRANSPORT, _NO_LIST, "test_a_list_in_any_form_that_a_server_has_is_one"),
    "a list that ends too early": case_of(
        never("not following and (left := number_at(document, 'metadata', 'remainingItemCount'))"), _TRANSPORT, _NO_LIST,
        "test_a_list_in_any_form_that_a_server_has_is_one"),
    "a list ends only at its last page": case_of(
        always("not following"), _TRANSPORT,
        "test_a_list_of_several_pages_is_whole test_a_list_whose_second_page_fails_is_no_list",
        "test_an_empty_list_is_an_empty_list"),
    "a kind stays in its cluster's paths": case_of(
        gives("True"), "kube/test_discovery.py",
        "test_a_kind_that_leads_out_of_its_clusters_paths_is_unknown_and_never_asked_for "
        "test_a_version_that_leads_out_of_its_clusters_paths_is_not_asked_for "
        "test_a_kind_whose_name_no_key_can_hold_is_unknown",
        "test_what_has_only_subresources_and_so_no_kind_makes_no_group_unknown test_the_names_of_metrics_are_places_too"),
    "a delete carries UID and version": case_of(
        swap("{'uid': uid}", "{}"), "kube/test_kube_contract.py::TestRealApiServer", "test_a_delete_hits_only_what_it_means",
        "test_a_finalizer_keeps_the_object_and_that_is_said"),
    "calls of one cluster are bounded": case_of(
        always("self._in_flight < self.allowed"), _GATE, "test_never_more_than_allowed_are_in_flight_and_all_get_through",
        "test_those_who_give_up_lose_nobody_elses_turn"),
    "every call has a deadline": case_of(
        swap("asyncio.timeout(seconds)", "asyncio.timeout(None)"), _TRANSPORT,
        "test_bytes_that_come_too_slowly_end_at_the_deadline", "test_a_good_answer_comes_through"),
    "an answer has a size": case_of(
        never("size > limit_bytes"), _TRANSPORT, "test_a_huge_body_is_cut_at_the_limit",
        "test_a_list_packed_with_gzip_is_read"),
    "an answer holds so many values": case_of(
        never("_type_of(response).endswith('json') and values_in(body, limits.answer_values) > limits.answer_values"),
        _TRANSPORT, "test_a_small_answer_that_becomes_very_many_values_is_refused_unparsed",
        "test_texts_full_of_brackets_are_read_however_many test_a_page_of_large_definitions_is_read"),
    "a list holds so many values": case_of(
        never("values > most"), _TRANSPORT, "test_a_list_is_refused_whose_pages_hold_too_many_values_together",
        "test_texts_full_of_brackets_are_read_however_many"),
    "an event holds so many values": case_of(
        never("values_in(line, self._limits.event_values) > self._limits.event_values"),
        _REFLECTOR, "test_an_event_of_very_many_values_ends_the_watch_unparsed",
        "test_an_event_whose_texts_are_full_of_brackets_comes_through"),
    "what is nested too deeply is folded": case_of(
        never("brackets > LEVELS and is_deeper(document, outer + LEVELS)"), _LEVELS,
        "test_a_document_is_folded_below_its_limit_alike_by_itself_in_an_event_and_in_a_list",
        "test_all_above_the_limit_stays_and_nothing_is_below_it test_what_was_read_whole_is_written_back"),
    "what was folded is not written back": case_of(
        never("holds_folded(request.body or b'')"), _LEVELS, "test_what_was_not_read_whole_is_not_written_back",
        "test_what_was_read_whole_is_written_back"),
    "a mute watch is ended": case_of(
        drop("raise self._silent"), _REFLECTOR, "test_a_mute_watch_is_noticed_and_said",
        "test_a_watch_is_not_lost_where_nothing_happened_in_the_whole_cluster"),
    "a watch that says nothing of what happened": case_of(
        gives("True"), _REFLECTOR, "test_a_mute_watch_that_is_opened_again_proves_nothing",
        "test_after_an_outage_a_short_watch_proves_the_position"),
    "history that went back is listed anew": case_of(
        never("goes_back(version, self._version)"), _REFLECTOR, "test_a_position_ahead_of_the_history_leads_to_a_new_list",
        "test_a_resumed_watch_lists_nothing_and_is_proven_by_what_comes"),
    "a write is never repeated unseen": case_of(
        gives("await handler(request)"), _TRANSPORT, "test_a_write_on_a_pooled_connection_that_dies_is_not_repeated",
        "test_a_read_on_a_pooled_connection_that_dies_is_repeated"),
    "a refused credential does not storm": case_of(
        never("self._clock() - self._renewed_at < _RENEWAL_PAUSE_SECONDS"), _CREDENTIALS,
        "test_after_401_a_plugin_runs_once_for_all_callers_and_no_more",
        "kube/test_transport.py::test_after_401_a_renewed_credential_is_read_and_the_write_goes_through"),
    "no write without the fence": case_of(
        drop("await self._fence.check"), _TRANSPORT,
        "test_no_write_passes_a_fence_that_refuses "
        "kube/test_waiting_writes.py::test_what_waits_out_a_pause_is_not_sent_once_it_may_not_be",
        "test_a_good_answer_comes_through"),
    "a write that waited is asked about again": case_of(
        never("may is not None and (not may())"), _WAITING,
        "test_what_waits_out_a_pause_is_not_sent_once_it_may_not_be test_a_write_is_asked_about_once_it_has_its_connection",
        "test_what_waits_out_a_pause_and_still_may_is_sent_after_it"),
    "the hub runs no program of a kubeconfig": case_of(
        swap("_HUB_RULES.items()", "()"), _KUBECONFIG,
        f"{_HUB_REFUSES} kube/test_credentials.py::test_the_hub_runs_no_exec_plugin", _PERSON_MAY),
    "the hub verifies every server": case_of(
        never("entry.flag('insecure-skip-tls-verify')"), _KUBECONFIG, _HUB_REFUSES, _PERSON_MAY),
    "no plain http to a cluster": case_of(
        never("parts.scheme == 'http' and self.trust is Trust.HUB"), _KUBECONFIG, _HUB_REFUSES, _PERSON_MAY),
    "a proxy that is not understood": case_of(
        drop("raise _refused"), _KUBECONFIG,
        "test_what_cannot_be_meant_is_refused kube/test_proxies.py::test_an_unknown_kind_of_proxy_is_refused_with_its_line",
        "kube/test_proxies.py::test_the_proxy_resolves_the_name_and_sees_only_the_tunnel"),
    "no anonymous requests": case_of(
        never("not ticket.authorization and (not certificate)"), _KUBECONFIG,
        "test_without_a_credential_there_is_no_anonymous_request", "test_a_token_becomes_the_authorization"),
    "a metadata service is not dialled": case_of(
        never("address in _METADATA"), _ADDRESSES, _REFUSED_ADDRESS, _OTHERS_DIALLED),
    "loopback is not dialled": case_of(never("address.is_loopback"), _ADDRESSES, _REFUSED_ADDRESS, _OTHERS_DIALLED),
    "link-local is not dialled": case_of(never("address.is_link_local"), _ADDRESSES, _REFUSED_ADDRESS, _OTHERS_DIALLED),
    "no address of a host": case_of(
        never("address.is_unspecified or address.is_multicast or address.is_reserved"), _ADDRESSES, _REFUSED_ADDRESS,
        _OTHERS_DIALLED),
    "the hub does not dial itself": case_of(
        swap("address in map(_plain, self.own())", "False"), _ADDRESSES, "test_an_address_of_the_hub_itself_is_refused",
        _OTHERS_DIALLED),
    "an address inside an address": case_of(gives("address"), _ADDRESSES, _REFUSED_ADDRESS, _OTHERS_DIALLED),
    "what a name resolves to": case_of(
        drop("self._rule.check"), _ADDRESSES, "test_a_name_that_resolves_to_a_refused_address_is_refused",
        "test_a_persons_own_commands_dial_what_the_person_may"),
    "an address that is written out": case_of(
        gives("None"), _ADDRESSES, "test_an_address_that_is_written_out_is_refused_before_any_connection",
        "test_a_persons_own_commands_dial_what_the_person_may"),
    "an address that is not written in full": case_of(
        gives("False"), "kube/test_addresses.py", "test_an_address_that_is_not_written_in_full_is_refused",
        "test_an_address_in_full_and_a_name_pass"),
    "redirects of a cluster are not followed": case_of(
        swap("False", "True"), _TRANSPORT, "test_a_redirect_is_not_followed", "test_a_good_answer_comes_through"),
    "server texts about a Secret are withheld": case_of(
        swap("asked.secret", "False"), _TRANSPORT,
        "test_no_word_of_a_secrets_value_is_in_an_error_or_warning kube/test_answers.py::test_nothing_of_a_secret_s_answer_is_repeated",
        "test_the_same_words_are_kept_for_what_is_no_secret"),
    # reconcile
    "another cluster than recorded": case_of(
        drop("raise IdentityMismatch"), _TROUBLES,
        "test_an_identity_that_git_takes_back_amid_the_connecting_is_not_accepted",
        "test_an_accepted_identity_voids_the_record_and_deletes_nothing"),
    "a mark of an overlay that is here": case_of(
        gives("True"), _LEFT, "test_a_unit_of_which_nothing_is_said_keeps_what_bears_its_mark",
        "test_what_an_overlay_that_is_gone_left_is_taken_over_as_adoption_says"),
    "a parent that came since keeps what it has": case_of(
        gives("True"), _LEFT, "test_a_parent_of_that_overlay_keeps_what_bears_its_mark",
        "test_after_a_restart_it_is_still_known_that_the_overlay_is_gone"),
    "a create takes nothing over": case_of(
        gives("None"), _GUARDS, "test_what_comes_between_first_contact_and_our_create_is_not_taken_over",
        "reconcile/test_worker.py::test_what_is_wanted_is_created_changed_healed_and_pruned"),
    "deletions of the last hour count": case_of(
        gives("0"), "reconcile/test_asked.py", "test_a_wall_clock_that_jumps_makes_no_room_in_the_budget",
        "test_what_is_wanted_again_is_dropped_later_as_if_nobody_had_been_asked"),
    "a replaced name stays until Healthy": case_of(
        never("item.replaced and not healthy"), _RENAMES, "test_the_old_one_stays_until_the_unit_is_healthy_and_says_so",
        _RENAMED),
    "a rename that is none on the cluster": case_of(gives("True"), _RENAMES, _NOT_THE_SAME, _RENAMED),
    "an approval is for no move": case_of(
        always("item.ref not in stays"), "reconcile/test_moves.py",
        "test_what_may_move_stays_also_where_it_was_permitted_and_approved",
        "reconcile/test_guards.py::"
        "test_deletions_beyond_the_budget_are_held_with_the_exact_list_until_approved"),
    "what may move keeps its marks": case_of(
        never("unit.desired.action.waits"), "reconcile/test_moves.py",
        "test_what_left_keeps_its_marks_while_its_objects_may_move",
        "reconcile/test_guards.py::"
        "test_a_unit_that_is_no_longer_mentioned_is_kept_and_a_detached_one_loses_its_marks"),
    "data of others is not renamed": case_of(
        swap("item.replaced and not (item.more and item.ref in names)", "item.replaced"), _RENAMES, _NOT_THE_SAME,
        _RENAMED),
    "an ordinary object is no hook's": case_of(
        gives("None"), "reconcile/test_hooks.py", "test_ordinary_objects_that_are_called_hooks_stay_as_they_are",
        "test_a_hook_of_ones_own_runs_for_each_bundle_and_goes_as_it_says"),
    "a namespace that was not listed": case_of(
        swap("{kind_of(ref) for ref in refs} - {kind_of(ref) for ref in refs if not self.is_known(ref)}",
             "{kind_of(ref) for ref in refs}"), _LOST_KINDS,
        "test_a_kind_is_listed_only_where_each_of_its_objects_would_surely_show",
        "test_a_namespace_without_rights_stops_no_unit_that_has_nothing_there"),
    "a kind that is lost is Unknown": case_of(
        gives("False"), _LOST_KINDS, "test_objects_of_a_kind_that_is_lost_are_unknown_after_three_intervals",
        "test_a_stream_that_is_well_again_in_time_changes_no_status"),
    "what nobody sees is not Synced": case_of(
        gives("[]"), _LOST_KINDS, "test_a_commit_that_meets_a_kind_that_is_lost_says_at_once_what_is_not_applied",
        "test_a_stream_that_is_well_again_in_time_changes_no_status"),
    "what was judged is what goes": case_of(
        never("judged is not None and live is not None and (as_read(judged, live, site.key) != judged)"),
        "reconcile/test_in_flight.py", "test_what_changes_after_its_deletion_was_judged_is_judged_anew",
        "reconcile/test_guards.py::test_deletions_beyond_the_budget_are_held_with_the_exact_list_until_approved"),
    "a kind that came since counts": case_of(
        gives("self._site.catalog"), "reconcile/test_losses.py",
        "test_an_object_of_any_kind_is_among_what_goes "
        "reconcile/test_goes_with.py::test_an_approval_of_a_namespace_is_void_for_a_kind_that_came_since",
        "test_an_empty_namespace_has_nothing_inside"),
    "what comes amid a pass is not approved": case_of(
        never("judged is not None and judged.inside is not None"), _GOES_WITH,
        "test_what_comes_amid_the_pass_that_deletes_the_rest_is_asked_about",
        "test_what_goes_by_the_same_list_is_not_inside_as_well"),
    "what Git still wants goes along": case_of(
        swap("{*refs, *on_their_way(unit)}", "unit.rows.keys()"), _GOES_WITH,
        "test_what_git_still_wants_in_a_namespace_goes_along_and_is_in_no_plan",
        "test_what_goes_by_the_same_list_is_not_inside_as_well"),
    "what is wanted again is on no list": case_of(
        swap("{*agreed, *on_their_way(unit)}", "unit.rows.keys()"), _GOES_WITH,
        "test_what_is_wanted_again_after_the_approval_does_not_go_along",
        "test_what_goes_by_the_same_list_is_not_inside_as_well"),
    "what is replaced is admitted as a new one": case_of(
        drop("await self._dry_runs.try_anew"), "reconcile/test_real_rules.py",
        "test_what_a_policy_would_not_admit_as_a_new_one_is_not_deleted_to_be_made_anew",
        "reconcile/test_budget.py::test_a_binding_to_another_role_is_made_anew_where_it_may_be"),
    "what is replaced goes as it was judged": case_of(
        swap("self._deleter.delete(unit, ref, f'replaced: {reason}', may, doomed)", "self._deleter.delete(unit, ref, reason, may)"),
        _BUDGET, "test_what_is_replaced_goes_in_the_state_that_was_judged",
        "reconcile/test_workloads.py::test_an_immutable_field_is_reported_and_nothing_is_recreated"),
    "what is replaced at once counts together": case_of(
        swap("self._turns.setdefault(unit.name, asyncio.Lock())", "asyncio.Lock()"), _BUDGET,
        "test_what_is_replaced_at_the_same_time_counts_together",
        "reconcile/test_workloads.py::test_an_immutable_field_is_reported_and_nothing_is_recreated"),
    "what is going makes no room for more": case_of(
        gives("len(unit.rows)"), _BUDGET, "test_what_waits_for_a_finalizer_makes_no_room_for_more",
        "reconcile/test_worker.py::test_what_is_wanted_is_created_changed_healed_and_pruned"),
    "the record is durable before the write": case_of(
        gives("None"), "reconcile/test_restart.py",
        "test_killed_between_record_and_apply_the_object_is_neither_lost_nor_applied_twice",
        "test_a_restart_with_nothing_to_do_writes_nothing"),
    "a row stays until its object is gone": case_of(
        always("left is None"), _GUARDS, "test_a_stuck_finalizer_is_named_and_holds_nothing_up",
        "reconcile/test_worker.py::test_what_is_wanted_is_created_changed_healed_and_pruned"),
    "a rebuilt record is confirmed first": case_of(
        never("not confirmed"), "reconcile/test_restart.py",
        "test_a_lost_journal_that_meets_our_marks_only_observes_until_confirmed",
        "test_a_restart_with_nothing_to_do_writes_nothing"),
    "a state is not older than its cluster": case_of(
        gives("False"), _OLDER,
        "test_an_earlier_data_directory_put_back_observes_until_a_person_says_so "
        "test_an_earlier_data_directory_that_does_not_know_a_unit_yet_is_found_out_by_it",
        "test_whose_memory_is_whole_asks_nobody "
        "test_a_hub_that_is_killed_around_the_write_of_a_parent_goes_on"),
    "a damaged parent tells of a loss as well": case_of(
        swap("salvage_parent(document, site.installation, site.identity)", "parse_parent(document)"), _OLDER,
        "test_a_lost_state_is_found_out_by_a_parent_that_somebody_changed",
        "test_a_copy_of_a_parent_and_what_others_left_ask_nobody"),
    "what was asked about outlasts a loss": case_of(
        swap("before.memory.asked if before is not None else ()", "()"), "reconcile/test_asked.py",
        "test_a_record_that_is_rebuilt_lets_nothing_go_that_was_held_and_no_more_within_the_hour",
        "test_what_is_wanted_again_is_dropped_later_as_if_nobody_had_been_asked"),
    "a Job that an older state deleted is not run": case_of(
        swap("tuple(again)", "()"), "reconcile/test_deleted_jobs.py",
        "test_one_that_an_older_state_deleted_is_not_run_after_a_recovery_however_often_the_hub_is_restarted",
        "test_twin_one_that_was_deleted_is_run_after_a_restart_where_nothing_was_rebuilt"),
    "the hour of the budget outlasts a loss": case_of(
        gives("[]"), "reconcile/test_asked.py",
        "test_a_record_that_is_rebuilt_lets_nothing_go_that_was_held_and_no_more_within_the_hour",
        "test_what_is_wanted_again_is_dropped_later_as_if_nobody_had_been_asked"),
    "units that a cluster invents": case_of(
        never("len(units) > MOST_UNITS and newer"), _LOST,
        "test_more_units_than_any_cluster_has_are_not_taken_from_it",
        "test_units_that_a_cluster_invents_cost_that_cluster_alone"),
    "what waits for a person's word is not taken over": case_of(
        swap("not unit.memory.confirmed", "False"), _LOST,
        "test_an_overlay_that_was_renamed_meanwhile_hands_its_objects_over_once_that_is_confirmed",
        "test_what_git_dropped_before_a_new_hub_read_it_is_shown_and_let_go_once_that_is_confirmed"),
    "a Job that may have run is not run again": case_of(
        never("not unit.memory.settled and ref not in unit.told and _may_have_run(site, unit, item, row)"),
        "scenarios/test_lost_jobs.py", "test_a_job_that_ended_and_vanished_does_not_run_again_after_a_recovery",
        "test_a_job_runs_after_a_recovery_where_its_overlay_was_on_no_cluster"),
    "a Job that nobody saw go is not run again": case_of(
        swap("_is_applied_job(row)", "False"),
        "reconcile/test_unseen_jobs.py", "test_a_job_that_went_while_no_hub_ran_is_not_run_again",
        "test_twin_one_that_goes_while_a_hub_watches_is_made_again"),
    "a Job that failed is not run again": case_of(
        gives("row"), "reconcile/test_failed_jobs.py",
        "test_one_that_failed_and_removed_itself_stays_failed_until_git_changes_it",
        "test_twin_one_that_failed_and_a_person_deletes_before_its_time_is_run_anew"),
    "a Job that failed stays known": case_of(
        swap("has_failed(live.document)", "False"), "reconcile/test_known_failures.py",
        "test_one_that_failed_and_went_while_no_hub_ran_stays_failed",
        "test_twin_one_that_is_still_there_after_a_restart_is_run_anew_once_a_person_deletes_it"),
    "a Job that failed is not taken for done": case_of(
        swap("row.state is RowState.FAILED", "False"), "reconcile/test_known_failures.py",
        "test_an_edit_from_before_a_recovery_may_have_run_and_the_next_one_runs",
        "test_twin_after_a_recovery_an_edit_in_git_runs_one_that_failed"),
    "a hook that failed stays so": case_of(
        swap("kind_of(ref) == _JOB", "False"), "reconcile/test_failed_jobs.py",
        "test_a_hook_that_failed_and_removed_itself_has_not_ended_well",
        "test_one_that_failed_and_removed_itself_stays_failed_until_git_changes_it"),
    "what an older state saw of Jobs": case_of(
        gives("[]"),
        "reconcile/test_unseen_jobs.py",
        "test_what_a_state_that_is_put_back_saw_go_may_have_run_since_and_is_not_run_again",
        "test_twin_what_the_newest_state_saw_go_is_made_again"),
    "a Job is run once by what a report said": case_of(
        gives("None"),
        "reconcile/test_vanished_jobs.py",
        "test_an_earlier_state_that_is_put_back_does_not_run_what_it_had_said_before "
        "test_one_that_was_run_as_it_was_said_is_not_run_again_by_a_hub_that_does_not_know_it",
        "test_one_that_git_changes_while_no_hub_runs_is_run_where_it_was_said_before"),
    "what is new beside records that wait": case_of(
        gives("False"),
        "scenarios/test_new_after_a_loss.py",
        "test_what_is_new_on_a_cluster_that_waits_for_a_person_waits_as_well",
        "test_what_is_new_on_a_cluster_that_lost_nothing_comes_at_once"),
    "a record that nobody was shown": case_of(
        gives("True"), _OLDER,
        "test_a_word_that_waits_is_not_for_a_later_loss_nor_for_a_unit_that_nobody_was_shown",
        "test_whose_memory_is_whole_asks_nobody"),
    "all is validated before the first write": case_of(
        gives("True"), "reconcile/test_workloads.py",
        "test_one_refused_object_stops_the_whole_unit_before_the_first_write",
        "test_a_namespace_and_what_is_in_it_come_in_one_pass"),
    "healing brings back what was applied": case_of(
        swap("row is not None and row.desired == step.wanted.digest", "True"), "reconcile/test_lost_labels.py",
        "test_what_vanishes_while_its_commit_is_refused_is_made_anew_only_as_it_was",
        "reconcile/test_drift.py::test_a_deleted_object_is_made_anew"),
    "a suspended unit is not written to": case_of(
        swap("suspended_by(desired, since)", "[]"), _GUARDS, "test_suspended_writes_nothing_and_resumes",
        "reconcile/test_worker.py::test_what_is_wanted_is_created_changed_healed_and_pruned"),
    "an override is for one result": case_of(
        gives("True"), "reconcile/test_overrides.py", "test_an_override_carries_no_other_result_than_its_own",
        "test_an_override_passes_the_window_with_its_own_result"),
    "a parent that is left is known still": case_of(
        always("left is None"), _OLDER,
        "test_a_parent_that_a_finalizer_keeps_is_waited_for_and_is_no_loss",
        "test_whose_memory_is_whole_asks_nobody"),
    "a silent group is not gone": case_of(
        never("unsure"), _TROUBLES, "test_what_is_let_go_waits_for_a_group_that_does_not_answer",
        "test_what_is_let_go_does_not_wait_for_a_kind_that_is_gone"),
    "what an accepted cluster holds is asked for": case_of(
        swap("orders.void() if known else JournalEntry()", "JournalEntry()"), _TROUBLES,
        "test_a_cluster_that_was_ours_before_is_looked_at_by_a_person_when_it_is_accepted_again",
        "test_an_accepted_identity_voids_the_record_and_deletes_nothing"),
    "a suspend reaches what waits to be applied": case_of(
        swap("lambda: self._may(unit, step, outcome)", "lambda: True"), _QUEUE, _SUSPENDED, _NOT_SUSPENDED),
    "a suspend reaches what waits to be deleted": case_of(
        swap("lambda: outcome.may().prune", "lambda: True"), _QUEUE, _SUSPENDED, _NOT_SUSPENDED),
    "a suspend reaches a heal that waits": case_of(
        swap("lambda: self._may(unit, ref)", "lambda: True"), "reconcile/test_overtaken.py",
        "test_a_heal_that_waits_is_not_written_once_its_unit_is_suspended",
        "test_a_heal_that_waits_is_written_when_its_turn_comes"),
    "what two overlays claim is not healed": case_of(
        swap("self._may_heal(unit) and (not self._site.claims.others(ref, unit.name.overlay))", "self._may_heal(unit)"),
        "reconcile/test_heal_claims.py",
        "test_what_two_overlays_claim_is_not_healed_by_the_one_that_has_it", "test_what_one_overlay_claims_is_healed"),
    "a suspend reaches the parent object": case_of(
        swap("bool(stops)", "False"), "reconcile/test_overtaken.py",
        "test_a_parent_object_is_not_written_once_its_unit_is_suspended",
        "reconcile/test_in_flight.py::test_the_head_of_the_audit_log_goes_out_after_a_forced_apply"),
    "what a team may not have is not new": case_of(
        never("refused is not None"), _PLACES,
        "test_a_teams_object_outside_of_namespaces_is_refused_with_its_whole_commit",
        "test_what_the_team_may_have_is_applied"),
    "where a kind lives is asked at the write": case_of(
        never("error is not None"), _PLACES, "test_where_a_kind_lives_is_asked_again_at_the_write",
        "test_what_the_team_may_have_is_applied"),
    "what a team may not have it claims in vain": case_of(
        swap("unit.wanted.keys() - unit.forbidden.keys()", "unit.wanted"), _PLACES,
        "test_what_a_team_claims_in_vain_stays_the_unit_that_has_it", "test_what_the_team_may_have_is_applied"),
    "who came second writes nothing": case_of(
        never("other is not None and (not isinstance(desired.action, Detach))"), _NEIGHBOURS,
        "test_other_overlays_of_another_installation_are_not_written_either",
        "test_the_hub_that_was_first_goes_on_after_a_restart_and_after_the_loss_of_its_state"),
    "a parent hits the state that was judged": case_of(
        swap("{**mapping_at(document, 'metadata'), **at}", "mapping_at(document, 'metadata')"), _NEIGHBOURS,
        "test_a_parent_that_another_wrote_meanwhile_is_not_overwritten",
        "test_a_parent_of_ours_that_changed_meanwhile_is_written_over"),
    "an installation is seen before it writes": case_of(
        never("site.neighbours.is_newcomer"), "reconcile/test_newcomers.py",
        "test_who_comes_while_the_first_unit_of_another_has_not_settled_finds_it",
        "test_two_that_begin_in_the_same_minute_meet_before_their_first_object"),
    "a rival is not fought without end": case_of(
        always("beyond < 0"), "reconcile/test_drift.py", "test_a_rival_is_named_and_reverts_back_off",
        "test_healing_a_field_takes_milliseconds"),
    "a write without an answer is read first": case_of(
        never("trouble.look_first"), "reconcile/test_troubles.py",
        "test_a_write_whose_answer_is_lost_is_read_before_it_is_repeated",
        "reconcile/test_worker.py::test_what_is_wanted_is_created_changed_healed_and_pruned"),
}  # fmt: skip
