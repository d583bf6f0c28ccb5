"""`fleet init` on repos that were not made for fleet: everything that is deployed is found where it lies."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli.recognised import loaded, offered, recognised, without_fleet
from fixtures.layouts import charts, monorepo, nested, percluster
from inventory.building import command, write

from fleet.cli.builds import check_builds
from fleet.cli.init import init
from fleet.cli.validate import validate
from fleet.errors import UsageInvalid

LAYOUTS = {module.__name__.rpartition(".")[2]: module.files() for module in (charts, monorepo, nested, percluster)}
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
EVERY = int(os.environ.get("FLEET_TEST_CORPORA_EVERY", "12"))  # builds are dear: 1 builds all roots


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def app(**more: str) -> str:
    return KUSTOMIZATION + "resources: [all.yaml]\n"


OBJECT = "apiVersion: v1\nkind: Namespace\nmetadata: {name: one}\n"


def deployed(path: str) -> dict[str, str]:
    return {f"{path}/kustomization.yaml": app(), f"{path}/all.yaml": OBJECT}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_found_whole_where_it_lies_and_is_accepted(layout: str, tmp_path: Path) -> None:
    root = write(tmp_path, without_fleet(LAYOUTS[layout]))
    before = digests(root)
    recognised(root)
    after = digests(root)
    assert {path: after[path] for path in before} == before
    assert {posixpath.dirname(path) for path in after.keys() - before.keys()} <= {"", "clusters"}
    assert validate(root, io.StringIO(), checks=[check_builds]) == 0
    deployable = {unit.path for unit in loaded(write(tmp_path / "was", LAYOUTS[layout])).units.values()}
    # A base that was a fallback for some clusters is nothing that can be told from the repo alone.
    expected = {path for path in deployable if not path.endswith("/base")}
    shutil.rmtree(tmp_path / "was")
    assert offered(root) == expected


def test_nested_clusters_are_told_with_environment_and_region(tmp_path: Path) -> None:
    root = write(tmp_path, without_fleet(LAYOUTS["nested"]))
    assert "4 files below clusters/ (mode observe)" in recognised(root)
    fleet = loaded(root)
    assert {(str(name), c.environment, c.labels["region"]) for name, c in fleet.clusters.items()} == {
        ("lon-1", "prod", "eu"),
        ("par-1", "prod", "eu"),
        ("nyc-1", "prod", "us"),
        ("par-9", "staging", "eu"),
    }
    assert [stage.name for stage in fleet.environments] == ["staging", "prod"]


def test_an_application_with_both_kinds_of_overlays_is_one_overlay(tmp_path: Path) -> None:
    files = deployed("web/overlays/dev") | deployed("web/overlays/prod") | deployed("web/overlays/prod-2")
    recognised(write(tmp_path, files))
    fleet = loaded(tmp_path)
    assert list(fleet.overlays) == ["web"]
    assert {str(unit.name): unit.path for unit in fleet.units.values()} == {"web@prod-2": "web/overlays/prod-2"}
    assert offered(tmp_path) == {"web/overlays/dev", "web/overlays/prod", "web/overlays/prod-2"}


def test_names_are_longer_where_two_would_be_alike(tmp_path: Path) -> None:
    recognised(write(tmp_path, deployed("shop/web/prod") | deployed("tools/web/prod")))
    assert set(loaded(tmp_path).overlays) == {"shop.web", "tools.web"}


def test_what_can_never_be_built_is_left_out_and_explained(tmp_path: Path) -> None:
    files = deployed("good") | {"remote/kustomization.yaml": app().replace("all.yaml", "https://acme.example/x.yaml")}
    said = recognised(write(tmp_path, files), explain=True)
    assert offered(tmp_path) == {"good"}
    assert "remote/kustomization.yaml:3\n  remote cannot be built" in said
    assert "Not understood, or left out: 1 (fleet init --explain)" in said
    again = io.StringIO()
    assert init(tmp_path, again, explain=True) == 0
    assert "remote cannot be built" in again.getvalue()
    assert again.getvalue().endswith("fleet.yaml is there already; nothing was written\n")


@pytest.mark.parametrize("text", ["mine", "kind: Component\n", "[]", "resources: [gone.yaml]\n"])
def test_where_nothing_is_understood_nothing_is_written(text: str, tmp_path: Path) -> None:
    write(tmp_path, {"web/kustomization.yaml": text})
    with pytest.raises(UsageInvalid, match="nothing here was understood; nothing was written") as caught:
        init(tmp_path, io.StringIO())
    assert caught.value.next_step
    assert list(digests(tmp_path)) == ["web/kustomization.yaml"]


@pytest.mark.parametrize("there", ["fleet.yaml", "clusters/prod-2.yaml"])
def test_a_file_of_ours_is_never_replaced(there: str, tmp_path: Path) -> None:
    before = digests(write(tmp_path, {there: "mine"} | deployed("deploy/prod-2")))
    with pytest.raises(UsageInvalid, match="is there already; nothing was written"):
        init(tmp_path, io.StringIO())
    assert digests(tmp_path) == before


def test_clusters_that_are_described_already_are_used(tmp_path: Path) -> None:
    entry = "apiVersion: fleet.internal/v1\nkind: Cluster\nmetadata: {name: mars}\nspec: {mode: observe}\n"
    recognised(write(tmp_path, {"clusters/all.yaml": entry} | deployed("sites/mars")))
    assert {str(unit.name): unit.path for unit in loaded(tmp_path).units.values()} == {"sites@mars": "sites/mars"}


# Hints


def flux(name: str, path: str, **spec: object) -> str:
    after = f"  dependsOn: [{{name: {spec['after']}}}]\n" if "after" in spec else ""
    extra = f"  {spec['extra']}\n" if "extra" in spec else ""
    return (
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n"
        f"metadata: {{name: {name}, namespace: flux-system}}\nspec:\n  path: {path}\n{after}{extra}"
        "  sourceRef: {kind: GitRepository, name: flux-system}\n"
    )


def test_flux_objects_say_which_directory_runs_on_which_cluster_and_in_what_order(tmp_path: Path) -> None:
    files = deployed("infra/dns") | deployed("apps/eu") | deployed("apps/us")
    for name in ("paris", "nyc"):
        root = f"clusters/{name}"
        files[f"{root}/flux-system/gotk-sync.yaml"] = flux("flux-system", f"./{root}")
        files[f"{root}/flux-system/gotk-components.yaml"] = OBJECT
        files[f"{root}/flux-system/kustomization.yaml"] = (
            KUSTOMIZATION + "resources: [gotk-components.yaml, gotk-sync.yaml]\n"
        )
        files[f"{root}/infra.yaml"] = flux("infra", "./infra/dns", extra="postBuild: {substitute: {a: b}}")
        files[f"{root}/apps.yaml"] = flux("apps", f"./apps/{'eu' if name == 'paris' else 'us'}", after="infra")
    files["clusters/nyc/plain.yaml"] = flux("plain", "./manifests")
    files["manifests/x.yaml"] = OBJECT
    said = recognised(write(tmp_path, files), explain=True)
    fleet = loaded(tmp_path)
    assert {str(unit.name): unit.path for unit in fleet.units.values()} == {
        "infra@paris": "infra/dns",
        "infra@nyc": "infra/dns",
        "apps@paris": "apps/eu",
        "apps@nyc": "apps/us",
    }
    assert [str(name) for name in fleet.overlays["apps"].depends_on] == ["infra"]  # pyright: ignore
    assert "infra changes what infra/dns builds: postBuild" in said
    assert "plain runs manifests, which cannot be taken over" in said
    assert "clusters/nyc/flux-system is left out" in said


def argo_set(name: str, generator: str, path: str, destination: str) -> str:
    return (
        f"apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {{name: {name}}}\n"
        f"spec:\n  generators:\n    - {generator}\n  template:\n    metadata: {{name: '{{{{x}}}}'}}\n"
        f"    spec:\n      source: {{repoURL: 'https://git.acme.example/p', path: '{path}'}}\n"
        f"      destination: {destination}\n"
    )


def test_argo_cd_objects_say_which_directory_runs_on_which_cluster(tmp_path: Path) -> None:
    files: dict[str, str] = {}
    for path in ("web/mars", "web/venus", "tools/wiki", "tools/mail", "tools/old", "dns", "base-stack", "one"):
        files |= deployed(path)
    elements = "list: {elements: [{cluster: mars}, {cluster: venus}]}"
    files["argo/web.yaml"] = argo_set("web", elements, "web/{{cluster}}", "{name: '{{ .cluster }}'}")
    folders = "git: {directories: [{path: 'tools/*'}, {path: tools/old, exclude: true}]}"
    files["argo/tools.yaml"] = argo_set("tools", folders, "{{path}}", "{name: mars}")
    labelled = "clusters: {selector: {matchLabels: {tier: edge}}}"
    files["argo/dns.yaml"] = argo_set("dns", labelled, "dns", "{server: '{{server}}'}")
    files["argo/odd.yaml"] = argo_set("odd", "matrix: {generators: []}", "dns", "{name: mars}")
    files["argo/one.yaml"] = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: first}\n"
        "spec:\n  source: {path: one, kustomize: {images: [a:1]}}\n  destination: {name: venus}\n---\n"
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: chart}\n"
        "spec:\n  source: {chart: redis, repoURL: 'https://charts.acme.example'}\n  destination: {name: venus}\n"
    )
    said = recognised(write(tmp_path, files), explain=True)
    fleet = loaded(tmp_path)
    assert {str(unit.name): unit.path for unit in fleet.units.values()} == {
        "web@mars": "web/mars",
        "web@venus": "web/venus",
        "wiki@mars": "tools/wiki",
        "mail@mars": "tools/mail",
        "first@venus": "one",
    }
    assert dict(fleet.overlays["dns"].targets[0].match_labels) == {"tier": "edge"}  # pyright: ignore
    assert {"base-stack", "tools/old"} <= offered(tmp_path)
    assert "generator matrix is not understood" in said
    assert "chart runs chart redis, which cannot be taken over" in said
    assert "first changes what one builds: source.kustomize" in said


def test_no_line_of_the_explanation_is_wider_than_a_screen(tmp_path: Path) -> None:
    long = "/".join(["a-rather-long-directory-name"] * 5)
    said = recognised(write(tmp_path, deployed("good") | {f"{long}/kustomization.yaml": app()}), explain=True)
    places = [line for line in said.splitlines() if not line.startswith(long)]
    assert max(map(len, places)) <= 110


# Whole repos of others


def built(directory: Path) -> str | None:
    """What kustomize makes of it, which may be nothing; None where it fails."""
    done = subprocess.run(
        [*command(), str(directory)], capture_output=True, text=True, timeout=60, check=False, env=_offline()
    )
    return done.stdout if done.returncode == 0 else None


def _offline() -> dict[str, str]:
    """A remote base fails at once instead of being fetched."""
    return {**os.environ, "HTTPS_PROXY": "http://127.0.0.1:9", "GIT_ALLOW_PROTOCOL": "none"}


@pytest.mark.timeout(280)
@pytest.mark.parametrize("corpus", ["flux2-kustomize-helm-example", "gitops-catalog"])
def test_of_repos_that_others_wrote_nearly_all_that_builds_is_covered_and_none_is_invented(
    corpus: str, tmp_path: Path, record_property: Any
) -> None:
    place = os.environ.get("FLEET_TEST_CORPORA")
    if not place:
        pytest.skip("FLEET_TEST_CORPORA is not set")
    root = tmp_path / corpus
    shutil.copytree(Path(place) / corpus, root)
    said = recognised(root)
    covered = offered(root)
    kustomizations = {str(path.parent.relative_to(root)): path for path in root.rglob("kustomization.y*ml")}
    assert covered <= set(kustomizations)
    whole = {path for path, file in kustomizations.items() if "kind: Component" not in file.read_text()}
    used = {used for path in whole for used in _used_by(kustomizations[path], root) if used != path}
    # By themselves: what no other one uses, and overlays by their place.
    candidates = sorted(
        path for path in whole if path not in used or posixpath.basename(posixpath.dirname(path)) == "overlays"
    )
    good = [path for path in candidates[::EVERY] if built(root / path)]
    missing = sorted(set(good) - covered)
    record_property("coverage", f"{corpus}: {len(good) - len(missing)} of {len(good)}; {said.splitlines()[0]}")
    assert good
    assert len(missing) <= len(good) * 0.05, missing
    invented = [path for path in sorted(covered)[::EVERY] if built(root / path) is None]
    record_property("invented", f"{corpus}: {len(invented)}")
    assert invented == []


def _used_by(file: Path, root: Path) -> set[str]:
    """The directories that a kustomization names, read as text: no code of ours."""
    words = file.read_text().replace("'", " ").replace('"', " ").replace("- ", " ").replace(",", " ").split()
    paths = {posixpath.normpath(posixpath.join(str(file.parent.relative_to(root)), word)) for word in words}
    return {path for path in paths if (root / path).is_dir()}
