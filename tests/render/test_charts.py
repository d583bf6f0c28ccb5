"""helmCharts from archives inside the commit: built by the real helm in the sandbox, or refused by name (R27, R28)."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from render.world import MemorySnapshot, bodies, commit
from testbed import binaries
from testbed.fixtures import require

from fleet.core.objects import Bundle
from fleet.errors import ChartInvalid, FleetError, PathEscapes, PluginRefused, RemoteBaseRefused, RenderFailed
from fleet.ports.render import RenderRequest
from fleet.render.charts import Room, read_archive, unpack_charts
from fleet.render.closure import read_closure
from fleet.render.index import ReverseIndex, place_of
from fleet.render.limits import RunLimits
from fleet.render.reader import Reader
from fleet.render.service import Renderer
from fleet.render.tools import Helm, Tool, find_helm
from fleet.render.tree import CommitTree

CHART = {
    "Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.2.3\n",
    "values.yaml": "size: small\n",
    "templates/cm.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-cm, namespace: shop}\n"
        "data: {size: {{ .Values.size }}}\n"
    ),
}
USE = "helmCharts:\n- {name: web, version: 1.2.3, repo: 'https://charts.acme.example', releaseName: shop}\n"


def archive_of(files: Mapping[str, str], top: str = "web", **odd: tarfile.TarInfo) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{top}/{name}" if top else name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
        for info in odd.values():
            archive.addfile(info, io.BytesIO(b"x" * info.size))
    return made.getvalue()


def snapshot(kustomization: str, archive: bytes | None = None, at: str = "app/charts/web-1.2.3.tgz") -> MemorySnapshot:
    files = {"app/kustomization.yaml": kustomization.encode()}
    return MemorySnapshot(files | ({at: archive} if archive is not None else {}))


@pytest.fixture
async def helm() -> Helm:
    require("helm")
    found = await find_helm({"FLEET_ALLOW_CHARTS": "true", "FLEET_HELM": str(binaries.find("helm"))})
    assert found is not None
    return found


Build = Callable[[MemorySnapshot], Any]


@pytest.fixture
async def build(helm: Helm, make_renderer: Callable[..., Renderer]) -> Build:
    renderer = make_renderer(helm=helm)

    async def run(given: MemorySnapshot) -> Bundle:
        return await renderer.render(given, RenderRequest("app"))

    return run


async def test_an_archive_in_the_commit_is_built_with_its_values(build: Build) -> None:
    chart = archive_of(CHART)
    assert bodies(await build(snapshot(USE, chart)))["ConfigMap/shop-cm"]["data"] == {"size": "small"}
    inline = USE.replace("releaseName: shop", "releaseName: shop, valuesInline: {size: large}")
    assert bodies(await build(snapshot(inline, chart)))["ConfigMap/shop-cm"]["data"] == {"size": "large"}
    merge = "{apiVersion: v1, kind: ConfigMap, metadata: {name: shop-cm, namespace: shop}, data: {more: m}}"
    patched = f"{USE}patches:\n- patch: |\n    {merge}\n"
    assert bodies(await build(snapshot(patched, chart)))["ConfigMap/shop-cm"]["data"] == {"size": "small", "more": "m"}


async def test_an_unpacked_chart_and_another_home_are_built_too(build: Build) -> None:
    use = "helmGlobals: {chartHome: ../parts}\nhelmCharts:\n- {name: web, releaseName: shop, valuesFile: more.yaml}\n"
    files = {f"parts/web/{name}": text for name, text in CHART.items()}
    files |= {"app/kustomization.yaml": use, "app/more.yaml": "size: huge\n"}
    assert bodies(await build(commit(files)))["ConfigMap/shop-cm"]["data"] == {"size": "huge"}
    assert bodies(await build(snapshot(use.replace(", valuesFile: more.yaml", ""), archive_of(CHART), "parts/web.tgz")))


def test_a_file_that_an_unpacked_chart_gets_is_a_change_of_its_unit() -> None:
    files = {f"parts/web/{name}": text for name, text in CHART.items()}
    files["app/kustomization.yaml"] = "helmGlobals: {chartHome: ../parts}\nhelmCharts:\n- {name: web}\n"
    added = "parts/web/templates/more/new.yaml"
    request, index = RenderRequest("app"), ReverseIndex()
    before = read_closure(CommitTree(commit(files)), Reader(), "app", charts=True)
    assert before.error is None
    index.ask(request)
    index.put(place_of(request), before)
    assert index.affected(frozenset({added})) == {request}
    assert before.renewed(CommitTree(commit({**files, added: "x"}))) is None
    assert before.renewed(CommitTree(commit({**files, "parts/other/new.yaml": "x"}))) is before


async def test_another_archive_is_another_input(build: Build) -> None:
    first = await build(snapshot(USE, archive_of(CHART)))
    second = await build(snapshot(USE, archive_of({**CHART, "values.yaml": "size: tiny\n"})))
    assert first.digest != second.digest
    assert bodies(second)["ConfigMap/shop-cm"]["data"] == {"size": "tiny"}


async def test_what_helm_refuses_is_said_in_its_words(build: Build) -> None:
    needs = {
        **CHART,
        "Chart.yaml": CHART["Chart.yaml"]
        + "dependencies: [{name: redis, version: 1.0.0, repository: 'https://x.example'}]\n",
    }
    with pytest.raises(RenderFailed, match="helm refuses") as refused:
        await build(snapshot(USE, archive_of(needs)))
    assert "redis" in refused.value.why
    assert "fleet vendor chart" in refused.value.next_step
    broken = {**CHART, "templates/cm.yaml": '{{ fail "size is missing" }}\n'}
    with pytest.raises(RenderFailed, match="helm refuses") as refused:
        await build(snapshot(USE, archive_of(broken)))
    assert "size is missing" in refused.value.why
    assert "/build-" not in str(refused.value)


async def test_a_chart_that_would_be_fetched_is_refused_with_the_command_that_vendors_it(build: Build) -> None:
    with pytest.raises(RemoteBaseRefused) as refused:
        await build(snapshot(USE))
    assert refused.value.where == "app/kustomization.yaml:2"
    assert refused.value.next_step == "fleet vendor chart web --version 1.2.3 --repo https://charts.acme.example"


def closure_error(kustomization: str, *, charts: bool = True) -> FleetError | None:
    tree = CommitTree(snapshot(kustomization, archive_of(CHART)))
    return read_closure(tree, Reader(), "app", charts=charts).error


def test_charts_are_refused_unless_the_hub_allows_them() -> None:
    assert closure_error(USE) is None
    refused = closure_error(USE, charts=False)
    assert isinstance(refused, PluginRefused)
    assert "FLEET_ALLOW_CHARTS" in refused.next_step


@pytest.mark.parametrize(
    ("kustomization", "expected"),
    [
        (USE.replace("shop", "--post-renderer=/usr/bin/python3"), PluginRefused),
        (USE.replace("releaseName: shop", "namespace: -x"), PluginRefused),
        (USE.replace("releaseName: shop", "apiVersions: [v1, --debug]"), PluginRefused),
        (USE.replace("releaseName: shop", "releaseName: [shop, x]"), PluginRefused),
        (USE.replace("name: web", "name: ../web"), PluginRefused),
        (USE.replace("name: web", "name: 'oci://x/web'"), PluginRefused),
        (USE.replace("releaseName", "postRenderer"), PluginRefused),
        (f"helmGlobals: {{configHome: plugins}}\n{USE}", PluginRefused),
        (f"helmGlobals: {{chartHome: ../..}}\n{USE}", PathEscapes),
        (f"helmGlobals: {{chartHome: /etc}}\n{USE}", PathEscapes),
        (USE.replace("releaseName: shop", "valuesFile: ../../etc/passwd"), PathEscapes),
        (USE.replace("releaseName: shop", "valuesFile: 'https://x.example/v.yaml'"), RemoteBaseRefused),
        ("helmChartInflationGenerator: [{chartName: web}]\n", PluginRefused),
        ("generators: ['{apiVersion: builtin, kind: HelmChartInflationGenerator, metadata: {name: x}}']\n",
         PluginRefused),
    ],
)  # fmt: skip
def test_what_could_run_or_reach_something_else_is_refused(kustomization: str, expected: type[FleetError]) -> None:
    assert isinstance(closure_error(kustomization), expected)


def odd(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, target
    return info


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no archive at all",
        archive_of(CHART)[:200],
        archive_of({"templates/x.yaml": "a: b\n"}),
        archive_of(CHART, top=""),
        archive_of(CHART, link=odd("web/templates/l.yaml", tarfile.SYMTYPE, target="/etc/passwd")),
        archive_of(CHART, link=odd("web/templates/l.yaml", tarfile.LNKTYPE, target="web/values.yaml")),
        archive_of(CHART, device=odd("web/templates/d", tarfile.CHRTYPE)),
        archive_of(CHART, up=odd("web/../../up.yaml")),
        archive_of(CHART, absolute=odd("/etc/x")),
        archive_of(CHART, twice=odd("web/values.yaml")),
        archive_of(CHART, large=odd("web/large", size=2_000_000)),
        archive_of(CHART, named=odd("web/" + "n" * 2_000_000)),  # a header of its own, which a reader holds whole
        archive_of(CHART, deep=odd("web" + "/d" * 100)),
        archive_of(CHART, **{f"d{n}": odd(f"web/d{n}", tarfile.DIRTYPE) for n in range(300)}),
        archive_of(CHART, **{f"p{n}": odd("web/p", tarfile.XHDTYPE) for n in range(1500)}),
        archive_of(CHART) + archive_of(CHART),
    ],
)
def test_a_damaged_or_hostile_archive_is_refused(raw: bytes) -> None:
    with pytest.raises(ChartInvalid) as refused:
        read_archive(raw, "app/charts/web.tgz", Room(input_bytes=1_000_000, files=200))
    assert all((refused.value.where, refused.value.why, refused.value.next_step))


def test_all_archives_of_a_build_share_its_limits(tmp_path: Path) -> None:
    def lay(folder: str, *, size: int = 0, directories: int = 0) -> None:
        large = {"large": odd("web/large", size=size)} if size else {}
        more = {f"d{n}": odd(f"web/d{n}", tarfile.DIRTYPE) for n in range(directories)}
        raw = archive_of(CHART, **large, **more)
        names = ("a", "b", "c")
        limits = RunLimits(input_bytes=1_000_000, files=200)
        archives = {f"{name}.tgz": f"{folder}/{name}" for name in names}
        unpack_charts(tmp_path, archives, dict.fromkeys(archives, raw), limits)

    lay("within", size=250_000, directories=40)
    with pytest.raises(ChartInvalid, match=r"c\.tgz"):
        lay("too-large", size=400_000)
    with pytest.raises(ChartInvalid, match=r"c\.tgz"):
        lay("too-many", directories=80)


async def test_a_damaged_archive_fails_its_own_unit_only(build: Build) -> None:
    with pytest.raises(ChartInvalid):
        await build(snapshot(USE, b"no archive"))
    assert await build(snapshot(USE, archive_of(CHART)))


async def test_charts_are_built_without_network_and_files_of_others(build: Build, tool: Tool) -> None:
    spy = {**CHART, "templates/cm.yaml": (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: spy, namespace: shop}\n"
        "data: {host: '{{ getHostByName \"localhost\" }}', file: '{{ .Files.Get \"../../../../etc/passwd\" }}'}\n"
    )}  # fmt: skip
    data = bodies(await build(snapshot(USE, archive_of(spy))))["ConfigMap/spy"]["data"]
    assert data == {"host": "", "file": ""}
