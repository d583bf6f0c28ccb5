"""The hub process: all loops in one task group, signals, and an orderly end within ten seconds.

A loop that cannot end in time is left behind: killing the process at any point is safe (R22).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from fleet.errors import UsageInvalid
from fleet.hub.door import Door
from fleet.hub.loops import Service, Troubles, keep_running, watch_state
from fleet.values import dataclass

log = structlog.get_logger("hub")
DRAIN_SECONDS = 9.0  # of the ten that orchestrators commonly grant at least
LOOPS_SECONDS = 5.0  # of these, for the loops
CLOSE_SECONDS = 3.0  # and for the adapters; the API's connections get the second between

Listening = tuple[asyncio.Server, web.AppRunner]


@dataclass(frozen=True, slots=True)
class Hub:
    """What assembly.py puts together."""

    services: tuple[Service, ...]
    troubles: Troubles
    probe: Callable[[], Awaitable[None]]  # writes into the state; raises StateError
    app: web.Application
    listen: tuple[str, int]
    metrics_app: web.Application | None
    metrics_listen: tuple[str, int] | None
    close: Callable[[], Awaitable[None]]  # flushes and closes the adapters


async def run_hub(
    hub: Hub,
    *,
    started: Callable[[str], Awaitable[None]],
    stop: asyncio.Event | None = None,
    give_up: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM, SIGINT or `stop`; then drain. `started` is given the API's URL once it listens.

    Raises UsageInvalid if an address cannot be listened on. give_up: called when the process has not ended within the
    drain time, also when something is still running after this returned.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    doors: list[Listening] = []
    loops: list[asyncio.Task[None]] = []
    try:
        url = await _serve(hub.app, hub.listen, doors)
        if hub.metrics_app is not None and hub.metrics_listen is not None:
            await _serve(hub.metrics_app, hub.metrics_listen, doors)
        await started(url)
        loops = [loop.create_task(keep_running(service, hub.troubles), name=service.name) for service in hub.services]
        loops.append(loop.create_task(watch_state(hub.probe, hub.troubles), name="state"))
        await stop.wait()
    finally:
        log.info("draining", seconds=DRAIN_SECONDS)
        loop.call_later(DRAIN_SECONDS, give_up)
        await _end(loops)
        await _drain(hub, doors)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _end(loops: list[asyncio.Task[None]]) -> None:
    """Cancel all loops; one that does not end in time is named and left behind."""
    for task in loops:
        task.cancel()
    if not loops:
        return
    _, late = await asyncio.wait(loops, timeout=LOOPS_SECONDS)
    if late:
        log.error("loops that did not end", loops=sorted(task.get_name() for task in late))


async def _drain(hub: Hub, doors: list[Listening]) -> None:
    try:
        for listener, runner in doors:
            listener.close()
            await runner.cleanup()
        async with asyncio.timeout(CLOSE_SECONDS):
            await hub.close()
    except TimeoutError:
        log.error("not closed in time; what was written down is safe", seconds=CLOSE_SECONDS)


async def _serve(app: web.Application, listen: tuple[str, int], doors: list[Listening]) -> str:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=75.0)
    door = Door(runner)
    await door.set_up()
    host, port = listen
    try:
        listener = await asyncio.get_running_loop().create_server(door, host, port, backlog=256)
    except OSError as error:
        await runner.cleanup()
        raise UsageInvalid(
            f"cannot listen on {host}:{port}",
            why=error.strerror or type(error).__name__,
            next_step="is another hub running? give another address with --listen",
        ) from error
    doors.append((listener, runner))
    bound = listener.sockets[0].getsockname()
    shown = f"[{bound[0]}]" if ":" in str(bound[0]) else str(bound[0])
    return f"http://{shown}:{bound[1]}"
