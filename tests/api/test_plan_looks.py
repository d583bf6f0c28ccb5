"""What the hub tells a plan of the units that it changes, and `fleet plan --live` that asks it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from api.conftest import HEAD, Api, drifted_object
from cli.planrepo import git
from inventory.building import write

from fleet.cli.plan import plan
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.passage import Quarantined, Stop
from fleet.core.results import Rendered
from fleet.core.status import Blocker, Health, ObjectStatus, Standing, Sync

LOOK = "/api/v1/plans:look"
SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())
MAPS = "apiVersion: fleet.internal/v1\n"


async def look(api: Api, *units: dict[str, str], commit: str = "", role: str = "viewer") -> dict[str, Any]:
    status, found = await api.call("POST", LOOK, {"commit": commit, "units": list(units)}, role=role)
    assert status == 200, found
    return found


async def test_a_unit_that_holds_the_base_says_so_and_one_that_does_not_says_what_it_has(api: Api) -> None:
    api.view.units[UnitName.parse("web@eu-2")] = replace(api.view.units[UnitName.parse("web@eu-2")], bundle=None)
    found = await look(
        api, {"unit": "web@eu-1", "base": "b"}, {"unit": "web@dev-1", "base": "c"}, {"unit": "web@eu-2", "base": "b"}
    )
    bases = {item["unit"]: item["base"] for item in found["units"]}
    assert bases == {"web@eu-1": "held", "web@dev-1": "other", "web@eu-2": "nothing"}
    assert {item["name"]: item["problem"] for item in found["clusters"]} == {"dev-1": "", "eu-1": "", "eu-2": ""}


async def test_a_unit_with_secrets_is_compared_by_the_commit_in_force_and_by_nothing_else(api: Api) -> None:
    asked = {"unit": "web@eu-1"}
    assert (await look(api, asked, commit=HEAD))["units"][0]["base"] == "held"
    assert (await look(api, asked, commit="0" * 40))["units"][0]["base"] == "unknown"
    api.view.results = {**api.view.results, UnitName.parse("web@eu-1"): Rendered(Digest("c"), HEAD)}
    assert (await look(api, asked, commit=HEAD))["units"][0]["base"] == "other"
    api.view.rendering = frozenset({UnitName.parse("web@eu-1")})
    assert (await look(api, asked, commit=HEAD))["units"][0]["base"] == "unknown", "not built at that commit yet"


async def test_a_result_that_was_taken_back_is_told_with_its_commit(api: Api) -> None:
    taken_back = Quarantined(Revision("9" * 40), Stop("Degraded", "rollout", 1.0))
    passages = replace(api.view.passages, quarantine={OverlayName("web"): {"d": taken_back}})
    api.view.passages = passages
    known = api.view.units[UnitName.parse("web@eu-2")]
    api.view.units[UnitName.parse("web@eu-2")] = replace(known, quarantined=(Digest("e"),))
    asked = (("web@eu-1", "d"), ("web@dev-1", "c"), ("web@eu-2", "e"))
    found = await look(api, *({"unit": unit, "base": "b", "after": after} for unit, after in asked))
    assert {item["unit"]: item["barred"] for item in found["units"]} == {
        "web@eu-1": "9" * 40, "web@dev-1": "", "web@eu-2": "e",
    }  # fmt: skip
    assert (await look(api, {"unit": "web@eu-1", "base": "b"}))["units"][0]["barred"] == ""


async def test_drift_is_told_without_its_values(api: Api) -> None:
    objects = (drifted_object("cfg"), drifted_object("key", masked=True))
    api.put("web@eu-1", objects=objects)
    found = await look(api, {"unit": "web@eu-1", "base": "b"})
    (unit,) = found["units"]
    assert [(item["kind"], item["drifted"]) for item in unit["objects"]] == [
        (kind, [{"path": "data.a", "manager": "kubectl-edit"}]) for kind in ("ConfigMap", "Secret")
    ]
    assert "live" not in json.dumps(found)
    assert "desired" not in json.dumps(found)


async def test_what_a_server_said_about_a_secret_is_not_told(api: Api) -> None:
    said = [
        ObjectStatus(ObjectRef("", kind, "shop", "x"), Sync.OUT_OF_SYNC, Health.HEALTHY, "hunter2 refused", "Forbidden")
        for kind in ("Secret", "ConfigMap")
    ]
    api.put("web@eu-1", objects=tuple(said))
    (unit,) = (await look(api, {"unit": "web@eu-1"}))["units"]
    assert [(item["kind"], item["reason"], item["message"]) for item in unit["objects"]] == [
        ("Secret", "Forbidden", ""), ("ConfigMap", "Forbidden", "hunter2 refused"),
    ]  # fmt: skip


async def test_a_unit_that_a_person_stopped_says_so(api: Api) -> None:
    links = (Blocker(Standing.SUSPENDED, "cluster eu-1", "suspended by jo: disk swap", 1.0),)
    api.put("web@eu-1", blocked_by=links)
    api.put("web@eu-2", blocked_by=(Blocker(Standing.WAITS, "web@eu-2", "for base@eu-2 to be Healthy", 1.0),))
    found = (await look(api, {"unit": "web@eu-1"}, {"unit": "web@eu-2"}))["units"]
    assert [(item["stopped"], item["waits"]) for item in found] == [
        (True, "suspended by jo: disk swap"), (False, "waits: for base@eu-2 to be Healthy"),
    ]  # fmt: skip


async def test_objects_beyond_the_limit_are_counted(api: Api) -> None:
    api.put("web@eu-1", objects=tuple(drifted_object(f"cfg-{number}") for number in range(203)))
    (unit,) = (await look(api, {"unit": "web@eu-1"}))["units"]
    assert (len(unit["objects"]), unit["more"]) == (200, 3)


@pytest.mark.parametrize("how", ["unreachable", "old", "an earlier worker's"])
async def test_what_is_not_known_now_is_a_problem_and_nothing_else(api: Api, how: str) -> None:
    name, cluster = UnitName.parse("web@eu-1"), ClusterName("eu-1")
    api.put("web@eu-1", objects=(drifted_object("cfg"),))
    report = api.view.clusters[cluster]
    match how:
        case "unreachable":
            lost = replace(report, reachable=False, sequence=2, message="10.0.0.1:6443 refuses connections")
            api.view.take(lost)
        case "old":
            api.now += 600
        case _:
            api.now += 600
            api.view.take(replace(report, sequence=2, at=api.now, began_at=api.now))
    (unit,) = (await look(api, {"unit": str(name), "base": "b"}))["units"]
    assert unit["problem"]
    assert (unit["base"], unit["objects"]) == ("unknown", [])


async def test_what_the_hub_does_not_know_is_not_in_the_answer(api: Api) -> None:
    found = await look(api, {"unit": "web@us-9", "base": "b"}, {"unit": "new@eu-1"})
    assert (found["units"], [item["name"] for item in found["clusters"]]) == ([], ["eu-1"])


@pytest.mark.parametrize(
    "body",
    [{}, {"units": []}, {"units": [{"unit": "web"}]}, {"units": [{"unit": "web@eu-1", "base": "../x"}]},
     {"units": [{"unit": "web@eu-1"}] * 1001}, {"units": [{"unit": "web@eu-1", "object": {"kind": "Secret"}}]}],
    ids=["nothing", "no unit", "no name", "no digest", "too many", "an object of one's own"],
)  # fmt: skip
async def test_what_is_not_a_list_of_units_is_refused(api: Api, body: dict[str, Any]) -> None:
    assert (await api.call("POST", LOOK, body))[0] in (400, 422)


async def test_nobody_looks_without_a_token(api: Api) -> None:
    assert (await api.call("POST", LOOK, {"units": [{"unit": "web@eu-1"}]}, role="nobody"))[0] == 401


# As a person runs it


def config_map(value: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: cfg, namespace: shop}}\ndata: {{a: '{value}'}}\n"


def checkout(root: Path) -> Path:
    """Two commits of one overlay on two clusters."""
    names = ("eu-1", "eu-2")
    files = {
        f"clusters/{name}.yaml": f"{MAPS}kind: Cluster\nmetadata: {{name: {name}}}\nspec: {{environment: prod}}\n"
        for name in names
    }
    files["overlays/web/overlay.yaml"] = (
        f"{MAPS}kind: Overlay\nmetadata: {{name: web}}\nspec: {{clusters: [{{all: true}}]}}\n"
    )
    files |= {"overlays/web/kustomization.yaml": "resources: [cfg.yaml]\n", "overlays/web/cfg.yaml": config_map("1")}
    git(root.parent, "init", "-q", "-b", "main", str(root))
    for value in "12":
        write(root, {**files, "overlays/web/cfg.yaml": config_map(value)})
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", value)
    return root


@pytest.mark.parametrize("through", ["", "hub", "kubeconfig"])
async def test_a_plan_asks_the_hub_for_clusters_that_the_kubeconfig_does_not_know(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], through: str
) -> None:
    root = checkout(tmp_path / "here")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("FLEET_TOKEN", api.keys["viewer"])
    monkeypatch.setenv("FLEET_CACHE", "off")
    monkeypatch.setenv("HOME", str(tmp_path))
    drifted = (drifted_object("cfg"),)
    api.put("web@eu-2", objects=drifted)  # which holds another result than the base too
    code = await asyncio.to_thread(
        plan, root, base="HEAD~1", head="HEAD", kube="", output="json", live_seconds=10.0, hub=api.url, through=through
    )
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    assert code == 1
    live = document["live"]
    found = {(item["danger"], item["cluster"]) for item in live["findings"]}
    if through == "kubeconfig":
        assert (live["complete"], found) == (False, set())
        assert {item["by"] for item in live["clusters"]} == {"kubeconfig"}
    else:
        assert live["complete"]
        assert {item["by"] for item in live["clusters"]} == {"hub"}
        assert found == {("base-missing", "eu-1"), ("base-missing", "eu-2"), ("drift", "eu-2")}


async def test_a_hub_that_does_not_answer_is_said_for_each_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = checkout(tmp_path / "here")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("FLEET_CACHE", "off")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLEET_TOKEN", "x")
    url = "http://127.0.0.1:1"
    await asyncio.to_thread(
        plan, root, base="HEAD~1", head="HEAD", kube="", output="json", live_seconds=3.0, hub=url, through="hub"
    )
    live = json.loads(capsys.readouterr().out)["live"]
    assert [item["name"] for item in live["clusters"]] == ["eu-1", "eu-2"]
    assert all("the hub was not asked" in item["problem"] for item in live["clusters"])
    assert not live["complete"]
