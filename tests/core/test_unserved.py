from __future__ import annotations

import pytest

from fleet.core.bundles import assemble
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName
from fleet.core.plan import DesiredObject
from fleet.core.unserved import why_unserved

EU = ClusterName("eu-1")
CERTIFICATE = {
    "apiVersion": "cert-manager.io/v1",
    "kind": "Certificate",
    "metadata": {"name": "a", "namespace": "shop"},
}


def wanted(document: dict) -> DesiredObject:
    source = assemble([document], key=b"k" * 32).objects[0]
    return DesiredObject(source.ref, source, Digest("d"), served=False)


def definition(name: str) -> ObjectRef:
    return ObjectRef("apiextensions.k8s.io", "CustomResourceDefinition", "", name)


def test_a_kind_that_nothing_here_installs_says_so() -> None:
    others = [(OverlayName("web"), [definition("certificates.example.org"), definition("issuers.cert-manager.io")])]
    why, step = why_unserved(wanted(dict(CERTIFICATE)), EU, others)
    assert why == "kind Certificate of cert-manager.io/v1 is not served; no overlay here installs it"
    assert "CustomResourceDefinition" in step


@pytest.mark.parametrize(("kind", "plural"), [("Certificate", "certificates"), ("Policy", "policies")])
def test_the_overlay_that_installs_a_kind_is_named(kind: str, plural: str) -> None:
    others = [(OverlayName("cert-manager"), [definition(f"{plural}.cert-manager.io")]), (OverlayName("web"), [])]
    why, step = why_unserved(wanted({**CERTIFICATE, "kind": kind}), EU, others)
    assert "cert-manager@eu-1 installs it" in why
    assert step == "fleet describe unit cert-manager@eu-1"
