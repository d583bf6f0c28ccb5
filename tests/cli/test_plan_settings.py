"""`fleet plan` tells what a merge sets otherwise, and does not call calm what it cannot read."""

from __future__ import annotations

import pytest
from cli.planrepo import BASE, Repo
from fixtures.layouts.documents import cluster, overlay

from fleet.cli.approve_plan import approve_plan
from fleet.cli.client import Client
from fleet.cli.plan import plan
from fleet.errors import PreconditionFailed, UsageInvalid


def on_main(repo: Repo, changed: dict[str, str | None]) -> None:
    """What main holds, and the branch begins from."""
    repo.write(changed, repo.origin)
    repo.commit("as it was", repo.origin)
    repo.git("pull", "-q", "--ff-only", "origin", "main")


def test_a_setting_that_the_hub_acts_by_is_a_change(repo: Repo) -> None:
    before = repo.document()["digest"]
    repo.edit("fleet.yaml", "spec: {", "spec: {suspend: {reason: freeze}, ")
    code, text = repo.plan()
    assert code == 1
    assert "No object changes, but 1 setting." in text
    assert "Settings    fleet.yaml: suspend.reason: none -> freeze" in text
    found = repo.document()
    assert found["settings"] == [
        {"scope": "fleet", "name": "acme", "path": "suspend.reason", "before": None, "after": "freeze"}
    ]
    assert (found["different"], found["digest"] == before) == (True, False)


def test_another_name_of_the_installation_is_told_as_what_stops_the_whole_commit(repo: Repo) -> None:
    """A hub takes nothing of such a commit over: every mark on its clusters would be another installation's."""
    repo.edit("overlays/dns/dns.yaml", "53", "54")
    code, text = repo.plan()
    assert (code, "FleetRenamed" in text) == (1, False)
    repo.edit("fleet.yaml", "acme", "acme-eu")
    code, text = repo.plan()
    assert code == 2
    assert "error[FleetRenamed] the fleet is called acme-eu now, and was acme" in text
    assert "the commit is not taken over; all clusters stay as they are" in text
    assert not repo.document()["complete"]


@pytest.mark.parametrize("path", ["overlays/dns/overlay.yaml", "clusters/dev-2.yaml"])
def test_what_the_base_cannot_read_and_the_change_takes_away_is_not_called_calm(repo: Repo, path: str) -> None:
    kept = (repo.root / path).read_text()
    on_main(repo, {path: "spec: [\n"})
    repo.write({path: None})
    code, text = repo.plan()
    assert code == 2
    assert "is taken away, and the base cannot read it" in text
    assert "No effective change" not in text
    repo.write({path: kept})
    code, text = repo.plan()
    assert (code, "taken away" in text, "Not listed" in text) == (2, False, True)


def test_first_writes_to_clusters_that_were_observed_are_told_with_their_number(repo: Repo) -> None:
    observed = [f"clusters/prod-{number}.yaml" for number in range(1, 6)]
    texts = {path: (repo.root / path).read_text() for path in observed}
    on_main(
        repo, {path: text.replace('"environment"', '"mode": "observe", "environment"') for path, text in texts.items()}
    )
    repo.write({**texts, "overlays/dns/dns.yaml": (repo.root / "overlays/dns/dns.yaml").read_text() + "# a note\n"})
    code, text = repo.plan()
    assert code == 1
    words = "dns, web on 5 clusters: first writes there (mode: manage), at once and without steps, 30 objects"
    assert f"Begins      {words}\n" in text
    assert "No object differs, but 5 settings let a hub begin with something." in text
    assert repo.document()["begins"][0]["objects"] == 30
    repo.edit("overlays/web/overlay.yaml", '"spec": {', '"spec": {"suspend": {"reason": "later"}, ')
    assert "dns on 5 clusters: first writes there" in repo.plan()[1], "twin: what is suspended begins with nothing"


def test_what_a_mended_build_drops_is_not_called_none(repo: Repo) -> None:
    """The hub holds the last result that it could build, and deletes what the change has not."""
    path = f"{BASE}/kustomization.yaml"
    good = (repo.root / path).read_text()
    on_main(repo, {path: good.replace("web.yaml,", "wep.yaml,")})
    repo.write({path: good.replace("[web.yaml, cache.yaml]", "[web.yaml]")})
    code, text = repo.plan()
    assert code == 2
    assert "all that it holds is listed, and nothing that it drops" in text
    assert "how many are deleted cannot be told" in text
    assert "Not listed  web on 7 clusters: what it drops; the base does not say what it held" in text
    assert "none is deleted" not in text
    found = repo.document()
    assert not found["complete"]
    with pytest.raises(PreconditionFailed, match="cannot be approved"):
        approve_plan(Client("http://127.0.0.1:9"), repo.root, found["digest"], base="", head="", reason="")
    repo.write({path: good.replace("web.yaml,", "wep.yaml,"), "overlays/dns/dns.yaml": ""})
    assert "Not listed" not in repo.plan()[1], "twin: it stays broken, and as it is"


def test_a_unit_that_leaves_unbuilt_is_let_go_of_whole(repo: Repo) -> None:
    on_main(repo, {"overlays/dns/kustomization.yaml": "resources: [nothing.yaml]\n"})
    repo.write({"overlays/dns/overlay.yaml": overlay({"names": ["dev-1"]})})
    text = repo.plan()[1]
    assert "what it holds stays there, without our marks" in text
    assert "Not listed" not in text


def test_another_value_of_a_variable_in_a_secret_is_another_digest(repo: Repo) -> None:
    secret = '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "k"}, "stringData": {"k": "${word}"}}\n'

    def with_word(word: str) -> str:
        return cluster("dev-1", "dev", variables={"word": word})

    on_main(
        repo,
        {
            "overlays/dns/overlay.yaml": overlay({"names": ["dev-1"]}, substitute=True),
            "overlays/dns/dns.yaml": secret,
            "clusters/dev-1.yaml": with_word("aaaa"),
        },
    )
    digests: list[str] = []
    for word in ("bbbb", "cccc", "bbbb"):
        repo.write({"clusters/dev-1.yaml": with_word(word)})
        found = repo.document()
        assert found["summary"]["objects"] == {"create": 0, "change": 1, "delete": 0}
        assert word not in repo.plan(output="json")[1]
        digests.append(found["digest"])
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_a_way_to_clusters_of_which_none_is_asked_is_refused(repo: Repo) -> None:
    with pytest.raises(UsageInvalid, match="says by whom clusters are asked"):
        plan(repo.root, base="", head="", kube="", output="terminal", through="hub")
    assert plan(repo.root, base="", head="", kube="", output="terminal") == 0
