"""Each fault does what it says, to whom it says, and ends."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from fleet.sim import SimCluster, Simulation

MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def short(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=seconds)


async def test_refused_connections_come_back_on_the_same_port(client: Any, cluster: SimCluster) -> None:
    port = cluster.port
    fault = cluster.faults.add("refuse")
    with pytest.raises(aiohttp.ClientError):
        await client.call("GET", MAPS)
    cluster.faults.remove(fault)
    async with asyncio.timeout(5):
        while True:
            try:
                answer = await client.call("GET", MAPS)
                break
            except aiohttp.ClientError:
                await asyncio.sleep(0.01)
    assert (answer.code, cluster.port) == (200, port)


async def test_a_black_hole_answers_when_it_ends(client: Any, cluster: SimCluster) -> None:
    fault = cluster.faults.add("blackhole", verbs={"list"})
    waiting = asyncio.create_task(client.call("GET", MAPS))
    assert (await client.call("GET", "/version")).code == 200
    await asyncio.sleep(0.05)
    assert not waiting.done()
    cluster.faults.remove(fault)
    assert (await waiting).code == 200


async def test_an_error_concerns_its_verb_and_ends_after_its_count(client: Any, cluster: SimCluster) -> None:
    cluster.faults.add("error", code=429, retry_after=3, verbs={"list"}, count=1)
    assert (await client.call("GET", f"{MAPS}/a")).code == 404
    first, second = [await client.call("GET", MAPS) for _ in range(2)]
    assert (first.code, first.headers["Retry-After"], first.body["reason"]) == (429, "3", "TooManyRequests")
    assert second.code == 200


async def test_an_html_page_is_no_status(client: Any, cluster: SimCluster) -> None:
    cluster.faults.add("html", count=1)
    answer = await client.call("GET", MAPS)
    assert answer.code == 502
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_a_half_list_breaks_off(client: Any, cluster: SimCluster) -> None:
    cluster.faults.add("half_list", count=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.call("GET", MAPS)
    assert (await client.call("GET", MAPS)).code == 200


async def test_a_dripping_answer_comes_whole_to_who_waits_for_it(client: Any, cluster: SimCluster) -> None:
    await client.apply(f"{MAPS}/a", config_map(a="1"))
    cluster.faults.add("drip", seconds=0.0, verbs={"get"})
    assert (await client.call("GET", f"{MAPS}/a")).body["data"] == {"a": "1"}


async def test_a_client_that_leaves_a_dripping_answer_is_no_failure_of_the_server(
    client: Any, cluster: SimCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.faults.add("drip", seconds=0.0)
    headers = {"Authorization": f"Bearer {client.token}"}
    async with client.session.get(f"{client.url}/openapi/v2", headers=headers) as answer:
        await answer.content.readexactly(1)
        cluster.cut()  # with the next byte on its way
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    assert [record.getMessage() for record in caplog.records if record.name == "aiohttp.server"] == []


async def watch_line(client: Any, query: str = "watch=1&timeoutSeconds=5") -> bytes:
    headers = {"Authorization": f"Bearer {client.token}"}
    async with client.session.get(f"{client.url}{MAPS}?{query}", headers=headers, timeout=short(5)) as stream:
        return await stream.content.readline()


async def test_a_truncated_watch_ends_in_the_middle_of_a_line(client: Any, cluster: SimCluster) -> None:
    cluster.faults.add("truncated", count=1)
    line = await watch_line(client)
    assert line
    assert not line.endswith(b"\n")


async def test_a_silent_watch_says_nothing(client: Any, cluster: SimCluster) -> None:
    cluster.faults.add("silent")
    query = f"watch=1&allowWatchBookmarks=true&resourceVersion={cluster.store.version}&timeoutSeconds=1"
    reading = asyncio.create_task(watch_line(client, query))
    while not cluster.watches.open:
        await asyncio.sleep(0.005)
    await client.apply(f"{MAPS}/a", config_map())
    assert await reading == b""


async def test_a_quiet_watch_answers_at_once(client: Any, cluster: SimCluster) -> None:
    headers = {"Authorization": f"Bearer {client.token}"}
    url = f"{client.url}/api/v1/secrets?watch=1&resourceVersion={cluster.store.version}"
    async with asyncio.timeout(2), client.session.get(url, headers=headers) as stream:
        assert stream.status == 200


async def test_an_expired_watch_says_410(client: Any, cluster: SimCluster) -> None:
    cluster.faults.add("expired", count=1)
    event = orjson.loads(await watch_line(client))
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_false_identity_shows_in_the_one_namespace(client: Any, cluster: SimCluster) -> None:
    path = "/api/v1/namespaces/kube-system"
    true = (await client.call("GET", path)).body["metadata"]["uid"]
    cluster.faults.add("identity")
    false = (await client.call("GET", path)).body["metadata"]["uid"]
    cluster.faults.clear()
    assert true == cluster.identity
    assert false not in {true, ""}
    assert (await client.call("GET", path)).body["metadata"]["uid"] == true


async def test_a_lost_write_has_landed(client: Any, cluster: SimCluster) -> None:
    cluster.faults.add("lost_write", count=1)
    writing = asyncio.create_task(client.apply(f"{MAPS}/a", config_map(x="1")))
    while cluster.get("", "ConfigMap", "default", "a") is None:
        await asyncio.sleep(0.005)
    assert not writing.done()
    cluster.faults.clear()
    with pytest.raises(aiohttp.ClientError):
        await writing
    assert (await client.call("GET", f"{MAPS}/a")).body["data"] == {"x": "1"}


async def until_quiet(cluster: SimCluster) -> None:
    """Until a new cluster has made by itself what it makes: each of these writes is one version."""
    async with asyncio.timeout(20):
        while len(cluster.store.rows("configmaps")) < len(cluster.store.rows("namespaces")):
            await asyncio.sleep(0.005)


async def test_a_stale_read_shows_the_past(client: Any, cluster: SimCluster) -> None:
    await until_quiet(cluster)
    await client.apply(f"{MAPS}/a", config_map(x="1"))
    await client.apply(f"{MAPS}/a", config_map(x="2"))
    cluster.faults.add("stale", versions=1, count=1)
    assert (await client.call("GET", f"{MAPS}/a")).body["data"] == {"x": "1"}
    assert (await client.call("GET", f"{MAPS}/a")).body["data"] == {"x": "2"}


@pytest.mark.parametrize(("was", "code"), [(False, 404), (True, 200)])
async def test_a_stale_read_does_not_see_what_was_not_yet(
    client: Any, cluster: SimCluster, was: bool, code: int
) -> None:
    await until_quiet(cluster)
    before = cluster.store.version
    await client.apply(f"{MAPS}/a", config_map(x="1"))
    cluster.faults.add("stale", versions=0 if was else cluster.store.version - before)
    assert (await client.call("GET", f"{MAPS}/a")).code == code


async def test_a_fault_of_streams_can_be_for_one_client_alone(client: Any, cluster: SimCluster) -> None:
    await client.apply(f"{MAPS}/a", config_map(x="1"))
    cluster.faults.add("expired", agent="nobody")
    assert orjson.loads(await watch_line(client))["type"] == "ADDED"
    cluster.faults.add("expired", agent="tester")
    headers = {"Authorization": f"Bearer {client.token}", "User-Agent": "tester/1"}
    async with client.session.get(f"{client.url}{MAPS}?watch=1", headers=headers, timeout=short(5)) as stream:
        assert orjson.loads(await stream.content.readline())["type"] == "ERROR"


async def test_a_truncated_watch_does_not_end_between_two_lines_that_are_as_long(
    client: Any, cluster: SimCluster
) -> None:
    for name in "ab":
        await client.apply(f"{MAPS}/{name}", config_map(name, x="1"))
    cluster.faults.add("truncated", count=1)
    headers = {"Authorization": f"Bearer {client.token}"}
    url = f"{client.url}{MAPS}?watch=1"
    async with client.session.get(url, headers=headers, timeout=short(5)) as stream:
        raw = await stream.read()
    assert raw
    assert not raw.endswith(b"\n")


async def test_a_fault_of_one_cluster_leaves_the_other_alone() -> None:
    async with Simulation(["a", "b"], seed=1) as sim:
        sim.cluster("a").faults.add("error", code=503)
        codes: list[int] = []
        for name in "ab":
            token = {"Authorization": f"Bearer {sim.cluster(name).token}"}
            async with aiohttp.ClientSession() as session:
                url = f"https://{sim.cluster(name).address}{MAPS}"
                codes.append((await session.get(url, headers=token, ssl=False)).status)
    assert codes == [503, 200]


async def test_an_unknown_fault_is_refused(cluster: SimCluster) -> None:
    with pytest.raises(ValueError, match="no fault is called 'gremlin'"):
        cluster.faults.add("gremlin")


async def test_idle_watches_end_when_their_reader_hangs_up(client: Any, cluster: SimCluster) -> None:
    headers = {"Authorization": f"Bearer {client.token}"}
    url = f"{client.url}{MAPS}?watch=1&resourceVersion={cluster.store.version}"
    stream = await client.session.get(url, headers=headers)
    assert len(cluster.watches.open) == 1
    stream.close()
    async with asyncio.timeout(5):
        while cluster.watches.open:
            await asyncio.sleep(0.005)


async def test_the_control_endpoint_drifts_with_its_token_alone(sim: Simulation, cluster: SimCluster) -> None:
    cluster.create(config_map() | {"metadata": {"name": "a", "namespace": "default"}})
    url = await sim.control.start()
    body = {
        "cluster": "eu-1",
        "kind": "ConfigMap",
        "namespace": "default",
        "name": "a",
        "changes": {"data": {"x": "9"}},
    }
    async with aiohttp.ClientSession() as session:
        refused = await session.post(f"{url}/drift", json=body)
        headers = {"Authorization": f"Bearer {sim.control.token}"}
        done = await session.post(f"{url}/drift", json=body, headers=headers)
        unknown = await session.post(f"{url}/drift", json=body | {"cluster": "eu-9"}, headers=headers)
        listed = await (await session.get(f"{url}/ledger?cluster=eu-1", headers=headers)).json()
    live: Any = cluster.get("", "ConfigMap", "default", "a")
    assert (refused.status, done.status, unknown.status) == (401, 200, 404)
    assert live["data"] == {"x": "9"}
    assert listed == {"entries": []}
