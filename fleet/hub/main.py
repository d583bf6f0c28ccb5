"""The hub process: all loops in one task group, signals, and an orderly end within ten seconds.

A second signal, or a loop that cannot end in time, ends the process anyway: killing it at any point is safe (R22).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

log = structlog.get_logger("hub")
DRAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Service:
    """One loop of the hub: runs until cancelled."""

    name: str
    run: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Hub:
    """What wiring.py puts together."""

    services: tuple[Service, ...]
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

    give_up: called when the loops have not ended within the drain time; what was written down is safe then as well.
    """
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runners: list[web.AppRunner] = []
    last_resort: asyncio.TimerHandle | None = None
    try:
        url = await _serve(hub.app, hub.listen, runners)
        if hub.metrics_app is not None and hub.metrics_listen is not None:
            await _serve(hub.metrics_app, hub.metrics_listen, runners)
        try:
            async with asyncio.TaskGroup() as tasks:
                loops = [tasks.create_task(_named(service), name=service.name) for service in hub.services]
                await started(url)
                await stop.wait()
                log.info("draining", seconds=DRAIN_SECONDS)
                last_resort = loop.call_later(DRAIN_SECONDS, give_up)
                for task in loops:
                    task.cancel()
        finally:
            await _drain(hub, runners)
            if last_resort is not None:
                last_resort.cancel()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _named(service: Service) -> None:
    await service.run()


async def _drain(hub: Hub, runners: list[web.AppRunner]) -> None:
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            for runner in runners:
                await runner.cleanup()
            await hub.close()
    except TimeoutError:
        log.error("not drained in time; what was written down is safe", seconds=DRAIN_SECONDS)


async def _serve(app: web.Application, listen: tuple[str, int], runners: list[web.AppRunner]) -> str:
    # Slow requests are cut: headers within 30 s by aiohttp's keepalive and lingering limits (R41).
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0, keepalive_timeout=75.0)
    await runner.setup()
    runners.append(runner)
    host, port = listen
    site = web.TCPSite(runner, host, port, backlog=256)
    await site.start()
    bound = runner.addresses[0]
    shown = f"[{bound[0]}]" if ":" in str(bound[0]) else str(bound[0])
    return f"http://{shown}:{bound[1]}"
