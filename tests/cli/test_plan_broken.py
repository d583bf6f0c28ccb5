"""`fleet plan` beside what is broken already: what a change does to it cannot be told, and no other one hides in it."""

from __future__ import annotations

import pytest
from cli.planrepo import BASE, Repo

KUSTOMIZATION = f"{BASE}/kustomization.yaml"


def break_main(repo: Repo, how: str) -> None:
    """On the base: a file that is missing, a build that fails once all is read, or a field that nobody knows."""
    text = (repo.root / KUSTOMIZATION).read_text()
    broken = {
        "missing": text.replace("[web.yaml, cache.yaml]", "[wep.yaml, cache.yaml]"),
        "failing": text + 'patches: [{patch: \'[{"op": "remove", "path": "/a/b"}]\', target: {kind: Service}}]\n',
        "unknown": text + "resoures: [more.yaml]\n",
    }[how]
    repo.write({KUSTOMIZATION: broken})
    repo.commit("broken")
    repo.git("push", "-q", "origin", "HEAD:refs/heads/broken")
    repo.git("fetch", "-q", "origin")


@pytest.mark.parametrize("how", ["missing", "failing", "unknown"])
def test_what_is_changed_of_a_unit_that_is_broken_before_and_after_cannot_be_told(repo: Repo, how: str) -> None:
    break_main(repo, how)
    repo.edit("overlays/dns/dns.yaml", "53", "54")
    code, text = repo.plan(base="origin/broken")
    assert (code, "cannot be told" in text) == (1, False), "twin: another one is changed"
    repo.edit("overlays/dns/dns.yaml", "54", "53")
    assert repo.plan(base="origin/broken")[0] == 0, "twin: nothing is"
    repo.edit(f"{BASE}/cache.yaml", "ReadWriteOnce", "ReadWriteMany")
    code, text = repo.plan(base="origin/broken")
    assert code == 2
    assert "A  web cannot be told on" in text, text
    assert "1 of 2 overlays changes, on 7 clusters." in text
    assert "if merged: it stays as it is there, and nothing is deleted" in text
    assert repo.document(base="origin/broken")["complete"] is False


def test_what_is_changed_of_an_entry_that_is_broken_before_and_after_cannot_be_told(repo: Repo) -> None:
    repo.edit("overlays/web/overlay.yaml", '"clusters"', '"clustres"')
    before = repo.commit("broken")
    repo.edit("overlays/web/overlay.yaml", '"spec": {', '"spec": {"substitute": true, ')
    code, text = repo.plan(base=before)
    assert code == 2
    assert "What changes cannot be told whole." in text
    assert "clustres" in text
    assert repo.document(base=before)["complete"] is False
