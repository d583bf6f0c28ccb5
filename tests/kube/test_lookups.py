"""A name that no name server answers for holds up nothing else (R18), and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from kube.hostile import World

from fleet.errors import ClusterUnreachable
from fleet.kube.addresses import AddressRule, CheckedResolver
from fleet.kube.lookups import Lookups


class NameServers:
    """A fake of the system's resolver: a name that begins with "dead" gets no answer until `answer` is called."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self._lock, self._answers = threading.Lock(), threading.Event()

    def answer(self) -> None:
        self._answers.set()

    def look_up(self, host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        with self._lock:
            self.asked[host] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if host.startswith("dead") and not self._answers.wait(30):
                raise AssertionError("never answered")
            if host.startswith("none"):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            address = ("10.7.0.1", port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)] * 2
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServers]:
    made = NameServers()

    def getaddrinfo(host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0):
        return made.look_up(host, port)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield made
    made.answer()
    until = time.monotonic() + 30
    while found := [thread.name for thread in threading.enumerate() if thread.name == "lookup"]:
        assert time.monotonic() < until, found
        time.sleep(0.01)


async def resolved(host: str, lookups: Lookups, seconds: float = 30.0) -> list[str]:
    return list(await lookups.resolve(host, 443, socket.AF_INET, seconds=seconds))


async def test_dead_names_hold_up_no_other_name_and_no_other_work(servers: NameServers) -> None:
    resolver = CheckedResolver(AddressRule(own=frozenset))
    async with asyncio.TaskGroup() as tasks:
        dead = [tasks.create_task(resolver.resolve(f"dead-{number}.acme", 443)) for number in range(20)]
        async with asyncio.timeout(10):
            while servers.asked.total() < 6:  # as many threads as a small machine's event loop has
                await asyncio.sleep(0.01)
            (found,) = await resolver.resolve("api.acme", 443)
            assert (found["hostname"], found["host"], found["port"]) == ("api.acme", "10.7.0.1", 443)
            assert await asyncio.to_thread(lambda: 7) == 7
        assert not any(task.done() for task in dead)
        servers.answer()
    assert all(task.result()[0]["host"] == "10.7.0.1" for task in dead)


async def test_a_dead_name_is_given_up_in_time_and_asked_for_once_at_a_time(servers: NameServers) -> None:
    lookups = Lookups()
    for _ in range(3):
        with pytest.raises(socket.gaierror, match=r"no name server answered within 0\.05 s"):
            await resolved("dead.acme", lookups, 0.05)
    assert servers.asked == {"dead.acme": 1}
    servers.answer()
    assert await resolved("dead.acme", lookups) == ["10.7.0.1"]


async def test_who_gives_up_waiting_takes_the_answer_from_nobody(servers: NameServers) -> None:
    lookups = Lookups()
    first, second = (asyncio.create_task(resolved("dead.acme", lookups)) for _ in range(2))
    await asyncio.sleep(0.02)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    servers.answer()
    assert (first.cancelled(), await second, servers.asked.total()) == (True, ["10.7.0.1"], 1)


async def test_more_names_than_threads_wait_for_their_turn(servers: NameServers) -> None:
    lookups = Lookups(at_once=3)
    tasks = [asyncio.create_task(resolved(f"dead-{number}.acme", lookups)) for number in range(12)]
    async with asyncio.timeout(10):
        while servers.at_once < 3:
            await asyncio.sleep(0.01)
    servers.answer()
    assert await asyncio.gather(*tasks) == [["10.7.0.1"]] * 12
    assert (servers.most_at_once, servers.asked.total()) == (3, 12)


async def test_a_name_that_does_not_exist_says_so_to_all_and_is_looked_up_anew(servers: NameServers) -> None:
    lookups = Lookups()
    for _ in range(2):
        found = await asyncio.gather(*(resolved("none.acme", lookups) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in found] == [socket.gaierror] * 3
    assert servers.asked["none.acme"] >= 2


async def test_a_machine_without_threads_is_no_answer_and_nothing_is_stuck(
    servers: NameServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups = Lookups()

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", start)
        with pytest.raises(socket.gaierror, match="no thread"):
            await resolved("api.acme", lookups)
    assert await resolved("api.acme", lookups) == ["10.7.0.1"]


@pytest.mark.parametrize("proxied", [False, True])
async def test_a_cluster_whose_name_is_dead_is_unreachable_in_time(
    servers: NameServers, world: World, proxied: bool
) -> None:
    dead = {"proxy-url": "http://dead.acme:3128"} if proxied else {"server": "https://dead.acme:6443"}
    began = time.monotonic()
    with pytest.raises(ClusterUnreachable, match=r"no address.*no name server answered within 2 s"):
        async with world.connected(world.kubeconfig(**dead)):
            pass
    assert time.monotonic() - began < 15
