"""Edits that people make in a fleet repo, at random places of whatever repo they are let loose on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import yaml

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


def texts(root: Path, *, kustomizations: bool | None = None) -> list[Path]:
    """YAML files; kustomizations: only these, or only others."""
    found = sorted(path for path in root.rglob("*.y*ml") if ".git" not in path.parts and path.is_file())
    if kustomizations is None:
        return found
    return [path for path in found if (path.name in KUSTOMIZATIONS) is kustomizations]


def comment(root: Path, random: Random) -> None:
    if not (paths := texts(root)):
        return
    path = random.choice(paths)
    path.write_text("# a remark\n" + path.read_text())


def number(root: Path, random: Random) -> None:
    """Another value for a number or a tag somewhere."""
    pattern = re.compile(r'((?:replicas|count|port|value|minAvailable|containerPort)"?: )(\d+)|(:)(\d[\w.]*)(?="?\n)')
    paths = [path for path in texts(root, kustomizations=False) if pattern.search(path.read_text())]
    if paths:
        path = random.choice(paths)
        found = random.choice(list(pattern.finditer(path.read_text())))
        group = 2 if found[2] else 4
        new = str(random.randint(2, 99))
        path.write_text(found.string[: found.start(group)] + new + found.string[found.end(group) :])


def _kustomization(root: Path, random: Random) -> tuple[Path, dict[str, object]] | None:
    paths = texts(root, kustomizations=True)
    path = random.choice(paths) if paths else None
    found = yaml.safe_load(path.read_text()) if path else None
    return (path, found) if path and isinstance(found, dict) else None


def label(root: Path, random: Random) -> None:
    chosen = _kustomization(root, random)
    if chosen and "commonLabels" not in chosen[1]:
        path, document = chosen
        labels = [*(document.get("labels") or []), {"pairs": {f"edit-{random.randint(1, 9)}": "yes"}}]
        path.write_text(yaml.safe_dump(document | {"labels": labels}))


def drop(root: Path, random: Random) -> None:
    """One resource less."""
    chosen = _kustomization(root, random)
    if chosen and len(chosen[1].get("resources") or []) > 1:
        resources = list(chosen[1]["resources"])
        resources.pop(random.randrange(len(resources)))
        chosen[0].write_text(yaml.safe_dump(chosen[1] | {"resources": resources}))


def add(root: Path, random: Random) -> None:
    """One resource more, in a namespace of its own kind so that it is complete by itself."""
    chosen = _kustomization(root, random)
    if chosen:
        name = f"added-{random.randint(1, 999)}"
        file = chosen[0].parent / f"{name}.yaml"
        metadata = {"name": name, "namespace": "added"}
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
        resources = [*(chosen[1].get("resources") or []), file.name]
        chosen[0].write_text(yaml.safe_dump(chosen[1] | {"resources": resources}))


def generate(root: Path, random: Random) -> None:
    """A generated ConfigMap whose name follows its content, or another content for it."""
    chosen = _kustomization(root, random)
    if chosen:
        entry = {"name": "edited", "namespace": "added", "literals": [f"a={random.randint(1, 9)}"]}
        others = [one for one in chosen[1].get("configMapGenerator") or [] if one.get("name") != "edited"]
        chosen[0].write_text(yaml.safe_dump(chosen[1] | {"configMapGenerator": [*others, entry]}))


def reorder(root: Path, random: Random) -> None:
    """Other formatting: keys sorted, comments gone."""
    chosen = _kustomization(root, random)
    if chosen:
        chosen[0].write_text(yaml.safe_dump(chosen[1], indent=4))


def misspell(root: Path, random: Random) -> None:
    """A resource that does not exist."""
    chosen = _kustomization(root, random)
    if chosen:
        resources = [*(chosen[1].get("resources") or []), "no-such-file.yaml"]
        chosen[0].write_text(yaml.safe_dump(chosen[1] | {"resources": resources}))


def forget(root: Path, random: Random) -> None:
    """A whole file is removed."""
    if paths := texts(root, kustomizations=False):
        random.choice(paths).unlink()


EDITS: tuple[Callable[[Path, Random], None], ...] = (
    comment, number, number, number, label, drop, add, generate, generate, reorder, misspell, forget,
)  # fmt: skip
BREAKING = (misspell, forget)
