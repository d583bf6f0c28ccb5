"""What the names of clusters stand for, asked of the system in threads of its own.

A silent name server holds a thread for ten seconds and more, and no such call can be ended. In the event loop's own
threads a few dead names would hold up everything else that waits there: credentials, commits, builds, and all other
clusters (R18). The threads end when nothing is asked any more, and the end of the process waits for none.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from threading import Lock, Thread
from typing import TypeAlias

_AT_ONCE = 256  # names; a thread that waits costs some tens of KiB

_Found: TypeAlias = "tuple[str, ...]"
_Key: TypeAlias = "tuple[str, int]"


class Lookups:
    """Looks each name up once at a time, for all that wait for it; those beyond `at_once` names wait in their order."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._at_once, self._threads = at_once, 0
        self._lock = Lock()  # of all that follows
        self._asked: dict[_Key, Future[_Found]] = {}
        self._waiting: deque[tuple[_Key, int]] = deque()

    async def resolve(self, host: str, port: int, family: int, *, seconds: float) -> Sequence[str]:
        """The addresses of a host by the system's resolver, in its order; OSError where none are known in time."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(self._ask((host, family), port))
        except TimeoutError:
            raise socket.gaierror(socket.EAI_AGAIN, f"no name server answered within {seconds:g} s") from None

    def _ask(self, key: _Key, port: int) -> Future[_Found]:
        with self._lock:
            if (asked := self._asked.get(key)) is not None:
                return asked
            if self._threads < self._at_once:
                self._begin(Thread(target=self._work, name="lookup", daemon=True))
            asked = self._asked[key] = Future()
            asked.set_running_or_notify_cancel()  # who gives up waiting cancels it for nobody else
            self._waiting.append((key, port))
            return asked

    def _begin(self, thread: Thread) -> None:
        try:
            thread.start()
        except RuntimeError as error:  # the system gives no more; those that run go on with what waits
            if not self._threads:
                raise socket.gaierror(socket.EAI_AGAIN, "no thread is to be had for it") from error
        else:
            self._threads += 1

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                (host, family), port = self._waiting.popleft()
            try:
                found = _addresses(host, port, family)
            except BaseException as error:  # the edge of the thread: whoever asked gets it
                self._over((host, family)).set_exception(error)
            else:
                self._over((host, family)).set_result(found)

    def _over(self, key: _Key) -> Future[_Found]:
        with self._lock:
            return self._asked.pop(key)


def _addresses(host: str, port: int, family: int) -> _Found:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


_LOOKUPS = Lookups()  # one for the process: names are looked up for it, not for a loop or a connection
resolve = _LOOKUPS.resolve
