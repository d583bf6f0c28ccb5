"""What a deletion leaves behind: entries with who and why, and the chain's head outside the hub (R43)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hubworld import SECONDS, HubWorld, cluster_file, config_map, kustomization, make_world, namespace, overlay
from structlog.testing import capture_logs

from fleet.cli.audit import verify
from fleet.core.audit import heads_in


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ("eu-1",)) as made:
        yield made


def shop(*names: str) -> dict[str, str]:
    objects = {name: namespace(name) if name.startswith("ns-") else config_map(name, "1") for name in names}
    return {"clusters/eu-1.yaml": cluster_file("eu-1"), **overlay("overlays/shop", objects)}


def witness(world: HubWorld) -> str:
    """The head that the unit's parent object says, "" where it says none."""
    parent = world.sim.cluster("eu-1").get("", "ConfigMap", "fleet-system", "unit-shop") or {}
    return parent["metadata"]["annotations"].get("fleet.internal/audit-head", "")


async def deletions(world: HubWorld, name: str) -> list[dict[str, Any]]:
    _, answer = await world.call("GET", "/api/v1/audit?limit=1000")
    return [item for item in answer["items"] if item["action"] == "delete" and item["object"].endswith(f"/{name}")]


async def test_a_deletion_is_in_log_audit_and_on_the_cluster_and_the_whole_chain_verifies(world: HubWorld) -> None:
    world.commit(shop("a", "b", "c", "ns-old"))
    with capture_logs() as logs:
        async with world.run():
            await world.until_everywhere(world.repo.head())
            assert witness(world) == ""
            eu = world.sim.cluster("eu-1")
            uids = {name: eu.get("", "ConfigMap", "default", name)["metadata"]["uid"] for name in "ab"}
            plain = world.commit({"overlays/shop/kustomization.yaml": kustomization("b.yaml", "c.yaml", "ns-old.yaml")})
            await world.until(lambda: eu.get("", "ConfigMap", "default", "a") is None, "pruned")
            await world.until_everywhere(plain)
            before, after = await deletions(world, "a")
            assert (before["outcome"], after["outcome"]) == ("", "done")
            assert (after["uid"], after["uidAfter"]) == (uids["a"], "")
            assert (after["commit"], after["approver"], after["cluster"]) == (plain, "", "eu-1")
            assert after["reason"].startswith("dropped by")
            await world.until(lambda: witness(world) == f"{after['id']}:{after['seal']}", "the head on the cluster")
            # A parent that is written again for another cause keeps the head.
            grown = world.commit({"overlays/shop/kustomization.yaml": kustomization("c.yaml", "ns-old.yaml", "d.yaml"),
                                  "overlays/shop/d.yaml": config_map("b", "2")})  # fmt: skip
            await world.until_everywhere(grown)
            assert witness(world) == f"{after['id']}:{after['seal']}"

            world.commit({"overlays/shop/kustomization.yaml": kustomization("c.yaml", "d.yaml")})

            async def hold() -> Any:
                _, answer = await world.call("GET", "/api/v1/holds?openOnly=true")
                return answer["items"]

            while not (asked := await hold()):
                await world.until(lambda: world.unit("shop@eu-1").holds, "held")
            name, digest = asked[0]["metadata"]["name"], asked[0]["listDigest"]
            assert (await world.call("POST", f"/api/v1/holds/{name}:approve", {"listDigest": digest}))[0] == 200
            await world.until(lambda: eu.get("", "Namespace", "", "ns-old") is None, "deleted")
            await world.until_everywhere(world.repo.head())
            entries = await deletions(world, "ns-old")
            assert {entry["approver"] for entry in entries[:2]} == {"local-admin"}
            assert entries[-1]["outcome"] in {"done", "gone"}
            last = witness(world)
    said = {str(head) for line in logs for head in heads_in(str(line.get("head", "")))}
    assert last in said
    for kept in (logs_file(world, said), logs_file(world, {last})):
        out = io.StringIO()
        assert verify(world.data_dir, [kept], None, out) == 0
        assert (
            f"proven up to entry {heads_in(last)[0].number}" in out.getvalue() or "proven to its end" in out.getvalue()
        )


def logs_file(world: HubWorld, heads: set[str]) -> Path:
    path = world.root / "seen.log"
    path.write_text("\n".join(heads))
    return path


async def test_the_head_reaches_the_cluster_also_when_the_pass_fails_elsewhere(world: HubWorld) -> None:
    world.commit(shop("a", "b", "c", "d", "e"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        eu = world.sim.cluster("eu-1")
        eu.faults.add("error", verbs={"delete"}, name="b", code=403)
        world.commit({"overlays/shop/kustomization.yaml": kustomization("c.yaml", "d.yaml", "e.yaml")})
        await world.until(lambda: eu.get("", "ConfigMap", "default", "a") is None, "one pruned")
        await world.until(lambda: witness(world), "the head on the cluster")
        assert eu.get("", "ConfigMap", "default", "b") is not None
        outcomes = {entry["outcome"] for entry in await deletions(world, "b")}
        assert any(outcome.startswith("failed: ") for outcome in outcomes)
        eu.faults.clear()


async def test_a_deletion_whose_answer_was_lost_is_unknown_until_it_is_seen_gone(world: HubWorld) -> None:
    world.commit(shop("a", "b", "c"))
    async with world.run():
        await world.until_everywhere(world.repo.head())
        eu = world.sim.cluster("eu-1")
        lost = eu.faults.add("lost_write", verbs={"delete"}, name="a", count=1)
        world.commit({"overlays/shop/kustomization.yaml": kustomization("b.yaml", "c.yaml")})
        await world.until(lambda: lost.hits, "deleted without an answer")
        eu.faults.remove(lost)
        await world.until_everywhere(world.repo.head())
        assert eu.get("", "ConfigMap", "default", "a") is None
        outcomes = [entry["outcome"] for entry in await deletions(world, "a")]
        assert outcomes[0] == ""
        assert outcomes[1].startswith("unknown: ")
        async with asyncio.timeout(SECONDS):
            while (await deletions(world, "a"))[-1]["outcome"] not in {"gone", "done"}:
                await asyncio.sleep(0.05)
