"""What is shown of sick clusters, in a process whose time runs faster; all faults: `python -m safety calm`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.timeout(200)
def test_nothing_is_shown_as_well_for_longer_than_three_intervals_after_its_last_true_word(tmp_path: Path) -> None:
    out = tmp_path / "calm.jsonl"
    command = [sys.executable, "-m", "safety", "calm", "--short", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found = json.loads(out.read_text()) if out.exists() else {}
    assert done.returncode == 0, (found.get("violations"), done.stderr[-2000:])
    assert found["looked"] > 200
    assert {"web@well-1", "web@well-2"} <= set(found["calm"])
