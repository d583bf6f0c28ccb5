"""`fleet plan`: what it prints for what a person changed, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cli.planrepo import BASE, Repo, git
from fixtures.layouts.documents import KUSTOMIZATION, named, overlay, stream

from fleet.cli.plan import compare_commits, plan
from fleet.errors import UsageInvalid

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())


def test_a_change_in_the_working_tree_reads_as_a_reviewer_needs_it(repo: Repo) -> None:
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    repo.edit(f"{BASE}/web.env", "30s", "10s")
    base = git(repo.root, "rev-parse", "--short=7", "origin/main")
    code, text = repo.plan()
    assert code == 1
    lines = text.splitlines()
    renamed = lines[3].rpartition("(new name ")[2].removesuffix(")")
    digest = lines[-1].removeprefix("Plan ")
    assert text == (
        f"main {base} -> your branch web-1.8 merged into it (2 files). 1 of 2 overlays changes, on 7 clusters.\n"
        "\n"
        "A  web on 7 clusters: 2 dev, 5 prod\n"
        f"   ~ ConfigMap shop/web-cfg  data.timeout 30s -> 10s (new name {renamed})\n"
        "   ~ Deployment shop/web     image reg.example/web:1.7.4 -> 1.8.0  restarts 1 pod\n"
        "                             follows ConfigMap web-cfg\n"
        "\n"
        "In all      14 objects change, none is deleted, none is created, 7 pods restart\n"
        "Rollout     web: dev 1 > dev 1 > prod 1 > prod 4\n"
        "Not shown   most immutable fields, other owners, drift: need the clusters: fleet plan --live\n"
        f"Plan {digest}\n"
    )
    assert renamed.startswith("web-cfg-")
    assert len(digest) == 7


def test_nothing_changed_ends_with_0(repo: Repo) -> None:
    code, text = repo.plan()
    assert (code, "Nothing changes." in text) == (0, True)


def test_comments_key_order_and_formatting_are_no_effective_change(repo: Repo) -> None:
    document = json.loads((repo.root / BASE / "cache.yaml").read_text())
    repo.write({f"{BASE}/cache.yaml": "# for the cache\n" + json.dumps(dict(reversed(document.items())))})
    code, text = repo.plan()
    assert code == 0
    assert "No effective change." in text
    assert "No effect   7 units of web: built anew, the result is the same" in text


def test_units_appear_and_vanish_with_their_clusters(repo: Repo) -> None:
    repo.write({"clusters/prod-5.yaml": None, "clusters/prod-1.yaml": None})
    text = (repo.root / "clusters/dev-1.yaml").read_text()
    repo.write({"clusters/dev-3.yaml": text.replace("dev-1", "dev-3")})
    code, text = repo.plan()
    assert code == 1
    assert "web appears on 1 cluster: dev-3" in text
    assert "web leaves 2 clusters: prod-1 prod-5" in text
    assert "10 objects stay there, without our marks (to delete them first: state: absent)" in text


def test_a_volume_that_would_go_and_a_fall_of_clusters_are_held(repo: Repo) -> None:
    repo.edit(f"{BASE}/kustomization.yaml", "[web.yaml, cache.yaml]", "[web.yaml]")
    code, text = repo.plan()
    assert code == 1
    assert "- PersistentVolumeClaim shop/cache  HOLD: asks a person before it is deleted (precious-kind)" in text
    assert "Hold        web on 7 clusters would wait for a person (precious-kind)" in text


def test_an_absent_overlay_is_shown_with_all_that_it_deletes(repo: Repo) -> None:
    repo.edit("overlays/dns/overlay.yaml", '"spec": {', '"spec": {"state": "absent", ')
    found = repo.document()
    assert found["summary"]["objects"] == {"create": 0, "change": 0, "delete": 7}
    assert [hold["reason"] for hold in found["holds"]] == ["sharp-fall"]


def test_what_the_hub_does_not_do_by_itself_is_said_and_counts_as_nothing_done(repo: Repo) -> None:
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    repo.edit("clusters/prod-1.yaml", '"environment"', '"mode": "observe", "environment"')
    repo.edit("clusters/dev-1.yaml", '"environment"', '"suspend": {"reason": "audit"}, "environment"')
    code, text = repo.plan()
    assert code == 1
    assert "In all      6 objects change, none is deleted, none is created, 6 pods restart\n" in text
    assert "Observed    web on prod-1: nothing is written there (mode: observe)\n" in text
    assert "Suspended   web on dev-1: the cluster is suspended in Git: audit; nothing is written until that is" in text
    assert "Rollout     web: dev 1 > dev 1 > prod 1 > prod 3\n" in text
    repo.edit("overlays/web/overlay.yaml", '"spec": {', '"spec": {"sync": {"mode": "manual"}, ')
    code, text = repo.plan()
    assert "By hand     web on 6 clusters: waits for a person's fleet sync (sync.mode: manual)\n" in text
    assert "Rollout" not in text


def test_what_is_dropped_where_nothing_is_pruned_stays_and_is_said_to(repo: Repo) -> None:
    repo.edit(f"{BASE}/kustomization.yaml", "[web.yaml, cache.yaml]", "[web.yaml]")
    repo.edit("overlays/web/overlay.yaml", '"spec": {', '"spec": {"sync": {"prune": false}, ')
    code, text = repo.plan()
    assert code == 1
    assert "- PersistentVolumeClaim shop/cache  kept: sync.prune is false\n" in text
    assert "Kept        web on 7 clusters: what the change drops stays there (sync.prune: false)\n" in text
    assert "none is deleted" in text
    assert "HOLD" not in text


def test_what_the_repo_ignores_by_pointer_is_said_to_stay_and_restarts_nothing(repo: Repo) -> None:
    rules = '[{"pointers": ["/spec/template/spec/containers/0/image"]}]'
    repo.edit("overlays/web/overlay.yaml", '"spec": {', f'"spec": {{"ignoreDifferences": {rules}, ')
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    code, text = repo.plan()
    assert code == 1
    kept = "Deployment shop/web keeps spec.template.spec.containers[name=web].image as it is there (ignoreDifferences)"
    assert f"Ignored     web on 7 clusters: {kept}\n" in text
    assert "In all      7 objects change, none is deleted, none is created\n" in text


def test_a_share_is_of_all_clusters_of_a_step_and_what_is_not_waited_for_is_not_shown(repo: Repo) -> None:
    """As the hub takes it: it skips what comes behind the last step that has something to do."""
    steps = "[{name: prod, environments: [prod], maxParallel: 60%}, {name: ok, approve: 1}, {name: all, rest: true}]"
    repo.edit("fleet.yaml", "[dev, prod]", f"[dev, prod], rollout: {{steps: {steps}}}")
    for number in (1, 2, 3):
        text = "resources: [../base]\ncommonAnnotations: {a: b}\n"
        repo.write({f"overlays/web/prod-{number}/kustomization.yaml": text})
    found = repo.document()["rollout"][0]
    assert [(step["name"], step["clusters"], step["maxParallel"]) for step in found["steps"]] == [
        ("prod", ["prod-1", "prod-2", "prod-3"], 3)
    ]
    assert "Rollout     web: prod 3\n" in repo.plan()[1]
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    assert "Rollout     web: prod 5, 3 at a time > ok, an approval > all 2\n" in repo.plan()[1]


def test_the_gates_of_a_step_are_told_where_it_measures_something(repo: Repo) -> None:
    gates = (
        "[{name: errors, prometheus: {url: 'https://prom.acme.io', query: up, below: 0.01}, window: 5m, retries: 1}, "
        "{name: smoke, job: {path: checks/smoke.yaml}}]"
    )
    steps = f"[{{name: dev, environments: [dev], gates: {gates}}}, {{name: all, rest: true}}]"
    smoke = '{"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "smoke", "namespace": "shop"}}'
    repo.write({"checks/smoke.yaml": smoke})
    repo.edit("fleet.yaml", "[dev, prod]", f"[dev, prod], rollout: {{steps: {steps}}}")
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    document = repo.document()
    jsonschema.validate(document, SCHEMA)
    dev, rest = document["rollout"][0]["steps"]
    told = [tuple(gate[key] for key in ("name", "type", "wants", "windowSeconds", "retries")) for gate in dev["gates"]]
    assert told == [
        ("errors", "prometheus", "below 0.01 for 5m00s", 300, 1),
        ("smoke", "job", "checks/smoke.yaml completes", 0, 2),
    ]
    assert all(0 < gate["intervalSeconds"] < gate["timeoutSeconds"] for gate in dev["gates"])
    assert rest["gates"] == []
    assert "Rollout     web: dev 2, gate errors, gate smoke > all 5" in repo.plan()[1]


def test_twin_a_gate_of_a_step_that_changes_nothing_is_not_waited_for(repo: Repo) -> None:
    gate = "{name: errors, prometheus: {url: 'https://prom.acme.io', query: up, below: 0.01}}"
    steps = f"[{{name: dev, environments: [dev], gates: [{gate}]}}, {{name: all, rest: true}}]"
    repo.edit("fleet.yaml", "[dev, prod]", f"[dev, prod], rollout: {{steps: {steps}}}")
    repo.write({"overlays/web/prod-1/kustomization.yaml": "resources: [../base]\ncommonAnnotations: {a: b}\n"})
    assert "gate" not in next(line for line in repo.plan()[1].splitlines() if line.startswith("Rollout"))


def test_secrets_are_changed_or_unchanged_in_every_form(repo: Repo) -> None:
    repo.edit(f"{BASE}/key.env", "correct-horse", "battery-staple")
    for output in ("terminal", "wide", "markdown", "json", "sarif"):
        code, text = repo.plan(output=output)
        assert code == 1
        assert not {"correct", "staple", "Y29ycm", "YmF0dG", "sealed"} & {word for word in text.split() if word}
        assert "staple" not in text
        assert "correct-horse" not in text
        assert "YmF0dG" not in text
    assert "~ Secret shop/web-key  data.key changed (new name web-key-" in repo.plan()[1]


def test_an_object_that_another_overlay_has_is_told_before_it_stops_both(repo: Repo) -> None:
    repo.edit("overlays/dns/kustomization.yaml", "namespace: dns\n", "")
    repo.edit("overlays/dns/dns.yaml", '"name": "dns"', '"namespace": "shop", "name": "web"')
    assert "Claimed     Service shop/web would be in dns and web on 7 clusters: neither changes it" in repo.plan()[1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "moves to overlay data, which has it too and applies it from then on"),
        ({"overlay.yaml": overlay({"all": True}, suspend={"reason": "later"})}, "moves to overlay data"),
        ({"overlay.yaml": overlay({"all": True}, state="absent")}, "HOLD: asks a person"),
        ({"kustomization.yaml": "resources: [nothing.yaml]\n"}, "HOLD: asks a person"),
    ],
    ids=["mended", "suspended: it takes it later", "twin: both give it up", "twin: what it has is not known"],
)
def test_a_double_claim_that_is_mended_is_a_move(repo: Repo, changed: dict[str, str], words: str) -> None:
    data = {
        "overlay.yaml": overlay({"all": True}),
        "kustomization.yaml": "namespace: shop\nresources: [cache.yaml]\n",
        "cache.yaml": (repo.root / BASE / "cache.yaml").read_text(),
    }
    repo.write({f"overlays/data/{name}": text for name, text in data.items()}, repo.origin)
    repo.commit("two overlays claim it", repo.origin)
    repo.git("pull", "-q", "--ff-only", "origin", "main")
    repo.write({f"overlays/data/{name}": text for name, text in changed.items()})
    repo.edit(f"{BASE}/kustomization.yaml", "[web.yaml, cache.yaml]", "[web.yaml]")
    text = repo.plan()[1]
    assert f"- PersistentVolumeClaim shop/cache  {words}" in text
    assert ("Approve in advance" in text) is words.startswith("HOLD")


def test_other_overlays_are_built_only_where_a_change_drops_or_brings_an_object(repo: Repo) -> None:
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    assert asyncio.run(compare_commits(repo.root, "", "")).held == {}
    gone = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: cache}, $patch: delete}"
    path = "overlays/web/dev/kustomization.yaml"
    repo.write({path: (repo.root / path).read_text() + f"patches: [{{patch: '{gone}'}}]\n"})
    held = asyncio.run(compare_commits(repo.root, "", "")).held
    assert sorted(map(str, held)) == ["dns@dev-1", "dns@dev-2", "web@dev-1", "web@dev-2"]


def test_a_broken_file_leaves_its_units_unknown_and_ends_with_2(repo: Repo) -> None:
    repo.edit(f"{BASE}/kustomization.yaml", "web.yaml", "wep.yaml")
    code, text = repo.plan()
    assert code == 2
    assert "web cannot be told on 7 clusters: 2 dev, 5 prod" in text
    assert f"at {BASE}/kustomization.yaml:4" in text
    assert "if merged: it stays as it is there, and nothing is deleted" in text
    (run,) = json.loads(repo.plan(output="sarif")[1])["runs"]
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("ResourceMissing", "error")
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (f"{BASE}/kustomization.yaml", 4)


def test_a_code_host_finds_a_file_with_a_space_in_a_fleet_repo_that_is_a_folder_of_another(repo: Repo) -> None:
    (repo.root / "fl").mkdir()
    repo.git("mv", "fleet.yaml", "clusters", "overlays", "fl")
    base = f"fl/{BASE}/my dir"
    repo.edit(f"fl/{BASE}/kustomization.yaml", "web.yaml,", '"my dir", web.yaml,')
    repo.write(
        {
            f"{base}/kustomization.yaml": KUSTOMIZATION + "resources: [more.yaml]\n",
            f"{base}/more.yaml": stream([named("ConfigMap", "v1", "more")]),
        }
    )
    before = repo.commit("in a folder")
    repo.edit(f"{base}/kustomization.yaml", "more.yaml", "none.yaml")
    plan(repo.root / "fl", base=before, head="", kube="", output="sarif")
    (result,) = json.loads(repo.capsys.readouterr().out)["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == f"fl/{BASE}/my%20dir/kustomization.yaml"
    assert place["region"]["startLine"] == 3


def test_a_problem_of_the_inventory_has_its_line_and_only_new_ones_are_told(repo: Repo) -> None:
    repo.edit("overlays/web/overlay.yaml", '"clusters"', '"clustres"')
    code, text = repo.plan()
    assert code == 2
    assert "  --> overlays/web/overlay.yaml:5" in text
    before = repo.commit("broken")
    repo.edit("overlays/dns/dns.yaml", "53", "54")
    code, text = repo.plan(base=before)
    assert (code, "clustres" in text) == (1, False)


@pytest.mark.parametrize("broken", ["base", "head"])
def test_a_fleet_file_that_does_not_parse_at_one_side(repo: Repo, broken: str) -> None:
    good = git(repo.root, "rev-parse", "HEAD")
    repo.write({"fleet.yaml": "spec: [\n"})
    bad = repo.commit("broken")
    sides = {"base": bad, "head": good} if broken == "base" else {"base": good, "head": bad}
    ended, text = repo.plan(**sides)
    assert ended == 2
    if broken == "head":
        assert "cannot be told on" in text
        assert "fleet.yaml:" in text
    else:
        assert "what it held before cannot be told from the base" in text


def test_a_base_that_is_missing_or_no_ancestor(repo: Repo) -> None:
    code, text = repo.plan(base="nobody")
    assert code == 2
    assert "error[RefMissing] nobody names no commit here" in text
    repo.edit("overlays/dns/dns.yaml", "53", "54")
    repo.commit("dns 54")
    code, text = repo.plan(base="HEAD", head="origin/main")
    assert code == 1
    assert "Note        main does not contain web-1.8: what only the base has is shown as undone" in text
    assert "spec.ports[port=53] added" in text


def test_what_main_got_meanwhile_is_not_shown_as_undone(repo: Repo) -> None:
    text = (repo.origin / "overlays/dns/dns.yaml").read_text()
    repo.write({"overlays/dns/dns.yaml": text.replace("53", "54")}, repo.origin)
    repo.commit("dns 54", repo.origin)
    git(repo.root, "fetch", "-q")
    repo.edit(f"{BASE}/web.env", "30s", "10s")
    assert {unit["overlay"] for unit in repo.document()["units"]} == {"web"}


def test_the_digest_is_that_of_the_merge_on_any_machine(repo: Repo, tmp_path: Path) -> None:
    repo.edit(f"{BASE}/key.env", "correct-horse", "battery-staple")
    repo.edit(f"{BASE}/web.env", "30s", "10s")
    before = repo.document()["digest"]
    repo.commit("web 1.8")
    git(repo.root, "push", "-q", "origin", "web-1.8")
    git(repo.origin, "merge", "-q", "--no-ff", "-m", "merged", "web-1.8")
    git(tmp_path, "clone", "-q", str(repo.origin), "elsewhere")
    repo.root = tmp_path / "elsewhere"
    assert repo.document(base="HEAD^1", head="HEAD")["digest"] == before
    assert repo.document(base="HEAD^1", head="HEAD^1")["digest"] != before


def all_kinds_of_change(repo: Repo) -> None:
    repo.edit(f"{BASE}/web.yaml", "web:1.7.4", "web:1.8.0")
    repo.edit(f"{BASE}/key.env", "correct-horse", "battery-staple")
    repo.edit(f"{BASE}/kustomization.yaml", "[web.yaml, cache.yaml]", "[web.yaml]")
    repo.edit("overlays/web/dev/kustomization.yaml", "resources", "# dev\nresources")
    repo.write({"clusters/prod-5.yaml": None, "overlays/dns/dns.yaml": "]", "overlays/new/kustomization.yaml": ""})


@pytest.mark.parametrize("prepare", [all_kinds_of_change, lambda _: None])
def test_json_is_as_its_schema_says(repo: Repo, prepare: Any) -> None:
    prepare(repo)
    jsonschema.validate(repo.document(kube="1.37"), SCHEMA)


def test_removed_apis_are_told_for_the_version_asked_about(repo: Repo) -> None:
    repo.edit("overlays/dns/kustomization.yaml", "[dns.yaml]", "[dns.yaml, budget.yaml]")
    repo.write(
        {"overlays/dns/budget.yaml": "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: dns}\n"}
    )
    words = "Removed     PodDisruptionBudget dns/dns: policy/v1beta1 PodDisruptionBudget is not served from 1.25 on"
    assert words in repo.plan(kube="1.30")[1]
    assert "is not served" not in repo.plan()[1]
    with pytest.raises(UsageInvalid):
        repo.plan(kube="latest")


def test_another_form_is_a_usage_error(repo: Repo) -> None:
    with pytest.raises(UsageInvalid):
        repo.plan(output="yaml")


def test_a_plan_whose_base_is_known_imports_neither_schemas_nor_servers_nor_yaml(repo: Repo, tmp_path: Path) -> None:
    (repo.root / "overlays/web/base/web.yaml").open("a").write("# a note\n")
    code = (
        f"import sys; from fleet.cli.app import run; run(['plan', '--root', {str(repo.root)!r}, '--base', 'HEAD']); "
        "sys.stderr.write('\\n' + ' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    places = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_STATE_HOME": str(tmp_path / "state")}
    environment = {name: value for name, value in os.environ.items() if name != "FLEET_CACHE"} | places

    def imported() -> set[str]:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert "error" not in done.stderr.splitlines()[0]
        return set(done.stderr.splitlines()[-1].split())

    heavy = {"pydantic", "yaml", "rich", "aiohttp", "asyncpg", "sqlalchemy", "cryptography", "structlog", "http"}
    assert {"pydantic", "yaml"} <= imported()  # the base is read for the first time
    assert not heavy & imported()
