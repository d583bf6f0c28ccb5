"""Entries and identities are one to one (R2): Git's word, then the record, then what answered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.fleet import Cluster
from fleet.core.identities import clashes_of, identity_of
from fleet.core.ids import ClusterName, Identity
from fleet.core.problems import Origin

NAMES = [ClusterName(f"c-{number}") for number in range(4)]
known = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["x", "y", "z"]).map(Identity))


def entries_of(in_git: dict[ClusterName, Identity]) -> list[Cluster]:
    return [Cluster(name, Origin("clusters/c.yaml"), identity=in_git.get(name)) for name in NAMES]


@given(in_git=known, recorded=known, proven=known)
def test_an_entry_is_what_git_says_before_what_was_recorded_before_what_answered(
    in_git: dict[ClusterName, Identity], recorded: dict[ClusterName, Identity], proven: dict[ClusterName, Identity]
) -> None:
    for entry in entries_of(in_git):
        said = {**proven, **recorded, **in_git}
        assert identity_of(entry, recorded, proven) == said.get(entry.name)


@given(in_git=known, recorded=known, proven=known)
def test_entries_clash_just_where_they_have_one_identity_and_each_names_another_one(
    in_git: dict[ClusterName, Identity], recorded: dict[ClusterName, Identity], proven: dict[ClusterName, Identity]
) -> None:
    entries = entries_of(in_git)
    said = {entry.name: identity_of(entry, recorded, proven) for entry in entries}
    found = clashes_of(entries, recorded, proven)
    alike = {a for a in NAMES for b in NAMES if a != b and said[a] is not None and said[a] == said[b]}
    assert found.keys() == alike
    assert all(name != other and said[name] == said[other] for name, other in found.items())
