"""A hook whose name is somebody else's object, and one whose name is its own: on a real API server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rig import Hub, config_map, notes
from testbed.controlplane import ControlPlane
from testbed.rest import Rest

from fleet.core.ids import Identity, OverlayName, UnitName
from fleet.core.objects import Mark
from fleet.core.record import mark_body
from fleet.core.sync_policy import Suspension
from fleet.ports.kube import Changed


def path(shop: str, name: str) -> str:
    return f"/api/v1/namespaces/{shop}/configmaps/{name}"


def hook(name: str, shop: str, delete: str, phase: str = "PreSync") -> dict:
    return config_map(name, shop, {"hook": "yes"}, **notes(hook=phase, hook_delete=delete))


def job(name: str, shop: str, **spec: Any) -> dict:
    pod = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "registry.example/i:1"}]}}
    metadata = {"name": name, "namespace": shop, **notes(hook="PreSync", hook_delete="BeforeHookCreation")}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": pod, **spec}}


def job_path(shop: str, name: str) -> str:
    return f"/apis/batch/v1/namespaces/{shop}/jobs/{name}"


def complete(client: Rest, path: str) -> None:
    """What the Job controller writes about a Job that ended well."""
    at = "2026-01-01T00:00:00Z"
    said = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
    status = {"startTime": at, "completionTime": at, "succeeded": 1, "conditions": said}
    client.merge(f"{path}/status", {"status": status})


def runs(hub: Hub, unit: UnitName, name: str) -> Any:
    """Whether a hook is waited for, as reported."""
    found = hub.units.get(unit)
    return found is not None and found.reason == "HookRuns" and name in found.message


def marked(hub: Hub, client: Rest, document: dict, overlay: str) -> dict:
    """The document as a unit of this installation would have applied it."""
    identity = client.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
    return mark_body(document, Mark(hub.installation, Identity(identity), OverlayName(overlay)))


def deleted(hub: Hub, name: str) -> list[str]:
    return [e.unit for e in hub.audited if e.action == "delete" and e.object.endswith(f"/{name}")]


@pytest.mark.parametrize("delete", ["HookSucceeded", "BeforeHookCreation"])
@pytest.mark.parametrize("known", ["by record", "by mark alone"])
async def test_a_hook_with_the_name_of_another_overlays_object_leaves_it_alone(
    hub: Hub, api_server: ControlPlane, shop: str, delete: str, known: str
) -> None:
    client = api_server.client()
    async with hub.worker():
        if known == "by record":
            await hub.until_well(hub.want("one", [config_map("a", shop)]))
        else:
            client.apply(marked(hub, client, config_map("a", shop), "one"), manager="fleet")
        before = client.get(path(shop, "a"))
        two = hub.want("two", [hook("a", shop, delete), config_map("b", shop)])
        word = "OwnedByOther" if known == "by record" else "ObjectForeign"  # nothing else of that overlay is there
        await hub.until(lambda: two in hub.units and hub.units[two].reason == word, "refused")
        assert "overlay one" in hub.units[two].message
        await hub.until_well(hub.want("three", [config_map("c", shop)]))  # of the same cluster, undisturbed
        hub.want("two", [hook("a", shop, delete), config_map("b", shop, {"a": "2"})], commit="b")
        await hub.until(lambda: hub.units[two].observed_commit == "b" * 40, "tried again")
        assert client.get(path(shop, "a")) == before
        assert not client.exists(path(shop, "b"))
        assert not deleted(hub, "a")
        hub.want("two", [hook("own", shop, delete), config_map("b", shop)], commit="c")
        await hub.until_well(two)
    assert client.get(path(shop, "a")) == before


@pytest.mark.parametrize("delete", ["BeforeHookCreation", "HookSucceeded"])
async def test_ordinary_objects_that_are_called_hooks_stay_as_they_are(
    hub: Hub, api_server: ControlPlane, shop: str, delete: str
) -> None:
    """A line of commonAnnotations would else delete all of them, without a permit and a budget (R9)."""
    client = api_server.client()
    names = [f"c{number}" for number in range(10)]
    unit = hub.want("web", [config_map(name, shop) for name in names])
    async with hub.worker():
        await hub.until_well(unit)
        for name in names:
            client.merge(path(shop, name), {"data": {"of-others": "1"}})
        before = [client.get(path(shop, name)) for name in names]
        hub.want("web", [*(hook(name, shop, delete) for name in names), config_map("plain", shop)], commit="b")
        await hub.until(lambda: hub.units[unit].reason == "PruneStuck", "refused")
        assert "ordinary object" in hub.units[unit].message
        assert [client.get(path(shop, name)) for name in names] == before
        assert not deleted(hub, "c0")
        # The twin: what is gone by another hand may be a hook's.
        for name in names:
            client.delete(path(shop, name))
        await hub.until_well(unit)


@pytest.mark.parametrize(("delete", "stays"), [("HookSucceeded", False), ("BeforeHookCreation", True)])
async def test_a_hook_of_ones_own_runs_for_each_bundle_and_goes_as_it_says(
    hub: Hub, api_server: ControlPlane, shop: str, delete: str, stays: bool
) -> None:
    client = api_server.client()
    unit = hub.want("web", [hook("h", shop, delete), config_map("a", shop)])
    mark = api_server.ledger_mark()
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [hook("h", shop, delete), config_map("a", shop, {"a": "2"})], commit="b")
        await hub.until_well(unit)
    assert client.exists(path(shop, "h")) is stays
    mine = [r for r in api_server.ledger(mark, user_agent="fleet") if r.namespace == shop and r.name == "h"]
    assert [r.verb for r in mine if r.is_write] == (
        ["patch", "delete", "patch"] if stays else ["patch", "delete", "patch", "delete"]
    )
    assert {e.outcome for e in hub.audited if e.action == "delete"} == {"", "done"}


async def test_what_a_hook_left_is_taken_over_by_the_overlay_that_has_the_hook_now(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    one = hub.want("one", [hook("h", shop, "BeforeHookCreation"), config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(one)
        before = client.get(path(shop, "h"))["metadata"]["uid"]
        hub.want("one", [config_map("a", shop)], commit="b", send=False)
        two = hub.want("two", [hook("h", shop, "BeforeHookCreation"), config_map("b", shop)], commit="b")
        await hub.until_well(one, two)
        live = client.get(path(shop, "h"))["metadata"]
        assert live["uid"] != before
        assert live["annotations"]["fleet.internal/owner"].endswith("/two")


async def test_a_hooks_object_goes_only_in_the_state_that_was_read(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """What changes between the read and the deletion is read again (R11)."""
    client = api_server.client()
    changes = iter(range(1))

    class Meddling:
        def __init__(self, kube) -> None:
            self._kube = kube

        def __getattr__(self, name: str):
            return getattr(self._kube, name)

        async def delete(self, kind, namespace: str, name: str, **options):
            if name == "h" and next(changes, None) is not None:
                client.merge(path(shop, "h"), {"metadata": {"labels": {"seen": "meanwhile"}}})
            return await self._kube.delete(kind, namespace, name, **options)

    hub.between = Meddling
    unit = hub.want("web", [hook("h", shop, "HookSucceeded"), config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        await hub.until(lambda: [e.outcome for e in hub.audited if e.action == "delete"][-1:] == ["done"], "deleted")
    assert not client.exists(path(shop, "h"))
    assert [e.outcome for e in hub.audited if e.action == "delete"] == ["", "failed: Conflict", "", "done"]


async def test_a_job_that_somebody_suspended_is_waited_for(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    """It is at rest, as what has ended, and has done nothing yet."""
    client = api_server.client()
    unit = hub.want("web", [job("h", shop, suspend=True), config_map("a", shop)])
    async with hub.worker():
        await hub.until(lambda: runs(hub, unit, "h"), "waits")
        client.merge(job_path(shop, "h"), {"metadata": {"labels": {"queue": "full"}}})
        await hub.until_well(hub.want("two", [config_map("b", shop)]))
        assert runs(hub, unit, "h")
        assert not client.exists(path(shop, "a"))
        client.merge(job_path(shop, "h"), {"spec": {"suspend": False}})
        complete(client, job_path(shop, "h"))
        await hub.until_well(unit)


class LateEvents:
    """An event of the Job of before is told once more when the Job that took its place has been made."""

    def __init__(self, kube: Any) -> None:
        self._kube, self._old = kube, None
        self._applies, self._made, self.go_on = 0, asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    async def apply(self, kind: Any, *arguments: Any, **options: Any) -> Any:
        answer = await self._kube.apply(kind, *arguments, **options)
        if kind.kind == "Job":
            self._applies += 1
            if self._applies == 2:
                self._made.set()
        return answer

    async def follow(self, kind: Any, **options: Any) -> Any:
        async for seen in self._kube.follow(kind, **options):
            if kind.kind == "Job" and isinstance(seen, Changed):
                if self._old is not None and seen.object["metadata"]["uid"] != self._old.object["metadata"]["uid"]:
                    await self._made.wait()
                    yield self._old
                    await self.go_on.wait()
                else:
                    self._old = seen
            yield seen


async def test_a_late_word_of_the_job_of_before_does_not_end_the_one_that_runs(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client, late = api_server.client(), list[LateEvents]()
    hub.between = lambda kube: late.append(LateEvents(kube)) or late[-1]
    unit = hub.want("web", [job("h", shop), config_map("a", shop)])
    async with hub.worker():
        await hub.until(lambda: runs(hub, unit, "h"), "runs")
        complete(client, job_path(shop, "h"))
        await hub.until_well(unit)
        hub.want("web", [job("h", shop), config_map("a", shop, {"a": "2"})], commit="b")
        await hub.until(lambda: runs(hub, unit, "h"), "runs again")
        await hub.until_well(hub.want("two", [config_map("b", shop)]))
        assert runs(hub, unit, "h")
        assert client.get(path(shop, "a"))["data"] == {"a": "1"}
        complete(client, job_path(shop, "h"))
        late[-1].go_on.set()
        await hub.until_well(unit)


def asked(name: str, shop: str, delete: str) -> dict:
    """A hook whose object goes only when a person said so."""
    notes_of = notes(hook="PreSync", hook_delete=delete, prune="confirm")
    return config_map(name, shop, {"hook": "yes"}, **notes_of)


async def test_what_a_hook_left_stays_once_it_is_wanted_as_an_object(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [asked("h", shop, "HookSucceeded"), config_map("a", shop)])
    async with hub.worker():
        await hub.until(lambda: unit in hub.units and hub.units[unit].holds, "asked")
        before = client.get(path(shop, "h"))["metadata"]["uid"]
        hub.want("web", [config_map("h", shop), config_map("a", shop)], commit="b")
        await hub.until_well(unit)
        await hub.until(lambda: not hub.units[unit].holds, "nobody is asked any more")
        hub.want("web", [config_map("h", shop), config_map("a", shop, {"a": "2"})], commit="c")
        await hub.until_well(unit)
    assert client.get(path(shop, "h"))["metadata"]["uid"] == before
    assert not deleted(hub, "h")


async def test_what_a_hook_left_stays_once_it_is_a_hook_of_another_overlay(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    one = hub.want("one", [asked("h", shop, "HookSucceeded"), config_map("a", shop)])
    async with hub.worker():
        await hub.until(lambda: one in hub.units and hub.units[one].holds, "asked")
        before = client.get(path(shop, "h"))["metadata"]["uid"]
        hub.want("one", [config_map("a", shop)], commit="b", send=False)
        two = hub.want("two", [hook("h", shop, "HookFailed"), config_map("b", shop)], commit="b")
        await hub.until_well(one, two)
        hub.want("one", [config_map("a", shop, {"a": "2"})], commit="c")
        await hub.until_well(one)
        await hub.until(lambda: not hub.units[one].holds, "nobody is asked any more")
    live = client.get(path(shop, "h"))["metadata"]
    assert live["uid"] == before
    assert live["annotations"]["fleet.internal/owner"].endswith("/two")
    assert not deleted(hub, "h")


@pytest.mark.parametrize("delete", ["HookSucceeded", "BeforeHookCreation"])
async def test_a_hook_whose_object_is_to_be_kept_names_what_stands_in_its_way(
    hub: Hub, api_server: ControlPlane, shop: str, delete: str
) -> None:
    client = api_server.client()
    kept = config_map("h", shop, **notes(hook="PreSync", hook_delete=delete, prune="disabled"))
    unit = hub.want("web", [kept, config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        before = client.get(path(shop, "h"))["metadata"]["uid"]
        hub.want("web", [kept, config_map("a", shop, {"a": "2"})], commit="b")
        await hub.until(lambda: hub.units[unit].reason == "PruneStuck", "named")
        assert "prune: disabled" in hub.units[unit].message
        assert client.get(path(shop, "h"))["metadata"]["uid"] == before
        client.delete(path(shop, "h"))
        await hub.until_well(unit)
    assert not deleted(hub, "h")


async def test_what_a_job_left_that_may_not_go_is_no_run_of_the_next_commit(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    """It had ended before the next run began: with Argo CD too the name is taken then."""
    client = api_server.client()
    kept = job("h", shop)
    kept["metadata"]["annotations"]["fleet.internal/hook-delete"] = "HookFailed"
    unit = hub.want("web", [kept, config_map("a", shop)])
    async with hub.worker():
        await hub.until(lambda: runs(hub, unit, "h"), "runs")
        complete(client, job_path(shop, "h"))
        await hub.until_well(unit)
        hub.want("web", [kept, config_map("a", shop, {"a": "2"})], commit="b")
        await hub.until(lambda: hub.units[unit].reason == "PruneStuck", "named")
        assert "BeforeHookCreation" in hub.units[unit].next_step + hub.units[unit].message
        assert client.get(path(shop, "a"))["data"] == {"a": "1"}
        client.delete(job_path(shop, "h"), propagationPolicy="Background")
        hub.want("web", [kept, config_map("a", shop, {"a": "3"})], commit="c")
        await hub.until(lambda: runs(hub, unit, "h"), "runs again")
        complete(client, job_path(shop, "h"))
        await hub.until_well(unit)
    assert not deleted(hub, "h")


async def test_what_only_lies_there_is_applied_over(hub: Hub, api_server: ControlPlane, shop: str) -> None:
    client = api_server.client()
    unit = hub.want("web", [hook("h", shop, "HookFailed"), config_map("a", shop)])
    async with hub.worker():
        await hub.until_well(unit)
        uid = client.get(path(shop, "h"))["metadata"]["uid"]
        hub.want("web", [hook("h", shop, "HookFailed"), config_map("a", shop, {"a": "2"})], commit="b")
        await hub.until_well(unit)
        assert client.get(path(shop, "h"))["metadata"]["uid"] == uid


@pytest.mark.parametrize("stopped", [True, False])
async def test_no_hook_starts_after_its_unit_was_suspended_amid_the_pass(
    hub: Hub, api_server: ControlPlane, shop: str, stopped: bool
) -> None:
    client = api_server.client()
    documents = [*(hook(name, shop, "BeforeHookCreation") for name in ("h1", "h2")), config_map("a", shop)]
    stop = (Suspension("a look", scope="cluster eu-1"),) if stopped else ()
    unit = hub.want("web", documents)

    class Between:
        """Once the first hook was applied, its unit is suspended, and the worker has heard it."""

        def __init__(self, kube: Any) -> None:
            self._kube = kube

        def __getattr__(self, name: str) -> Any:
            return getattr(self._kube, name)

        async def apply(self, kind: Any, namespace: str, name: str, *arguments: Any, **options: Any) -> Any:
            answer = await self._kube.apply(kind, namespace, name, *arguments, **options)
            if name == "h1":
                hub.want("web", documents, commit="b", suspensions=stop)
                async with asyncio.timeout(10):
                    while (found := self.state().desired) is None or found.commit != "b" * 40:
                        await asyncio.sleep(0.01)
            return answer

        def state(self) -> Any:
            session = worker._session
            assert session is not None
            return session.site.units[unit]

    hub.between = Between
    async with hub.worker() as worker:
        if stopped:
            await hub.until(lambda: unit in hub.units and hub.units[unit].blocked_by, "suspended")
            assert client.exists(path(shop, "h1"))
            assert not client.exists(path(shop, "h2"))
        else:
            await hub.until_well(unit)
            assert client.exists(path(shop, "h2"))


async def test_a_hook_that_lost_our_marks_while_it_ran_has_not_ended(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [job("h", shop), config_map("a", shop)])
    async with hub.worker():
        await hub.until(lambda: runs(hub, unit, "h"), "runs")
        metadata = client.get(job_path(shop, "h"))["metadata"]
        bare = {"labels": dict.fromkeys(metadata["labels"]), "annotations": {"fleet.internal/owner": None}}
        client.merge(job_path(shop, "h"), {"metadata": bare})
        await hub.until(lambda: hub.units[unit].reason == "ObjectForeign", "named")
        assert not client.exists(path(shop, "a"))
        labels, owner = metadata["labels"], metadata["annotations"]["fleet.internal/owner"]
        client.merge(
            job_path(shop, "h"), {"metadata": {"labels": labels, "annotations": {"fleet.internal/owner": owner}}}
        )
        complete(client, job_path(shop, "h"))
        await hub.until_well(unit)


async def test_a_hook_that_somebody_deletes_while_it_runs_ends_the_wait(
    hub: Hub, api_server: ControlPlane, shop: str
) -> None:
    client = api_server.client()
    unit = hub.want("web", [job("h", shop), config_map("a", shop)])
    async with hub.worker():
        await hub.until(lambda: runs(hub, unit, "h"), "runs")
        client.delete(job_path(shop, "h"), propagationPolicy="Background")
        await hub.until_well(unit)
