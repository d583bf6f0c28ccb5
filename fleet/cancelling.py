"""A task that was asked to end does end, also where an error came at the same moment.

A TaskGroup whose tasks fail while it is being cancelled raises their errors and not the cancellation: who goes on after
an error would go on although it was told to stop.
"""

from __future__ import annotations

import asyncio


def end_if_asked() -> None:
    """Raise CancelledError where the running task was cancelled. To be asked before going on after an error."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
