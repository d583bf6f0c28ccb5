"""The hub's own tokens, renewed on a real API server; clocks are moved: no token there lives less than 600 s."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from kube.hostile import LOOPBACK
from testbed.authority import aged_token
from testbed.controlplane import ControlPlane
from testbed.processes import Run

from fleet.controllers.credentials import CredentialKeeper
from fleet.core.audit import AuditEntry
from fleet.core.fleet import Cluster, Fleet
from fleet.core.ids import ClusterName, Identity, Revision
from fleet.core.problems import Origin
from fleet.core.renewal import CredentialState, judge_ending
from fleet.core.rights import ACCOUNT, grant_documents, rights_of
from fleet.core.view import Head, View
from fleet.kube.credentials import NamedCredentials
from fleet.kube.ends import token_ends
from fleet.kube.renewal import TokenRenewer
from fleet.ports.kube import Held, Renewer
from fleet.ports.state import Bells
from fleet.store.memory import MemoryState

NAME = ClusterName("eu-1")
ROLE = "/apis/rbac.authorization.k8s.io/v1/namespaces/fleet-system/roles/fleet-hub"


@dataclass
class Keeper:
    """A keeper of one cluster's credential. moved: seconds by which its clock is ahead."""

    plane: ControlPlane
    state: MemoryState = field(default_factory=MemoryState)
    moved: float = 0.0
    directory: Path | None = None
    wrap: Callable[[Renewer], Renewer] = lambda renewer: renewer

    def __post_init__(self) -> None:
        self.view = View(Head("main"))
        self.view.fleet = Fleet(Revision("a" * 40), clusters={NAME: Cluster(NAME, Origin("clusters/eu-1.yaml", 1))})
        credentials = NamedCredentials(self.directory, self.state.credential)
        renewer = self.wrap(TokenRenewer(credentials, allowed=LOOPBACK))
        self.keeper = CredentialKeeper(renewer, self.state, self.view, Bells(), lambda: time.time() + self.moved)

    async def look(self) -> CredentialState:
        """Once, with all renewals that it began."""
        async with asyncio.TaskGroup() as tasks:
            await self.keeper.look(tasks)
        return self.view.credentials[NAME]

    async def token(self) -> str:
        raw = await self.state.credential(NAME)
        assert raw is not None
        return json.loads(raw)["users"][0]["user"]["token"]

    async def audit(self) -> list[AuditEntry]:
        return [link.entry for link in await self.state.audit_entries()]

    async def told(self) -> list[str]:
        return [row.event.message for row in await self.state.events()]


def config(plane: ControlPlane, token: str) -> bytes:
    made = plane.kubeconfig()
    made["users"][0]["user"] = {"token": token}
    return json.dumps(made).encode()


@pytest.fixture(scope="module")
def own_plane(testbed_run: Run) -> Iterator[ControlPlane]:
    """A server of these tests alone: they share one account with all others that are granted."""
    made = ControlPlane.start(testbed_run, f"own-{uuid.uuid4().hex[:8]}")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def identity(own_plane: ControlPlane) -> Identity:
    return Identity(own_plane.client().get("/api/v1/namespaces/kube-system")["metadata"]["uid"])


@pytest.fixture
def token(own_plane: ControlPlane) -> str:
    """A granted account's token that was issued 500 s ago and lives 100 s more."""
    hands = own_plane.client()
    for document in grant_documents(rights_of((), {}, existing=())):
        hands.apply(document)
    fresh = own_plane.service_account_kubeconfig("fleet-system", ACCOUNT)["users"][0]["user"]["token"]
    return aged_token(own_plane.folder / "sa.key", fresh, issued_ago=500, left=100)


@pytest.fixture
async def keeper(own_plane: ControlPlane, identity: Identity, token: str) -> Keeper:
    made = Keeper(own_plane)
    await made.state.put_credential(NAME, config(own_plane, token), time.time())
    await made.state.record_identity(NAME, identity)
    return made


async def test_a_token_near_its_end_is_replaced_by_one_that_works_and_lives_as_long(
    keeper: Keeper, token: str, own_plane: ControlPlane
) -> None:
    shown = await keeper.look()
    renewed = await keeper.token()
    assert renewed != token
    assert token_ends(renewed).account == f"fleet-system/{ACCOUNT}"
    assert 590 < token_ends(renewed).at - time.time() <= 601
    assert (shown.ends.at, shown.problem) == (token_ends(renewed).at, "")
    assert shown.renew_at > time.time() + 300
    written = [(entry.action, entry.object, entry.outcome) for entry in await keeper.audit()]
    assert written == [("renew-credential", "credential eu-1", outcome) for outcome in ("", "done")]
    assert await keeper.told() == ["credential eu-1 was renewed"]
    assert token not in repr(keeper.view) + repr(await keeper.audit())
    mark = own_plane.ledger_mark()
    await keeper.look()
    assert own_plane.ledger(mark, user_agent="fleet") == []  # nothing is due any more
    assert await keeper.token() == renewed


async def test_a_restarted_hub_goes_on_with_what_it_holds(keeper: Keeper, token: str, own_plane: ControlPlane) -> None:
    await keeper.look()
    renewed = await keeper.token()
    again = Keeper(own_plane, keeper.state)
    shown = await again.look()
    assert (shown.ends, await again.token()) == (token_ends(renewed), renewed)
    again.moved = 401.0  # two thirds of its 600 s
    await again.look()
    assert await again.token() != renewed


async def test_without_the_right_the_old_one_stays_and_the_next_step_is_said(
    keeper: Keeper, token: str, own_plane: ControlPlane
) -> None:
    hands = own_plane.client()
    rules = [rule for rule in hands.get(ROLE)["rules"] if rule["resources"] != ["serviceaccounts/token"]]
    hands.merge(ROLE, {"rules": rules})
    await wait_until_refused(own_plane, token)
    shown = await keeper.look()
    assert await keeper.token() == token
    assert (shown.reason, shown.failures, shown.next_step) == ("Forbidden", 1, "fleet cluster grant eu-1")
    assert "serviceaccounts/token" in shown.problem
    assert token not in shown.problem
    ending = judge_ending(shown, time.time())
    assert ending is not None
    assert ending.failed
    before = len(await keeper.told())
    await keeper.look()
    assert keeper.view.credentials[NAME].failures == 1  # not at once again
    keeper.moved = 61.0
    await keeper.look()
    assert keeper.view.credentials[NAME].failures == 2
    assert len(await keeper.told()) == before == 1  # said once
    for document in grant_documents(rights_of((), {}, existing=())):
        hands.apply(document)
    restarted = Keeper(own_plane, keeper.state)
    await wait_until_granted(restarted, token)
    assert restarted.view.credentials[NAME].problem == ""


async def wait_until_refused(plane: ControlPlane, token: str) -> None:
    """The authorizer reads roles from its own watch."""
    spec = {
        "user": f"system:serviceaccount:fleet-system:{ACCOUNT}",
        "resourceAttributes": {
            "verb": "create", "resource": "serviceaccounts", "subresource": "token", "namespace": "fleet-system",
            "name": ACCOUNT,
        },
    }  # fmt: skip
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    deadline = time.monotonic() + 10
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    while plane.client().request("POST", path, review)["status"]["allowed"]:
        assert time.monotonic() < deadline


async def wait_until_granted(keeper: Keeper, token: str) -> None:
    deadline = time.monotonic() + 10
    while await keeper.token() == token:
        assert time.monotonic() < deadline
        keeper.moved += 61.0
        await keeper.look()


async def test_a_new_token_that_would_end_sooner_replaces_nothing(own_plane: ControlPlane, keeper: Keeper) -> None:
    long = own_plane.service_account_kubeconfig("fleet-system", ACCOUNT)["users"][0]["user"]["token"]
    long = aged_token(own_plane.folder / "sa.key", long, issued_ago=20_000, left=5_000)
    await keeper.state.put_credential(NAME, config(own_plane, long), time.time())

    class CapLowered(TokenRenewer):
        """Asks for 600 s, as if the server gave no more any longer."""

        async def renew(self, name: str, held: Held, cluster: ClusterName, identity: Identity) -> bytes:
            token = replace(held.token, issued=held.token.at - 600)
            return await super().renew(name, replace(held, token=token), cluster, identity)

    credentials = NamedCredentials(None, keeper.state.credential)
    capped = Keeper(own_plane, keeper.state, wrap=lambda _: CapLowered(credentials, allowed=LOOPBACK))
    shown = await capped.look()
    assert await keeper.token() == long
    assert (shown.reason, shown.failures) == ("CredentialRefused", 1)
    assert "would end before the one in use" in shown.problem
    await keeper.look()  # the twin: a server that gives as much as before
    assert token_ends(await keeper.token()).at - time.time() > 24_000


async def test_another_cluster_at_the_address_gets_no_request_for_a_token(
    keeper: Keeper, token: str, own_plane: ControlPlane
) -> None:
    await keeper.state.record_identity(NAME, Identity("00000000-0000-0000-0000-000000000000"))
    mark = own_plane.ledger_mark()
    shown = await keeper.look()
    assert (shown.reason, await keeper.token()) == ("IdentityMismatch", token)
    assert not [one for one in own_plane.ledger(mark, user_agent="fleet") if one.verb == "create"]


async def test_what_a_person_gives_meanwhile_is_kept(
    own_plane: ControlPlane, identity: Identity, token: str, keeper: Keeper
) -> None:
    given = config(own_plane, own_plane.tokens["admin"])

    class GivenMeanwhile(TokenRenewer):
        async def renew(self, name: str, held: Held, cluster: ClusterName, identity: Identity) -> bytes:
            made = await super().renew(name, held, cluster, identity)
            await keeper.state.put_credential(name, given, time.time())
            return made

    credentials = NamedCredentials(None, keeper.state.credential)
    late = Keeper(own_plane, keeper.state, wrap=lambda _: GivenMeanwhile(credentials, allowed=LOOPBACK))
    await late.look()
    assert await keeper.state.credential(NAME) == given
    assert [entry.outcome for entry in await late.audit()] == ["", "refused"]
    shown = await late.look()
    assert (shown.renew_at, shown.ends.account) == (0.0, "")


async def test_a_hub_killed_between_the_new_token_and_its_place_holds_one_that_works(
    own_plane: ControlPlane, keeper: Keeper, token: str
) -> None:
    class Killed(Exception):
        pass

    class Dying(TokenRenewer):
        async def renew(self, name: str, held: Held, cluster: ClusterName, identity: Identity) -> bytes:
            await super().renew(name, held, cluster, identity)
            raise Killed

    credentials = NamedCredentials(None, keeper.state.credential)
    dying = Keeper(own_plane, keeper.state, wrap=lambda _: Dying(credentials, allowed=LOOPBACK))
    with pytest.raises(ExceptionGroup):
        await dying.look()
    assert await keeper.token() == token
    await Keeper(own_plane, keeper.state).look()
    assert await keeper.token() != token


async def test_a_file_is_read_again_and_never_written(
    own_plane: ControlPlane, identity: Identity, token: str, tmp_path: Path
) -> None:
    path = tmp_path / "eu-1.kubeconfig"
    path.write_bytes(config(own_plane, token))
    keeper = Keeper(own_plane, directory=tmp_path)
    await keeper.state.record_identity(NAME, identity)
    mark = own_plane.ledger_mark()
    shown = await keeper.look()
    assert (shown.place, shown.renew_at) == ("file", 0.0)
    ending = judge_ending(shown, time.time())
    assert ending is not None
    assert ending.next_step.endswith("--to FILE")
    assert path.read_bytes() == config(own_plane, token)
    assert own_plane.ledger(mark, user_agent="fleet") == []
    fresh = own_plane.service_account_kubeconfig("fleet-system", ACCOUNT)["users"][0]["user"]["token"]
    path.write_bytes(config(own_plane, fresh))
    assert (await keeper.look()).ends == token_ends(fresh)
