"""A chart inside the commit, through the whole hub: built where its settings allow it, an upgrade seen as objects."""

from __future__ import annotations

from pathlib import Path

import pytest
from hubworld import cluster_file, config_map, make_world, overlay
from render.test_charts import CHART, USE, archive_of
from testbed import binaries
from testbed.fixtures import require


def with_chart(size: str) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = dict(overlay("overlays/web", {}))
    files["overlays/web/kustomization.yaml"] = USE
    chart = {name: text.replace("namespace: shop", "namespace: default") for name, text in CHART.items()}
    files["overlays/web/charts/web-1.2.3.tgz"] = archive_of({**chart, "values.yaml": f"size: {size}\n"})
    files["clusters/eu-1.yaml"] = cluster_file("eu-1")
    return files | overlay("overlays/plain", {"one": config_map("one", "1")})


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_chart_is_built_only_where_the_hub_allows_it(tmp_path: Path, allowed: bool) -> None:
    require("helm")
    async with make_world(tmp_path, ("eu-1",), allow_charts=allowed, helm=binaries.find("helm")) as world:
        first = world.commit(with_chart("small"))  # type: ignore[arg-type]
        async with world.run():
            eu = world.sim.cluster("eu-1")
            await world.until(lambda: eu.get("", "ConfigMap", "default", "one"), "the other unit")
            if not allowed:
                results = world.opened.view.results
                refused = await world.until(
                    lambda: [str(r) for n, r in results.items() if n.overlay == "web"], "judged"
                )
                assert "PluginRefused" in refused[0]
                assert eu.get("", "ConfigMap", "default", "shop-cm") is None
                return
            await world.until_everywhere(first)
            before = world.marks()
            second = world.commit(with_chart("large"))  # type: ignore[arg-type]
            await world.until_everywhere(second)
            assert world.writes(before) == {"eu-1": ["patch configmaps shop-cm"]}
            assert eu.get("", "ConfigMap", "default", "shop-cm")["data"] == {"size": "large"}
