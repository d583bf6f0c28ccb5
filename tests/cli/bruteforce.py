"""The plain way to learn what differs between two commits: build everything at both, and compare what came out.

Shares no code with fleet. It knows as much of the fleet repo's format as the repos need that it is used on; files are
taken out by `git archive`, built by a loop of `kustomize build`, and compared document by document.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

Key = tuple[str, str, str, str]  # API group, kind, namespace, name
FILES = ("kustomization.yaml", "kustomization.yml", "Kustomization")


class Commit:
    """One commit, laid out as files, with everything in it built when it is asked for."""

    def __init__(self, repo: Path, revision: str, folder: Path, kustomize: str) -> None:
        self.root, self.scratch, self.kustomize = folder / "files", folder / "scratch", kustomize
        self.root.mkdir(parents=True)
        self.scratch.mkdir()
        archive = subprocess.run(["git", "-C", str(repo), "archive", revision], stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", str(self.root)], input=archive.stdout, check=True)
        self.builds: dict[tuple[str, ...], str | None] = {}
        self.fleet = self._fleet()
        self.units = self._units()

    def _documents(self, path: Path) -> list[dict[str, Any]]:
        return [found for found in yaml.load_all(path.read_text(), yaml.CSafeLoader) if isinstance(found, dict)]

    def _fleet(self) -> dict[str, Any]:
        file = self.root / "fleet.yaml"
        found = self._documents(file) if file.is_file() else []
        return found[0].get("spec", {}) if found else {}

    def _clusters(self) -> list[dict[str, Any]]:
        place = self.root / self.fleet.get("clusters", "clusters/")
        files = sorted(file for file in place.rglob("*.yaml"))
        return [found for file in files for found in self._documents(file) if found.get("kind") == "Cluster"]

    def _overlays(self) -> list[dict[str, Any]]:
        """Name, directory, path templates and spec of each overlay."""
        found: list[dict[str, Any]] = []
        default = [{"dirs": "overlays/*", "paths": ["{cluster}", "{environment}", "."]}]
        for entry in self.fleet.get("overlays", default):
            if "path" in entry:
                found.append({"name": entry["name"], "dir": "", "paths": [entry["path"]], "spec": entry})
                continue
            for place in sorted(self.root.glob(entry["dirs"])):
                file = place / "overlay.yaml"
                said = self._documents(file)[0] if file.is_file() else {}
                if place.is_dir() and (said or any(self._holds(path) for path in place.rglob("*"))):
                    name = said.get("metadata", {}).get("name", place.name)
                    directory = str(place.relative_to(self.root))
                    found.append(
                        {"name": name, "dir": directory, "paths": entry["paths"], "spec": said.get("spec", {})}
                    )
        return found

    def _holds(self, path: Path) -> bool:
        """Whether a directory can be built by itself."""
        for name in FILES:
            if (path / name).is_file():
                return "kind: Component" not in (path / name).read_text()
        return False

    def _units(self) -> dict[str, dict[str, Any]]:
        """Path, components and variables by `overlay@cluster`."""
        found: dict[str, dict[str, Any]] = {}
        for overlay in self._overlays():
            for cluster in self._clusters():
                chosen = self._chosen(overlay, cluster)
                if chosen is not None:
                    found[f"{overlay['name']}@{cluster['metadata']['name']}"] = chosen
        return found

    def _chosen(self, overlay: dict[str, Any], cluster: dict[str, Any]) -> dict[str, Any] | None:
        spec, name = cluster.get("spec", {}), cluster["metadata"]["name"]
        uses = [use if isinstance(use, dict) else {"name": use} for use in spec.get("overlays", [])]
        targets = overlay["spec"].get("clusters")
        if targets is None:
            picked = [use for use in uses if use["name"] == overlay["name"]]
        else:
            picked = [target for target in targets if self._matches(target, cluster)]
        if not picked:
            return None
        environment = spec.get("environment", "")
        named = [target["path"] for target in picked if "path" in target]
        labels = cluster["metadata"].get("labels", {})
        values = {"cluster": name, "environment": environment, **{f"label.{k}": v for k, v in labels.items()}}
        paths = named[:1] or [self._expanded(path, values) for path in overlay["paths"]]
        places = [os.path.normpath(os.path.join(overlay["dir"], path)) for path in paths if path]
        path = next((place for place in places if self._holds(self.root / place)), None)
        if path is None:
            return None
        stages = {
            stage["name"]: stage.get("variables", {})
            for stage in self.fleet.get("environments", [])
            if isinstance(stage, dict)
        }
        variables = {
            "cluster_name": name,
            "cluster_environment": environment,
            "cluster_location": spec.get("location", ""),
            **self.fleet.get("variables", {}),
            **stages.get(environment, {}),
            **overlay["spec"].get("variables", {}),
            **{k: v for target in picked if targets is not None for k, v in target.get("variables", {}).items()},
            **spec.get("variables", {}),
            **{k: v for use in picked if targets is None for k, v in use.get("variables", {}).items()},
        }
        return {
            "path": path,
            "components": [part for target in picked for part in target.get("components", [])],
            "facts": {"name": name, "environment": environment, "location": spec.get("location", "")},
            "variables": variables if overlay["spec"].get("substitute") else None,
        }

    def _matches(self, target: dict[str, Any], cluster: dict[str, Any]) -> bool:
        name, labels = cluster["metadata"]["name"], cluster["metadata"].get("labels", {})
        if name in target.get("except", []):
            return False
        if "names" in target and name not in target["names"]:
            return False
        if "environments" in target and cluster.get("spec", {}).get("environment") not in target["environments"]:
            return False
        return all(labels.get(key) == value for key, value in target.get("matchLabels", {}).items())

    def _expanded(self, template: str, values: Mapping[str, str]) -> str:
        try:
            return re.sub(r"\{([^}]+)\}", lambda found: values[found[1]], template)
        except KeyError:
            return ""

    def objects(self, unit: str) -> dict[Key, dict[str, Any]] | None:
        """What a unit renders; None where the build fails."""
        chosen = self.units[unit]
        text = self._built(chosen)
        if text is None:
            return None
        if chosen["variables"] is not None:
            text = substituted(text, chosen["variables"])
        return objects_of(text)

    def _built(self, chosen: dict[str, Any]) -> str | None:
        facts = chosen["facts"] if chosen["components"] else {}
        key = (chosen["path"], *chosen["components"], *facts.values())
        if key not in self.builds:
            target = self.root / chosen["path"]
            if chosen["components"]:
                target = self._wrapped(chosen, len(self.builds))
            done = subprocess.run(
                [self.kustomize, "build", "--load-restrictor", "LoadRestrictionsNone", str(target)],
                capture_output=True,
                text=True,
                check=False,
                env={"PATH": ""},  # no git: a remote base fails at once
            )
            self.builds[key] = done.stdout if done.returncode == 0 else None
        return self.builds[key]

    def _wrapped(self, chosen: dict[str, Any], number: int) -> Path:
        target = self.scratch / str(number)
        target.mkdir()
        local = {"config.kubernetes.io/local-config": "true"}
        facts = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fleet-cluster", "annotations": local}}
        (target / "facts.yaml").write_text(yaml.safe_dump(facts | {"data": chosen["facts"]}))
        outside = [os.path.relpath(self.root / path, target) for path in (chosen["path"], *chosen["components"])]
        wrapper = {"resources": ["facts.yaml", outside[0]], "components": outside[1:]}
        (target / "kustomization.yaml").write_text(yaml.safe_dump(wrapper))
        return target


def substituted(text: str, variables: Mapping[str, Any]) -> str:
    """Values put into the text that kustomize printed, lists and maps in flow style."""

    def value(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        value = variables.get(found[1], found[2])
        return value if isinstance(value, str) else json.dumps(value)

    return re.sub(r"\$?\$\{(\w+)(?::=([^}]*))?\}", value, text)


@lru_cache(maxsize=4096)
def objects_of(text: str) -> dict[Key, dict[str, Any]]:
    found: dict[Key, dict[str, Any]] = {}
    todo = [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]
    for document in todo:
        if document["kind"].endswith("List") and "items" in document:
            todo += document["items"]
            continue
        metadata = document["metadata"]
        if "config.kubernetes.io/local-config" in (metadata.get("annotations") or {}):
            continue
        group = document["apiVersion"].rpartition("/")[0]
        found[group, document["kind"], metadata.get("namespace", ""), metadata["name"]] = document
    return found


def differences(before: Commit, after: Commit) -> dict[str, Any]:
    """What happens to each unit that is not the same: "vanishes", "fails", or its objects with their sign."""
    found: dict[str, Any] = {}
    for unit in sorted({*before.units, *after.units}):
        if unit not in after.units:
            found[unit] = "vanishes"
            continue
        now = after.objects(unit)
        was = before.objects(unit) if unit in before.units else {}
        if now is None:
            if was is not None:
                found[unit] = "fails"
            continue
        was = was or {}
        signs = {key: "+" if key not in was else "-" if key not in now else "~" for key in {*was, *now}}
        signs = {key: sign for key, sign in signs.items() if sign != "~" or was[key] != now[key]}
        if signs or unit not in before.units:
            found[unit] = signs
    return found


def patched(document: Any, path: str, before: Any, after: Any) -> None:
    """Put one field's new value in place; fails if the old one is not there."""
    steps = [
        (found[1] or found[2] or found[3])
        for found in re.finditer(r"\[(\w+=[^\]]*)\]|\[([^\]]+)\]|\.?([^.\[\]]+)", path)
    ]
    here = document
    for step in steps[:-1]:
        here = here[_at(here, step)] if isinstance(here, list) else here[step]
    last = _at(here, steps[-1]) if isinstance(here, list) else steps[-1]
    current = (
        here[last] if isinstance(last, int) and last < len(here) else here.get(last) if isinstance(here, dict) else None
    )
    assert current == before, (path, current, before)
    if after is None:
        del here[last]
    elif isinstance(here, list) and last == len(here):
        here.append(after)
    else:
        here[last] = after


def _at(items: list[Any], step: str) -> int:
    key, _, value = step.partition("=")
    return next((at for at, item in enumerate(items) if str(item.get(key)) == value), len(items))


def unordered(value: Any) -> Any:
    """A value in which the order of lists of maps does not count, as it does not where items have keys."""
    if isinstance(value, dict):
        return {key: unordered(item) for key, item in value.items() if item is not None}
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return sorted(
            (unordered(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True, default=str)
        )
    return value
