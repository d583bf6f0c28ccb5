"""Finds the real programs the tests run: control plane, kwok, kustomize, helm.

A program is taken from `KUBEBUILDER_ASSETS` when it is there, else from the cache folder outside the checkout, which is
filled once from the Go modules under `go/`. A stamp per module names the exact go.mod it was built from, so that a
stale cache is rebuilt and a machine without Go and without a cache skips the tests that need it.

`python -m testbed.binaries [MODULE ...]` builds what is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_MODULES_DIR = Path(__file__).parent / "go"
_BUILD_SECONDS = 3000


class BinariesMissing(Exception):
    """A program is nowhere and cannot be built here; the text says what would help."""


@dataclass(frozen=True, slots=True)
class Program:
    """One program to build: the package it comes from and the ldflags beside `-s -w`."""

    package: str
    ldflags: str = ""


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module under `go/` and the programs it provides, by file name."""

    name: str
    programs: dict[str, Program]

    @property
    def folder(self) -> Path:
        return _MODULES_DIR / self.name

    def version_of(self, path: str) -> str:
        """The version go.mod requires of a module path."""
        found = re.search(rf"^\s*(?:require\s+)?{re.escape(path)} (v\S+)", self._go_mod(), re.MULTILINE)
        if not found:
            raise BinariesMissing(f"{self.folder / 'go.mod'} does not require {path}")
        return found[1]

    def stamp(self) -> str:
        """Names what a build of this module depends on."""
        return hashlib.sha256((self._go_mod() + repr(sorted(self.programs))).encode()).hexdigest()

    def _go_mod(self) -> str:
        return (self.folder / "go.mod").read_text()


_VERSION = "-X k8s.io/component-base/version"
_KUBE_VERSION = f"{_VERSION}.gitVersion={{version}} {_VERSION}.gitMajor={{major}} {_VERSION}.gitMinor={{minor}}"

KUBE = Module(
    "kube",
    {
        "kube-apiserver": Program("k8s.io/kubernetes/cmd/kube-apiserver", _KUBE_VERSION),
        "etcd": Program("go.etcd.io/etcd/server/v3"),
        "kube-controller-manager": Program("k8s.io/kubernetes/cmd/kube-controller-manager", _KUBE_VERSION),
        "kube-scheduler": Program("k8s.io/kubernetes/cmd/kube-scheduler", _KUBE_VERSION),
    },
)
# The oldest minor that fleet supports; it lives on the same etcd.
KUBE_OLDER = Module(
    "kube-older", {"kube-apiserver-older": Program("k8s.io/kubernetes/cmd/kube-apiserver", _KUBE_VERSION)}
)
KWOK = Module("kwok", {"kwok": Program("sigs.k8s.io/kwok/cmd/kwok")})
KUSTOMIZE = Module(
    "kustomize",
    {
        "kustomize": Program(
            "sigs.k8s.io/kustomize/kustomize/v5", "-X sigs.k8s.io/kustomize/api/provenance.version={version}"
        )
    },
)
# Without a cluster helm takes charts for one of this version.
_HELM_KUBE = "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36"
_HELM_VERSION = f"-X helm.sh/helm/v3/internal/version.version={{version}} {_HELM_KUBE}"
HELM = Module("helm", {"helm": Program("helm.sh/helm/v3/cmd/helm", _HELM_VERSION)})
MODULES = {module.name: module for module in (KUSTOMIZE, KUBE, KUBE_OLDER, KWOK, HELM)}
_VERSIONED_BY = {
    "kube": "k8s.io/kubernetes",
    "kube-older": "k8s.io/kubernetes",
    "kustomize": "sigs.k8s.io/kustomize/kustomize/v5",
    "helm": "helm.sh/helm/v3",
}


def cache_dir() -> Path:
    """Where built programs live: outside the checkout, shared by all checkouts of one person."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "fleet-testbed" / "bin"


def find(name: str) -> Path:
    """The path of a program, built first when it must be; raises BinariesMissing."""
    ready = _ready_made(name)
    if ready:
        return ready
    module = next((module for module in MODULES.values() if name in module.programs), None)
    if module is None:
        raise BinariesMissing(f"the test bed knows no program {name!r}")
    build(module)
    return cache_dir() / name


def kustomize() -> Path:
    """The kustomize binary of the test bed."""
    return find("kustomize")


def build(module: Module) -> None:
    """Build a module's programs into the cache unless its stamp says they are there; one builder at a time."""
    if _is_current(module):
        return
    with _lock(cache_dir() / f".{module.name}.lock"):
        if _is_current(module):
            return
        if not shutil.which("go"):
            programs = ", ".join(module.programs)
            raise BinariesMissing(
                f"{programs}: not in KUBEBUILDER_ASSETS, not in {cache_dir()}, and there is no Go to build them"
            )
        for name, program in module.programs.items():
            _build_one(module, name, program)
        _stamp_file(module).write_text(module.stamp())


def _build_one(module: Module, name: str, program: Program) -> None:
    ldflags = "-s -w"
    if program.ldflags:
        version = module.version_of(_VERSIONED_BY[module.name])
        major, minor, _ = version.lstrip("v").split(".", 2)
        ldflags += " " + program.ldflags.format(version=version, major=major, minor=minor)
    unfinished = cache_dir() / f".{name}.building"
    argv = ["go", "build", "-trimpath", "-ldflags", ldflags, "-o", str(unfinished), program.package]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    done = subprocess.run(
        argv, cwd=module.folder, env=environment, capture_output=True, text=True, timeout=_BUILD_SECONDS
    )
    if done.returncode:
        raise BinariesMissing(f"building {name} failed: {done.stderr[-2000:]}")
    unfinished.replace(cache_dir() / name)


def _ready_made(name: str) -> Path | None:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (path := Path(assets) / name).is_file():
        return path
    return None


def _is_current(module: Module) -> bool:
    stamp = _stamp_file(module)
    if not stamp.is_file() or stamp.read_text() != module.stamp():
        return False
    return all((cache_dir() / name).is_file() for name in module.programs)


def _stamp_file(module: Module) -> Path:
    return cache_dir() / f".{module.name}.stamp"


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(wanted: list[str]) -> int:
    """Build the modules named (all without a name) and print where each program is."""
    unknown = set(wanted) - set(MODULES)
    if unknown:
        print(f"no module {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}", file=sys.stderr)
        return 2
    for module in (MODULES[name] for name in wanted or MODULES):
        for name in module.programs:
            try:
                print(f"{name:24} {find(name)}", flush=True)
            except BinariesMissing as missing:
                print(f"{name:24} {missing}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
