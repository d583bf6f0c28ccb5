"""Which overlay goes where: selection, ranks, paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.fleet import Cluster
from fleet.core.ids import ClusterName
from fleet.core.problems import Origin
from fleet.core.selection import Target, Variable
from fleet.core.targets import (
    Choice,
    ClusterIndex,
    Contradiction,
    Found,
    Holding,
    NotFound,
    choice_of,
    expand,
    find_path,
    join,
    matches,
    same_value,
    selected,
)

NAMES = st.sampled_from(["a", "b", "c", "d", "gone"]).map(ClusterName)
STAGES = st.sampled_from(["dev", "prod", ""])
LABELS = st.dictionaries(st.sampled_from(["tier", "region"]), st.sampled_from(["x", "y"]), max_size=2)
VALUES = st.dictionaries(st.sampled_from(["n", "m"]), st.sampled_from([1, 2, True, "1", [1], [True]]), max_size=2)


@st.composite
def clusters(draw: st.DrawFn) -> dict[ClusterName, Cluster]:
    names = draw(st.sets(NAMES.filter(lambda name: name != "gone"), max_size=4))
    return {name: Cluster(name, Origin("c"), labels=draw(LABELS), environment=draw(STAGES)) for name in sorted(names)}


@st.composite
def targets(draw: st.DrawFn, line: int) -> Target:
    origin = Origin("overlay.yaml", line)
    return Target(
        origin,
        all=draw(st.booleans()),
        names=tuple(draw(st.lists(NAMES, max_size=2))),
        environments=tuple(draw(st.lists(STAGES.filter(bool), max_size=2))),
        match_labels=draw(LABELS),
        excluded=tuple(draw(st.lists(NAMES, max_size=1))),
        path=draw(st.sampled_from(["", "p", "q"])),
        components=tuple(draw(st.lists(st.sampled_from(["x", "y"]), max_size=2))),
        variables={name: Variable(value, origin) for name, value in draw(VALUES).items()},
    )


target_lists = st.integers(0, 4).flatmap(lambda count: st.tuples(*(targets(line) for line in range(1, count + 1))))


@given(clusters(), target_lists)
def test_a_selection_by_index_finds_exactly_what_each_target_matches(
    known: dict[ClusterName, Cluster], wanted: tuple[Target, ...]
) -> None:
    by_hand = {
        name: found
        for name, cluster in known.items()
        if (found := tuple(target for target in wanted if matches(target, cluster)))
    }
    assert selected(wanted, ClusterIndex(known)) == by_hand


@given(targets(1), clusters())
def test_an_exception_always_excludes_and_is_no_criterion(target: Target, known: dict[ClusterName, Cluster]) -> None:
    for cluster in known.values():
        bare = Target(target.origin, excluded=target.excluded)
        assert not matches(bare, cluster)
        if cluster.name in target.excluded:
            assert not matches(target, cluster)


@given(target_lists.filter(bool))
def test_a_choice_holds_what_the_highest_rank_says_and_all_components(wanted: tuple[Target, ...]) -> None:
    choice = choice_of(wanted)
    if isinstance(choice, Contradiction):
        first, second = (next(t for t in wanted if t.origin == o) for o in (choice.first, choice.second))
        assert bool(first.names) == bool(second.names)
        return
    assert set(choice.components) == {component for target in wanted for component in target.components}
    for named in (False, True):
        rank = [target for target in wanted if bool(target.names) == named]
        beaten = [target for target in wanted if target.names] if not named else []
        for target in rank:
            assert not target.path or choice.path == target.path or any(other.path for other in beaten)
            for name, variable in target.variables.items():
                assert same_value(choice.variables[name].value, variable.value) or any(
                    name in other.variables for other in beaten
                )


def test_two_paths_at_one_rank_contradict_and_at_two_ranks_do_not() -> None:
    one, other = (Target(Origin("f", line), all=True, path=path) for line, path in ((1, "p"), (2, "q")))
    named = Target(Origin("f", 3), names=(ClusterName("a"),), path="r")
    assert choice_of([one, other]) == Contradiction("path", Origin("f", 1), Origin("f", 2))
    assert choice_of([one, named]) == Choice(Origin("f", 3), "r")


def test_true_is_not_one_and_text_is_no_number() -> None:
    assert not same_value(1, True)
    assert not same_value([1], [True])
    assert not same_value(1, "1")
    assert same_value({"a": 1, "b": 2}, {"b": 2, "a": 1})


EU = Cluster(ClusterName("eu-1"), Origin("c"), labels={"region": "eu"}, environment="prod")


def test_a_template_takes_the_clusters_values_or_does_not_apply() -> None:
    assert expand("x/{label.region}/{cluster}", EU).path == "x/eu/eu-1"
    assert expand("{environment}", EU).rule == "environment: prod"
    assert expand("{location}", EU).path is None
    assert expand("{label.tier}/{location}", EU).missing == "eu-1 has no label tier and no location"
    assert expand("{cluster}/{environment}", EU, keep="cluster").path == "{cluster}/prod"


def test_a_path_is_found_by_templates_in_order_and_a_literal_one_alone() -> None:
    here = {"web/prod": Holding.KUSTOMIZATION, "web": Holding.KUSTOMIZATION, "web/eu-1": Holding.COMPONENT}

    def holds(path: str) -> Holding:
        return here.get(path, Holding.NOTHING)

    templates = ("{cluster}", "{environment}", ".")
    found = find_path(directory="web", templates=templates, literal="", cluster=EU, holds=holds)
    assert found == Found("web/prod", "environment: prod")
    missing = find_path(directory="web", templates=templates, literal="special", cluster=EU, holds=holds)
    assert missing == NotFound(("web/special",))
    nothing = find_path(directory="api", templates=("{cluster}", "{location}"), literal="", cluster=EU, holds=holds)
    assert nothing == NotFound(("api/{cluster}",), ("eu-1 has no location",))


@given(st.text(alphabet="a./\\\x00", max_size=12), st.sampled_from(["", "d", "d/e"]))
def test_a_joined_path_never_leaves_the_commit(path: str, directory: str) -> None:
    joined = join(directory, path)
    if joined is not None:
        assert not joined.startswith(("/", "../"))
        assert ".." not in joined.split("/")
        assert "//" not in joined
