"""Both stores keep the one contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from contracts.state_contract import StateContract, StateWithVault

from fleet.store.memory import MemoryState
from fleet.store.sql import open_state


class TestMemory(StateContract):
    @pytest.fixture
    async def state(self) -> StateWithVault:
        return MemoryState()


class TestSqlite(StateContract):
    @pytest.fixture
    async def state(self, tmp_path: Path) -> AsyncIterator[StateWithVault]:
        state = await open_state(tmp_path, b"k" * 32)
        yield state
        await state.close()
