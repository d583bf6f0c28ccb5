"""Lists, filters, pages, single objects, metrics and the document that describes it all."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
import yaml
from api.conftest import HEAD, Api, Line, drifted_object
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from fleet.api.app import ROUTES
from fleet.api.openapi import document_of
from fleet.core.fleet import Unknown
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Passages, Stop
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.results import Rendered
from fleet.core.status import Health, HoldRequest, Report, Sync
from fleet.core.sync_policy import IgnoreNote, Suspension
from fleet.ports.state import HoldRow, OperationRow

DOCS = Path(__file__).resolve().parents[2] / "docs"


def names(answer: dict) -> list[str]:
    return [item["metadata"]["name"] for item in answer["items"]]


async def test_units_are_listed_worst_first(api: Api) -> None:
    api.put("web@eu-2", health=Health.DEGRADED, message="crashes")
    api.put("edge@eu-1", sync=Sync.OUT_OF_SYNC)
    _, answer = await api.call("GET", "/api/v1/units", role="viewer")
    assert names(answer) == ["web@eu-2", "edge@eu-1", "web@dev-1", "web@eu-1"]
    assert answer["total"] == 4
    assert answer["items"][0]["status"]["message"] == "crashes"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("cluster=eu-1", {"web@eu-1", "edge@eu-1"}),
        ("overlay=edge", {"edge@eu-1"}),
        ("environment=dev", {"web@dev-1"}),
        ("q=eu", {"web@eu-1", "web@eu-2", "edge@eu-1"}),
        ("health=degraded,missing", {"web@eu-2"}),
        ("health=HEALTHY", {"web@dev-1", "web@eu-1", "edge@eu-1"}),
        ("sync=outofsync", set()),
        ("labelSelector=region=eu", {"web@eu-1", "web@eu-2", "edge@eu-1"}),
        ("labelSelector=region!=eu", {"web@dev-1"}),
        ("labelSelector=region in (de,us)", {"web@dev-1"}),
        ("labelSelector=region notin (de,us),region", {"web@eu-1", "web@eu-2", "edge@eu-1"}),
        ("labelSelector=!region", set()),
        ("labelSelector=region in (eu),region!=de", {"web@eu-1", "web@eu-2", "edge@eu-1"}),
    ],
)
async def test_each_filter_selects(api: Api, query: str, expected: set[str]) -> None:
    api.put("web@eu-2", health=Health.DEGRADED)
    _, answer = await api.call("GET", f"/api/v1/units?{query}")
    assert set(names(answer)) == expected


async def test_pages_follow_one_another_without_gap(api: Api) -> None:
    found, following = [], ""
    for _ in range(4):
        _, answer = await api.call("GET", f"/api/v1/units?limit=1&continue={following}")
        found += names(answer)
        following = answer.get("continue", "")
    assert sorted(found) == ["edge@eu-1", "web@dev-1", "web@eu-1", "web@eu-2"]
    assert following == ""


async def all_of(api: Api, path: str, **query: str) -> list[str]:
    """The names on all pages."""
    found, following = [], ""
    while True:
        status, answer = await api.call("GET", f"{path}?{urlencode({**query, 'continue': following})}")
        assert status == 200
        found += [item.get("id") or item["metadata"]["name"] for item in answer["items"]]
        if not (following := answer.get("continue", "")):
            return found


async def test_all_holds_are_listed_and_one_that_is_open_stands_before_a_hundred_newer_ones(api: Api) -> None:
    for number in range(101):
        commit, requests = (
            Revision(f"{number:040x}"),
            (HoldRequest(UnitName.parse("web@eu-1"), HEAD, "budget", "", ()),),
        )
        row = HoldRow("", "web", commit, api.now, Digest("d" * 64), requests, api.now + 3600)
        row = await api.state.put_hold(row)
        if number:
            await api.state.close_hold(row.id, api.now)
    _, first = await api.call("GET", "/api/v1/holds")
    assert (len(first["items"]), first["total"], names(first)[0]) == (100, 101, "h-1")
    assert await all_of(api, "/api/v1/holds") == ["h-1", *(f"h-{number}" for number in range(101, 1, -1))]
    assert await all_of(api, "/api/v1/holds", openOnly="true") == ["h-1"]


async def test_all_operations_are_listed_also_one_that_runs_behind_a_hundred_newer_ones(api: Api) -> None:
    for number in range(101):
        await api.state.add_operation(OperationRow(f"op-{number}", "sync", "web@eu-1", "jo", api.now))
        if number:
            await api.state.end_operation(f"op-{number}", "done", "", api.now)
    newest_first = [f"op-{number}" for number in range(100, -1, -1)]
    assert await all_of(api, "/api/v1/operations") == newest_first
    assert await all_of(api, "/api/v1/operations", limit="101") == newest_first
    assert await all_of(api, "/api/v1/operations", openOnly="true", limit="1") == ["op-0"]
    assert (await api.call("GET", "/api/v1/operations?continue=op-x"))[0] == 422


async def test_all_rollouts_are_listed_also_one_that_goes_on_behind_a_hundred_newer_ones(api: Api) -> None:
    commits = [f"{number:040x}" for number in range(101)]
    passages = [
        Passage(Revision(commit), api.now, outcome="done" if number else "") for number, commit in enumerate(commits)
    ]
    api.view.passages = Passages(tuple(passages))
    found, following = [], ""
    for _ in range(2):
        _, answer = await api.call("GET", f"/api/v1/rollouts?continue={following}")
        found += [item["commit"] for item in answer["items"]]
        following = answer.get("continue", "")
    assert (found, following, answer["total"]) == (commits[::-1], "", 101)
    assert [
        item["commit"] for item in (await api.call("GET", "/api/v1/rollouts?openOnly=true"))[1]["items"]
    ] == commits[:1]


async def test_one_unit_has_its_objects_and_masked_values_stay_in_the_hub(api: Api) -> None:
    api.put("web@eu-1", sync=Sync.OUT_OF_SYNC, objects=(drifted_object("a"), drifted_object("s", masked=True)))
    _, unit = await api.call("GET", "/api/v1/units/web@eu-1")
    plain, masked = unit["status"]["objects"]
    assert plain["drift"][0]["live"] == "2"
    assert masked["drift"][0]["masked"] is True
    assert not {"live", "desired"} & set(masked["drift"][0])
    _, listed = await api.call("GET", "/api/v1/units")
    assert all("objects" not in item["status"] for item in listed["items"])


async def test_a_lost_cluster_stands_first_with_its_reason_and_the_time_it_was_seen(api: Api) -> None:
    api.now += 20
    api.view.take(Report(ClusterName("eu-2"), 1, 2, api.now, reason="ClusterUnreachable", message="refuses"))
    _, answer = await api.call("GET", "/api/v1/clusters")
    first = answer["items"][0]
    assert first["metadata"]["name"] == "eu-2"
    status = first["status"]
    assert (status["sync"], status["health"], status["ageSeconds"]) == ("Unknown", "Unknown", 20.0)
    assert status["message"] == "refuses; was Synced, Healthy"
    _, whole = await api.call("GET", "/api/v1/status")
    assert whole["needsPerson"][0]["what"].startswith("eu-2 unreachable: refuses")


@pytest.mark.parametrize("reason", ["OwnedByOther", ""])
async def test_a_cluster_on_which_another_installation_is_needs_a_person_though_all_is_well(
    api: Api, reason: str
) -> None:
    said = {"reason": reason, "message": "rival came to eu-2 as well", "next_step": "take it out"} if reason else {}
    api.view.take(Report(ClusterName("eu-2"), 1, 2, api.now, reachable=True, **said))
    _, answer = await api.call("GET", "/api/v1/clusters/eu-2")
    assert answer["status"]["needsPerson"] is bool(reason)
    assert (answer["status"]["reason"], answer["status"]["nextStep"]) == (reason, "take it out" if reason else "")
    _, whole = await api.call("GET", "/api/v1/status")
    lines = [(line["what"], line["next"]) for line in whole["needsPerson"]]
    assert lines == ([("rival came to eu-2 as well", "fleet describe cluster eu-2")] if reason else [])


async def test_what_was_to_end_and_has_not_needs_a_person_also_where_git_says_it(api: Api) -> None:
    assert api.view.fleet is not None
    api.view.fleet = replace(
        api.view.fleet, suspend=Suspension("freeze", "jo", "2027-01-15T07:00:00Z", "fleet", Origin("fleet.yaml", 9))
    )
    _, whole = await api.call("GET", "/api/v1/status")  # it is 2027-01-15T08:00:00Z
    (line,) = whole["needsPerson"]
    assert line["what"] == "fleet still suspended, was to end 2027-01-15T07:00:00Z: freeze (jo)"
    assert (line["ageSeconds"], line["next"]) == (3600.0, "edit fleet.yaml:9")


async def test_fields_that_an_overlay_ignores_are_shown_with_their_reason(api: Api) -> None:
    assert api.view.fleet is not None
    note = IgnoreNote("ConfigMap /data", Origin("overlays/web/overlay.yaml", 4), "legacy", "jo", "2027-01-01T00:00:00Z")
    web = replace(api.view.fleet.overlays[OverlayName("web")], ignore_notes=(note,))
    api.view.fleet = replace(api.view.fleet, overlays={OverlayName("web"): web})
    _, shown = await api.call("GET", "/api/v1/overlays/web")
    (ignored,) = shown["spec"]["ignoreDifferences"]
    assert ignored == {
        "what": "ConfigMap /data", "origin": "overlays/web/overlay.yaml:4", "reason": "legacy", "owner": "jo",
        "until": "2027-01-01T00:00:00Z",
    }  # fmt: skip
    _, whole = await api.call("GET", "/api/v1/status")
    assert [line["what"].split(",")[0] for line in whole["needsPerson"]] == [
        "overlay web still ignores ConfigMap /data"
    ]


async def test_a_held_fall_says_that_units_are_let_go_and_nothing_is_deleted(api: Api) -> None:
    requests = tuple(
        HoldRequest(UnitName(OverlayName("web"), ClusterName(f"eu-{n}")), HEAD, "sharp-fall", "5 of 6 left", ())
        for n in range(1, 6)
    )
    await api.state.put_hold(HoldRow("", "web", HEAD, api.now, Digest("d" * 64), requests, api.now + 3600))
    _, whole = await api.call("GET", "/api/v1/status")
    (line,) = whole["needsPerson"]
    assert line["what"].partition(": ")[2] == (
        "web would let go of 5 units on eu-1, eu-2, eu-3 and 2 more; their objects stay"
    )


async def test_a_status_that_is_too_old_is_unknown(api: Api) -> None:
    api.now += 181
    _, unit = await api.call("GET", "/api/v1/units/web@eu-1")
    assert (unit["status"]["sync"], unit["status"]["health"]) == ("Unknown", "Unknown")
    assert unit["status"]["conditions"][0]["status"] == "Unknown"


async def test_progress_names_what_has_not_come_and_knows_no_other_commit(api: Api) -> None:
    _, answer = await api.call("GET", "/api/v1/progress?commit=aaaa")
    assert (answer["known"], answer["done"], answer["there"]) == (True, True, 4)
    api.put("web@eu-2", health=Health.PROGRESSING, message="1 of 3 ready")
    _, answer = await api.call("GET", "/api/v1/progress?commit=aaaa")
    assert (answer["done"], answer["missing"]) == (False, [{"unit": "web@eu-2", "reason": "1 of 3 ready"}])
    _, answer = await api.call("GET", "/api/v1/progress?commit=bbbb")
    assert (answer["known"], answer["done"], answer["there"]) == (False, False, 0)
    assert answer["message"] == "no commit of main, as it was fetched last, is called bbbb; fleet status"


async def test_a_file_that_cannot_be_read_is_not_everywhere_though_no_unit_of_it_is_known(api: Api) -> None:
    problem = Problem(
        Severity.ERROR, "InventoryInvalid", "clusters/eu-9.yaml cannot be read", Origin("clusters/eu-9.yaml")
    )
    assert api.view.fleet is not None
    unknown = Unknown(clusters={ClusterName("eu-9"): problem})
    api.view.fleet = replace(api.view.fleet, unknown=unknown)
    _, answer = await api.call("GET", "/api/v1/progress?commit=aaaa")
    assert (answer["done"], answer["there"]) == (False, 4)
    why = "what it places is not known: clusters/eu-9.yaml cannot be read"
    assert answer["missing"] == [{"unit": "all", "reason": why}]
    api.view.fleet = replace(api.view.fleet, unknown=Unknown())
    _, answer = await api.call("GET", "/api/v1/progress?commit=aaaa")
    assert (answer["done"], answer["missing"]) == (True, [])


async def test_progress_of_an_earlier_commit_says_what_superseded_it_and_where_it_is(api: Api) -> None:
    first, second, head = Line.COMMITS
    name = UnitName.parse("web@eu-2")
    api.view.results[name] = Rendered(Digest("newer"), head)  # it waits for its step, and holds what came with `second`
    api.view.units[name] = replace(api.view.units[name], commit=second)
    ended = Stop("aaaaaaa took over", "hub", 2.0)
    api.view.passages = Passages((Passage(second, 1.0, outcome="superseded", ended=ended),))
    _, answer = await api.call("GET", f"/api/v1/progress?commit={second[:8]}")
    assert (answer["commit"], answer["known"], answer["done"], answer["there"]) == (second, True, True, 4)
    assert answer["supersededBy"] == head
    assert answer["message"] == (
        "0e0e0e0 is superseded by aaaaaaa; 4 of 4 units hold it or a later one; its rollout is over, superseded: "
        "aaaaaaa took over"
    )
    _, answer = await api.call("GET", f"/api/v1/progress?commit={head}")
    assert (answer["done"], answer["there"], answer["supersededBy"]) == (False, 3, "")
    api.view.units[name] = replace(api.view.units[name], commit=first)
    _, answer = await api.call("GET", f"/api/v1/progress?commit={second}")
    assert (answer["done"], answer["there"]) == (False, 3)
    assert answer["missing"] == [{"unit": "web@eu-2", "reason": "holds 0d0d0d0, from before it; Synced, Healthy"}]


async def test_a_commit_that_was_never_in_force_is_nowhere_though_a_refused_one_contains_it(api: Api) -> None:
    _, second, head = Line.COMMITS
    api.view.fleet = replace(api.view.fleet, commit=Line.COMMITS[0])  # both later ones are refused as a whole
    for commit in second, head:
        _, answer = await api.call("GET", f"/api/v1/progress?commit={commit}")
        assert (answer["known"], answer["done"], answer["there"]) == (True, False, 0)


@pytest.mark.parametrize(
    "path",
    ["clusters/nope", "units/nope@eu-1", "units/garbage", "overlays/nope", "holds/h-9", "operations/op-9"],
)
async def test_what_is_not_there_is_404_in_words(api: Api, path: str) -> None:
    status, problem = await api.call("GET", f"/api/v1/{path}")
    assert (status, problem["type"], problem["status"]) == (404, "urn:fleet:NotKnown", 404)
    assert "no" in problem["title"]


async def test_metrics_parse_and_count_by_state(api: Api) -> None:
    api.put("web@eu-2", health=Health.DEGRADED)
    _, text = await api.call("GET", "/metrics")
    units = {
        (sample.labels["sync"], sample.labels["health"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "fleet_units"
    }
    assert units == {("Synced", "Healthy"): 3, ("Synced", "Degraded"): 1}


async def test_the_alert_rules_name_only_metrics_that_exist_and_are_few(api: Api) -> None:
    rules = [rule for group in yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
    assert 0 < len(rules) <= 8
    _, text = await api.call("GET", "/metrics")
    known = {family.name for family in text_string_to_metric_families(text)}
    known |= {f"{name}_total" for name in known}
    used = {word for rule in rules for word in re.findall(r"fleet_\w+", rule["expr"])}
    assert used <= known
    assert all(rule["annotations"]["action"] for rule in rules)


async def test_the_document_is_valid_openapi_and_its_copy_is_up_to_date(api: Api) -> None:
    _, document = await api.call("GET", "/openapi.json", role="nobody")
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()
    assert json.loads((DOCS / "openapi.json").read_text()) == document == document_of(ROUTES)


async def test_health_needs_no_token_and_readiness_says_what_is_missing(api: Api) -> None:
    assert (await api.call("GET", "/healthz", role="nobody"))[0] == 200
    assert await api.call("GET", "/readyz", role="nobody") == (200, "ok\n")
    api.trouble = "commits: the state cannot be written: the disk is full"
    assert await api.call("GET", "/readyz", role="nobody") == (503, api.trouble + "\n")
