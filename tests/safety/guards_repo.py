"""Cases of the refusal table: what stands between Git and a build. See safety/case.py."""

# ruff: noqa: E501 - a table: names of tests are as long as their claims

from __future__ import annotations

from safety.case import Case, case_of
from safety.mutate import always, gives, never, swap

_LOAD = "inventory/test_load.py"
_TEAMS = "inventory/test_teams.py"
_YAML = "inventory/test_yamlfile.py"
_URL = "source/test_url.py"
_MIRROR = "source/test_mirror.py"
_CONTRACT = "source/test_source_contract.py::TestPath"
_REFUSALS = "render/test_refusals.py"
_LIMITS = "render/test_limits.py"
_CONFINE = "render/test_confine.py"
_PARSE = "render/test_parse.py"
_NO_URL = "test_everything_else_is_refused_with_a_remedy"
_GOOD_URL = "test_https_and_ssh_are_taken_as_they_are"
_PATHS = "test_no_field_names_a_file_outside_of_the_commit"
_INSIDE = "test_a_path_that_stays_inside_is_let_through"
_DUPLICATES = "test_what_no_object_may_hold_is_refused"

CASES: dict[str, Case] = {
    # inventory
    "a name that Kubernetes has not": case_of(
        never("not is_dns_label(text)"), _LOAD, "test_a_name_that_kubernetes_cannot_carry_is_refused_and_not_mended",
        "test_the_smallest_repo_is_one_cluster_and_one_kustomization"),
    "a cluster called as an environment": case_of(
        gives("{}"), _LOAD, "test_a_cluster_named_like_an_environment_or_shared_directory_is_refused",
        "test_the_smallest_repo_is_one_cluster_and_one_kustomization"),
    "a name that is given twice": case_of(
        gives("{}"), _LOAD, "test_duplicate_names_stop_all_that_carry_them_and_nobody_else",
        "test_the_smallest_repo_is_one_cluster_and_one_kustomization"),
    "an identity that is given twice": case_of(
        gives("{}"), _LOAD, "test_duplicate_identities_stop_all_that_carry_them",
        "test_the_smallest_repo_is_one_cluster_and_one_kustomization"),
    "a key that is written twice": case_of(
        never("key in result"), _YAML, "test_what_is_refused_is_named_with_its_line", "test_plain_aliases_are_read"),
    "aliases that grow": case_of(
        gives("None"), _YAML, "test_growing_aliases_are_refused_before_they_grow", "test_plain_aliases_are_read"),
    "nesting has an end": case_of(
        never("depth > DEPTH_LIMIT"), _YAML, "test_the_depth_limit_is_where_it_says", "test_plain_aliases_are_read"),
    "where a team may run": case_of(
        gives("True"), _TEAMS, "test_a_team_may_not_run_where_fleet_yaml_does_not_let_it",
        "test_a_teams_unit_carries_its_rights_for_the_guard"),
    "what a team may read": case_of(
        always("refused is None"), _TEAMS, "test_a_team_uses_only_what_it_owns_or_may_read",
        "test_a_teams_unit_carries_its_rights_for_the_guard"),
    # source
    "only protocols that are known": case_of(never("protocol is None"), _URL, _NO_URL, _GOOD_URL),
    "no plain http to Git": case_of(
        never("parts.scheme == 'http' and (not allow_http)"), _URL, _NO_URL,
        "test_http_and_paths_are_taken_only_where_the_hub_says_so"),
    "no password in a URL": case_of(never("password is not None"), _URL, _NO_URL, _GOOD_URL),
    "no local path": case_of(
        never("not allow_path"), _URL, _NO_URL, "test_http_and_paths_are_taken_only_where_the_hub_says_so"),
    "no option and no helper as a URL": case_of(
        never("text.startswith('-') or '::' in text.partition('/')[0]"), _URL, "test_an_option_or_a_helper_is_refused_as_that_also_where_paths_are_allowed", _GOOD_URL),
    "git follows no redirect": case_of(
        swap("'http.followRedirects=false'", "'http.followRedirects=true'"), _MIRROR,
        "source/test_mirror.py::TestHttpHost::test_a_redirect_to_another_host_is_refused_and_gets_no_credential",
        "source/test_mirror.py::TestHttpHost::test_a_token_opens_it_and_lies_in_no_other_file_argument_or_environment"),
    "git verifies its host": case_of(
        swap("'http.sslVerify=true'", "'http.sslVerify=false'"), _MIRROR,
        "source/test_mirror.py::TestHttpHost::test_an_untrusted_certificate_is_refused_and_the_named_authority_taken",
        "source/test_mirror.py::TestHttpHost::test_a_token_opens_it_and_lies_in_no_other_file_argument_or_environment"),
    "git checks what it gets": case_of(
        (swap("'fetch.fsckObjects=true'", "'fetch.fsckObjects=false'"),
         swap("'transfer.fsckObjects=true'", "'transfer.fsckObjects=false'")), _MIRROR,
        "source/test_mirror.py::TestHostileRepository::test_an_object_that_gits_own_check_refuses_never_comes_in", "source/test_mirror.py::TestHostileRepository::test_links_out_of_the_commit_are_only_text"),
    "git sees nothing of the hub's environment": case_of(
        swap("self._environment", "{**os.environ, **self._environment}"), _MIRROR, "source/test_mirror.py::TestHttpHost::test_the_hubs_environment_does_not_reach_git",
        "source/test_mirror.py::TestCommandsPerFetch::test_a_restart_needs_no_second_clone"),
    "ssh knows its host": case_of(
        swap("'yes'", "'no'"), _MIRROR, "source/test_mirror.py::TestSshHost::test_an_unknown_host_key_is_refused",
        "scenarios/test_real_delivery.py::test_a_commit_over_ssh_reaches_a_cluster"),
    "a branch is a plain name": case_of(
        always("well_formed"), _URL, "test_branches_that_git_could_read_otherwise_are_refused",
        "test_plain_branches_are_taken"),
    "a commit is a whole id": case_of(
        always("_REVISION.match(text)"), _URL, "test_only_whole_commit_ids_are_taken", "test_what_is_taken_git_takes_too"),
    "the branch only goes forward": case_of(
        swap("f'refs/heads/{self._branch}:{_SEEN}'", "f'+refs/heads/{self._branch}:{_SEEN}'"), _CONTRACT,
        "test_a_forced_push_is_refused_until_history_goes_forward",
        "test_the_next_fetch_names_exactly_what_changed"),
    "a branch that is gone": case_of(
        never("\"couldn't find remote ref\" in text"), _CONTRACT,
        "test_a_deleted_branch_is_missing_and_what_was_in_force_stays",
        "test_the_next_fetch_names_exactly_what_changed"),
    "leftovers of a killed fetch": case_of(
        gives("None"), _MIRROR, "source/test_mirror.py::TestSuddenEnds::test_what_a_killed_process_left_is_cleaned_at_the_start",
        "source/test_mirror.py::TestCommandsPerFetch::test_a_restart_needs_no_second_clone"),
    "files of a commit": case_of(
        never("count > limits.files"), _MIRROR, "source/test_mirror.py::TestHostileRepository::test_a_commit_beyond_the_limits_is_refused_and_can_be_withdrawn",
        "source/test_mirror.py::TestCommandsPerFetch::test_a_restart_needs_no_second_clone"),
    "a path of a commit": case_of(
        never("is_long or path.count('/') >= limits.path_depth"), _MIRROR,
        "source/test_mirror.py::TestHostileRepository::test_a_commit_beyond_the_limits_is_refused_and_can_be_withdrawn", "source/test_mirror.py::TestCommandsPerFetch::test_a_restart_needs_no_second_clone"),
    "a file of a commit": case_of(
        never("size > self._limits.file_bytes"), _MIRROR,
        "source/test_mirror.py::TestHostileRepository::test_a_file_that_is_too_large_is_refused_when_read_and_no_other", "source/test_mirror.py::TestCommandsPerFetch::test_a_restart_needs_no_second_clone"),
    "who signs": case_of(
        always("done.status == 0 and (_good_ssh(lines, policy) or _good_gpg(lines, policy))"), _MIRROR,
        "source/test_mirror.py::TestSignatures::test_unsigned_and_foreign_commits_are_refused_and_the_last_good_one_stays",
        "source/test_mirror.py::TestSignatures::test_an_allowed_signer_is_taken_in_at_most_four_commands"),
    # render
    "a directory that is not there": case_of(
        never("place.what is not What.DIRECTORY"), _REFUSALS,
        "test_a_missing_directory_of_a_unit_is_never_read_as_empty", "test_the_harmless_one_renders"),
    "a directory without a kustomization": case_of(
        never("not paths"), _REFUSALS, "test_a_directory_that_lost_its_kustomization_is_never_read_as_empty",
        "test_the_harmless_one_renders"),
    "a build without an object": case_of(
        never("not bundle.objects and (not request.allow_empty)"), _REFUSALS,
        "render/test_errors.py::test_zero_objects_are_an_error_unless_allowed",
        "test_the_harmless_one_renders"),
    "a cache entry that was changed": case_of(
        never("not hmac.compare_digest(seal, self._seal(key, value))"), "render/test_cache.py",
        "test_a_damaged_entry_is_a_miss test_an_entry_under_another_key_is_a_miss",
        "test_what_was_put_comes_back_also_in_another_process"),
    "what is no digest has no entry": case_of(
        never("not _NAME.match(key)"), "render/test_cache.py",
        "test_what_is_no_digest_is_a_miss_as_any_that_nobody_put",
        "test_what_was_put_comes_back_also_in_another_process"),
    "a result of other files": case_of(
        gives("self"), "render/test_inputs.py",
        "test_a_change_builds_once_and_the_way_back_builds_nothing test_a_new_file_that_shadows_is_seen",
        "test_a_change_of_anything_else_hits_the_cache"),
    "an absolute path": case_of(never("text.startswith('/')"), _REFUSALS, _PATHS, _INSIDE),
    "a path or link out of the commit": case_of(
        swap("not at", "False"), _REFUSALS, _PATHS, _INSIDE),
    "a link to an absolute path": case_of(
        never("target.startswith('/')"), _REFUSALS,
        "test_a_link_to_an_absolute_path_is_refused_also_where_the_commit_holds_the_same_path", _INSIDE),
    "links without end": case_of(
        never("len(links) > _LINK_LIMIT"), _REFUSALS, "test_links_in_a_circle_are_refused", _INSIDE),
    "a file from the network": case_of(
        gives("False"), _REFUSALS,
        "test_a_file_from_the_network_is_refused_also_where_the_commit_holds_its_name",
        "test_a_file_with_the_name_of_an_address_is_only_a_file"),
    "a base from the network": case_of(
        gives("False"), _REFUSALS,
        "test_a_base_from_the_network_is_refused_with_its_line "
        "test_a_directory_that_kustomize_would_take_for_an_address_is_refused_too",
        "test_a_path_is_no_address"),
    "plugins and functions": case_of(
        swap("found.refusals", "()"), _REFUSALS, "test_plugins_functions_and_charts_are_refused",
        "test_a_built_in_transformer_is_let_through"),
    "charts only where allowed": case_of(
        never("not self.charts"), "render/test_charts.py", "test_charts_are_refused_unless_the_hub_allows_them",
        "test_an_archive_in_the_commit_is_built_with_its_values"),
    "fields that are not known": case_of(
        gives("None"), _REFUSALS,
        "test_a_text_in_an_unknown_field_may_neither_lead_out_nor_be_an_address",
        "test_a_field_that_is_not_known_widens_the_closure_to_the_whole_commit"),
    "a build sees its own files": case_of(
        gives("False"), _CONFINE, "test_a_build_cannot_see_foreign_files", "test_a_build_starts_programs_and_threads"),
    "a build has no network": case_of(
        gives("False"), _CONFINE, "test_a_build_has_no_network", "test_a_build_starts_programs_and_threads"),
    "a build makes no sockets": case_of(
        gives("False"), _CONFINE, "test_a_build_makes_no_socket_of_any_kind",
        "test_a_build_starts_programs_and_threads"),
    "a build ends in time": case_of(
        never("now > deadline"), _LIMITS, "test_a_process_that_hangs_is_ended_with_its_children",
        "test_a_process_that_ends_is_reported_whole"),
    "output of a build": case_of(
        never("left < 0"), _LIMITS, "test_endless_output_is_cut_off", "test_a_process_that_ends_is_reported_whole"),
    "memory of a build": case_of(
        never("open_fds and resident > limits.memory_bytes"), _LIMITS, "test_memory_is_watched",
        "test_a_process_that_ends_is_reported_whole"),
    "processes of a build": case_of(
        never("processes > limits.processes"), _LIMITS, "test_processes_are_counted_and_all_of_them_are_ended",
        "test_a_process_that_ends_is_reported_whole"),
    "input of a build": case_of(
        never("size > limits.input_bytes or len(paths) > limits.files"), _LIMITS,
        "test_an_input_beyond_its_limits_is_not_read_to_its_end", "test_a_process_that_ends_is_reported_whole"),
    "a Secret value that is gone": case_of(
        never("(gone := len({*seals} - clear.keys()))"), "render/test_service.py",
        "test_the_name_of_a_value_that_is_gone_is_never_filled_in_for_it",
        "test_variables_reach_the_values_of_secrets"),
    "a result without its Secret values": case_of(
        gives("True"), "render/test_service.py",
        "test_what_lost_its_values_to_a_sweep_is_built_again_and_what_is_held_loses_none",
        "test_what_is_in_memory_loses_no_value"),
    "kustomizations of a build": case_of(
        never("self._visits_left < 0 or self._bytes_left < 0"), "render/test_walks.py",
        "test_a_walk_ends_where_its_files_say_more_than_one_may", "test_a_large_overlay_of_many_bases_passes"),
    "a key of an object that is written twice": case_of(
        never("key in mapping"), _PARSE, _DUPLICATES, "test_any_value_comes_back_as_it_was"),
    "aliases and nesting of an object": case_of(
        never("budget[0] < 0 or depth > NESTING_LIMIT"), _PARSE,
        "test_an_alias_bomb_is_refused_and_a_plain_alias_is_not", "test_any_value_comes_back_as_it_was"),
    "a file that grows by aliases": case_of(
        gives("0"), "render/test_aliases.py", "test_a_bomb_is_found_at_the_line_where_it_grows_too_large",
        "test_what_does_not_grow_is_no_matter render/test_errors.py::test_harmless_aliases_pass"),
    "plain files of a chart": case_of(
        never("not member.isreg() or member.issparse()"), "render/test_charts.py",
        "test_a_damaged_or_hostile_archive_is_refused", "test_an_archive_in_the_commit_is_built_with_its_values"),
    "builds of a killed hub": case_of(
        gives("None"), "render/test_tools.py", "test_what_a_killed_process_left_is_swept",
        "test_a_scratch_directory_is_private"),
}  # fmt: skip
