"""A cluster under another name in `fleet plan`: what its rename drops is listed, and two clusters stay two (R2, R9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cli.planrepo import BASE, Repo
from fixtures.layouts.documents import cluster

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "plan.json").read_text())
NUMBERS = range(1, 6)


def identity(number: int) -> str:
    return f"5f0c0000-0000-4000-8000-00000000000{number}"


def entry(name: str, number: int, **spec: Any) -> str:
    return cluster(name, "prod", identity=identity(number), **spec)


@pytest.fixture
def repo(
    real_kustomize: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Repo:
    """All clusters of prod have their identity in Git."""
    monkeypatch.setenv("FLEET_KUSTOMIZE", real_kustomize)
    made = Repo(tmp_path, capsys)
    made.write({f"clusters/prod-{number}.yaml": entry(f"prod-{number}", number) for number in NUMBERS})
    made.commit("with identities")
    return made


def rename(repo: Repo, number: int, **spec: Any) -> None:
    new = entry(f"east-{number}", number, **spec)
    repo.write({f"clusters/prod-{number}.yaml": None, f"clusters/east-{number}.yaml": new})


def drop_the_volume(repo: Repo) -> None:
    repo.edit(f"{BASE}/kustomization.yaml", "[web.yaml, cache.yaml]", "[web.yaml]")


def told(repo: Repo) -> tuple[str, Any]:
    document = repo.document(base="HEAD")
    jsonschema.validate(document, SCHEMA)
    return repo.plan(base="HEAD")[1], document


def test_a_rename_alone_is_one_line_and_nothing_is_written(repo: Repo) -> None:
    rename(repo, 5)
    text, document = told(repo)
    assert (
        "Renamed     prod-5 -> east-5: by its identity in Git the same as before; record, marks and objects stay"
        in text
    )
    assert "Settings    cluster east-5: connection.credential: prod-5 -> east-5" in text
    assert "No object changes, but 2 settings." in text
    assert (document["groups"], document["units"], document["different"]) == ([], [], True)
    name = {"scope": "cluster", "name": "prod-5", "path": "name", "before": "prod-5", "after": "east-5"}
    assert document["settings"][0] == name


def test_what_a_rename_drops_is_listed_and_held_under_the_new_name(repo: Repo) -> None:
    rename(repo, 5)
    drop_the_volume(repo)
    text, document = told(repo)
    assert "A  web on 7 clusters: 2 dev, 5 prod" in text
    assert "Hold        web on 7 clusters would wait for a person (precious-kind)" in text
    assert {unit["how"] for unit in document["units"]} == {"changes"}
    assert "web@east-5" in document["holds"][0]["units"]


def test_what_follows_the_name_is_compared_from_the_old_name_to_the_new_one(repo: Repo) -> None:
    repo.edit("overlays/dns/overlay.yaml", '"spec": {', '"spec": {"substitute": true, ')
    repo.edit("overlays/dns/dns.yaml", '"selector": {', '"externalName": "${cluster_name}", "selector": {')
    repo.commit("by its name")
    rename(repo, 5)
    text, _ = told(repo)
    assert "dns on 1 cluster: east-5\n   ~ Service dns/dns  spec.externalName prod-5 -> east-5" in text


def test_what_is_set_otherwise_with_the_rename_is_told(repo: Repo) -> None:
    repo.write({"clusters/prod-5.yaml": entry("prod-5", 5, mode="observe")})
    repo.commit("watched")
    rename(repo, 5)
    text, _ = told(repo)
    assert "Settings    cluster east-5: mode: observe -> manage" in text
    assert "Begins      dns, web on east-5: first writes there (mode: manage), at once and without steps" in text


def test_many_renames_at_once_are_no_fall_and_a_rename_out_of_an_overlay_lets_go(repo: Repo) -> None:
    for number in NUMBERS:
        rename(repo, number)
    text, document = told(repo)
    assert "Renamed     prod-1 -> east-1, prod-2 -> east-2, prod-3 -> east-3, 2 more: by their identities" in text
    assert document["holds"] == []
    repo.edit("overlays/dns/overlay.yaml", '"all": true', '"environments": ["dev"]')
    text, document = told(repo)
    assert "dns leaves 5 clusters: 5 prod" in text
    assert [hold["units"][0] for hold in document["holds"]] == ["dns@east-1"]


def test_another_cluster_that_comes_as_one_goes_is_told_as_two(repo: Repo) -> None:
    repo.write({"clusters/prod-5.yaml": None, "clusters/east-6.yaml": entry("east-6", 6)})
    drop_the_volume(repo)
    text, document = told(repo)
    assert "web appears on 1 cluster: east-6" in text
    assert "web leaves 1 cluster: prod-5" in text
    assert ("Renamed" in text, document["notes"]) == (False, [])


@pytest.mark.parametrize("side", ["before", "after", "both"])
def test_where_git_does_not_say_which_cluster_it_is_the_plan_says_so(repo: Repo, side: str) -> None:
    if side != "after":
        repo.write({"clusters/prod-5.yaml": cluster("prod-5", "prod")})
        repo.commit("nobody wrote it down")
    new = cluster("east-5", "prod") if side != "before" else entry("east-5", 5)
    repo.write({"clusters/prod-5.yaml": None, "clusters/east-5.yaml": new})
    drop_the_volume(repo)
    text, document = told(repo)
    assert "web leaves 1 cluster: prod-5" in text
    (note,) = document["notes"]
    assert note.startswith("prod-5 goes and east-5 comes, and Git does not say that they are two clusters:")
    assert f"Note        {note}" in text


def test_an_identity_that_moves_to_an_entry_that_was_there_is_no_rename(repo: Repo) -> None:
    swapped = {"clusters/prod-1.yaml": entry("prod-1", 2), "clusters/prod-2.yaml": entry("prod-2", 1)}
    repo.write(swapped)
    text, document = told(repo)
    assert ("Renamed" in text, [one["path"] for one in document["settings"]]) == (False, ["identity", "identity"])
    repo.write({"clusters/prod-1.yaml": None, "clusters/prod-2.yaml": entry("prod-2", 1)})
    text, _ = told(repo)
    assert "Renamed" not in text
    assert "web leaves 1 cluster: prod-1" in text
