"""From files to the fleet: what is found, what is Unknown, and that nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventory.snapshots import (
    COMPONENT,
    KUSTOMIZATION,
    Content,
    MemorySnapshot,
    cluster,
    fleet,
    load,
    overlay,
    said,
    small_repo,
    units_of,
)
from testbed.gitrepo import Link, Submodule

from fleet.core.fleet import Mode
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.problems import Severity
from fleet.core.rollout_policy import Amount
from fleet.core.sync_policy import Adopt, SyncMode, WindowKind
from fleet.core.targets import Holding
from fleet.inventory.complaints import fields_at
from fleet.inventory.content import NoContent
from fleet.inventory.detours import Behind, detours_of
from fleet.inventory.load import load_fleet
from fleet.inventory.schema import KINDS
from fleet.ports.source import TreeEntry

EU_1, DEV_1, WEB = ClusterName("eu-1"), ClusterName("dev-1"), OverlayName("web")


def test_the_smallest_repo_is_one_cluster_and_one_kustomization() -> None:
    loaded = load(
        {
            "clusters/a.yaml": cluster("a", "overlays: [hello]"),
            "overlays/hello/kustomization.yaml": KUSTOMIZATION,
        }
    )
    assert units_of(loaded) == {"hello@a": "overlays/hello"}
    assert not loaded.fleet.problems
    assert loaded.fleet.name == "default"


def test_the_path_is_the_first_template_that_holds_a_kustomization() -> None:
    files = small_repo()
    assert units_of(load(files)) == {"web@dev-1": "overlays/web", "web@eu-1": "overlays/web/prod"}
    files["overlays/web/eu-1/kustomization.yml"] = KUSTOMIZATION
    assert units_of(load(files))["web@eu-1"] == "overlays/web/eu-1"


def test_a_component_is_never_the_path_of_a_unit() -> None:
    files = small_repo()
    files["overlays/web/prod/kustomization.yaml"] = COMPONENT
    assert units_of(load(files))["web@eu-1"] == "overlays/web"


def test_a_directory_of_components_alone_is_no_overlay() -> None:
    files = small_repo() | {"overlays/components/big/kustomization.yaml": COMPONENT}
    assert set(load(files).fleet.overlays) == {WEB}


def test_names_and_paths_of_other_layouts_come_from_fleet_yaml() -> None:
    loaded = load(
        {
            "fleet.yaml": fleet("""
            clusters: inventory
            overlays:
              - {dirs: apps/*, paths: ["overlays/{cluster}", "overlays/{environment}"]}
              - {dirs: teams/*/*}
              - {name: config, path: "scope/{environment}/{label.region}", clusters: [{all: true}]}
        """),
            "inventory/all.yaml": cluster("eu-1", "{environment: prod, overlays: [shop, pay.api]}", "{region: eu}"),
            "apps/shop/overlays/prod/kustomization.yaml": KUSTOMIZATION,
            "apps/shop/base/kustomization.yaml": KUSTOMIZATION,
            "teams/pay/api/kustomization.yaml": KUSTOMIZATION,
            "scope/prod/eu/kustomization.yaml": KUSTOMIZATION,
        }
    )
    assert units_of(loaded) == {
        "shop@eu-1": "apps/shop/overlays/prod",
        "pay.api@eu-1": "teams/pay/api",
        "config@eu-1": "scope/prod/eu",
    }
    assert not said(loaded)


def test_a_template_of_a_label_that_a_cluster_lacks_is_said() -> None:
    loaded = load(
        {
            "fleet.yaml": fleet('overlays: [{name: c, path: "scope/{label.region}", clusters: [{all: true}]}]'),
            "clusters/eu-1.yaml": cluster("eu-1"),
        }
    )
    (problem,) = loaded.fleet.problems
    assert problem.reason == "PathMissing"
    assert "eu-1 has no label region" in problem.why
    assert set(loaded.fleet.unknown.units) == {UnitName(OverlayName("c"), EU_1)}


def test_documents_of_others_are_skipped_and_counted() -> None:
    files = small_repo()
    files["clusters/eu-1.yaml"] += "---\nkind: ConfigMap\napiVersion: v1\n---\n- a list\n---\n"
    files["clusters/capi.yaml"] = "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\nmetadata: {name: x}\n"
    loaded = load(files)
    assert loaded.skipped == 3
    assert not loaded.fleet.problems
    assert set(loaded.fleet.clusters) == {EU_1, DEV_1}


def test_near_misses_of_group_and_kind_are_errors_and_never_no_clusters() -> None:
    for wrong in (
        cluster("eu-1").replace("fleet.internal", "fleet.interal"),
        cluster("eu-1").replace("kind: Cluster", "kind: Clutser"),
        cluster("eu-1").replace("kind: Cluster", "kind: {Cluster: 1}"),
        cluster("eu-1").replace("apiVersion: fleet.internal/v1\nkind: Cluster", "kind: [Cluster]"),
        cluster("eu-1").replace("internal/v1", "internal/v2"),
        cluster("eu-1").replace("apiVersion: fleet.internal/v1\n", ""),
        cluster("eu-1").replace("fleet.internal/v1", "fleet.internal"),
        overlay(name="eu-1"),
    ):
        files = small_repo() | {"clusters/eu-1.yaml": wrong}
        loaded = load(files)
        (problem,) = loaded.fleet.problems
        assert problem.severity is Severity.ERROR
        assert problem.origin.path == "clusters/eu-1.yaml"
        assert EU_1 in loaded.fleet.unknown.clusters
        assert "web@dev-1" in units_of(loaded)


def test_a_broken_cluster_file_makes_unknown_what_it_defined_and_nothing_else() -> None:
    files = small_repo()
    before = load(files)
    files["clusters/eu-1.yaml"] += "  x: [\n"
    after = load(files, before)
    assert set(after.fleet.unknown.clusters) == {EU_1}
    assert units_of(after) == {"web@dev-1": "overlays/web"}
    assert after.fleet.unknown.covers(UnitName(WEB, EU_1)) is not None
    assert after.fleet.unknown.covers(UnitName(WEB, ClusterName("gone"))) is None
    later = load(files | {"README": "x"}, after)
    assert set(later.fleet.unknown.clusters) == {EU_1}


def test_a_file_of_which_nothing_is_known_leaves_no_absence_proven() -> None:
    files = small_repo() | {"clusters/eu-9.yaml": "a: [\n"}
    unknown = load(files).fleet.unknown
    assert unknown.covers(UnitName(WEB, ClusterName("eu-9"))) is not None
    assert unknown.covers_cluster(ClusterName("eu-9")) is not None


LFS_POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d' * 32}\nsize 12345\n"
NO_TEXT = {
    "a symbolic link to ../shared/real.yaml": Link("../shared/real.yaml"),
    "a submodule": Submodule(),
    "a pointer of Git LFS": LFS_POINTER,
}


def listed(text: str) -> str:
    return "- " + text.replace("\n", "\n  ").rstrip() + "\n"


@pytest.mark.parametrize("what", NO_TEXT)
def test_what_is_no_file_makes_unknown_what_it_defined_and_is_never_read_as_nothing(what: str) -> None:
    files: dict[str, Content] = {**small_repo(), "fleet.yaml": fleet()}
    files["overlays/web/overlay.yaml"] = overlay("clusters: [{all: true}]", name="shop")
    before = load(files)
    for path in ("fleet.yaml", "clusters/eu-1.yaml", "overlays/web/overlay.yaml"):
        after = load({**files, "shared/real.yaml": files[path], path: NO_TEXT[what]}, before)
        (problem,) = after.fleet.problems
        assert (problem.reason, problem.what) == ("FileInvalid", f"{path} cannot be read: it is {what}")
        unknown = after.fleet.unknown
        assert all(name in after.fleet.units or unknown.covers(name) for name in before.fleet.units)
        assert load(files, after).fleet == before.fleet
    assert set(unknown.overlays) == {OverlayName("shop")}
    assert not unknown.unnamed


@pytest.mark.parametrize("turn", [listed, lambda _: "gone\n"], ids=["list", "words"])
def test_a_file_of_ours_that_is_no_document_any_more_is_an_error(turn: Callable[[str], str]) -> None:
    files = small_repo()
    before = load(files)
    for path in ("clusters/eu-1.yaml", "overlays/web/overlay.yaml"):
        after = load(files | {path: turn(files[path])}, before)
        (problem,) = after.fleet.problems
        assert (problem.reason, problem.origin.path) == ("FileInvalid", path)
        assert all(name in after.fleet.units or after.fleet.unknown.covers(name) for name in before.fleet.units)


def moved(files: dict[str, str], old: str, new: str, left: Link | Submodule) -> dict[str, Content]:
    """A directory goes elsewhere, and something that leads there stays in its place."""
    kept: dict[str, Content] = {path.replace(f"{old}/", f"{new}/"): text for path, text in files.items()}
    return {**kept, old: left}


@pytest.mark.parametrize(
    ("old", "new", "left"),
    [
        ("overlays/web", "apps/web", Link("../apps/web")),
        ("overlays/web", "apps/web", Link("../nowhere")),
        ("overlays/web", "apps/web", Link("../apps/web" + "/." * 2048)),
        ("overlays/web", "apps/web", Link("/srv/web")),
        ("overlays/web", "apps/web", Submodule()),
        ("overlays", "platform/overlays", Link("platform/overlays")),
        ("overlays", "platform/overlays", Submodule()),
        ("clusters", "platform/clusters", Link("platform/clusters")),
        ("clusters", "platform/clusters", Submodule()),
        ("clusters/eu", "shared/eu", Link("../shared/eu")),
        ("clusters/eu", "shared/eu", Submodule()),
    ],
)
def test_a_directory_that_became_a_link_lets_nothing_go(old: str, new: str, left: Link | Submodule) -> None:
    files = small_repo() | {"clusters/eu/eu-2.yaml": cluster("eu-2")}
    before = load(files)
    after = load(moved(files, old, new, left), before)
    said = [problem for problem in after.fleet.problems if problem.severity is Severity.ERROR]
    assert [(problem.reason, str(problem.origin)) for problem in said] == [("FileInvalid", old)]
    assert "it is a" in said[0].what
    unknown = after.fleet.unknown
    assert all(name in after.fleet.units or unknown.covers(name) for name in before.fleet.units)
    assert all(name in after.fleet.clusters or unknown.covers_cluster(name) for name in before.fleet.clusters)
    assert load(files, after).fleet == before.fleet


def test_a_link_at_the_path_of_a_unit_is_no_reason_to_take_another_path() -> None:
    files = small_repo() | {"overlays/web/eu-1/kustomization.yaml": KUSTOMIZATION}
    before = load(files)
    for left in (Link("prod"), Link("nowhere"), Submodule()):
        after = load(moved(files, "overlays/web/eu-1", "overlays/web/prod", left), before)
        assert units_of(after) == {"web@dev-1": "overlays/web"}
        (problem,) = after.fleet.problems
        assert after.fleet.unknown.units == {UnitName(WEB, EU_1): problem}
        assert (problem.reason, "overlays/web/eu-1 is, or lies behind, a symbolic link" in problem.why) == (
            "PathMissing",
            True,
        )


HARMLESS: dict[str, dict[str, Content]] = {
    "a plain file behind two links, below clusters/": {
        "clusters/README.md": Link("../R"),
        "R": Link("docs/v1/README.md"),
    },
    "a plain file behind two links, below overlays/": {
        "overlays/README.md": Link("../R"),
        "R": Link("docs/v1/README.md"),
    },
    "a plain file, without an extension": {"clusters/LICENSE": Link("../docs/latest/README.md")},
    "a plain file through a link": {"clusters/README.md": Link("../docs/latest/README.md")},
    "a file out of the commit": {"overlays/.envrc": Link("../../.envrc")},
    "a file of the system": {"clusters/notes.txt": Link("/srv/notes.txt")},
    "a file that is not there": {"clusters/README.md": Link("../nowhere")},
    "a file of a submodule": {"clusters/README.md": Link("../vendor/README.md"), "vendor": Submodule()},
    "a link in circles": {"clusters/README.md": Link("README.md")},
    "the root": {"clusters/eu-1/repo": Link("../..")},
    "an overlay with a link to a manifest": {"clusters/eu-1/web": Link("../../overlays/web")},
    "an overlay through a link": {"clusters/eu-1/web": Link("../../current/web"), "current": Link("overlays")},
    "the Clusters themselves, through a link": {"clusters/again": Link("../all"), "all": Link("clusters")},
    "a directory with a link to a Cluster": {
        "clusters/more": Link("../more"),
        "more/a.yaml": Link("../clusters/eu-1.yaml"),
    },
}


@pytest.mark.parametrize("what", HARMLESS)
def test_links_to_what_defines_nothing_are_no_problem_however_they_lead_there(what: str) -> None:
    files: dict[str, Content] = {**small_repo(), "fleet.yaml": fleet()}
    files |= {"docs/v1/README.md": "words", "docs/latest": Link("v1")}
    files |= {"overlays/web/c.yaml": Link("../../shared/c.yaml"), "shared/c.yaml": "kind: ConfigMap\n"}
    before = load(files)
    for previous in (None, before):
        loaded = load(files | HARMLESS[what], previous)
        assert not said(loaded)
        assert not loaded.fleet.unknown.unnamed
        assert units_of(loaded) == units_of(load(small_repo()))


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("clusters/eu.md", {"clusters/eu.md": Link("../nowhere")}),
        ("clusters/eu.md", {"clusters/eu.md": Link("../a"), "a": Link("b"), "b": Link("/srv/eu")}),
        ("clusters/eu.md", {"clusters/eu.md": Link("../a"), "a": Link("shared"), "shared/x.yaml": cluster("eu-9")}),
        (
            "clusters/eu.md",
            {
                "clusters/eu.md": Link("../a"),
                "a/x.yaml": Link("../shared/x.yaml"),
                "shared/x.yaml": cluster("eu-9"),
            },
        ),
        ("overlays/shop.md", {"overlays/shop.md": Link("../nowhere")}),
        (
            "overlays/shop.md",
            {"overlays/shop.md": Link("../a"), "a": Link("apps"), "apps/kustomization.yaml": KUSTOMIZATION},
        ),
        ("overlays/app/eu.md", {"overlays/app/eu.md": Link("../../nowhere")}),
        ("overlays/far.md", {"overlays/far.md": Link("../nowhere")}),
    ],
)
def test_a_directory_of_ours_with_the_name_of_a_file_that_became_a_link_lets_nothing_go(
    path: str, left: dict[str, Content]
) -> None:
    files: dict[str, Content] = {**small_repo(), "fleet.yaml": fleet()}
    files["clusters/eu.md/eu-9.yaml"] = cluster("eu-9", "overlays: [shop.md, app]")
    files["overlays/shop.md/kustomization.yaml"] = KUSTOMIZATION
    files["overlays/app/eu.md/kustomization.yaml"] = KUSTOMIZATION
    files["overlays/far.md/overlay.yaml"] = overlay("clusters: [{all: true, path: ../web}]")
    before = load(files)
    after: dict[str, Content] = {each: text for each, text in files.items() if not each.startswith(f"{path}/")} | left
    loaded = load(after, before)
    for _ in range(2):
        unknown = loaded.fleet.unknown
        assert all(name in loaded.fleet.units or unknown.covers(name) for name in before.fleet.units)
        assert all(name in loaded.fleet.clusters or unknown.covers_cluster(name) for name in before.fleet.clusters)
        assert before.fleet.overlays.keys() <= loaded.fleet.overlays.keys() | unknown.overlays.keys()
        loaded = load(after, load(after | {"fleet.yaml": "a: [\n"}, load(after, loaded)))


def test_a_link_to_nowhere_with_another_dot_in_its_name_may_have_been_a_directory() -> None:
    for path in ("clusters/eu.west", "overlays/shop.v2"):
        loaded = load(small_repo() | {path: Link("../nowhere")})
        assert [(p.reason, p.origin.path) for p in loaded.fleet.problems] == [("FileInvalid", path)]
        assert loaded.fleet.unknown.unnamed


def test_a_link_in_the_place_that_fleet_yaml_names_is_told_whatever_its_name() -> None:
    for spec, path in (("clusters: our.md", "our.md"), ("overlays: [{dirs: apps.md/*}]", "apps.md")):
        loaded = load({"fleet.yaml": fleet(spec), path: Link("nowhere")})
        assert [(p.reason, p.origin.path) for p in loaded.fleet.problems] == [("FileInvalid", path)]
        assert loaded.fleet.unknown.unnamed


def test_links_to_what_is_read_where_it_lies_or_defines_nothing_are_no_problem() -> None:
    files: dict[str, Content] = {**small_repo(), "apps/web/kustomization.yaml": COMPONENT, "lib/x/readme.md": "words"}
    files["fleet.yaml"] = fleet("overlays: [{dirs: overlays/*}, {dirs: more/*}]")
    files["overlays/shared"] = Link("../apps")  # Components alone
    files["overlays/lib"] = Link("../lib")
    files["more/web"] = Link("../overlays/web")
    files["more/prod"] = Link("../overlays/web/prod/kustomization.yaml")
    files["overlays/web/lib"] = Link("../../lib/x")
    files["clusters/again"] = Link("../clusters")
    files["clusters/apps"] = Link("../apps")  # manifests of others
    files["clusters/eu-1/web"] = Link("../../overlays/web")  # an overlay
    files["clusters/eu-1/overlays"] = Link("../../overlays")
    files["overlays/web/deployment.yaml"] = "kind: Deployment\nmetadata: {annotations: {fleet.internal/prune: x}}\n"
    loaded = load(files)
    assert not loaded.fleet.problems
    assert units_of(loaded) == units_of(load(small_repo()))


def test_links_to_what_no_system_could_follow_keep_nothing_of_it_in_memory() -> None:
    near, far = "x" * 4095, "x" * 4096
    links = {f"overlays/web/l{index}": Link(far) for index in range(50)}
    snapshot = MemorySnapshot(small_repo() | links | {"overlays/web/near": Link(near)})
    kept: dict[TreeEntry, NoContent] = {}
    found = detours_of(snapshot, [*links, "overlays/web/near"], lambda _: Holding.NOTHING, kept)
    assert len(kept) == len(snapshot.reads) == 2
    assert sorted(len(content.target) for content in kept.values()) == [0, 4095]
    assert all(detour.behind is Behind.UNKNOWN for detour in found.values())


def test_a_few_files_are_in_memory_at_once() -> None:
    class Counting(MemorySnapshot):
        def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
            asked.append(len(paths))
            return super().read_many(paths)

    asked: list[int] = []
    files = {f"clusters/c{index}.yaml": cluster(f"c{index}") for index in range(20)}
    assert len(load_fleet(Counting(files)).fleet.clusters) == 20
    assert asked == [8, 8, 4]


def test_links_and_lists_beside_the_inventory_are_nobodys_business() -> None:
    files: dict[str, Content] = {**small_repo(), "README.md": "words"}
    files["clusters/README.md"] = files["overlays/README.md"] = Link("../README.md")
    files["clusters/patch.yaml"] = "- {op: remove, path: /spec}\n"
    files["clusters/networks.yaml"] = "- 10.0.0.0/8\n"
    files["clusters/eu-1.yaml"] = "# words\n---\n" + cluster("eu-1") + "---\n# more\n---\n~\n"
    files["overlays/web/values.yaml"] = "- a\n"
    files["overlays/web/notes"] = Link("../../README.md")
    loaded = load(files)
    assert not loaded.fleet.problems
    assert loaded.skipped == 2
    assert units_of(loaded) == units_of(load(small_repo()))


def test_one_wrong_document_does_not_harm_its_neighbours_in_the_file() -> None:
    files = small_repo()
    files["clusters/eu-1.yaml"] += "---\n" + cluster("eu-2", "{enviroment: prod}")
    loaded = load(files)
    assert set(loaded.fleet.unknown.clusters) == {ClusterName("eu-2")}
    assert EU_1 in loaded.fleet.clusters
    (problem,) = loaded.fleet.problems
    assert (problem.label, problem.origin.line) == ("did you mean environment?", 11)


def test_a_broken_overlay_yaml_makes_that_overlay_unknown_by_the_name_it_had() -> None:
    files = small_repo()
    files["overlays/web/overlay.yaml"] = overlay("clusters: [{all: true}]", name="shop")
    before = load(files)
    files["overlays/web/overlay.yaml"] = "a: [\n"
    after = load(files, before)
    assert set(after.fleet.unknown.overlays) == {OverlayName("shop")}
    assert not after.fleet.units
    assert not after.fleet.unknown.unnamed


def test_a_broken_fleet_yaml_makes_everything_unknown_and_keeps_the_name() -> None:
    files = small_repo() | {"fleet.yaml": fleet()}
    before = load(files)
    for wrong in ("a: [\n", fleet().replace("kind: Fleet", "kind: Flet"), "helm: {}\n", fleet("clutsers: x")):
        after = load(files | {"fleet.yaml": wrong}, before)
        assert after.fleet.unknown.everything is not None
        assert after.fleet.name == "acme"
        assert load(files, after).fleet == before.fleet


def test_duplicate_names_stop_all_that_carry_them_and_nobody_else() -> None:
    files = small_repo()
    files["clusters/z.yaml"] = cluster("eu-1", "{environment: dev}")
    loaded = load(files)
    (problem,) = loaded.fleet.problems
    assert problem.reason == "DuplicateName"
    assert {problem.origin.path, problem.also[0].path} == {"clusters/eu-1.yaml", "clusters/z.yaml"}
    assert set(loaded.fleet.unknown.clusters) == {EU_1}
    assert units_of(loaded) == {"web@dev-1": "overlays/web"}


def test_duplicate_identities_stop_all_that_carry_them() -> None:
    files = small_repo()
    for name in ("eu-1", "dev-1"):
        files[f"clusters/{name}.yaml"] = cluster(name, "{environment: prod, identity: 5f0c}")
    loaded = load(files)
    assert set(loaded.fleet.unknown.clusters) == {EU_1, DEV_1}
    assert [p.reason for p in loaded.fleet.problems] == ["DuplicateName"]


def test_duplicate_overlay_names_stop_both() -> None:
    files = small_repo() | {"overlays/shop/overlay.yaml": overlay("{}", name="web")}
    loaded = load(files)
    assert set(loaded.fleet.unknown.overlays) == {WEB}
    assert not loaded.fleet.units


def test_a_cluster_named_like_an_environment_or_shared_directory_is_refused() -> None:
    for name in ("prod", "base", "components"):
        files = small_repo() | {"clusters/x.yaml": cluster(name)}
        loaded = load(files)
        assert [p.reason for p in loaded.fleet.problems] == ["NameInvalid"]
        assert ClusterName(name) in loaded.fleet.unknown.clusters


@pytest.mark.parametrize("name", ["../x", "A", "a_b", "-a", "a.b", "a/b", "x" * 64, '"a\\nb"', '""'])
def test_a_name_that_kubernetes_cannot_carry_is_refused_and_not_mended(name: str) -> None:
    loaded = load(small_repo() | {"clusters/x.yaml": cluster(name)})
    assert [(p.reason, p.origin.path) for p in loaded.fleet.problems] == [("FieldInvalid", "clusters/x.yaml")]
    assert set(loaded.fleet.clusters) == {ClusterName("dev-1"), ClusterName("eu-1")}
    assert not load(small_repo() | {"clusters/x.yaml": cluster("x" * 63)}).fleet.problems


def test_an_environment_that_fleet_yaml_does_not_have_is_an_error_with_did_you_mean() -> None:
    files = small_repo() | {"fleet.yaml": fleet("environments: [dev, production]")}
    (problem,) = load(files).fleet.problems
    assert (problem.next_step, problem.origin.path) == ("add it to environments in fleet.yaml", "clusters/eu-1.yaml")
    files["fleet.yaml"] = fleet("environments: [dev, prd]")
    assert load(files).fleet.problems[0].next_step == "did you mean prd?"


def test_a_cluster_that_names_an_overlay_with_targets_is_an_error_with_both_lines() -> None:
    files = small_repo()
    files["clusters/eu-1.yaml"] = cluster("eu-1", "{environment: prod, overlays: [web]}")
    loaded = load(files)
    (problem,) = loaded.fleet.problems
    assert problem.reason == "TargetInvalid"
    assert (str(problem.origin), str(problem.also[0])) == ("clusters/eu-1.yaml:5", "overlays/web/overlay.yaml:4")
    assert units_of(loaded) == {"web@dev-1": "overlays/web"}
    assert UnitName(WEB, EU_1) in loaded.fleet.unknown.units


def test_a_cluster_that_names_an_overlay_which_does_not_exist_lets_nothing_go() -> None:
    files = small_repo() | {"overlays/logs/kustomization.yaml": KUSTOMIZATION}
    files["clusters/eu-1.yaml"] = cluster("eu-1", "{environment: prod, overlays: [lgos]}")
    loaded = load(files)
    error = loaded.fleet.problems[0]
    assert (error.reason, error.next_step) == ("FieldInvalid", "did you mean logs?")
    assert loaded.fleet.unknown.covers(UnitName(OverlayName("logs"), EU_1)) is error
    assert "web@eu-1" in units_of(loaded)


def test_names_beat_selectors_and_a_literal_path_has_no_fallback() -> None:
    files = small_repo()
    files["overlays/web/overlay.yaml"] = overlay("""
        clusters:
          - {all: true, variables: {n: 1}}
          - {names: [eu-1], path: special, variables: {n: 2}}
    """)
    loaded = load(files)
    assert units_of(loaded) == {"web@dev-1": "overlays/web"}
    assert loaded.fleet.unknown.units[UnitName(WEB, EU_1)].reason == "PathMissing"
    files["overlays/web/special/kustomization.yaml"] = KUSTOMIZATION
    unit = load(files).fleet.units[UnitName(WEB, EU_1)]
    assert (unit.path, unit.path_rule, unit.variables["n"].value) == ("overlays/web/special", "path: special", 2)
    assert str(unit.path_origin) == "overlays/web/overlay.yaml:6"


def test_contradicting_targets_are_an_error_naming_both() -> None:
    files = small_repo()
    files["overlays/web/overlay.yaml"] = overlay("""
        clusters:
          - {all: true, variables: {n: 1}}
          - {environments: [prod], variables: {n: 2}}
    """)
    loaded = load(files)
    (problem,) = loaded.fleet.problems
    assert (str(problem.origin), str(problem.also[0])) == ("overlays/web/overlay.yaml:6", "overlays/web/overlay.yaml:5")
    assert units_of(loaded) == {"web@dev-1": "overlays/web"}


def test_components_add_up_and_one_that_is_missing_stops_its_units_alone() -> None:
    files = small_repo() | {"components/a/kustomization.yaml": COMPONENT, "components/b/kustomization.yaml": COMPONENT}
    files["overlays/web/overlay.yaml"] = overlay("""
        clusters:
          - {all: true, components: [components/a]}
          - {environments: [prod], components: [components/b, components/a]}
    """)
    assert load(files).fleet.units[UnitName(WEB, EU_1)].components == ("components/a", "components/b")
    del files["components/b/kustomization.yaml"]
    loaded = load(files)
    assert units_of(loaded) == {"web@dev-1": "overlays/web"}
    assert loaded.fleet.problems[0].reason == "PathMissing"


def test_a_target_without_criterion_is_an_error() -> None:
    files = small_repo() | {"overlays/web/overlay.yaml": overlay("clusters: [{except: [eu-1]}]")}
    loaded = load(files)
    assert [p.reason for p in loaded.fleet.problems] == ["TargetInvalid"]
    assert WEB in loaded.fleet.unknown.overlays


def test_a_target_that_matches_nothing_is_a_warning_with_what_exists() -> None:
    files = small_repo()
    files["clusters/eu-1.yaml"] = cluster("eu-1", "{environment: prod}", "{tier: gold}")
    files["overlays/web/overlay.yaml"] = overlay("""
        clusters:
          - {all: true}
          - {matchLabels: {tier: glod}}
          - {names: [eu-11]}
          - {environments: [pord]}
    """)
    problems = load(files).fleet.problems
    assert {p.severity for p in problems} == {Severity.WARNING}
    assert [(p.origin.line, p.next_step) for p in problems] == [
        (6, "did you mean gold?"),
        (7, "did you mean eu-1?"),
        (8, "did you mean prod?"),
    ]


def test_a_directory_beside_the_others_that_nothing_selects_is_a_warning() -> None:
    files = small_repo() | {"overlays/web/eu1/kustomization.yaml": KUSTOMIZATION}
    (problem,) = load(files).fleet.problems
    assert (problem.origin.path, problem.next_step) == ("overlays/web/eu1", "did you mean eu-1?")


def test_a_shared_directory_that_another_kustomization_uses_is_no_warning() -> None:
    files = small_repo() | {
        "overlays/web/common/kustomization.yaml": KUSTOMIZATION,
        "overlays/web/prod/kustomization.yaml": "resources: [../common]\n",
        "overlays/web/base/kustomization.yaml": KUSTOMIZATION,
    }
    assert not load(files).fleet.problems


def test_dependencies_must_exist_and_form_no_ring() -> None:
    files = small_repo()
    files["overlays/web/overlay.yaml"] = overlay("{clusters: [{all: true}], dependsOn: [wbe]}")
    assert load(files).fleet.problems[0].what == "web depends on wbe, which does not exist"
    assert WEB in load(files).fleet.unknown.overlays
    files["overlays/web/overlay.yaml"] = overlay("{clusters: [{all: true}], dependsOn: [a]}")
    files["overlays/a/overlay.yaml"] = overlay("{clusters: [{all: true}], dependsOn: [web]}")
    files["overlays/a/kustomization.yaml"] = KUSTOMIZATION
    files["overlays/b/overlay.yaml"] = overlay("{clusters: [{all: true}]}")
    files["overlays/b/kustomization.yaml"] = KUSTOMIZATION
    loaded = load(files)
    assert set(loaded.fleet.unknown.overlays) == {WEB, OverlayName("a")}
    assert set(units_of(loaded)) == {"b@dev-1", "b@eu-1"}


def test_settings_of_all_kinds_arrive() -> None:
    files = small_repo()
    files["fleet.yaml"] = fleet("""
        environments: [dev, {name: prod, variables: {tier: gold}}]
        sync: {mode: manual, adopt: ifNoDiff, windows: [{kind: deny, schedule: "0 9 * * 5", duration: 8h}]}
        budget: {objects: 5, share: 10%, shareFrom: 4, clusters: 1}
        rollout: {steps: [{name: all, rest: true, maxParallel: 50%}], healthTimeout: 5m}
        suspend: {reason: freeze, owner: jo}
    """)
    files["clusters/eu-1.yaml"] = cluster("eu-1", "{environment: prod, mode: observe, connection: {inCluster: {}}}")
    files["overlays/web/overlay.yaml"] = overlay("""
        clusters: [{all: true}]
        sync: {mode: auto}
        rollout: {healthTimeout: 90s}
        ignoreDifferences:
          - {kind: Deployment, pointers: [/spec/replicas], reason: HPA, owner: jo, until: "2026-11-30T18:00:00Z"}
        health: [{kind: Certificate, healthy: 'true'}]
        suspend: {reason: disk swap, until: "2026-11-30T18:00:00Z"}
        compat: [argocd]
    """)
    loaded = load(files)
    assert not said(loaded)
    assert (loaded.fleet.budget.share, loaded.fleet.budget.clusters) == (0.1, 1)
    assert loaded.fleet.suspend is not None
    assert loaded.fleet.suspend.scope == "fleet"
    web = loaded.fleet.overlays[WEB]
    assert (web.sync.mode, web.sync.adopt) == (SyncMode.AUTO, Adopt.IF_NO_DIFF)
    assert (web.sync.windows[0].kind, web.sync.windows[0].duration_seconds) == (WindowKind.DENY, 28_800)
    assert (web.health_timeout_seconds, web.rollout.own_steps) == (90, False)
    (step,) = web.rollout.steps or ()
    assert (step.name, step.rest, step.max_parallel) == ("all", True, Amount(share=0.5))
    assert web.suspend is not None
    assert web.suspend.scope == "overlay web"
    (note,) = web.ignore_notes
    assert (note.what, note.reason, note.owner, note.until) == (
        "Deployment /spec/replicas", "HPA", "jo", "2026-11-30T18:00:00Z"
    )  # fmt: skip
    assert (
        note.origin.line
        == files["overlays/web/overlay.yaml"]
        .splitlines()
        .index(next(line for line in files["overlays/web/overlay.yaml"].splitlines() if "/spec/replicas" in line))
        + 1
    )
    entry = loaded.fleet.clusters[EU_1]
    assert (entry.mode, entry.connection.in_cluster, entry.connection.credential) == (Mode.OBSERVE, True, "")
    assert loaded.fleet.clusters[DEV_1].connection.credential == "dev-1"


def test_who_had_a_field_ignored_and_until_when_makes_no_other_rule_of_it() -> None:
    files = small_repo()
    plain, noted = ({**files} for _ in range(2))
    plain["overlays/web/overlay.yaml"] = overlay("{clusters: [{all: true}], ignoreDifferences: [{pointers: [/data]}]}")
    noted["overlays/web/overlay.yaml"] = overlay(
        "{clusters: [{all: true}], ignoreDifferences: [{pointers: [/data], reason: r, until: '2026-11-30T18:00:00Z'}]}"
    )
    rules = [load(each).fleet.overlays[WEB].ignore for each in (plain, noted)]
    assert rules[0] == rules[1] != ()


def test_an_end_of_ignoring_that_looks_like_no_time_is_refused_with_its_line() -> None:
    files = small_repo()
    files["overlays/web/overlay.yaml"] = overlay("""
        clusters: [{all: true}]
        ignoreDifferences: [{pointers: [/data], until: tomorrow}]
    """)
    (problem,) = load(files).fleet.problems
    assert "until" in problem.what + problem.why
    assert problem.origin.path == "overlays/web/overlay.yaml"


def test_variables_come_in_the_order_of_the_design_each_with_its_line() -> None:
    files = small_repo()
    files["fleet.yaml"] = fleet("""
        environments: [dev, {name: prod, variables: {b: environment, c: environment}}]
        overlays: [{dirs: overlays/*}]
        variables: {a: fleet, b: fleet, port: 8080, list: [1, 2]}
    """)
    files["overlays/web/overlay.yaml"] = overlay("""
        clusters: [{all: true, variables: {d: target, e: target}}]
        variables: {c: overlay, d: overlay}
    """)
    files["clusters/eu-1.yaml"] = cluster("eu-1", "{environment: prod, variables: {e: cluster}}", "{region: eu}")
    found = load(files).fleet.units[UnitName(WEB, EU_1)].variables
    assert {name: found[name].value for name in "abcde"} == {
        "a": "fleet",
        "b": "environment",
        "c": "overlay",
        "d": "target",
        "e": "cluster",
    }
    assert (found["port"].value, found["list"].value) == (8080, [1, 2])
    assert (found["cluster_name"].value, found["cluster_label_region"].value) == ("eu-1", "eu")
    assert "cluster_location" not in found
    assert (str(found["b"].origin), str(found["e"].origin)) == ("fleet.yaml:5", "clusters/eu-1.yaml:5")


def test_a_clusters_own_entry_beats_all_other_variables() -> None:
    loaded = load(
        {
            "clusters/eu-1.yaml": cluster(
                "eu-1", "{variables: {n: 1}, overlays: [{name: web, path: eu, variables: {n: 2}}]}"
            ),
            "overlays/web/eu/kustomization.yaml": KUSTOMIZATION,
        }
    )
    unit = loaded.fleet.units[UnitName(WEB, EU_1)]
    assert (unit.path, unit.variables["n"].value) == ("overlays/web/eu", 2)


def test_an_absent_overlay_needs_no_directory() -> None:
    files = small_repo()
    files["overlays/web/overlay.yaml"] = overlay("{state: absent, clusters: [{all: true}]}")
    del files["overlays/web/kustomization.yaml"]
    del files["overlays/web/prod/kustomization.yaml"]
    assert units_of(load(files)) == {"web@dev-1": "", "web@eu-1": ""}


def test_a_path_that_leads_out_of_the_repo_is_refused() -> None:
    files = small_repo() | {"overlays/web/overlay.yaml": overlay("clusters: [{all: true, path: ../../../etc}]")}
    loaded = load(files)
    assert not loaded.fleet.units
    assert "leads out" in loaded.fleet.problems[0].why


_TEXTS = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=80),
    st.sampled_from([cluster("eu-1"), overlay("clusters: [{all: true}]"), fleet(), KUSTOMIZATION, "a: &a [*a]\n", ""]),
)
_PATHS = st.sampled_from(
    [
        "fleet.yaml",
        "clusters/eu-1.yaml",
        "clusters/x/y.yml",
        "overlays/web/overlay.yaml",
        "overlays/web/prod/kustomization.yaml",
        "overlays/Ümlaut/kustomization.yaml",
    ]
)


@given(st.dictionaries(_PATHS, _TEXTS))
def test_any_garbage_gives_problems_and_never_raises(files: dict[str, str | bytes]) -> None:
    encoded = {path: text if isinstance(text, bytes) else text.encode(errors="replace") for path, text in files.items()}
    before = load(small_repo())
    loaded = load(encoded, before)
    assert all(problem.what and problem.origin.path for problem in loaded.fleet.problems)


_FIELDS = st.sampled_from(
    [field for kind in KINDS.values() for field in fields_at(kind, ("spec",))]
    + ["name", "names", "path", "paths", "dirs", "all", "except", "matchLabels", "components", "steps", "windows", "x"]
)
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["web", "eu-1", "10m"])
)
_SPECS = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELDS, inner, max_size=4), max_leaves=12
)


@given(_SPECS, st.sampled_from(["Fleet", "Cluster", "Overlay"]))
def test_any_spec_gives_problems_and_never_raises(spec: object, kind: str) -> None:
    path = {"Fleet": "fleet.yaml", "Cluster": "clusters/eu-1.yaml", "Overlay": "overlays/web/overlay.yaml"}[kind]
    document = {"apiVersion": "fleet.internal/v1", "kind": kind, "metadata": {"name": "eu-1"}, "spec": spec}
    loaded = load(small_repo() | {path: json.dumps(document)}, load(small_repo()))
    assert all(problem.origin.path for problem in loaded.fleet.problems)


@given(st.binary(max_size=80), st.sampled_from(["clusters/eu-1.yaml", "overlays/logs/overlay.yaml"]))
def test_a_file_that_breaks_changes_nothing_else(raw: bytes, path: str) -> None:
    files: dict[str, str | bytes] = {**small_repo()}
    files["overlays/logs/overlay.yaml"] = overlay("clusters: [{all: true}]")
    files["overlays/logs/kustomization.yaml"] = KUSTOMIZATION
    before = load(files)
    after = load(files | {path: b"a: b: c\n" + raw}, before)  # no YAML, whatever follows
    gone = set(units_of(before)) - set(units_of(after))
    mine = "@eu-1" if path.startswith("clusters") else "logs@"
    assert gone == {name for name in units_of(before) if mine in name}
    assert all(after.fleet.unknown.covers(UnitName.parse(name)) is not None for name in gone)
