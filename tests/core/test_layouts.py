"""Whatever a repo looks like, what is proposed for it exists, has a name of its own and takes nothing else along."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis.strategies import DrawFn, booleans, composite, lists, sampled_from

from fleet.core.hints import Hint, Hints
from fleet.core.ids import is_dns_subdomain
from fleet.core.layouts import Kustomized, Proposal, propose

SEGMENTS = ("apps", "overlays", "clusters", "dev", "prod", "prod-2", "eu-1", "eu", "base", "Web_1", "web", "web.x")
segments = sampled_from(SEGMENTS)


@composite
def repos(draw: DrawFn) -> list[Kustomized]:
    paths = draw(lists(lists(segments, min_size=1, max_size=5), min_size=1, max_size=14))
    found: dict[str, Kustomized] = {}
    for parts in paths:
        directory = "/".join(parts)
        uses = draw(lists(sampled_from(["/".join(other) for other in paths]), max_size=2))
        is_component = draw(booleans()) and draw(booleans())
        trouble = draw(sampled_from(["", "", "", "a file is missing"]))
        found[directory] = Kustomized(directory, is_component, tuple(uses), trouble)
    return list(found.values())


@composite
def hinted(draw: DrawFn, repo: list[Kustomized]) -> Hints:
    directories = sampled_from([one.directory for one in repo])
    names, places = sampled_from(("web", "dns", "Web_1")), sampled_from(("", "dev", "mars", "base", "No Name"))
    count = draw(sampled_from((0, 1, 3)))
    hints = [Hint(draw(names), draw(directories), "x.yaml:1", draw(places)) for _ in range(count)]
    return Hints(tuple(hints))


def names_of(proposal: Proposal) -> list[str]:
    """Names of all overlays, those of globs as the inventory gives them."""
    names = [one.name for one in proposal.overlays]
    for directory in proposal.alone:
        glob = next(glob for glob in proposal.globs if matches(glob, directory))
        fixed = glob[: glob.index("*")].rpartition("/")[0]
        names.append(directory.removeprefix(fixed).lstrip("/").replace("/", "."))
    return names


def matches(glob: str, directory: str) -> bool:
    return re.fullmatch(re.escape(glob).replace(r"\*", "[^/]*"), directory) is not None


def above_and_itself(directory: str) -> list[str]:
    parts = directory.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


@given(repos().flatmap(lambda repo: hinted(repo).map(lambda hints: (repo, hints))))
def test_what_is_proposed_is_there_is_whole_and_has_one_name(given_repo: tuple[list[Kustomized], Hints]) -> None:
    repo, hints = given_repo
    proposal = propose(repo, hints)
    good = {one.directory for one in repo if not one.is_component and not one.trouble}
    assert proposal.directories <= good
    used = {path for one in repo for path in one.uses if path != one.directory}
    assert good - used <= proposal.directories
    names = names_of(proposal)
    assert len(set(names)) == len(names)
    assert all(map(is_dns_subdomain, names))
    # A glob takes every directory that holds something: none may be one that was not meant.
    everything = {path for one in repo for path in above_and_itself(one.directory)}
    for glob in proposal.globs:
        assert {path for path in everything if matches(glob, path)} <= set(proposal.alone)
    assert {cluster.name for cluster in proposal.clusters}.isdisjoint({"base", "components", *proposal.environments})


@given(repos())
def test_the_order_in_which_a_repo_is_read_does_not_count(repo: list[Kustomized]) -> None:
    assert propose(repo, Hints()) == propose(repo[::-1], Hints())


def test_versions_are_no_clusters_and_words_for_environments_are() -> None:
    found = [Kustomized(f"web/overlays/{name}") for name in ("stable-2", "release-2.10", "staging", "prod", "live")]
    proposal = propose(found, Hints())
    assert proposal.clusters == ()
    assert proposal.environments == ("staging", "prod", "live")
    assert [one.path for one in proposal.overlays if one.targets] == ["web/overlays/{environment}"]


def test_what_only_a_number_tells_apart_does_not_take_the_name_of_another() -> None:
    found = [Kustomized(directory, is_component=False) for directory in ("dev/web", "prod/Web_1", "web/dev")]
    assert sorted(names_of(propose(found, Hints()))) == ["web-1", "web-2", "web-3"]
