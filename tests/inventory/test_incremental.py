"""A load that builds on the one before gives the same fleet, and reads only what changed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from inventory.snapshots import COMPONENT, KUSTOMIZATION, Content, MemorySnapshot, cluster, fleet, overlay, small_repo
from testbed.gitrepo import Link, Submodule

from fleet.inventory.load import load_fleet

FILES: dict[str, list[Content | None]] = {
    "fleet.yaml": [
        None,
        fleet(),
        fleet("environments: [dev, prod]"),
        fleet("overlays: [{dirs: overlays/*}, {dirs: apps/**}]"),
        fleet("overlays: [{dirs: overlays/*}, {name: web, path: scope, clusters: [{all: true}]}]"),
        "a: [",
    ],
    "clusters/dev-1.yaml": [None, cluster("dev-1", "{environment: dev}"), "b: [", Link("eu-1.yaml")],
    "clusters/eu-1.yaml": [
        None,
        cluster("eu-1"),
        cluster("eu-1", "{environment: prod, variables: {n: 1}}", "{region: eu}"),
        cluster("eu-1", "{environment: prod, overlays: [logs]}"),
        cluster("dev-1"),
        cluster("eu-1", "{enviroment: prod}"),
    ],
    "overlays/web/overlay.yaml": [
        None,
        overlay("clusters: [{all: true}]"),
        overlay("clusters: [{matchLabels: {region: eu}, components: [components/a]}]"),
        overlay("{clusters: [{all: true}], dependsOn: [logs]}"),
        overlay("clusters: [{names: [eu-1], path: ../../scope}]", name="logs"),
        overlay("clusters: [{names: [eu-1], path: ../../linked}]"),
        "c: [",
        Link("../logs/overlay.yaml"),
        "../logs/overlay.yaml",
    ],
    "overlays/web/kustomization.yaml": [None, KUSTOMIZATION],
    "overlays/web/prod/kustomization.yaml": [None, KUSTOMIZATION, COMPONENT],
    "overlays/web/prd/kustomization.yaml": [None, KUSTOMIZATION],
    "overlays/logs/kustomization.yaml": [None, KUSTOMIZATION, COMPONENT, Submodule()],
    "overlays/logs/overlay.yaml": [None, overlay("{dependsOn: [web]}"), overlay("{}", name="web")],
    "components/a/kustomization.yaml": [None, COMPONENT, KUSTOMIZATION],
    "scope/kustomization.yaml": [None, KUSTOMIZATION],
    "linked": [None, Link("scope"), Link("nowhere"), Link("overlays/edge")],
    "overlays/web/dev": [None, Link("prod"), Link("../../README.md"), Submodule()],
    "overlays/edge": [None, Link("../apps/edge"), Link("../apps"), Link("../README.md"), Submodule()],
    "apps/edge/kustomization.yaml": [None, KUSTOMIZATION, COMPONENT],
    "apps/edge/overlay.yaml": [None, overlay("clusters: [{all: true}]")],
    "clusters/more": [None, Link("../shared"), Link("../README.md"), Link("../linked"), Link("..")],
    "clusters/more.md": [None, Link("../shared"), Link("../linked"), Link("../nowhere")],
    "shared/link.yaml": [None, Link("eu-7.yaml"), Link("nowhere")],
    "shared/eu-7.yaml": [None, cluster("eu-7"), "kind: Other", "kind: Other  # of fleet.internal"],
    "README.md": [None, "x", "y"],
}
edits = st.sampled_from(sorted(FILES)).flatmap(lambda path: st.tuples(st.just(path), st.sampled_from(FILES[path])))


@given(st.lists(st.lists(edits, min_size=1, max_size=3), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_an_incremental_load_equals_a_full_one(commits: list[list[tuple[str, Content | None]]]) -> None:
    files: dict[str, Content] = {**small_repo()}
    loaded = load_fleet(MemorySnapshot(files))
    for commit in commits:
        before = dict(files)
        for path, text in commit:
            if text is None:
                files.pop(path, None)
            else:
                files[path] = text
        changed = frozenset(path for path in before.keys() | files.keys() if before.get(path) != files.get(path))
        snapshot = MemorySnapshot(files)
        full = load_fleet(snapshot, loaded, None)
        fast = load_fleet(snapshot, loaded, changed)
        assert fast.fleet == full.fleet
        assert fast.skipped == full.skipped
        loaded = fast


def test_a_change_of_a_manifest_reads_nothing_and_keeps_the_very_same_units() -> None:
    files = small_repo() | {"overlays/web/deployment.yaml": "a"}
    before = load_fleet(MemorySnapshot(files))
    snapshot = MemorySnapshot(files | {"overlays/web/deployment.yaml": "b"})
    after = load_fleet(snapshot, before, frozenset({"overlays/web/deployment.yaml"}))
    assert snapshot.reads == []
    assert after.fleet.units is before.fleet.units
    assert after.fleet.commit != before.fleet.commit


def test_a_change_of_one_overlay_leaves_all_other_units_as_they_are() -> None:
    files = small_repo()
    for index in range(20):
        files[f"overlays/o{index}/overlay.yaml"] = overlay("clusters: [{all: true}]")
        files[f"overlays/o{index}/kustomization.yaml"] = KUSTOMIZATION
    before = load_fleet(MemorySnapshot(files))
    path = "overlays/o3/overlay.yaml"
    snapshot = MemorySnapshot(files | {path: overlay("{clusters: [{all: true}], substitute: true}")})
    after = load_fleet(snapshot, before, frozenset({path}))
    assert snapshot.reads == [path]
    fresh = {str(name) for name, unit in after.fleet.units.items() if unit is not before.fleet.units[name]}
    assert fresh == {"o3@dev-1", "o3@eu-1"}


def test_a_walk_without_knowing_what_changed_parses_only_new_content() -> None:
    files = small_repo()
    before = load_fleet(MemorySnapshot(files))
    snapshot = MemorySnapshot(files | {"clusters/eu-2.yaml": cluster("eu-2")})
    after = load_fleet(snapshot, before)
    assert snapshot.reads == ["clusters/eu-2.yaml"]
    assert len(after.fleet.units) == 3


def test_files_behind_many_links_are_judged_once() -> None:
    note = "kind: ConfigMap\nmetadata: {annotations: {fleet.internal/prune: disabled}}\n"
    files: dict[str, Content] = {**small_repo(), **{f"apps/a{index}/cm.yaml": f"{note}# {index}" for index in range(9)}}
    links: dict[str, Content] = {f"clusters/c{index}/apps": Link("../../apps") for index in range(9)}
    snapshot = MemorySnapshot(files | links)
    before = load_fleet(snapshot)
    assert not before.fleet.problems
    assert len([path for path in snapshot.reads if path.startswith("apps/")]) == 9
    snapshot = MemorySnapshot(files | links | {"README.md": "words"})
    after = load_fleet(snapshot, before, frozenset({"README.md"}))
    assert snapshot.reads == []
    snapshot = MemorySnapshot(files | links | {"apps/a3/cm.yaml": cluster("eu-3")})
    told = load_fleet(snapshot, after, frozenset({"README.md", "apps/a3/cm.yaml"}))
    assert snapshot.reads == ["apps/a3/cm.yaml"]
    assert {problem.origin.path for problem in told.fleet.problems} == links.keys()
    assert told.fleet.unknown.unnamed
    snapshot = MemorySnapshot(files | links)
    again = load_fleet(snapshot, told, frozenset({"README.md", "apps/a3/cm.yaml"}))
    assert snapshot.reads == ["apps/a3/cm.yaml"]  # what is in no commit any more is not kept
    assert again.fleet == before.fleet
