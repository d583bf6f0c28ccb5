"""`fleet validate`: what it prints and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from inventory.building import write
from inventory.snapshots import COMPONENT, cluster, overlay, small_repo

from fleet.cli.init import files_of, init
from fleet.cli.schema import schema, schema_text
from fleet.cli.validate import validate
from fleet.errors import UsageInvalid
from fleet.inventory.schema import KINDS

ROOT = Path(__file__).parents[2]


def run(root: Path, **options: str) -> tuple[int, str]:
    out = io.StringIO()
    return validate(root, out, **options), out.getvalue()


def test_a_good_repo_is_one_line(tmp_path: Path) -> None:
    code, text = run(write(tmp_path, small_repo()))
    assert (code, text) == (0, "0 errors, 0 warnings in 2 clusters, 1 overlay, 2 units\n")


def test_a_missing_file_shows_the_line_where_it_comes_from_and_what_follows(tmp_path: Path) -> None:
    files = small_repo() | {
        "overlays/web/base/kustomization.yaml": "resources:\n  - deployment.yaml\n  - ingres.yaml\n",
        "overlays/web/base/deployment.yaml": "",
        "overlays/web/base/ingress.yaml": "",
        "overlays/web/prod/kustomization.yaml": "resources:\n  - ../base\n",
    }
    code, text = run(write(tmp_path, files))
    assert code == 1
    assert (
        text
        == """\
error[ResourceMissing] web cannot be rendered on eu-1
  --> overlays/web/base/kustomization.yaml:3
   |
 2 |   - deployment.yaml
 3 |   - ingres.yaml
   |     ^^^^^^^^^^^ no such file; did you mean ingress.yaml?
   |
  from    overlays/web/prod/kustomization.yaml:2
  effect  if merged: web stays as it is on this one, nothing is deleted
  next    correct line 3, then: fleet validate

1 error, 0 warnings in 2 clusters, 1 overlay, 2 units
"""
    )


@pytest.mark.parametrize("marker", [".git", "own.txt"], ids=["a submodule", "twin: a directory"])
def test_a_submodule_is_said_to_be_one_and_what_is_in_it_counts_for_nothing(tmp_path: Path, marker: str) -> None:
    """As the hub has it, which fetches no submodule."""
    files = small_repo() | {
        "overlays/web/prod/kustomization.yaml": "resources:\n  - ../../../vendor\n",
        "vendor/kustomization.yaml": "resources: [a.yaml]\n",
        "vendor/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n",
        f"vendor/{marker}": "gitdir: ../.git/modules/vendor\n",
        "clusters/more/eu-9.yaml": cluster("eu-9"),
        f"clusters/more/{marker}": "gitdir: ../../.git/modules/more\n",
    }
    code, text = run(write(tmp_path, files))
    if marker == "own.txt":
        assert code == 0
        return
    assert code == 1
    assert "clusters/more cannot be read: it is a submodule" in text
    assert "vendor is a submodule, and submodules are not fetched; put it into the repo, or correct the line" in text
    assert "2 errors, 0 warnings in 2 clusters" in text


def test_units_that_fail_alike_are_told_once(tmp_path: Path) -> None:
    files = small_repo() | {"overlays/web/kustomization.yaml": "resources: [../../lost]\n"}
    files |= {f"clusters/d{number}.yaml": cluster(f"d{number}", "{environment: dev}") for number in range(5)}
    _, text = run(write(tmp_path, files))
    assert "web cannot be rendered for 6 clusters (environment dev)" in text


def test_an_unknown_field_is_underlined_with_did_you_mean(tmp_path: Path) -> None:
    files = small_repo() | {"clusters/x.yaml": cluster("eu-2", "enviroment: prod")}
    code, text = run(write(tmp_path, files))
    assert code == 1
    assert "\n 5 |   enviroment: prod\n   |   ^^^^^^^^^^ did you mean environment?\n" in text


def test_warnings_alone_end_well(tmp_path: Path) -> None:
    files = small_repo() | {"overlays/web/overlay.yaml": overlay("clusters: [{all: true, except: [eu-11]}]")}
    code, text = run(write(tmp_path, files))
    assert code == 0
    assert text.startswith("warning[TargetInvalid] web: no cluster eu-11\n")
    assert text.endswith("0 errors, 1 warning in 2 clusters, 1 overlay, 2 units\n")


def test_json_holds_the_same(tmp_path: Path) -> None:
    files = small_repo() | {"clusters/x.yaml": cluster("eu-2", "enviroment: prod")}
    code, text = run(write(tmp_path, files), output="json")
    report = json.loads(text)
    assert code == 1
    assert report["summary"]["errors"] == 1
    assert report["problems"][0]["path"] == "clusters/x.yaml"
    assert (report["problems"][0]["line"], report["problems"][0]["column"]) == (5, 3)


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    files = small_repo() | {"clusters/x.yaml": cluster("eu-2", 'enviroment: "\x9b31m"  # \x85')}
    _, text = run(write(tmp_path, files))
    assert "\x9b" not in text


def test_no_line_is_wider_than_110_columns_but_for_paths(tmp_path: Path) -> None:
    files = small_repo() | {"clusters/x.yaml": cluster("eu-2", "{mode: 1, variables: {" + "a: 1, " * 60 + "}}")}
    _, text = run(write(tmp_path, files))
    assert max(len(line) for line in text.splitlines()) <= 110


def test_where_there_is_no_fleet_repo_the_next_step_is_init(tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid) as caught:
        run(tmp_path)
    assert caught.value.next_step == "fleet init"


def test_the_example_of_this_repo_is_valid() -> None:
    code, text = run(ROOT)
    assert (code, text) == (0, "0 errors, 0 warnings in 30 clusters, 12 overlays, 300 units\n")


# init


def test_init_makes_a_repo_that_validates_and_builds(tmp_path: Path) -> None:
    out = io.StringIO()
    assert init(tmp_path / "new", out, name="acme") == 0
    assert run(tmp_path / "new") == (0, "0 errors, 0 warnings in 1 cluster, 1 overlay, 1 unit\n")
    assert "name: acme" in (tmp_path / "new/fleet.yaml").read_text()
    assert "mode: observe" in (tmp_path / "new/clusters/example.yaml").read_text()


@pytest.mark.parametrize("there", ["fleet.yaml", "clusters", "overlays/README.md"])
def test_init_changes_nothing_where_something_of_ours_is(tmp_path: Path, there: str) -> None:
    write(tmp_path, {f"{there}/x" if there == "clusters" else there: "mine"})
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(UsageInvalid, match="is there already; nothing was written"):
        init(tmp_path, io.StringIO())
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_init_beside_other_files_leaves_them(tmp_path: Path) -> None:
    write(tmp_path, {"README.md": "mine"})
    assert init(tmp_path, io.StringIO()) == 0
    assert (tmp_path / "README.md").read_text() == "mine"
    assert set(files_of("default")) <= {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}


def test_init_refuses_a_name_that_kubernetes_cannot_carry(tmp_path: Path) -> None:
    with pytest.raises(UsageInvalid):
        init(tmp_path, io.StringIO(), name="Acme Inc")
    assert not list(tmp_path.iterdir())


# schema


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schemas_are_those_of_the_code(kind: str) -> None:
    published = (ROOT / "docs/schemas" / f"{kind.lower()}.json").read_text()
    assert published == schema_text(kind), f"fleet schema {kind} > docs/schemas/{kind.lower()}.json"


def test_schema_prints_a_kind_and_names_the_kinds_for_another() -> None:
    out = io.StringIO()
    assert schema("cluster", out) == 0
    assert json.loads(out.getvalue())["title"] == "Cluster"
    with pytest.raises(UsageInvalid) as caught:
        schema("Clutser", io.StringIO())
    assert caught.value.next_step == "did you mean Cluster?"


def test_a_component_named_by_a_target_is_part_of_the_check(tmp_path: Path) -> None:
    files = small_repo() | {"components/a/kustomization.yaml": COMPONENT + "resources: [lost.yaml]\n"}
    files["overlays/web/overlay.yaml"] = overlay("clusters: [{all: true, components: [components/a]}]")
    code, text = run(write(tmp_path, files))
    assert code == 1
    assert "--> components/a/kustomization.yaml:3" in text


@pytest.mark.parametrize("allowed", [True, False])
def test_a_chart_is_refused_only_where_charts_are_not_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    use = "helmCharts:\n- {name: web, version: 1.2.3, releaseName: shop}\n"
    chart = {"overlays/web/prod/charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.2.3\n"}
    monkeypatch.setenv("FLEET_ALLOW_CHARTS", "true" if allowed else "")
    code, text = run(write(tmp_path, small_repo() | chart | {"overlays/web/prod/kustomization.yaml": use}))
    assert (code, "PluginRefused" in text) == ((0, False) if allowed else (1, True)), text
