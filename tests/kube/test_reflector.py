"""Following a kind through everything a watch can do wrong: never a gap, never a busy loop, never silent for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis.strategies import integers
from kube.hostile import SHORT, Asked, Reply, World, as_json, refusal

from fleet.kube.reflector import may_be_before
from fleet.ports.kube import Changed, Kube, Listed, Lost, Proved, Removed, Seen, ServedKind

MAPS = ServedKind("", "v1", "ConfigMap", "configmaps", True, frozenset())
QUICK = replace(SHORT, proof_seconds=1, watch_seconds=2, silence_seconds=0.6, steady_seconds=0.5)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
Watch = Callable[["Script", asyncio.StreamWriter], Awaitable[Reply | None]]


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(kind: str, version: int | str, name: str = "a", **more: Any) -> bytes:
    metadata = {"name": name, "namespace": "shop", "resourceVersion": str(version)}
    document = {"kind": "ConfigMap", "metadata": metadata, **more}
    return json.dumps({"type": kind, "object": document}).encode() + b"\n"


class Script:
    """Lists and watches as a test says: watches one after the other, the last one for ever."""

    def __init__(self, *watches: Watch, version: int = 10) -> None:
        self.watches = list(watches)
        self.version = version
        self.began: list[dict[str, str]] = []  # the queries of the watches
        self.lists: list[dict[str, str]] = []
        self.at: list[float] = []
        self.list_error: Reply | None = None
        self.reads: list[str] = []  # paths of objects that were read by name
        self.read_answer = as_json({"kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "99"}})

    async def answer(self, asked: Asked, writer: asyncio.StreamWriter) -> Reply | None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(asked.path).query).items()}
        if not urlsplit(asked.path).path.endswith("/configmaps"):
            self.reads.append(asked.path)
            return self.read_answer
        if "watch" not in query:
            self.lists.append(query)
            items = [{"metadata": {"name": "a", "namespace": "shop", "resourceVersion": "3"}}]
            listed = {"kind": "ConfigMapList", "metadata": {"resourceVersion": str(self.version)}, "items": items}
            return self.list_error or as_json(listed)
        self.began.append(query)
        self.at.append(asyncio.get_running_loop().time())
        watch = self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]
        return await watch(self, writer)

    @property
    def whole_lists(self) -> int:
        return sum(query["limit"] != "1" for query in self.lists)


def stream(*data: bytes, stay: float = 30.0, end: bool = True) -> Watch:
    """Send these pieces, stay open, then end the answer properly (or just cut it)."""

    async def watch(script: Script, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"".join(chunk(piece) for piece in data))
        await writer.drain()
        await asyncio.sleep(stay)
        if end:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        else:
            writer.transport.abort()

    return watch


def replies(reply: Reply) -> Watch:
    async def watch(script: Script, writer: asyncio.StreamWriter) -> Reply:
        return reply

    return watch


async def as_asked(script: Script, writer: asyncio.StreamWriter) -> None:
    """A watch on which nothing happens, ended by the server when the time it was asked for is over."""
    await stream(stay=float(script.began[-1]["timeoutSeconds"]))(script, writer)


@asynccontextmanager
async def followed(
    world: World, script: Script, *, since: str = "", limits: Any = QUICK
) -> AsyncIterator[Callable[[], Awaitable[Seen]]]:
    world.server.answer = script.answer
    async with world.connected(limits=limits) as kube, aclosing(kube.follow(MAPS, since=since)) as events:

        async def following() -> Seen:
            async with asyncio.timeout(20):
                return await anext(events)

        yield following


async def test_a_list_comes_first_and_the_watch_goes_on_from_it(world: World) -> None:
    script = Script(stream(event("ADDED", 11, "b"), event("MODIFIED", 12), event("DELETED", 13), event("BOOKMARK", 20)))
    async with followed(world, script) as following:
        listed = await following()
        assert isinstance(listed, Listed)
        assert listed.resource_version == "10"
        assert listed.items[0]["kind"] == "ConfigMap"
        kinds = [type(await following()) for _ in range(4)]
    assert kinds == [Changed, Changed, Removed, Proved]
    assert script.began[0]["resourceVersion"] == "10"
    assert script.began[0]["allowWatchBookmarks"] == "true"


async def test_events_are_framed_whatever_the_chunks_are_and_large_ones_come_through(world: World) -> None:
    large = event("MODIFIED", 12, data={"a": "x" * 1_500_000})
    whole = event("ADDED", 11) + large + event("BOOKMARK", 13)
    pieces = [whole[:5], whole[5:100_000], whole[100_000:-3], whole[-3:]]
    async with followed(world, Script(stream(*pieces))) as following:
        versions = [(await following()).resource_version for _ in range(4)]  # type: ignore[union-attr]
    assert versions == ["10", "11", "12", "13"]


async def test_an_event_beyond_the_limit_ends_the_watch(world: World) -> None:
    script = Script(stream(event("MODIFIED", 12, data={"a": "x" * 3_000_000})[:-1]))
    async with followed(world, script, limits=replace(QUICK, event_bytes=1 << 20)) as following:
        await following()
        lost = await following()
    assert isinstance(lost, Lost)
    assert "larger than 1 MiB" in lost.message


async def test_an_event_of_very_many_values_ends_the_watch_unparsed(world: World) -> None:
    bomb = event("MODIFIED", 11)[:-3] + b',"data":[' + b"[]," * 1_000_000 + b"[]]}}\n"
    script = Script(stream(bomb), stream(event("MODIFIED", 12)))
    async with followed(world, script) as following:
        await following()
        lost, after = await following(), await following()
    assert isinstance(lost, Lost)
    assert "more than 500000 values" in lost.message
    assert (type(after), getattr(after, "resource_version", "")) == (Changed, "12")


async def test_an_event_whose_texts_are_full_of_brackets_comes_through(world: World) -> None:
    async with followed(world, Script(stream(event("MODIFIED", 11, data={"a": "[]," * 400_000})))) as following:
        await following()
        assert isinstance(await following(), Changed)


@pytest.mark.parametrize("levels", [300, 1500])
async def test_an_event_of_a_nested_object_comes_through_and_the_watch_goes_on(world: World, levels: int) -> None:
    nested = b'{"a":' * levels + b"1" + b"}" * levels
    deep = event("MODIFIED", 11)[:-3] + b',"data":' + nested + b"}}\n"
    async with followed(world, Script(stream(deep, event("MODIFIED", 12)))) as following:
        await following()
        seen = [await following() for _ in range(2)]
    assert [(type(one), getattr(one, "resource_version", "")) for one in seen] == [(Changed, "11"), (Changed, "12")]


async def test_a_mute_watch_is_noticed_and_said(world: World) -> None:
    async def mute_though_history_goes_on(script: Script, writer: asyncio.StreamWriter) -> None:
        script.version += 5
        await stream()(script, writer)

    script = Script(mute_though_history_goes_on)
    async with followed(world, script) as following:
        await following()
        began = asyncio.get_running_loop().time()
        lost = await following()
        assert asyncio.get_running_loop().time() - began < 3 * QUICK.silence_seconds
    assert isinstance(lost, Lost)
    assert lost.reason == "WatchSilent"


async def test_a_mute_watch_that_is_opened_again_proves_nothing(world: World) -> None:
    """It ends as asked, twice: what happened meanwhile was not said, and is listed."""
    script = Script(stream(), as_asked, as_asked, stream())
    async with followed(world, script, limits=replace(QUICK, watch_seconds=900, silence_seconds=2)) as following:
        await following()
        script.version = 15
        kinds = [type(await following()) for _ in range(2)]
    assert kinds == [Lost, Listed]
    assert len(script.began) == 3


async def test_a_watch_whose_server_heard_late_of_what_happened_is_not_listed_again(world: World) -> None:
    script = Script(as_asked, stream(event("BOOKMARK", 15)), version=15)
    async with followed(world, script, since="10", limits=replace(QUICK, silence_seconds=30)) as following:
        assert await following() == Proved("15")
    assert script.whole_lists == 0


async def test_an_event_that_never_ends_is_silence(world: World) -> None:
    async def drip(script: Script, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for place in range(400):
            writer.write(chunk(event("MODIFIED", 11)[place : place + 1]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async with followed(world, Script(drip), limits=replace(QUICK, watch_seconds=900)) as following:
        await following()
        began = asyncio.get_running_loop().time()
        lost = await following()
        assert asyncio.get_running_loop().time() - began < 2 * QUICK.silence_seconds
    assert isinstance(lost, Lost)
    assert "did not come to its end" in lost.message


async def test_what_a_slow_event_says_is_as_old_as_its_first_byte(world: World) -> None:
    async def slow(script: Script, writer: asyncio.StreamWriter) -> None:
        whole = event("MODIFIED", 11)
        script.version = 20  # and of what happens later nothing is said
        for piece in (whole[:5], whole[5:]):
            writer.write(HEAD * (piece == whole[:5]) + chunk(piece))
            await writer.drain()
            await asyncio.sleep(1.2 if piece == whole[:5] else 30)

    limits = replace(QUICK, watch_seconds=900, silence_seconds=1.8, steady_seconds=0.1)
    async with followed(world, Script(slow), limits=limits) as following:
        await following()
        began = asyncio.get_running_loop().time()
        assert isinstance(await following(), Changed)
        assert isinstance(await following(), Lost)
        assert asyncio.get_running_loop().time() - began < 2.6  # not 1.2 and 1.8 more


def every(seconds: float, *versions: int) -> Watch:
    """An event from time to time, the last version again and again."""

    async def watch(script: Script, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for number in range(200):
            await asyncio.sleep(seconds)
            writer.write(chunk(event("MODIFIED", versions[min(number, len(versions) - 1)])))
            await writer.drain()

    return watch


async def test_events_that_each_come_in_time_but_from_ever_longer_ago_are_noticed(world: World) -> None:
    script, limits = Script(every(1.2, 11, 12, 13, 14)), replace(QUICK, watch_seconds=900, silence_seconds=2)
    async with followed(world, script, limits=limits) as following:
        await following()
        script.version = 50  # what happens, and is not said
        seen = [await following()]
        while isinstance(seen[-1], Changed):
            seen.append(await following())
    assert isinstance(seen[-1], Lost)
    assert 1 < len(seen) <= 4


async def test_a_watch_that_catches_up_in_time_is_not_lost(world: World) -> None:
    script, limits = Script(every(1.2, 11, 50, 51)), replace(QUICK, watch_seconds=900, silence_seconds=2)
    async with followed(world, script, limits=limits) as following:
        await following()
        script.version = 50
        seen = [await following() for _ in range(5)]
        assert not any(isinstance(one, Lost) for one in seen)


async def test_a_watch_that_does_not_end_when_it_should_is_proven_anew(world: World) -> None:
    """However well its events come: they may be from long ago, as its end is."""
    script = Script(every(0.2, *range(11, 60)), stream(event("BOOKMARK", 70)))
    async with followed(world, script, limits=replace(QUICK, watch_seconds=1)) as following:
        await following()
        versions: list[str] = []
        while len(script.began) < 2 or versions[-1] != "70":
            seen = await following()
            assert isinstance(seen, Changed | Proved)
            versions.append(seen.resource_version)
    assert 6 <= len(versions) <= 20


async def test_a_watch_is_not_lost_where_nothing_happened_in_the_whole_cluster(world: World) -> None:
    script = Script(stream())
    async with followed(world, script, limits=replace(QUICK, watch_seconds=100)) as following:
        await following()
        assert await following() == Proved("10")
        assert await following() == Proved("10")
    assert len(script.began) == 1
    assert script.whole_lists == 1


async def test_a_watch_that_ends_as_asked_is_renewed_at_once_and_proves(world: World) -> None:
    script = Script(as_asked)
    async with followed(world, script, limits=replace(QUICK, watch_seconds=1, silence_seconds=30)) as following:
        await following()
        seen = [await following() for _ in range(3)]
    assert seen == [Proved("10")] * 3
    assert script.whole_lists == 1


async def test_410_lists_again_at_once(world: World) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
    error = json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n"
    for expired in (stream(error), replies(refusal(410, "Expired", "too old"))):
        script = Script(expired, stream(event("MODIFIED", 12)))
        async with followed(world, script, since="5") as following:
            assert isinstance(await following(), Listed)
            assert isinstance(await following(), Changed)


async def test_410_for_ever_is_no_busy_loop(world: World) -> None:
    script = Script(replies(refusal(410, "Expired", "too old")))
    async with followed(world, script) as following:
        seen = [type(await following()) for _ in range(6)]
    assert seen == [Listed, Lost] * 3
    assert script.at[-1] - script.at[0] >= 1.0


async def test_an_html_502_is_a_status_and_no_event(world: World) -> None:
    page = Reply(502, b"<html><title>Bad Gateway</title></html>", {"Content-Type": "text/html"})
    async with followed(world, Script(replies(page), stream(event("MODIFIED", 12)))) as following:
        await following()
        lost = await following()
        assert isinstance(lost, Lost)
        assert lost.reason == "ServerFailed"
        assert isinstance(await following(), Changed)


_UNNAMED = ("name-of-two", "no-name", "empty-name", "place-of-two")


@pytest.mark.parametrize(
    "watch",
    [
        stream(stay=0),
        stream(b'{"type": "ADDED", "obj', stay=0),
        stream(b"no json at all\n"),
        stream(json.dumps({"type": "ADDED", "object": {"metadata": {}}}).encode() + b"\n"),
        stream(event("SURPRISE", 11)),
        stream(event("ADDED", 11, "a/b")),
        stream(event("DELETED", 11, "..")),
        stream(event("MODIFIED", 11, "")),
        stream(event("ADDED", 11, metadata={"name": "a", "namespace": "x/y", "resourceVersion": "11"})),
        stream(json.dumps({"type": "ERROR", "object": {"code": 500, "message": "etcd"}}).encode() + b"\n"),
        stream(stay=0, end=False),
        replies(Reply(200, b"<html></html>", {"Content-Type": "text/html"})),
        replies(refusal(429, "TooManyRequests", "later")),
    ],
    ids=[
        "ends-at-once",
        "half-event",
        "no-json",
        "no-version",
        "unknown-type",
        *_UNNAMED,
        "error",
        "cut",
        "html",
        "429",
    ],
)
async def test_a_broken_watch_is_said_and_tried_again_after_a_pause(world: World, watch: Watch) -> None:
    script = Script(watch, watch, stream(event("MODIFIED", 12)))
    async with followed(world, script) as following:
        kinds = [type(await following()) for _ in range(4)]
    assert kinds == [Listed, Lost, Lost, Changed]
    assert all(later - earlier >= 0.45 for earlier, later in zip(script.at, script.at[1:], strict=False))
    assert script.whole_lists == 1  # the position is still good: nothing is listed again


async def test_a_server_that_sends_an_event_and_ends_is_no_busy_loop_either(world: World) -> None:
    script = Script(stream(event("MODIFIED", 12), stay=0))
    async with followed(world, script) as following:
        kinds = [type(await following()) for _ in range(7)]
    assert kinds == [Listed, Changed, Lost, Changed, Lost, Changed, Lost]
    assert script.at[-1] - script.at[0] >= 1.0


async def test_after_an_outage_a_short_watch_proves_the_position(world: World) -> None:
    script = Script(stream(stay=0, end=False), as_asked, stream())
    async with followed(world, script, limits=replace(QUICK, watch_seconds=900, silence_seconds=30)) as following:
        kinds = [type(await following()) for _ in range(3)]
    assert kinds == [Listed, Lost, Proved]
    assert int(script.began[0]["timeoutSeconds"]) >= 600
    assert int(script.began[1]["timeoutSeconds"]) <= 2


def a_at(version: str) -> Reply:
    return as_json({"kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": version}})


@pytest.mark.parametrize(
    ("answer", "lists"),
    [
        (a_at("3"), 1),
        (a_at("99"), 1),
        (refusal(403, "Forbidden"), 1),
        (a_at("2"), 2),
        (refusal(404, "NotFound", 'configmaps "a" not found', {"name": "a", "kind": "configmaps"}), 2),
    ],
    ids=["as it was", "changed since", "nobody may look", "as it was before", "not there"],
)
async def test_after_an_outage_the_last_change_shows_whether_the_history_is_the_same(
    world: World, answer: Reply, lists: int
) -> None:
    """A store that was put back and has gone on beyond the position would go on with the watch."""
    script = Script(stream(stay=0, end=False), as_asked, stream())
    script.read_answer = answer
    async with followed(world, script, limits=replace(QUICK, watch_seconds=900, silence_seconds=30)) as following:
        kinds = [type(await following()) for _ in range(2)]
        assert kinds == [Listed, Lost]
        while isinstance(seen := await following(), Lost):
            pass
    assert isinstance(seen, Listed if lists == 2 else Proved)
    assert script.whole_lists == lists
    assert len(script.reads) == 1


async def test_a_watch_that_ends_as_asked_reads_nothing_by_name(world: World) -> None:
    script = Script(as_asked, as_asked, stream())
    async with followed(world, script) as following:
        kinds = [type(await following()) for _ in range(3)]
    assert kinds == [Listed, Proved, Proved]
    assert not script.reads


async def test_a_failing_list_is_lost_and_comes_again(world: World) -> None:
    script = Script(stream(event("MODIFIED", 12)))
    script.list_error = refusal(500, "InternalError", "etcd")
    async with followed(world, script) as following:
        lost = await following()
        assert isinstance(lost, Lost)
        assert lost.reason == "ServerFailed"
        script.list_error = None
        assert isinstance(await following(), Listed)


async def test_a_missing_right_is_asked_seldom(world: World) -> None:
    script = Script(stream())
    script.list_error = refusal(403, "Forbidden", 'User "jo" cannot list resource "configmaps"')
    async with followed(world, script) as following:
        lost = await following()
        assert isinstance(lost, Lost)
        assert lost.reason == "Forbidden"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await following()
    assert script.whole_lists == 1


# More to follow than watches


async def test_what_finds_no_place_for_a_watch_is_listed_again_and_again_and_watched_once_one_is_free(
    world: World,
) -> None:
    script = Script(stream(event("MODIFIED", 11)), stream(event("MODIFIED", 12)))
    world.server.answer = script.answer
    limits = replace(QUICK, watches=1, connections=3, relist_seconds=0.2, silence_seconds=30)
    async with world.connected(limits=limits) as kube, aclosing(kube.follow(MAPS)) as first:
        assert [type(await anext(first)) for _ in range(2)] == [Listed, Changed]
        async with aclosing(kube.follow(MAPS)) as second:
            seen = [await anext(second) for _ in range(3)]
            assert {type(one) for one in seen} == {Listed}
            assert len(script.began) == 1
            await first.aclose()
            async with asyncio.timeout(20):
                while not isinstance(one := await anext(second), Changed):
                    assert isinstance(one, Listed)
            assert one.resource_version == "12"
            assert len(script.began) == 2


async def test_a_resumed_position_without_a_place_for_its_watch_is_listed_at_once(world: World) -> None:
    script = Script(stream())
    async with followed(world, script, since="9", limits=replace(QUICK, watches=0, relist_seconds=60)) as following:
        async with asyncio.timeout(2):
            assert isinstance(await following(), Listed)
    assert script.began == []


async def test_calls_find_a_connection_however_much_is_watched(world: World) -> None:
    limits = replace(QUICK, watches=2, connections=4, relist_seconds=60, silence_seconds=30)
    script = Script(stream())
    world.server.answer = script.answer
    async with world.connected(limits=limits) as kube:
        follows = [kube.follow(MAPS) for _ in range(6)]
        watching = [asyncio.create_task(_drained(follow)) for follow in follows]
        async with asyncio.timeout(20):
            while len(script.began) < 2 or script.whole_lists < 6:
                await asyncio.sleep(0.02)
        async with asyncio.timeout(2):
            assert await kube.get(MAPS, "shop", "a") is not None
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    assert len(script.began) == 2


async def _drained(events: AsyncIterator[Seen]) -> None:
    async for _ in events:
        pass


# Resuming


async def test_a_resumed_watch_lists_nothing_and_is_proven_by_what_comes(world: World) -> None:
    for first in (event("MODIFIED", 11), event("BOOKMARK", 11)):
        script = Script(stream(first))
        async with followed(world, script, since="10") as following:
            assert (await following()).resource_version == "11"  # type: ignore[union-attr]
        assert script.lists == []
        assert script.began[0]["resourceVersion"] == "10"
        assert int(script.began[0]["timeoutSeconds"]) <= 2


async def test_a_resumed_watch_on_which_nothing_comes_is_proven_by_a_small_list(world: World) -> None:
    script = Script(as_asked, stream())
    async with followed(world, script, since="10", limits=replace(QUICK, silence_seconds=30)) as following:
        assert await following() == Proved("10")
    assert script.whole_lists == 0
    assert len(script.lists) == 1


async def test_a_position_ahead_of_the_history_leads_to_a_new_list(world: World) -> None:
    for watch in (as_asked, *(stream(event(kind, 90)) for kind in ("BOOKMARK", "ADDED", "MODIFIED", "DELETED"))):
        script = Script(watch, stream(), version=91)
        limits = replace(QUICK, silence_seconds=30)
        async with followed(world, script, since="100", limits=limits) as following:
            listed = await following()
            assert isinstance(listed, Listed)
            assert listed.resource_version == "91"


async def test_ending_the_follow_closes_the_connection(world: World) -> None:
    script = Script(stream(event("MODIFIED", 12)))
    world.server.answer = script.answer
    async with world.connected() as kube:
        events = kube.follow(MAPS)
        await anext(events)
        await anext(events)
        assert world.server.open_connections == 1
        await events.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            while world.server.open_connections:
                await asyncio.sleep(0.01)
        assert await _is_alive(kube)


async def _is_alive(kube: Kube) -> bool:
    return (await kube.list(MAPS)).resource_version == "10"


@given(older=integers(0, 10**18), step=integers(1, 10**6))
def test_versions_are_compared_as_numbers_whatever_their_length(older: int, step: int) -> None:
    assert may_be_before(str(older), str(older + step))
    assert not may_be_before(str(older + step), str(older))
    assert not may_be_before(str(older), str(older))
