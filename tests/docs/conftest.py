"""What the tests of docs/ share: a person's own environment, and one shell in it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.walk import BIN, ENDED


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
    assert process.stdin is not None
    process.stdin.write(f"trap 'echo {ENDED}' EXIT\n")
    yield process
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    process.wait(20)
