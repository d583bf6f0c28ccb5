"""The short form of `python -m safety secrets`: the same secrets and sources, one round."""

from __future__ import annotations

from pathlib import Path

import pytest
from safety.secret_runs import run

KINDS = {"API answers", "children", "commands", "data directory", "errors", "event stream", "logs", "metrics", "traces"}


@pytest.mark.timeout(300)
async def test_no_secret_that_is_in_use_leaves_the_hub(tmp_path: Path) -> None:
    result = await run(tmp_path, 0.1, objects=2, commands=("audit export",))
    assert len(result.proofs) >= 12
    assert result.searched.keys() >= KINDS
    assert result.found == []
