"""Which wipes are refused before anything is written down, and that none is promised that nobody carries out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from api.conftest import HEAD, Api

from fleet.core.fleet import Mode, Unknown
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.leaving import Leave, Leaving, encode_leaving
from fleet.core.problems import Origin, Problem, Severity
from fleet.ports.state import LEAVING

OLD = UnitName.parse("old@eu-1")
WIPE, SAID = f"/api/v1/units/{OLD}:wipe", {"confirm": str(OLD), "reason": "retired"}
BROKEN = Problem(Severity.ERROR, "FieldUnknown", "spec.bogus", Origin("overlays/old/overlay.yaml", 3))


async def leaves(api: Api, mode: Mode = Mode.MANAGE, unknown: Unknown | None = None) -> None:
    """One unit left eu-1, which is in Git."""
    assert api.view.fleet is not None
    clusters = {name: replace(entry, mode=mode) for name, entry in api.view.fleet.clusters.items()}
    api.view.fleet = replace(api.view.fleet, clusters=clusters, unknown=unknown or Unknown())
    await api.state.set_value(LEAVING, encode_leaving(Leaving({OLD: Leave(HEAD)})))


async def outcomes(api: Api) -> list[str]:
    return [link.entry.outcome for link in await api.state.audit_entries(limit=100) if link.entry.action == "wipe"]


async def test_a_wipe_is_written_down_once_however_often_it_is_said(api: Api) -> None:
    await leaves(api)
    answers = [await api.call("POST", WIPE, SAID) for _ in range(2)]
    assert [status for status, _ in answers] == [202, 202]
    assert len({answer["items"][0]["id"] for _, answer in answers}) == 1
    assert await outcomes(api) == ["asked"] * 2


async def test_where_nothing_is_written_a_wipe_is_refused_and_may_be_given_later(api: Api) -> None:
    await leaves(api, Mode.OBSERVE)
    status, problem = await api.call("POST", WIPE, SAID)
    assert (status, problem["title"]) == (409, "eu-1 is only observed")
    assert await api.state.operations(limit=10) == ()
    await leaves(api)
    assert (await api.call("POST", WIPE, SAID))[0] == 202


async def test_a_wipe_that_ended_is_not_said_to_go_on(api: Api) -> None:
    await leaves(api)
    _, answer = await api.call("POST", WIPE, SAID)
    await api.state.end_operation(answer["items"][0]["id"], "refused", "mode observe", 2.0)
    status, problem = await api.call("POST", WIPE, SAID)
    assert status == 409
    assert "refused: mode observe" in problem["detail"]
    assert await outcomes(api) == ["asked", "asked", "refused: PreconditionFailed"]


@pytest.mark.parametrize(
    ("unknown", "expected"),
    [
        (Unknown(overlays={OLD.overlay: BROKEN}), 409),
        (Unknown(units={OLD: BROKEN}), 409),
        (Unknown(unnamed=(BROKEN,)), 409),
        (Unknown(overlays={OverlayName("web"): BROKEN}), 202),
        (Unknown(units={replace(OLD, cluster=ClusterName("eu-2")): BROKEN}), 202),
    ],
)
async def test_what_git_may_want_again_is_not_wiped_and_anything_else_may_be(
    api: Api, unknown: Unknown, expected: int
) -> None:
    await leaves(api, unknown=unknown)
    status, answer = await api.call("POST", WIPE, SAID)
    assert status == expected
    if expected == 409:
        assert answer["title"] == f"whether Git wants {OLD} again cannot be read"
        assert await outcomes(api) == []
