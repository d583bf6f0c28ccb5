"""Every command in README and docs is run as it stands there, on a real control plane where it needs a cluster."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.planrepo import files
from cli.recognised import without_fleet
from docs.walk import ROOT, commands_of, give_contexts, run_line, walk
from fixtures.layouts import monorepo
from inventory.building import write
from testbed.controlplane import ControlPlane
from testbed.fixtures import missing


@pytest.mark.timeout(240)
def test_the_first_hour_goes_as_its_page_says(
    shell: subprocess.Popen[str], own_environment: dict[str, str], real_cluster: ControlPlane
) -> None:
    if shutil.which("kubectl") is None:
        missing("kubectl")
    home = Path(own_environment["HOME"])
    give_contexts(home, real_cluster.kubeconfig(), "eu-1")
    answers = walk(shell, commands_of(ROOT / "docs" / "first-hour.md"), home)
    assert "eu-1" in answers["fleet get clusters"]
    assert "hello@eu-1" in answers["fleet get units"]
    assert "took over 1 object, fields moved from kubectl-client-side-apply" in answers["fleet history"]


@pytest.mark.timeout(240)
def test_an_own_repo_goes_as_its_page_says(
    shell: subprocess.Popen[str],
    own_environment: dict[str, str],
    tmp_path: Path,
    own_api_server: Callable[..., ControlPlane],
) -> None:
    home = Path(own_environment["HOME"])
    give_contexts(home, own_api_server().kubeconfig(), "eu-1")
    write(tmp_path, without_fleet(monorepo.files()))
    run_line(shell, "git init -q -b main . && git add apps infrastructure README.md && git commit -qm 'Five years'")
    answers = walk(shell, commands_of(ROOT / "docs" / "own-repo.md"), home)
    assert "0 errors" in answers["fleet validate"]
    assert "+ Deployment cart/cart" in answers["fleet diff cart@eu-1 --context eu-1 || test $? = 1"]
    granted = answers["fleet cluster grant eu-1 --context eu-1 --yes"]
    assert "identity proven with the new token" in granted
    end = time.monotonic() + 60
    while "OutOfSync" not in (shown := run_line(shell, "fleet get units")):
        assert time.monotonic() < end, shown


def test_a_revert_and_a_promotion_go_as_their_page_says(shell: subprocess.Popen[str], tmp_path: Path) -> None:
    images = "images:\n- name: reg.example/web\n  newTag: 1.8.0\n"
    repo = files()
    for stage, tag in (("dev", "1.8.0"), ("prod", "1.7.4")):
        repo[f"overlays/web/{stage}/kustomization.yaml"] += images.replace("1.8.0", tag)
    write(tmp_path / "repo", repo)
    run_line(shell, "git init -q --bare -b main origin.git && cd repo && git init -q -b main . && git add -A")
    run_line(shell, "git commit -qm First && git remote add origin ../origin.git && git push -q origin main")
    run_line(shell, "sed -i s/1.8.0/1.9.0/ overlays/web/dev/kustomization.yaml && git commit -qam 'A bad one'")
    answers = walk(shell, commands_of(ROOT / "docs" / "rollouts.md"), tmp_path)
    reverted, undone, _, _, promoted, planned, _ = answers.values()
    assert "on the new branch revert/web" in reverted
    assert "image reg.example/web:1.9.0 -> " in undone
    assert "1.8.0" in run_line(shell, "git show HEAD:overlays/web/dev/kustomization.yaml")
    assert "reg.example/web:1.7.4 -> reg.example/web:1.8.0" in promoted
    assert "image reg.example/web:1.7.4 -> " in planned
    assert "Promote web to prod: web 1.8.0" in run_line(shell, "git -C ../origin.git log -1 web-1.8")


def test_the_demo_of_the_readme_converges_and_cleans_up(own_environment: dict[str, str], tmp_path: Path) -> None:
    assert "./try demo" in commands_of(ROOT / "README.md")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [str(ROOT / "try"), "demo", "--clusters", "2", "--listen", "127.0.0.1:0"],
        env={**own_environment, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Ctrl-C"):
                break
        environment = {**own_environment, "TMPDIR": str(scratch)}
        drift = subprocess.run(["fleet", "sim", "drift"], env=environment, capture_output=True, text=True, check=True)
        assert "Service shop/web changed" in drift.stdout
        listed = subprocess.run(
            ["fleet", "get", "clusters", "-o", "name"], env=environment, capture_output=True, text=True, check=True
        )
        assert len(listed.stdout.splitlines()) == 2
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(30)
    assert list(scratch.glob("fleet-demo-*")) == []


def test_the_scripted_demo_tells_its_story_and_checks_it(own_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [str(ROOT / "try"), "demo", "--script", "--clusters", "3", "--listen", "127.0.0.1:0"],
        env=own_environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("  ok    ") == 11
    assert "taken back by itself" in done.stdout
    assert "All claims held" in done.stdout


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "./try test" in commands_of(ROOT / "README.md")
    assert "exec ./try test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_a_line_that_fails_is_told_although_what_runs_in_the_background_holds_the_output(
    shell: subprocess.Popen[str],
) -> None:
    run_line(shell, "sleep 60 &")
    assert run_line(shell, "echo fine") == "fine\n"
    with pytest.raises(AssertionError, match="'echo why; false' failed:\nwhy"):
        run_line(shell, "echo why; false")
