"""`fleet compare`: where an overlay differs between its clusters, by which line, and where by none."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from cli.planrepo import BASE, files
from fixtures.layouts.documents import COMPONENT, KUSTOMIZATION, cluster, deployment, named, overlay, stream
from inventory.building import write

from fleet.cli.compare import compare
from fleet.errors import NotKnown
from fleet.render.service import Renderer

PROD = "overlays/web/prod"


@pytest.fixture(autouse=True)
def _kustomize(real_kustomize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_KUSTOMIZE", real_kustomize)


def ask(root: Path, name: str = "web", output: str = "json") -> tuple[int, Any]:
    out = io.StringIO()
    code = compare(root, name, out, output=output)
    return code, json.loads(out.getvalue()) if output == "json" else out.getvalue()


def differences(root: Path) -> dict[str, tuple[str | None, int | None]]:
    """Of the second variant: what differs, and the line that makes it so."""
    _, found = ask(root)
    _, other = found["variants"]
    return {f"{one['object']} {one['field'] or ''}".strip(): (one["path"], one["line"]) for one in other["differences"]}


def test_an_overlay_that_is_the_same_everywhere(tmp_path: Path) -> None:
    code, text = ask(write(tmp_path, files()), "dns", "table")
    assert code == 0
    assert text.startswith("dns on 7 clusters: the same everywhere\n")


def test_what_cannot_be_read_is_not_called_the_same_and_another_overlay_s_file_is_no_matter(tmp_path: Path) -> None:
    code, text = ask(write(tmp_path / "a", files() | {"clusters/dev-1.yaml": "spec: ["}), "dns", "table")
    assert code == 2
    assert text.startswith("dns on 6 clusters: the same on these\n")
    assert "not compared, because it cannot be read: " in text
    assert "(clusters/dev-1.yaml:" in text
    root = write(tmp_path / "b", files() | {"overlays/web/overlay.yaml": "spec: ["})
    assert ask(root, "dns", "table")[0] == 0


def test_what_an_environment_sets_is_on_purpose_with_its_line_from_either_side(tmp_path: Path) -> None:
    prod = KUSTOMIZATION + "resources: [../base, budget.yaml]\nreplicas:\n  - name: web\n    count: 3\n"
    prod += "images:\n  - name: reg.example/web\n    newTag: 2.0.0\n"
    dev = KUSTOMIZATION + "resources: [../base]\npatches:\n  - target: {kind: Service}\n    patch: |-\n"
    dev += "      - {op: replace, path: /spec/ports/0/port, value: 8080}\n"
    budget = named("PodDisruptionBudget", "policy/v1", "web", spec={"maxUnavailable": 1})
    budget["metadata"] = {"name": "web", "namespace": "shop"}
    changed = {f"{PROD}/kustomization.yaml": prod, f"{PROD}/budget.yaml": stream([budget])}
    root = write(tmp_path, {**files(), **changed, "overlays/web/dev/kustomization.yaml": dev})
    found = differences(root)
    assert found.pop("~ Deployment shop/web spec.replicas") == (f"{PROD}/kustomization.yaml", 6)
    image = found.pop("~ Deployment shop/web spec.template.spec.containers[name=web].image")
    assert image == (f"{PROD}/kustomization.yaml", 9)
    assert found.pop("- PodDisruptionBudget shop/web") == (f"{PROD}/budget.yaml", 2)
    # The port is what its list goes by: one entry comes, by a line of the patch, and one is not there any more.
    assert found == {
        "~ Service shop/web spec.ports[port=8080]": ("overlays/web/dev/kustomization.yaml", 7),
        "~ Service shop/web spec.ports[port=80]": (None, None),
    }


def test_a_line_that_sets_the_same_value_elsewhere_explains_nothing(tmp_path: Path) -> None:
    """Two objects of one name and kind in patches of their own: only a trial tells whose line it is."""
    both = stream([deployment(name, f"reg.example/{name}:1") for name in ("api", "web")])
    patch = stream([named("Deployment", "apps/v1", "api", spec={"replicas": 4})])
    prod = KUSTOMIZATION + "resources: [../base]\npatches:\n  - path: api.yaml\n"
    prod += "  - target: {kind: Deployment, name: web}\n    patch: |-\n      - op: replace\n"
    prod += "        path: /spec/replicas\n        value: 4\n"
    changed = {f"{BASE}/web.yaml": both, f"{PROD}/kustomization.yaml": prod, f"{PROD}/api.yaml": patch}
    found = differences(write(tmp_path, {**files(), **changed}))
    assert found["~ Deployment shop/web spec.replicas"] == (f"{PROD}/kustomization.yaml", prod.count("\n"))
    assert found["~ Deployment shop/api spec.replicas"][0] == f"{PROD}/api.yaml"


def test_a_component_and_a_variable_are_the_reason_and_values_of_clusters_make_no_variants(tmp_path: Path) -> None:
    target = {"matchLabels": {"size": "big"}, "components": ["components/big"]}
    changed = {
        "overlays/web/overlay.yaml": overlay({"all": True}, target, substitute=True),
        f"{BASE}/cache.yaml": stream([named("ConfigMap", "v1", "where", data={"url": "https://${domain}/"})]),
        "components/big/kustomization.yaml": COMPONENT + "patches: [{path: big.yaml}]\n",
        "components/big/big.yaml": stream([named("Deployment", "apps/v1", "web", spec={"replicas": 9})]),
    }
    for stage, count in (("dev", 2), ("prod", 5)):
        for number in range(1, count + 1):
            name, size = f"{stage}-{number}", {"size": "big"} if (stage, number) == ("prod", 1) else {}
            changed[f"clusters/{name}.yaml"] = cluster(name, stage, size, variables={"domain": f"{name}.example"})
    root = write(tmp_path, {**files(), **changed})
    _, found = ask(root)
    first, many, big = sorted(found["variants"], key=lambda variant: len(variant["differences"]))
    assert (first["clusters"], len(many["clusters"]), big["clusters"]) == (["dev-1"], 5, ["prod-1"])
    assert {one["value"] for one in many["differences"]} == {"variable domain"}
    places = {one["object"]: one["path"] for one in big["differences"]}
    assert places == {
        "~ ConfigMap shop/where": "clusters/prod-1.yaml",
        "~ Deployment shop/web": "overlays/web/overlay.yaml",
    }


@pytest.mark.parametrize("is_variable", [False, True])
def test_a_variable_is_the_reason_where_it_makes_the_value_and_not_where_it_has_the_same_one(
    tmp_path: Path, is_variable: bool
) -> None:
    """Both differ as the variable does; the overlay uses that somewhere, or the twin just there."""
    patch = KUSTOMIZATION + "resources: [../base]\npatches:\n  - target: {kind: ConfigMap, name: web}\n    patch: |-\n"
    patch += "      - {op: replace, path: /data/seconds, value: '90'}\n"
    documents = {"web": {"seconds": "${days}" if is_variable else "30"}, "where": {"days": "a ${days}"}}
    changed = {
        "overlays/web/overlay.yaml": overlay({"all": True}, substitute=True),
        f"{BASE}/cache.yaml": stream([named("ConfigMap", "v1", name, data=data) for name, data in documents.items()]),
    }
    if not is_variable:
        changed[f"{PROD}/kustomization.yaml"] = patch
    for stage, days in (("dev", 30), ("prod", 90)):
        for number in range(1, (3 if stage == "dev" else 6)):
            changed[f"clusters/{stage}-{number}.yaml"] = cluster(f"{stage}-{number}", stage, variables={"days": days})
    _, found = ask(write(tmp_path, {**files(), **changed}))
    _, other = found["variants"]
    values = {one["object"].split("/")[-1]: (one["value"], one["path"]) for one in other["differences"]}
    assert values["where"] == ("variable days", "clusters/dev-1.yaml")
    assert values["web"] == (
        ("variable days", "clusters/dev-1.yaml") if is_variable else (None, f"{PROD}/kustomization.yaml")
    )


def test_copies_that_differ_as_a_variable_does_are_without_explanation_and_no_one_variant(tmp_path: Path) -> None:
    copies = {f"c{number}": [held(url="at.${tier}", own=f"c{number}.example")] for number in range(1, 6)}
    root = write(tmp_path, own_copies(copies, substitute=True))
    _, found = ask(root)
    assert [variant["clusters"] for variant in found["variants"]] == [[f"c{number}"] for number in range(1, 6)]
    for variant in found["variants"][1:]:
        told = {one["field"]: (one["value"], one["onPurpose"]) for one in variant["differences"]}
        assert told == {"data.own": (None, False), "data.url": ("variable tier", True)}


def test_copies_that_went_apart_are_without_explanation(tmp_path: Path) -> None:
    service = {"ports": [{"port": 80, "targetPort": "http"}], "selector": {"app.kubernetes.io/name": "web"}}
    other = {**service, "ports": [{"port": 80, "targetPort": "http", "name": "http"}], "sessionAffinity": "ClientIP"}
    twice = named("Service", "v1", "api", spec=other), named("Service", "v1", "web", spec=other)
    copied = KUSTOMIZATION + "namespace: shop\nresources: [copy.yaml]\n"
    root = write(
        tmp_path,
        {
            **files(),
            f"{BASE}/kustomization.yaml": KUSTOMIZATION + "namespace: shop\nresources: [web.yaml]\n",
            f"{BASE}/web.yaml": stream([named("Service", "v1", name, spec=service) for name in ("api", "web")]),
            f"{PROD}/kustomization.yaml": copied,
            f"{PROD}/copy.yaml": stream(twice),
        },
    )
    code, text = ask(root, output="table")
    assert code == 1
    assert "web on 7 clusters: 2 different results" in text
    assert "  without explanation\n    ~ Service shop/api  spec.ports[port=80].name removed" in text


def own_copies(of_cluster: Mapping[str, Sequence[Mapping[str, object]]], **spec: object) -> dict[str, str]:
    """Clusters c1 to c5, of which some have a directory of their own with these documents beside `web` of the base."""
    found = {path: text for path, text in files().items() if not path.startswith(("clusters/", "overlays/web/"))}
    found["overlays/web/overlay.yaml"] = overlay({"all": True}, **spec)
    base = [deployment("web", "reg.example/web:1", replicas=3)]
    for number in range(1, 6):
        name = f"c{number}"
        documents = [*of_cluster[name], *([] if any(one["kind"] == "Deployment" for one in of_cluster[name]) else base)]
        found[f"clusters/{name}.yaml"] = cluster(
            name, "prod", variables={"domain": f"{name}.example", "tier": f"t{name}"}
        )
        found[f"overlays/web/{name}/kustomization.yaml"] = KUSTOMIZATION + "namespace: shop\nresources: [all.yaml]\n"
        found[f"overlays/web/{name}/all.yaml"] = stream(documents)
    return found


def results(root: Path) -> list[list[str]]:
    _, found = ask(root)
    return [variant["clusters"] for variant in found["variants"]]


def scaled(count: int) -> dict[str, object]:
    return deployment("web", "reg.example/web:1", replicas=count)


def held(**data: str) -> dict[str, object]:
    return named("ConfigMap", "v1", "where", data=data)


def key(value: str) -> dict[str, object]:
    return named("Secret", "v1", "key", stringData={"password": value})


SAME: dict[str, list[dict[str, object]]] = {name: [] for name in ("c1", "c2", "c3")}
APART, TOGETHER = [["c1", "c2", "c3"], ["c4"], ["c5"]], [["c1", "c2", "c3"], ["c4", "c5"]]


@pytest.mark.parametrize(
    ("common", "four", "five", "expected"),
    [
        ([scaled(3)], scaled(5), scaled(70), APART),
        ([], held(url="four"), held(url="five"), APART),
        ([key("three")], key("four"), key("five"), APART),
        ([scaled(3)], scaled(5), scaled(5), TOGETHER),
        ([], held(url="other"), held(url="other"), TOGETHER),
        ([key("three")], key("other"), key("other"), TOGETHER),
    ],
)
def test_clusters_with_other_values_are_other_results_and_equal_copies_are_one(
    tmp_path: Path,
    common: list[dict[str, object]],
    four: dict[str, object],
    five: dict[str, object],
    expected: list[list[str]],
) -> None:
    copies = {**dict.fromkeys(SAME, common), "c4": [four], "c5": [five]}
    root = write(tmp_path, own_copies(copies))
    assert results(root) == expected
    if common == [scaled(3)]:
        text = ask(root, output="table")[1]
        assert ("spec.replicas 3 -> 70" in text) is (expected is APART)
        assert "c4\n  without explanation\n    ~ Deployment shop/web  spec.replicas 3 -> 5\n" in text.replace(
            " c5\n", "\n"
        )


def test_what_is_there_with_another_content_is_another_result_though_one_file_brings_it(tmp_path: Path) -> None:
    shared = {
        "overlays/web/more/kustomization.yaml": KUSTOMIZATION + "resources: [more.yaml]\n",
        "overlays/web/more/more.yaml": stream([held(url="shared")]),
    }
    found = {**own_copies(dict.fromkeys(("c1", "c2", "c3", "c4", "c5"), ())), **shared}
    for name in ("c4", "c5"):
        path = f"overlays/web/{name}/kustomization.yaml"
        found[path] = found[path].replace("[all.yaml]", "[all.yaml, ../more]")
    assert results(write(tmp_path / "same", found)) == TOGETHER
    patch = (
        "patches:\n  - target: {kind: ConfigMap}\n    patch: |-\n      - {op: replace, path: /data/url, value: own}\n"
    )
    found["overlays/web/c5/kustomization.yaml"] += patch
    assert results(write(tmp_path / "apart", found)) == APART


@pytest.mark.parametrize(
    "document", [held(url="https://${domain}/"), held(url="https://${domain}/${tier}"), key("at ${domain}")]
)
def test_what_differs_by_variables_alone_is_one_result(tmp_path: Path, document: dict[str, object]) -> None:
    """No two clusters are alike, so that all others are compared with c1."""
    copies = {f"c{number}": [document] for number in range(1, 6)}
    assert results(write(tmp_path, own_copies(copies, substitute=True))) == [["c1"], ["c2", "c3", "c4", "c5"]]


@pytest.mark.parametrize("document", [held(url="https://${domain}/${tier}"), key("at ${domain}"), held(url="same")])
def test_what_is_there_with_other_values_of_variables_is_one_result(
    tmp_path: Path, document: dict[str, object]
) -> None:
    changed = {
        "overlays/web/overlay.yaml": overlay({"all": True}, substitute=True),
        f"{PROD}/kustomization.yaml": KUSTOMIZATION + "namespace: shop\nresources: [../base, more.yaml]\n",
        f"{PROD}/more.yaml": stream([document]),
    }
    for number in range(1, 6):
        variables = {"domain": f"{number}.example", "tier": f"t{number}"}
        changed[f"clusters/prod-{number}.yaml"] = cluster(f"prod-{number}", "prod", variables=variables)
    dev, prod = sorted(results(write(tmp_path, {**files(), **changed})), key=len)
    assert dev == ["dev-1", "dev-2"]
    assert len(prod) == 5


def test_a_field_that_comes_with_other_values_of_a_variable_is_one_result_that_says_so(tmp_path: Path) -> None:
    def patched(base: str, value: str) -> str:
        patch = f"      - {{op: add, path: /spec/externalName, value: '{value}'}}\n"
        return f"{KUSTOMIZATION}resources: [{base}]\npatches:\n  - target: {{kind: Service}}\n    patch: |-\n{patch}"

    changed = {
        "overlays/web/overlay.yaml": overlay({"all": True}, substitute=True),
        f"{PROD}/kustomization.yaml": patched("../base", "at.${domain}"),
    }
    for number in range(1, 6):
        changed[f"clusters/prod-{number}.yaml"] = cluster(
            f"prod-{number}", "prod", variables={"domain": f"{number}.example"}
        )
    code, text = ask(write(tmp_path / "alike", {**files(), **changed}), output="table")
    assert code == 1
    assert "2 different results" in text
    line = "    ~ Service shop/web  spec.externalName added: at.1.example (differs by variable domain)"
    assert line in text
    changed["overlays/web/prod-4/kustomization.yaml"] = patched("../prod", "at.own")
    _, text = ask(write(tmp_path / "apart", {**files(), **changed}), output="table")
    assert "3 different results" in text
    assert "spec.externalName added: at.own\n" in text.replace("   overlays/", "\n")
    assert line in text, "the others are one result all the same"


@pytest.mark.parametrize(("namespace", "line"), [("pay", 2), ("", None)], ids=["its own", "none of its own"])
def test_a_namespace_tells_apart_what_is_called_alike(tmp_path: Path, namespace: str, line: int | None) -> None:
    """The twin: both have their namespace from kustomizations, so that nobody knows."""
    one = named("NetworkPolicy", "networking.k8s.io/v1", "default-deny", spec={"podSelector": {}})
    other = {**one, "metadata": {"name": "default-deny", **({"namespace": namespace} if namespace else {})}}
    found = files() | {
        f"{BASE}/cache.yaml": stream([one]),
        f"{PROD}/kustomization.yaml": KUSTOMIZATION + "resources: [../base, ../pay]\n",
        "overlays/web/pay/kustomization.yaml": KUSTOMIZATION + "namespace: pay\nresources: [pay.yaml]\n",
        "overlays/web/pay/pay.yaml": stream([other]),
    }
    path = "overlays/web/pay/pay.yaml" if line else None
    assert differences(write(tmp_path, found)) == {"- NetworkPolicy pay/default-deny": (path, line)}


@pytest.mark.parametrize(("host", "expected"), [("c{}.example", 12), ("at.example", 2)])
def test_as_many_builds_as_clusters_whatever_looks_as_if_a_variable_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, expected: int
) -> None:
    """Each has its own name in a component, and another reads that from the facts. The twin: all write the same."""
    builds: list[str] = []
    render = Renderer.render

    async def counted(renderer: Renderer, *asked: Any, **more: Any) -> Any:
        builds.append("")
        return await render(renderer, *asked, **more)

    monkeypatch.setattr(Renderer, "render", counted)
    reading = COMPONENT + "replacements:\n  - source: {kind: ConfigMap, name: fleet-cluster, fieldPath: data.name}\n"
    reading += "    targets: [{select: {kind: ConfigMap, name: where}, fieldPaths: [data.who]}]\n"
    changed = {path: text for path, text in files().items() if not path.startswith(("clusters/", "overlays/web/"))}
    changed["overlays/web/kustomization.yaml"] = KUSTOMIZATION + "namespace: shop\nresources: [where.yaml]\n"
    changed["overlays/web/where.yaml"] = stream([held(who="nobody", host="none")])
    changed["components/reading/kustomization.yaml"] = reading
    targets: list[dict[str, object]] = []
    for number in range(10, 22):
        name = f"c{number}"
        changed[f"clusters/{name}.yaml"] = cluster(name, "prod")
        patch = f"      - {{op: replace, path: /data/host, value: {host.format(number)}}}\n"
        targets.append({"names": [name], "components": [f"components/{name}", "components/reading"]})
        changed[f"components/{name}/kustomization.yaml"] = (
            COMPONENT + "patches:\n  - target: {kind: ConfigMap, name: where}\n    patch: |-\n" + patch
        )
    changed["overlays/web/overlay.yaml"] = overlay(*targets)
    _, found = ask(write(tmp_path, {**changed}))
    assert len(found["variants"]) == expected
    assert len(builds) < 6 * 12


def test_a_unit_that_cannot_be_rendered_is_named_and_an_unknown_overlay_refused(tmp_path: Path) -> None:
    root = write(tmp_path, {**files(), f"{PROD}/kustomization.yaml": KUSTOMIZATION + "resources: [../bas]\n"})
    code, text = ask(root, output="table")
    assert code == 2
    assert "web@prod-1 cannot be rendered" in text
    with pytest.raises(NotKnown):
        ask(root, "wep")
