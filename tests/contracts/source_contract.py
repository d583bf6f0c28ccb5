"""What every Source must do. A subclass gives `repo`, where the test commits, and `source`, which follows it."""

from __future__ import annotations

import pytest
from testbed.gitrepo import Executable, GitRepo, Link

from fleet.core.ids import Revision
from fleet.errors import HistoryRewritten, RefMissing, SourceError
from fleet.ports.source import Source

FILES = {
    "clusters/eu-1.yaml": "kind: Cluster\n",
    "overlays/web/kustomization.yaml": "resources: [deploy.yaml]\n",
    "overlays/web/empty": "",
    'odd name/ünïcode "quoted"\ttab.yaml': "x: 1\n",
    "bin/run": Executable("#!/bin/sh\n"),
    "link": Link("clusters/eu-1.yaml"),
    "blob": bytes(range(256)) * 500,
}


class SourceContract:
    async def test_the_first_fetch_gives_the_whole_commit(self, repo: GitRepo, source: Source) -> None:
        revision = repo.commit(FILES, "first commit\n\nwith a body")
        fetched = await source.fetch()
        assert fetched.changed is None
        assert (fetched.snapshot.revision, fetched.info.revision) == (revision, revision)
        assert (fetched.info.subject, fetched.info.author, fetched.info.at) == (
            "first commit",
            "Mara Example",
            1_700_000_060.0,
        )
        assert set(fetched.snapshot.tree) == set(FILES)
        assert {entry.mode for entry in fetched.snapshot.tree.values()} == {"100644", "100755", "120000"}

    async def test_files_are_read_byte_by_byte_and_links_are_not_followed(self, repo: GitRepo, source: Source) -> None:
        repo.commit(FILES)
        snapshot = (await source.fetch()).snapshot
        assert snapshot.read("blob") == FILES["blob"]
        assert snapshot.read("link") == b"clusters/eu-1.yaml"
        assert snapshot.read("overlays/web/empty") == b""
        many = snapshot.read_many(list(FILES))
        assert many['odd name/ünïcode "quoted"\ttab.yaml'] == b"x: 1\n"
        assert list(many) == list(FILES)
        assert snapshot.read_many([]) == {}

    async def test_a_path_that_is_not_in_the_commit_is_a_key_error(self, repo: GitRepo, source: Source) -> None:
        repo.commit(FILES)
        snapshot = (await source.fetch()).snapshot
        for path in ("absent", "overlays", "overlays/web", "/clusters/eu-1.yaml", "../x", ""):
            with pytest.raises(KeyError):
                snapshot.read(path)

    async def test_the_next_fetch_names_exactly_what_changed(self, repo: GitRepo, source: Source) -> None:
        repo.commit(FILES)
        before = (await source.fetch()).snapshot
        repo.commit({"new/file": "n", "link": "now a file"})
        repo.commit({"clusters/eu-1.yaml": "kind: Other\n", "bin/run": None, "overlays/web/empty": None})
        fetched = await source.fetch()
        assert fetched.changed == {"new/file", "link", "clusters/eu-1.yaml", "bin/run", "overlays/web/empty"}
        assert set(fetched.snapshot.tree) == {*FILES, "new/file"} - {"bin/run", "overlays/web/empty"}
        assert fetched.snapshot.read("clusters/eu-1.yaml") == b"kind: Other\n"
        assert fetched.snapshot.tree["link"].mode == "100644"
        # A snapshot stays what it was.
        assert before.read("clusters/eu-1.yaml") == b"kind: Cluster\n"
        assert set(before.tree) == set(FILES)

    async def test_nothing_new_is_said_as_no_change(self, repo: GitRepo, source: Source) -> None:
        repo.commit(FILES)
        first = await source.fetch()
        again = await source.fetch()
        assert again.changed == frozenset()
        assert again.snapshot.revision == first.snapshot.revision

    async def test_an_earlier_commit_is_at_hand_and_an_unknown_one_missing(self, repo: GitRepo, source: Source) -> None:
        first = Revision(repo.commit(FILES))
        second = Revision(repo.commit({"clusters/eu-1.yaml": None}))
        await source.fetch()
        assert (await source.at(first)).read("clusters/eu-1.yaml") == b"kind: Cluster\n"
        assert "clusters/eu-1.yaml" not in (await source.at(second)).tree
        with pytest.raises(RefMissing):
            await source.at(Revision("0123456789" * 4))

    async def test_ancestry_is_told_both_ways(self, repo: GitRepo, source: Source) -> None:
        first, second = Revision(repo.commit(FILES)), Revision(repo.commit({"a": "b"}))
        await source.fetch()
        assert await source.is_ancestor(first, second)
        assert await source.is_ancestor(first, first)
        assert not await source.is_ancestor(second, first)
        with pytest.raises(RefMissing):
            await source.is_ancestor(first, Revision("0123456789" * 4))

    async def test_all_commits_since_one_are_told_at_once(self, repo: GitRepo, source: Source) -> None:
        first, second, third = (Revision(repo.commit({"a": text})) for text in "123")
        await source.fetch()
        assert await source.since(first, third) == {first, second, third}
        assert await source.since(second, third) == {second, third}
        assert await source.since(third, third) == {third}
        assert await source.since(third, first) == frozenset()
        with pytest.raises(RefMissing):
            await source.since(Revision("0123456789" * 4), third)

    async def test_a_branch_went_by_first_parents_and_not_by_what_was_merged(
        self, repo: GitRepo, source: Source
    ) -> None:
        first = Revision(repo.commit({"a": "1"}))
        repo.make_branch("change")
        side = Revision(repo.commit({"b": "1"}, branch="change"))
        second = Revision(repo.commit({"a": "2"}))
        tree = repo.git("rev-parse", f"{side}^{{tree}}").strip()
        person = ("-c", "user.name=jo", "-c", "user.email=jo@example.com")
        merge = Revision(repo.git(*person, "commit-tree", tree, "-p", second, "-p", side, "-m", "merge").strip())
        repo.reset(merge)
        await source.fetch()
        assert await source.line(first, merge, most=5) == (second, merge)
        assert await source.line(second, merge, most=1) == (merge,)
        assert await source.line(first, merge, most=1) == ()
        assert await source.line(side, merge, most=5) == ()
        assert await source.line(merge, merge, most=5) == ()
        with pytest.raises(RefMissing):
            await source.line(first, Revision("0123456789" * 4), most=5)

    async def test_a_commit_is_known_by_a_beginning_of_its_id_alone(self, repo: GitRepo, source: Source) -> None:
        first, second = Revision(repo.commit(FILES)), Revision(repo.commit({"a": "b"}))
        repo.make_branch(second[:8])  # a name that reads like one
        await source.fetch()
        assert await source.named(first) == first
        assert await source.named(second[:10]) == second
        blob = (await source.at(first)).tree["blob"].oid
        for prefix in ("0123456789" * 4, blob, "", "main", "HEAD", second[:3], f"{first[:7]}^", f"-{first[:7]}"):
            assert await source.named(prefix) is None

    async def test_a_deleted_branch_is_missing_and_what_was_in_force_stays(self, repo: GitRepo, source: Source) -> None:
        revision = Revision(repo.commit(FILES))
        await source.fetch()
        repo.delete_branch()
        with pytest.raises(RefMissing) as refused:
            await source.fetch()
        assert all((refused.value.where, refused.value.why, refused.value.next_step))
        assert set((await source.at(revision)).tree) == set(FILES)
        repo.make_branch("main", revision)
        assert (await source.fetch()).changed == frozenset()

    async def test_an_empty_repository_is_missing_never_an_empty_commit(self, repo: GitRepo, source: Source) -> None:
        with pytest.raises(RefMissing):
            await source.fetch()
        repo.commit(FILES)
        assert set((await source.fetch()).snapshot.tree) == set(FILES)

    async def test_a_forced_push_is_refused_until_history_goes_forward(self, repo: GitRepo, source: Source) -> None:
        first = Revision(repo.commit(FILES))
        second = Revision(repo.commit({"a": "b"}))
        await source.fetch()
        for rewrite in (lambda: repo.reset(first), lambda: repo.rewrite({"other": "history"})):
            rewrite()
            for _ in range(2):
                with pytest.raises(HistoryRewritten, match=second[:7]):
                    await source.fetch()
            assert (await source.at(second)).read("a") == b"b"
        repo.reset(second)
        third = repo.commit({"c": "d"})
        fetched = await source.fetch()
        assert (fetched.snapshot.revision, fetched.changed) == (third, {"c"})

    async def test_an_empty_tree_is_a_commit_without_files(self, repo: GitRepo, source: Source) -> None:
        repo.commit({"a": "1"})
        await source.fetch()
        repo.commit({"a": None})
        fetched = await source.fetch()
        assert (dict(fetched.snapshot.tree), fetched.changed) == ({}, {"a"})

    async def test_every_trouble_is_a_source_error_with_a_remedy(self, repo: GitRepo, source: Source) -> None:
        repo.commit(FILES)
        await source.fetch()
        repo.path.rename(repo.path.with_suffix(".away"))
        with pytest.raises(SourceError) as refused:
            await source.fetch()
        assert all((refused.value.what, refused.value.where, refused.value.why, refused.value.next_step))
        repo.path.with_suffix(".away").rename(repo.path)
        assert (await source.fetch()).changed == frozenset()
