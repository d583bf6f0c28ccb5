"""What the tests of the command line share."""

from __future__ import annotations

from render.conftest import kustomize as real_kustomize

__all__ = ["real_kustomize"]
