"""Malformed, large and endless requests get 4xx; streams end with their token; webhooks only hint."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from api.conftest import SECRET, Api, drifted_object
from structlog.testing import capture_logs

from fleet import telemetry
from fleet.api import stream
from fleet.core.ids import ClusterName
from fleet.core.renewal import CredentialState, Ends, Place
from fleet.core.status import Event, EventKind


@pytest.mark.parametrize(
    ("raw", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b'{"reason": 7}', "application/json", 422),
        (b"reason=x", "application/x-www-form-urlencoded", 422),
        (b'{"reason": "' + b"x" * (1 << 20) + b'"}', "application/json", 413),
    ],
)
async def test_a_bad_body_is_4xx_and_changes_nothing(api: Api, raw: bytes, kind: str, status: int) -> None:
    found, problem = await api.call("POST", "/api/v1/fleet:suspend", raw=raw, **{"Content-Type": kind})
    assert (found, problem["status"]) == (status, status)
    assert await api.state.suspensions() == ()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (3e11, None),
        (1.8e12, None),
        (-1e300, None),
        (float("nan"), None),
        (float("inf"), None),
        (0.0, None),
        (1_807_776_000.0, "2027-04-15T08:00:00.000+00:00"),
    ],
)
async def test_no_time_that_a_cluster_says_takes_a_list_from_anybody(api: Api, said: float, shown: str | None) -> None:
    name, ends = ClusterName("eu-1"), Ends("token", said)
    await api.state.put_credential(name, b"{}", api.now)
    api.view.credentials[name] = CredentialState(name, name, Place.STORED, ends, ends, renew_at=said)
    drifted = drifted_object("a")
    drift = tuple(replace(field, since=said) for field in drifted.drift)
    api.put("web@eu-1", objects=(replace(drifted, drift=drift),))
    status, clusters = await api.call("GET", "/api/v1/clusters", role="viewer")
    assert status == 200
    credential = next(item["status"]["credential"] for item in clusters["items"] if item["metadata"]["name"] == name)
    assert (credential.get("endsAt"), credential.get("renewAt")) == (shown, shown)
    status, kept = await api.call("GET", "/api/v1/credentials")
    assert (status, kept["items"][0].get("endsAt")) == (200, shown)
    status, unit = await api.call("GET", "/api/v1/units/web@eu-1", role="viewer")
    assert (status, unit["status"]["objects"][0]["drift"][0].get("since")) == (200, shown)
    assert (await api.call("GET", "/api/v1/status", role="viewer"))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/units?limit=0",
        "/api/v1/units?limit=x",
        "/api/v1/units?unknown=1",
        "/api/v1/units?continue=-1",
        "/api/v1/units?labelSelector=((",
        "/api/v1/units/%00",
        "/api/v1/units/%ff%fe",
        "/api/v1/clusters/..%2f..%2fetc",
        "/api/v1/events?after=99999999999999999999999",
        "/api/v1/stream?after=x",
        "/nowhere",
        "/api/v1/units/" + "x" * 7000,
    ],
)
async def test_garbage_in_paths_and_queries_is_4xx(api: Api, path: str) -> None:
    status, problem = await api.call("GET", path)
    assert 400 <= status < 500
    assert problem["type"].startswith("urn:fleet:")


async def test_another_method_is_405_and_an_odd_one_no_label_of_a_metric(api: Api) -> None:
    assert (await api.call("PATCH", "/api/v1/status"))[0] == 405
    await api.call("PROPFIND", "/api/v1/status")
    _, text = await api.call("GET", "/metrics")
    assert 'method="other"' in text
    assert "PROPFIND" not in text


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: " + b"x" * 70_000 + b"\r\n\r\n",
        b"POST /api/v1/fleet:suspend HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nzzz",
    ],
)
async def test_bytes_that_are_no_request_get_no_5xx(api: Api, head: bytes) -> None:
    port = int(api.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    line = await asyncio.wait_for(reader.readline(), 5)
    writer.close()
    assert line == b"" or line.split()[1].startswith(b"4")
    assert (await api.call("GET", "/healthz"))[0] == 200


async def test_answers_are_neither_cached_nor_sniffed(api: Api) -> None:
    async with api.session.get(api.url + "/healthz") as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_bug_is_answered_as_a_problem_without_its_text(api: Api) -> None:
    api.view.units = None  # what a bug may leave behind
    status, problem = await api.call("GET", "/api/v1/units")
    assert (status, problem["type"]) == (500, "urn:fleet:Bug")
    assert "NoneType" not in str(problem)


# The stream


async def tell(api: Api, *messages: str) -> None:
    events = [Event(api.now, EventKind.NOTE, ClusterName("eu-1"), None, message) for message in messages]
    await api.state.add_events(events)
    api.bells.news.ring()


async def lines(answer, count: int) -> list[dict]:
    found: list[dict] = []
    async with asyncio.timeout(10):
        async for line in answer.content:
            if line.startswith(b"data:"):
                found.append(json.loads(line[5:]))
                if len(found) == count:
                    return found
    return found


async def test_a_stream_goes_on_where_the_last_one_ended(api: Api) -> None:
    await tell(api, "one", "two", "three")
    headers = {"Authorization": f"Bearer {api.keys['viewer']}"}
    async with api.session.get(api.url + "/api/v1/stream", headers={**headers, "Last-Event-ID": "1"}) as answer:
        assert [event["message"] for event in await lines(answer, 2)] == ["two", "three"]
        await tell(api, "four")
        assert [event["message"] for event in await lines(answer, 1)] == ["four"]


async def test_two_streams_both_hear_the_news(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.keys['viewer']}", "Last-Event-ID": "0"}
    async with (
        api.session.get(api.url + "/api/v1/stream", headers=headers) as first,
        api.session.get(api.url + "/api/v1/stream", headers=headers) as second,
    ):
        await tell(api, "news")
        assert [event["message"] for event in await lines(first, 1)] == ["news"]
        assert [event["message"] for event in await lines(second, 1)] == ["news"]


async def test_a_revoked_token_ends_its_stream_within_five_seconds(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.keys['viewer']}"}
    async with api.session.get(api.url + "/api/v1/stream", headers=headers) as answer:
        assert answer.status == 200
        began = time.monotonic()
        await api.call("DELETE", "/api/v1/tokens/t-viewer")
        assert await lines(answer, 1) == []
        assert time.monotonic() - began <= 5


async def test_a_stream_whose_reader_takes_nothing_ends_and_is_no_bug(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def streams_that_ended() -> dict[str, float]:
        samples = [each for metric in telemetry.HTTP_REQUESTS.collect() for each in metric.samples]
        return {
            each.labels["code"]: each.value
            for each in samples
            if each.labels["route"] == "/api/v1/stream" and each.name.endswith("_total")
        }

    monkeypatch.setattr(stream, "SLOW_SECONDS", 0.2)
    await tell(api, *["x" * (1 << 20)] * 16)  # more than the kernel keeps for a reader
    before, place, loop = streams_that_ended(), urlsplit(api.url), asyncio.get_running_loop()
    ask = f"GET /api/v1/stream HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {api.keys['viewer']}\r\nLast-Event-ID: 0"
    with capture_logs() as logs, socket.socket() as taker:
        taker.setblocking(False)
        await loop.sock_connect(taker, (place.hostname, place.port))
        await loop.sock_sendall(taker, f"{ask}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            while streams_that_ended() == before:
                await asyncio.sleep(0.01)
    assert streams_that_ended() == {**before, "200": before.get("200", 0.0) + 1}
    assert logs == []


async def test_fields_that_are_not_known_are_named_to_their_sender_and_are_one_entry_of_the_log(api: Api) -> None:
    for number in range(5):
        api.now += 61
        status, problem = await api.call("GET", f"/api/v1/units?x{number}=1", role="viewer")
        assert (status, problem["where"]) == (422, f"x{number}")
    said = "RequestInvalid (R41): the query is not as described: it has fields that are not known"
    assert await refusals_in(api) == [("t-viewer", "GET /api/v1/units", said)]


async def test_a_sender_that_leaves_amid_its_body_is_refused_and_is_no_bug(api: Api) -> None:
    place, before = urlsplit(api.url), await refusals_in(api)
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(b"POST /hooks/git HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n1")
        await writer.drain()
        writer.close()
        async with asyncio.timeout(20):
            while len(found := await refusals_in(api)) == len(before):
                await asyncio.sleep(0.01)
    assert found[-1][2].startswith("RequestInvalid (R41): the connection ended amid the body")
    assert [each for each in logs if each["log_level"] == "error"] == []


# The webhook


async def test_a_signed_webhook_hastens_the_fetch_and_any_other_does_not(api: Api) -> None:
    raw = b'{"ref": "refs/heads/main"}'
    good = "sha256=" + hmac.new(SECRET, raw, hashlib.sha256).hexdigest()
    status, _ = await api.call("POST", "/hooks/git", raw=raw, role="nobody", **{"X-Hub-Signature-256": "sha256=00"})
    assert (status, api.bells.fetch.is_set()) == (401, False)
    status, _ = await api.call("POST", "/hooks/git", raw=raw + b" ", role="nobody", **{"X-Hub-Signature-256": good})
    assert (status, api.bells.fetch.is_set()) == (401, False)
    status, _ = await api.call("POST", "/hooks/git", raw=raw, role="nobody", **{"X-Hub-Signature-256": good})
    assert (status, api.bells.fetch.is_set()) == (202, True)
    status, _ = await api.call("POST", "/hooks/git", raw=b"x" * ((1 << 20) + 1), role="nobody")
    assert status == 413


# What is refused is counted and written down


async def refusals_in(api: Api) -> list[tuple[str, str, str]]:
    await api.refusals.flush()
    entries = [link.entry for link in await api.state.audit_entries(after=0, limit=100)]
    return [(entry.actor, entry.object, entry.reason) for entry in entries if entry.action == "refuse"]


async def test_a_flood_of_unsigned_webhooks_is_one_entry_without_a_word_of_theirs(api: Api) -> None:
    for number in range(20):
        await api.call("POST", "/hooks/git", raw=b"x" * number, role="", **{"X-Fleet-Signature": f"sha256={number}"})
    ((actor, place, reason),) = await refusals_in(api)
    assert (actor, place) == ("anonymous", "POST /hooks/git")
    assert reason.startswith("NotAuthenticated (R37): ")
    _, text = await api.call("GET", "/metrics")
    assert 'fleet_refusals_total{boundary="api",reason="NotAuthenticated",rule="R37"}' in text


async def test_who_may_not_is_named_in_the_log_and_who_asks_for_what_is_not_there_is_not(api: Api) -> None:
    await api.call("POST", "/api/v1/units/web@eu-1:sync", {}, role="viewer")
    await api.call("GET", "/api/v1/units/nobody@eu-1")
    await api.call("GET", "/nowhere")
    ((actor, place, reason),) = await refusals_in(api)
    assert (actor, place) == ("t-viewer", "POST /api/v1/units/{name}:sync")
    assert reason.startswith("NotAllowed (R37): ")


async def test_a_body_that_is_too_large_is_counted(api: Api) -> None:
    status, _ = await api.call("POST", "/hooks/git", raw=b"x" * ((1 << 20) + 1), role="")
    assert status == 413
    assert [reason.partition(":")[0] for _, _, reason in await refusals_in(api)] == ["RequestInvalid (R41)"]
