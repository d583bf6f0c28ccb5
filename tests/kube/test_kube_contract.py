"""The contract of Kube, held on a real API server and on a simulated one."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
import yaml
from contracts.kube_contract import KubeContract
from kube.hostile import LOOPBACK, Fence
from testbed.controlplane import ControlPlane

from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName
from fleet.errors import CertificateUntrusted, Forbidden, IdentityUnreadable, Unauthorized
from fleet.kube.connect import KubeConnector
from fleet.kube.credentials import NamedCredentials
from fleet.kube.limits import KubeLimits
from fleet.ports.kube import Kube
from fleet.sim import Simulation

LIMITS = KubeLimits(page_objects=2, proof_seconds=4)  # several pages for few objects


async def connect(folder: Path, kubeconfig: bytes) -> Kube:
    (folder / "eu-1.kubeconfig").write_bytes(kubeconfig)
    connector = KubeConnector(NamedCredentials(folder), limits=LIMITS, allowed=LOOPBACK)
    return await connector.connect(ClusterName("eu-1"), Connection(), expected=None, fence=Fence())


class TestRealApiServer(KubeContract):
    @pytest.fixture
    async def kube(self, api_server: ControlPlane, tmp_path: Path) -> AsyncIterator[Kube]:
        kube = await connect(tmp_path, yaml.safe_dump(api_server.kubeconfig()).encode())
        yield kube
        await kube.close()

    async def test_a_client_certificate_lets_in_as_well_as_a_token(
        self, api_server: ControlPlane, tmp_path: Path
    ) -> None:
        kube = await connect(tmp_path, yaml.safe_dump(api_server.kubeconfig(certificate=True)).encode())
        assert kube.version.startswith("v1.")
        await kube.close()

    async def test_impersonation_is_sent(self, api_server: ControlPlane, tmp_path: Path) -> None:
        config = api_server.kubeconfig()
        config["users"][0]["user"]["as"] = "somebody"
        with pytest.raises(IdentityUnreadable, match='User "somebody" cannot get'):
            await connect(tmp_path, yaml.safe_dump(config).encode())

    async def test_a_wrong_token_is_unauthorized(self, api_server: ControlPlane, tmp_path: Path) -> None:
        config = api_server.kubeconfig()
        config["users"][0]["user"]["token"] = "nonsense"
        with pytest.raises(Unauthorized):
            await connect(tmp_path, yaml.safe_dump(config).encode())

    async def test_a_user_without_rights_is_told_which_right_is_missing(
        self, api_server: ControlPlane, tmp_path: Path
    ) -> None:
        with pytest.raises(IdentityUnreadable, match='cannot get resource "namespaces"'):
            await connect(tmp_path, yaml.safe_dump(api_server.kubeconfig("nobody")).encode())
        rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}
        user = f"reader-{uuid.uuid4().hex[:8]}"  # nobody else's, so that no other test has given it more
        api_server.grant(user, rule)
        kube = await connect(tmp_path, yaml.safe_dump(api_server.kubeconfig(user, certificate=True)).encode())
        catalog = await kube.discover()
        maps = catalog.find("", "ConfigMap")
        assert maps is not None
        with pytest.raises(Forbidden, match='cannot list resource "configmaps"'):
            await kube.list(maps)
        await kube.close()

    async def test_the_server_of_another_authority_is_not_trusted(
        self, api_server: ControlPlane, tmp_path: Path
    ) -> None:
        config = api_server.kubeconfig()
        del config["clusters"][0]["cluster"]["certificate-authority-data"]
        with pytest.raises(CertificateUntrusted):
            await connect(tmp_path, yaml.safe_dump(config).encode())

    async def test_one_request_for_each_write_and_fleet_s_name_on_all(
        self, api_server: ControlPlane, kube: Kube, tmp_path: Path, namespace: str
    ) -> None:
        api_server.client().make_namespace(namespace)
        maps = (await kube.discover()).find("", "ConfigMap")
        assert maps is not None
        mark = api_server.ledger_mark()
        for number in range(10):
            body = f'{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m{number}"}}}}'
            await kube.apply(maps, namespace, f"m{number}", body.encode())
        requests = api_server.ledger(mark, user_agent="fleet/")
        assert len(requests) == 10

    async def test_warnings_come_through(self, kube: Kube, space: str) -> None:
        pods = (await kube.discover()).find("", "Pod")
        assert pods is not None
        spec = {"containers": [{"name": "c", "image": "x"}], "nodeSelector": {"beta.kubernetes.io/os": "linux"}}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": space}, "spec": spec}
        answer = await kube.apply(pods, space, "p", orjson.dumps(body), dry_run=True)
        assert any("beta.kubernetes.io/os" in warning for warning in answer.warnings)


class TestSimulated(KubeContract):
    @pytest.fixture
    async def kube(self, tmp_path: Path) -> AsyncIterator[Kube]:
        async with Simulation(["eu-1"], seed=1, ready_seconds=0.02) as simulation:
            kube = await connect(tmp_path, simulation.kubeconfig("eu-1"))
            yield kube
            await kube.close()
