"""Every command in README and docs is run as it stands there, on a real control plane where it needs a cluster."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from cli.recognised import without_fleet
from fixtures.layouts import monorepo
from inventory.building import write
from testbed.controlplane import ControlPlane
from testbed.fixtures import missing

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"


def commands_of(page: Path) -> list[str]:
    """The lines after `$ ` in the console blocks of a page."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def own_environment(tmp_path: Path) -> dict[str, str]:
    """A user with a home of their own and the installed command on PATH."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[user]\nname = jo\nemail = jo@acme.example\n")
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("FLEET_", "XDG_", "KUBE"))},
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "FLEET_LISTEN": "127.0.0.1:0",
        "FLEET_POLL_SECONDS": "1",
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
    }


@pytest.fixture
def shell(own_environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """One bash that stops at the first failure; what it started ends with its process group."""
    process = subprocess.Popen(
        ["bash", "-e", "-o", "pipefail"],
        cwd=tmp_path,
        env=own_environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    process.wait(20)


def wait_for(path: Path, seconds: float) -> None:
    """Until a file is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} did not appear within {seconds:g} s"
        time.sleep(0.05)


def run_line(shell: subprocess.Popen[str], line: str) -> str:
    """Run one line in the shell; returns what it printed, fails if it failed."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(f"{line}\necho done-with-it\n")
    shell.stdin.flush()
    printed: list[str] = []
    for text in shell.stdout:
        if text.strip() == "done-with-it":
            return "".join(printed)
        printed.append(text)
    raise AssertionError(f"{line!r} failed:\n{''.join(printed)}")


@pytest.mark.timeout(240)
def test_the_first_hour_goes_as_its_page_says(
    shell: subprocess.Popen[str], own_environment: dict[str, str], real_cluster: ControlPlane
) -> None:
    if shutil.which("kubectl") is None:
        missing("kubectl")
    config = real_cluster.kubeconfig()
    context = config["contexts"][0]
    context["name"] = config["current-context"] = "eu-1"
    kube = Path(own_environment["HOME"]) / ".kube"
    kube.mkdir()
    (kube / "config").write_text(yaml.safe_dump(config))
    answers: dict[str, str] = {}
    for line in commands_of(ROOT / "docs" / "first-hour.md"):
        answers[line] = run_line(shell, line)
        if line.endswith("&"):
            wait_for(Path(own_environment["HOME"]) / ".local" / "state" / "fleet" / "url", 30)
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
    config = own_api_server().kubeconfig()
    context = config["contexts"][0]
    context["name"] = config["current-context"] = "eu-1"
    kube = Path(own_environment["HOME"]) / ".kube"
    kube.mkdir()
    (kube / "config").write_text(yaml.safe_dump(config))
    write(tmp_path, without_fleet(monorepo.files()))
    run_line(shell, "git init -q -b main . && git add apps infrastructure README.md && git commit -qm 'Five years'")
    answers: dict[str, str] = {}
    for line in commands_of(ROOT / "docs" / "own-repo.md"):
        answers[line] = run_line(shell, line)
        if line.endswith("&"):
            wait_for(Path(own_environment["HOME"]) / ".local" / "state" / "fleet" / "url", 30)
    assert "0 errors" in answers["fleet validate"]
    assert "+ Deployment cart/cart" in answers["fleet diff cart@eu-1 --context eu-1 || test $? = 1"]
    granted = answers["fleet cluster grant eu-1 --context eu-1 --yes"]
    assert "identity proven with the new token" in granted
    end = time.monotonic() + 60
    while "OutOfSync" not in (shown := run_line(shell, "fleet get units")):
        assert time.monotonic() < end, shown


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
    assert done.stdout.count("  ok    ") == 9
    assert "All claims held" in done.stdout


def test_ci_runs_the_test_command_of_the_readme() -> None:
    assert "./try test" in commands_of(ROOT / "README.md")
    assert "exec ./try test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
