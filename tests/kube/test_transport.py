"""What a hostile or broken server can send, and what fleet makes of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import psutil
import pytest
from kube.hostile import SHORT, Asked, Reply, World, as_json, refusal

from fleet import telemetry
from fleet.errors import (
    AdmissionDenied,
    AnswerInvalid,
    ClusterTimeout,
    ClusterUnreachable,
    Forbidden,
    KindNotServed,
    OwnedByOther,
    ServerFailed,
    TooManyRequests,
    Unauthorized,
)
from fleet.ports.kube import ServedKind

MAPS = ServedKind("", "v1", "ConfigMap", "configmaps", True, frozenset({"list", "watch"}))
SECRETS = ServedKind("", "v1", "Secret", "secrets", True, frozenset())
WEB = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "web", "uid": "u1", "resourceVersion": "7"}}


def always(world: World, *replies: Reply | None) -> None:
    """Answer with these, one after the other; the last one stays."""
    left = list(replies)

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> Reply | None:
        return left.pop(0) if len(left) > 1 else left[0]

    world.server.answer = answer


def html(status: int) -> Reply:
    page = b"<!doctype html><html><title>Sign in</title><body>no API here</body></html>"
    return Reply(status, page, {"Content-Type": "text/html; charset=utf-8"})


def configmaps(*names: str, **metadata: Any) -> dict[str, Any]:
    items = [{"metadata": {"name": name, "uid": name}} for name in names]
    return {
        "kind": "ConfigMapList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "9", **metadata},
        "items": items,
    }


UNNAMED: list[dict[str, Any]] = [
    {"name": "a/b"},
    {"name": ".."},
    {"name": "a%2fb"},
    {"name": 1},
    {"namespace": "shop"},
    {"name": "a", "namespace": "shop/till"},
    {"name": "a", "namespace": {"/": "shop"}},
]  # what no API server lets in
_OF_OTHERS = ("another-kind", "metadata-alone", "another-group", "items-of-another-kind")


async def test_a_good_answer_comes_through(world: World) -> None:
    always(world, as_json(WEB, Warning='299 - "spec.x is deprecated", 299 - "second \\"one\\""'))
    async with world.connected() as kube:
        answer = await kube.apply(MAPS, "shop", "web", b"{}")
        assert answer.object["metadata"] == WEB["metadata"]
        assert answer.warnings == ("spec.x is deprecated", 'second "one"')
        assert (await kube.get(MAPS, "shop", "web")) == WEB
    sent = world.server.seen("PATCH")[0]
    assert sent.path == "/api/v1/namespaces/shop/configmaps/web?fieldManager=fleet&force=false"
    assert sent.headers["authorization"] == "Bearer t0ken"
    assert sent.headers["user-agent"].startswith("fleet/")
    assert sent.headers["content-type"] == "application/apply-patch+yaml"


@pytest.mark.parametrize("status", [200, 302, 400, 403, 404])
async def test_an_html_page_is_never_an_answer(world: World, status: int) -> None:
    always(world, html(status))
    async with world.connected() as kube:
        with pytest.raises(AnswerInvalid):
            await kube.get(MAPS, "shop", "web")
        with pytest.raises(AnswerInvalid):
            await kube.apply(MAPS, "shop", "web", b"{}")
        with pytest.raises(AnswerInvalid):
            await kube.list(MAPS)


async def test_an_html_502_is_a_failure_of_the_server_with_its_title(world: World) -> None:
    always(world, html(502))
    async with world.connected() as kube:
        with pytest.raises(ServerFailed) as caught:
            await kube.get(MAPS, "shop", "web")
    assert "HTML page 'Sign in'" in caught.value.why


async def test_a_redirect_is_not_followed(world: World) -> None:
    always(world, Reply(307, b"", {"Location": f"{world.server.url}/elsewhere"}))
    async with world.connected() as kube:
        with pytest.raises(AnswerInvalid, match="redirects are not followed"):
            await kube.apply(MAPS, "shop", "web", b"{}")
    assert world.server.seen(path="/elsewhere") == []
    assert len(world.server.seen("PATCH")) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"kind": "Conf',
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"kin\r\n',
        b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{"kind": "Conf',
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        b"\x15\x03\x01 this is no HTTP\r\n\r\n",
    ],
    ids=["length", "chunked", "until-close", "no-body", "empty-object", "no-http"],
)
async def test_half_an_answer_is_no_answer(world: World, raw: bytes) -> None:
    always(world, Reply(raw=raw, close=True))
    async with world.connected() as kube:
        for call in (kube.get(MAPS, "shop", "web"), kube.list(MAPS), kube.apply(MAPS, "shop", "web", b"{}")):
            with pytest.raises(AnswerInvalid):
                await call


async def test_a_connection_on_which_nobody_answers_is_gone_with_its_call(world: World) -> None:
    """TLS waits for the last word of the other side for 30 s; who answers nothing does not say that one either."""

    async def mute(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(30)

    world.server.answer = mute
    async with world.connected(limits=replace(SHORT, call_seconds=1)) as kube:
        for _ in range(2):
            with pytest.raises(ClusterTimeout):
                await kube.get(MAPS, "shop", "a")
            await asyncio.sleep(0.1)
            ports = [one.raddr.port for one in psutil.Process().net_connections("tcp") if one.raddr]
            assert world.server.port not in ports


async def test_bytes_that_come_too_slowly_end_at_the_deadline(world: World) -> None:
    async def trickle(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    world.server.answer = trickle
    async with world.connected(limits=replace(SHORT, call_seconds=0.5, idle_seconds=0.4)) as kube:
        began = time.monotonic()
        with pytest.raises(ClusterTimeout, match=r"within 0\.5 s"):
            await kube.get(MAPS, "shop", "web")
        with pytest.raises(ClusterTimeout, match="may have landed"):
            await kube.apply(MAPS, "shop", "web", b"{}")
        assert time.monotonic() - began < 3


async def test_a_silent_read_ends_at_the_idle_limit(world: World) -> None:
    async def nothing(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    world.server.answer = nothing
    async with world.connected(limits=replace(SHORT, idle_seconds=0.2, read_tries=1)) as kube:
        with pytest.raises(ClusterTimeout, match=r"silent for 0\.2 s"):
            await kube.get(MAPS, "shop", "web")


async def test_a_huge_body_is_cut_at_the_limit(world: World) -> None:
    always(world, Reply(body=b'{"a": "' + b"x" * 3_000_000 + b'"}'))
    async with world.connected(limits=replace(SHORT, answer_bytes=1 << 20, read_tries=1)) as kube:
        with pytest.raises(AnswerInvalid, match="larger than 1 MiB"):
            await kube.get(MAPS, "shop", "web")


async def test_a_gzip_bomb_is_opened_no_further_than_the_limit(world: World) -> None:
    bomb = gzip.compress(b"[" + b"0," * 50_000_000 + b"0]", 9)
    assert len(bomb) < 500_000
    always(world, Reply(body=bomb, headers={"Content-Encoding": "gzip"}))
    async with world.connected(limits=replace(SHORT, answer_bytes=1 << 20, read_tries=1)) as kube:
        with pytest.raises(AnswerInvalid, match="larger than 1 MiB"):
            await kube.list(MAPS)


@pytest.mark.parametrize("status", [200, 404, 500])
async def test_a_small_answer_that_becomes_very_many_values_is_refused_unparsed(world: World, status: int) -> None:
    page = b'{"kind":"ConfigMapList","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"a"},"data":['
    packed = gzip.compress(page + b"[]," * ((24 << 20) // 3) + b"[]]}]}", 9)
    assert len(packed) < 200_000
    always(world, Reply(status, packed, {"Content-Encoding": "gzip"}))
    async with world.connected(limits=replace(SHORT, read_tries=1)) as kube:
        with pytest.raises(AnswerInvalid, match="more than 3000000 values"):
            await kube.list(MAPS)


async def test_a_list_is_refused_whose_pages_hold_too_many_values_together(world: World) -> None:
    def page(*numbers: int, token: str = "") -> Reply:
        items = [{"metadata": {"name": f"a{n}"}, "data": [0] * 60} for n in numbers]
        return as_json({**configmaps(**{"continue": token}), "items": items})

    always(world, page(1, 2, token="b"), page(3, 4, token="c"), page(5))
    async with world.connected(limits=replace(SHORT, list_values=400)) as kube:
        assert len((await kube.list(MAPS)).items) == 5
    always(world, page(1, 2, token="b"), page(3, 4, token="c"), page(5, 6))
    async with world.connected(limits=replace(SHORT, list_values=400)) as kube:
        with pytest.raises(AnswerInvalid, match="more than 400 values"):
            await kube.list(MAPS)


async def test_texts_full_of_brackets_are_read_however_many(world: World) -> None:
    dashboard = '{"title": "a \\", "panels": [' + "[]," * 250_000 + "{}]}"
    items = [{"metadata": {"name": f"a{n}"}, "data": {"board.json": dashboard}} for n in range(7)]
    first, last = ({**configmaps(**{"continue": token}), "items": items} for token in ("more", ""))
    assert 7 * (dashboard.count("[") + dashboard.count(",")) > 3_000_000
    always(world, as_json(first), as_json(last))
    async with world.connected(limits=replace(SHORT, list_values=200)) as kube:
        assert len((await kube.list(MAPS)).items) == 14


async def test_a_page_of_large_definitions_is_read(world: World) -> None:
    fields = {f"field{n}": {"type": "string", "enum": ["a", "b"]} for n in range(1000)}
    spec = {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": fields}}}]}
    items = [{"metadata": {"name": f"a{n}"}, "spec": spec} for n in range(60)]
    packed = gzip.compress(json.dumps({**configmaps(), "items": items}).encode(), 1)
    always(world, Reply(body=packed, headers={"Content-Encoding": "gzip"}))
    async with world.connected() as kube:
        assert len((await kube.list(MAPS)).items) == 60


async def test_a_list_packed_with_gzip_is_read(world: World) -> None:
    packed = gzip.compress(json.dumps(configmaps("a", "b")).encode())
    always(world, Reply(body=packed, headers={"Content-Encoding": "gzip"}))
    async with world.connected() as kube:
        listed = await kube.list(MAPS)
    assert [item["metadata"]["name"] for item in listed.items] == ["a", "b"]  # type: ignore[index, call-overload]
    assert world.server.seen(path="/api/v1/configmaps")[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"\x1f\x8bgarbage" + b], ids=["cut", "garbage"])
async def test_broken_gzip_is_no_answer(world: World, damage: Any) -> None:
    packed = damage(gzip.compress(json.dumps(configmaps("a")).encode()))
    always(world, Reply(body=packed, headers={"Content-Encoding": "gzip"}))
    async with world.connected() as kube:
        with pytest.raises(AnswerInvalid):
            await kube.list(MAPS)


async def test_disable_compression_is_obeyed(world: World) -> None:
    always(world, as_json(configmaps("a")))
    async with world.connected(world.kubeconfig(**{"disable-compression": True})) as kube:
        await kube.list(MAPS)
    assert world.server.seen(path="/api/v1/configmaps")[0].headers["accept-encoding"] == "identity"


# Repeats (R20)


async def test_a_write_on_a_pooled_connection_that_dies_is_not_repeated(world: World) -> None:
    async def die(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with world.connected() as kube:
        world.server.answer = die
        with pytest.raises(ClusterUnreachable, match="may have landed"):
            await kube.delete(MAPS, "shop", "web", uid="u1")
        assert len(world.server.seen("DELETE")) == 1
        with pytest.raises(ClusterUnreachable, match="may have landed"):
            await kube.apply(MAPS, "shop", "web", b"{}")
        assert len(world.server.seen("PATCH")) == 1


async def test_a_read_on_a_pooled_connection_that_dies_is_repeated(world: World) -> None:
    async def die_once(asked: Asked, writer: asyncio.StreamWriter) -> Reply | None:
        if len(world.server.seen("GET", "/api/v1/namespaces/shop")) == 1:
            writer.transport.abort()
            return None
        return as_json(WEB)

    async with world.connected() as kube:
        world.server.answer = die_once
        assert await kube.get(MAPS, "shop", "web") == WEB


async def test_reads_are_repeated_a_bounded_number_of_times(world: World) -> None:
    always(world, refusal(500, "InternalError", "etcd is away"))
    async with world.connected(limits=replace(SHORT, read_tries=3)) as kube:
        with pytest.raises(ServerFailed, match="etcd is away"):
            await kube.get(MAPS, "shop", "web")
    assert len(world.server.seen("GET", "/api/v1/namespaces/shop")) == 3


async def test_retry_after_is_obeyed_by_reads_and_holds_the_next_write(world: World) -> None:
    always(world, refusal(429, "TooManyRequests", "slow down", Retry_After="1"), as_json(WEB))
    async with world.connected() as kube:
        began = time.monotonic()
        assert await kube.get(MAPS, "shop", "web") == WEB
        assert time.monotonic() - began >= 1
        always(world, refusal(429, "TooManyRequests", "slow down", Retry_After="1"), as_json(WEB))
        with pytest.raises(TooManyRequests) as caught:
            await kube.apply(MAPS, "shop", "web", b"{}")
        assert caught.value.retry_after == 1
        began = time.monotonic()
        await kube.apply(MAPS, "shop", "web", b"{}")
        assert time.monotonic() - began >= 0.9
    assert len(world.server.seen("PATCH")) == 2


@pytest.mark.parametrize("ahead", [3600.0, -3600.0, 0.0])
async def test_retry_after_as_a_date_is_meant_by_the_clock_of_who_says_it(world: World, ahead: float) -> None:
    there = time.time() + ahead
    after, date = formatdate(there + 2, usegmt=True), formatdate(there, usegmt=True)
    always(world, refusal(429, "TooManyRequests", "slow down", Retry_After=after, Date=date), as_json(WEB))
    async with world.connected(limits=replace(SHORT, read_tries=1)) as kube:
        with pytest.raises(TooManyRequests) as caught:
            await kube.get(MAPS, "shop", "web")
    assert caught.value.retry_after == 2


@pytest.mark.parametrize("ahead", [3600.0, -3600.0, 2.0, 0.0])
async def test_how_far_the_clock_of_a_server_is_off_is_known_from_its_answers(world: World, ahead: float) -> None:
    date = formatdate(time.time() + ahead, usegmt=True)
    always(world, as_json(WEB, Date=date))
    async with world.connected() as kube:
        assert kube.clock_ahead == 0.0  # none of its answers had a date
        await kube.get(MAPS, "shop", "web")
        assert abs(kube.clock_ahead - (ahead if abs(ahead) > 5 else 0.0)) < 5


async def test_missing_rights_do_not_storm_and_are_no_absence(world: World) -> None:
    said = 'configmaps "web" is forbidden: User "jo" cannot get resource "configmaps" in API group ""'
    always(world, refusal(403, "Forbidden", said, {"name": "web"}))
    async with world.connected() as kube:
        with pytest.raises(Forbidden, match="cannot get resource"):
            await kube.get(MAPS, "shop", "web")
        with pytest.raises(Forbidden):
            await kube.list(MAPS)
    assert len(world.server.seen("GET", "/api/v1/namespaces/shop")) == 1


async def test_401_is_not_repeated_with_the_same_token(world: World) -> None:
    always(world, refusal(401, "Unauthorized", "Unauthorized"))
    async with world.connected() as kube:
        with pytest.raises(Unauthorized):
            await kube.get(MAPS, "shop", "web")
        with pytest.raises(Unauthorized):
            await kube.apply(MAPS, "shop", "web", b"{}")
    assert len(world.server.seen(path="/api/v1/namespaces/shop")) == 2


async def test_after_401_a_renewed_credential_is_read_and_the_write_goes_through(world: World) -> None:
    async def only_new(asked: Asked, writer: asyncio.StreamWriter) -> Reply:
        good = asked.headers["authorization"] == "Bearer new"
        return as_json(WEB) if good else refusal(401, "Unauthorized", "Unauthorized")

    world.server.answer = only_new
    async with world.connected() as kube:
        world.write(world.kubeconfig({"token": "new"}))
        await kube.apply(MAPS, "shop", "web", b"{}")
    assert [one.headers["authorization"] for one in world.server.seen("PATCH")] == ["Bearer t0ken", "Bearer new"]


# 404 says what is absent


async def test_only_a_404_for_the_object_itself_means_absent(world: World) -> None:
    async with world.connected() as kube:
        assert await kube.get(MAPS, "shop", "web") is None
        always(world, refusal(404, "NotFound", "the server could not find the requested resource"))
        with pytest.raises(KindNotServed):
            await kube.get(MAPS, "shop", "web")
        always(world, Reply(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"}))
        with pytest.raises(KindNotServed):
            await kube.get(MAPS, "shop", "web")


# Lists are complete or nothing (R5, R19)


async def test_a_list_of_several_pages_is_whole(world: World) -> None:
    always(world, as_json(configmaps("a", **{"continue": "n"})), as_json(configmaps("b")))
    async with world.connected() as kube:
        listed = await kube.list(MAPS, selector="app in (web, db)")
    assert [(item["kind"], item["apiVersion"]) for item in listed.items] == [("ConfigMap", "v1")] * 2
    second = world.server.seen(path="/api/v1/configmaps")[1].path
    assert "continue=n" in second
    assert "labelSelector=app+in+%28web%2C+db%29" in second


async def test_a_list_whose_second_page_fails_is_no_list(world: World) -> None:
    always(world, as_json(configmaps("a", **{"continue": "n"})), refusal(500, "InternalError", "no"))
    async with world.connected() as kube:
        with pytest.raises(ServerFailed):
            await kube.list(MAPS)


async def test_410_between_two_pages_lists_once_more_from_the_start(world: World) -> None:
    gone = refusal(410, "Expired", "The provided continue parameter is too old")
    always(world, as_json(configmaps("a", **{"continue": "n"})), gone, as_json(configmaps("x", "y")))
    async with world.connected() as kube:
        listed = await kube.list(MAPS)
    assert [item["metadata"]["name"] for item in listed.items] == ["x", "y"]  # type: ignore[index, call-overload]


@pytest.mark.parametrize(
    "document",
    [
        {"kind": "Status", "status": "Success"},
        {"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}},
        {"kind": "ConfigMapList", "metadata": {}, "items": []},
        {"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": [1]},
        {"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": {}},
        configmaps("a", **{"continue": "same"}),
        configmaps("a", remainingItemCount=40),
        {**configmaps(), "kind": "SecretList"},
        {**configmaps(), "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"},
        {**configmaps(), "apiVersion": "apps/v1"},
        {**configmaps(), "items": [{"kind": "Secret", "metadata": {"name": "a"}}]},
        *({**configmaps(), "items": [{"metadata": metadata}]} for metadata in UNNAMED),
    ],
    ids=[
        "status",
        "no-items",
        "no-version",
        "no-objects",
        "no-list",
        "endless",
        "more-left",
        *_OF_OTHERS,
        *map(str, UNNAMED),
    ],
)
async def test_what_is_not_surely_a_list_is_not_read_as_an_empty_one(world: World, document: Any) -> None:
    always(world, as_json(document))
    async with world.connected() as kube:
        with pytest.raises(AnswerInvalid):
            await kube.list(MAPS)


@pytest.mark.parametrize(
    ("document", "metadata_only"),
    [
        (configmaps("a", remainingItemCount=0), False),
        ({**configmaps("a"), "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}, True),
        (configmaps("a"), True),  # a server that has no such form
        ({**configmaps(), "items": [{"kind": "ConfigMap", "metadata": {"name": "a"}}]}, False),
        ({**configmaps(), "items": [{"metadata": {"name": "system:a b~", "namespace": "shop"}}]}, False),
    ],
)
async def test_a_list_in_any_form_that_a_server_has_is_one(world: World, document: Any, metadata_only: bool) -> None:
    always(world, as_json(document))
    async with world.connected() as kube:
        assert len((await kube.list(MAPS, metadata_only=metadata_only)).items) == 1


async def test_a_custom_kinds_list_is_called_as_its_definition_says(world: World) -> None:
    widgets = ServedKind("example.org", "v1", "Widget", "widgets", True, frozenset())
    always(world, as_json({**configmaps("a"), "kind": "AllWidgetsList", "apiVersion": "example.org/v1"}))
    async with world.connected() as kube:
        assert len((await kube.list(widgets)).items) == 1
        always(world, as_json({**configmaps(), "kind": "WidgetList", "apiVersion": "other.org/v1"}))
        with pytest.raises(AnswerInvalid):
            await kube.list(widgets)


STRANGERS: dict[str, Any] = {
    "a-gateway": {"message": "service is up", "code": 0},
    "a-table": {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "web"}, "rows": []},
    "a-status": {"kind": "Status", "status": "Success", "metadata": {}},
    "another-name": {**WEB, "metadata": {"name": "db", "uid": "u1"}},
    "another-place": {**WEB, "metadata": {"name": "web", "namespace": "till", "uid": "u1"}},
    "another-kind": {**WEB, "kind": "Secret"},
    "its-metadata-alone": {**WEB, "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"},
}


@pytest.mark.parametrize("document", STRANGERS.values(), ids=STRANGERS)
async def test_a_document_that_is_not_the_object_says_nothing_of_it(world: World, document: Any) -> None:
    always(world, as_json(document))
    async with world.connected() as kube:
        with pytest.raises(AnswerInvalid, match="the answer is another"):
            await kube.get(MAPS, "shop", "web")
        with pytest.raises(AnswerInvalid, match="the answer is another"):
            await kube.apply(MAPS, "shop", "web", b"{}")
        with pytest.raises(AnswerInvalid, match="the answer is another"):
            await kube.patch(MAPS, "shop", "web", b"[]", "application/json-patch+json")
        always(world, as_json(WEB), as_json(document))  # deleted, as it seems; the look after it tells nothing
        with pytest.raises(AnswerInvalid, match="the answer is another"):
            await kube.delete(MAPS, "shop", "web", uid="u1")


@pytest.mark.parametrize(
    ("document", "metadata_only"),
    [
        (WEB, False),
        (WEB, True),
        ({"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}}, False),
        ({**WEB, "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}, True),
    ],
)
async def test_an_object_in_any_form_that_a_server_has_is_it(world: World, document: Any, metadata_only: bool) -> None:
    always(world, as_json(document))
    async with world.connected() as kube:
        found = await kube.get(MAPS, "shop", "web", metadata_only=metadata_only)
        assert found is not None
        assert (found["kind"], found["metadata"]["uid"]) == ("ConfigMap", "u1")  # type: ignore[index, call-overload]
        always(world, as_json(WEB), refusal(404, "NotFound", "no", {"name": "web"}))
        assert await kube.delete(MAPS, "shop", "web", uid="u1") is None


async def test_an_empty_list_is_an_empty_list(world: World) -> None:
    always(world, as_json({**configmaps(), "items": None}))
    async with world.connected() as kube:
        assert (await kube.list(MAPS)).items == ()


# The choke point of writes


async def test_no_write_passes_a_fence_that_refuses(world: World) -> None:
    always(world, as_json(WEB))
    async with world.connected() as kube:
        await kube.apply(MAPS, "shop", "web", b"{}")
        world.fence.error = OwnedByOther("another hub")
        for call in (
            kube.apply(MAPS, "shop", "web", b"{}"),
            kube.patch(MAPS, "shop", "web", b"{}", "application/merge-patch+json"),
            kube.delete(MAPS, "shop", "web", uid="u1"),
        ):
            with pytest.raises(OwnedByOther):
                await call
        await kube.apply(MAPS, "shop", "web", b"{}", dry_run=True)
    assert [one.path.rpartition("?")[2] for one in world.server.asked if one.method != "GET"] == [
        "fieldManager=fleet&force=false",
        "fieldManager=fleet&force=false&dryRun=All",
    ]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../secrets/x", "a%2fb"])
async def test_a_name_that_reaches_further_than_one_object_is_never_sent(world: World, name: str) -> None:
    async with world.connected() as kube:
        before = len(world.server.asked)
        for call in (kube.apply(MAPS, "shop", name, b"{}"), kube.delete(MAPS, "shop", name, uid="u1")):
            with pytest.raises(Exception, match="cannot be addressed"):
                await call
        with pytest.raises(Exception, match="cannot be addressed"):
            await kube.delete(MAPS, "", "web", uid="u1")
        assert len(world.server.asked) == before


async def test_no_word_of_a_secrets_value_is_in_an_error_or_warning(world: World) -> None:
    seeded = "s3cr3t-value"
    causes = [{"reason": "FieldValueInvalid", "field": "data.password", "message": f"Invalid value: {seeded}"}]
    said = f"Secret in version v1 cannot be handled: {seeded}"
    denied = f'admission webhook "x" denied the request: {seeded}'
    async with world.connected() as kube:
        for reply in (
            refusal(422, "Invalid", said, {"causes": causes}),
            refusal(400, "BadRequest", denied),
            refusal(500, "InternalError", said),
            Reply(400, seeded.encode(), {"Content-Type": "text/plain"}),
            Reply(200, seeded.encode()),
        ):
            always(world, reply)
            with pytest.raises(Exception) as caught:  # noqa: PT011
                await kube.apply(SECRETS, "shop", "db", b"{}")
            assert seeded not in str(caught.value)
            assert seeded not in repr(vars(caught.value))
        always(world, refusal(422, "Invalid", said, {"causes": causes}))
        with pytest.raises(Exception, match=r"data\.password: FieldValueInvalid"):
            await kube.apply(SECRETS, "shop", "db", b"{}")
        db = {**WEB, "kind": "Secret", "metadata": {"name": "db", "uid": "u2"}}
        always(world, as_json(db, Warning=f'299 - "{seeded}"'))
        assert seeded not in str((await kube.apply(SECRETS, "shop", "db", b"{}")).warnings)


async def test_the_same_words_are_kept_for_what_is_no_secret(world: World) -> None:
    always(world, refusal(400, "BadRequest", 'admission webhook "x" denied the request: no latest tags'))
    async with world.connected() as kube:
        with pytest.raises(AdmissionDenied, match="no latest tags"):
            await kube.apply(MAPS, "shop", "web", b"{}")


async def test_a_cancelled_call_gives_its_place_back(world: World) -> None:
    async def never(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    limits = replace(SHORT, concurrency=1, joining_concurrency=1, call_seconds=30, idle_seconds=30)
    async with world.connected(limits=limits) as kube:
        world.server.answer = never
        stuck = asyncio.create_task(kube.get(MAPS, "shop", "web"))
        waiting = asyncio.create_task(kube.get(MAPS, "shop", "web"))
        while not world.server.seen("GET", "/api/v1/namespaces/shop"):
            await asyncio.sleep(0.01)
        always(world, as_json(WEB))
        waiting.cancel()
        stuck.cancel()
        await asyncio.gather(stuck, waiting, return_exceptions=True)
        async with asyncio.timeout(5):
            assert await kube.get(MAPS, "shop", "web") == WEB


async def test_requests_are_counted_by_cluster_verb_and_code(world: World) -> None:
    def counted(verb: str, code: str) -> float:
        labels = {"cluster": "eu-1", "verb": verb, "code": code}
        return telemetry.REGISTRY.get_sample_value("fleet_kube_requests_total", labels) or 0

    before = counted("PATCH", "200"), counted("GET", "404")
    async with world.connected() as kube:
        await kube.get(MAPS, "shop", "web")
        always(world, as_json(WEB))
        await kube.apply(MAPS, "shop", "web", b"{}")
    assert (counted("PATCH", "200"), counted("GET", "404")) == (before[0] + 1, before[1] + 1)


async def test_dead_peers_are_noticed_by_the_kernel(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, int] = {}
    original = socket.socket.setsockopt

    def noted(self: socket.socket, level: int, option: int, value: int) -> None:
        seen[option] = value
        original(self, level, option, value)

    monkeypatch.setattr(socket.socket, "setsockopt", noted)
    async with world.connected() as kube:
        assert kube.version
    assert seen[socket.TCP_USER_TIMEOUT] == 30_000
    assert seen[socket.TCP_KEEPIDLE] + seen[socket.TCP_KEEPINTVL] * seen[socket.TCP_KEEPCNT] <= 45


@pytest.mark.parametrize("is_well", [False, True])
async def test_a_server_that_only_fails_is_asked_by_one_call_at_a_time_over_one_socket(
    world: World, is_well: bool
) -> None:
    in_flight = most = 0

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> Reply | None:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.02)
        in_flight -= 1
        return as_json(WEB) if is_well else refusal(500, "InternalError")

    world.server.answer = answer
    async with world.connected() as kube:

        async def ask() -> None:
            await asyncio.gather(*(kube.get(MAPS, "shop", "web") for _ in range(3)), return_exceptions=True)

        await ask()
        assert most > 1
        most, before = 0, len(world.server.asked)
        await ask()
        again = world.server.asked[before:]
        assert (most > 1) is is_well
        assert {one.headers.get("connection") for one in again} == {None if is_well else "close"}
        is_well = True
        await kube.get(MAPS, "shop", "web")
        most = 0
        await ask()
        assert most > 1
