"""Others who write to a cluster: an autoscaler through the scale subresource, a rival that insists on its value."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from testbed.controlplane import ControlPlane
from testbed.rest import Refused


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """Writes replicas as the horizontal autoscaler does: reads `scale`, replaces it, as kube-controller-manager."""

    plane: ControlPlane
    namespace: str
    deployment: str

    def scale_to(self, replicas: int) -> None:
        """Set the replicas; raises Refused when somebody else wrote in between."""
        hands = self.plane.client(user_agent="kube-controller-manager/testbed")
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{self.deployment}/scale"
        scale = hands.get(path)
        scale["spec"]["replicas"] = replicas
        hands.request("PUT", path, scale)


class Rival:
    """Puts a merge patch back whenever the object no longer looks like it, from `with` until its end.

    `writes` counts how often it had to.
    """

    def __init__(self, plane: ControlPlane, path: str, patch: dict[str, Any], *, every_seconds: float = 0.05) -> None:
        self.writes = 0
        self._hands = plane.client(user_agent="rival/1.0")
        self._path, self._patch, self._every = path, patch, every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._insist, name="rival", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(10)

    def _insist(self) -> None:
        while not self._over.wait(self._every):
            try:
                if not _contains(self._hands.get(self._path), self._patch):
                    self._hands.merge(self._path, self._patch)
                    self.writes += 1
            except Refused as refused:
                if refused.code not in (404, 409):
                    raise


def _contains(whole: Any, part: Any) -> bool:
    """Whether a merge patch would change nothing."""
    if not isinstance(part, dict):
        return whole == part
    return isinstance(whole, dict) and all(_contains(whole.get(key), value) for key, value in part.items())
