"""`fleet doctor`: each line says how it is, and what to do where it is not well."""

from __future__ import annotations

import asyncio
import base64
import datetime
import io
import ipaddress
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import trustme
import yaml
from hubworld import cluster_file, make_world
from hypothesis import given
from hypothesis import strategies as st
from testbed.controlplane import ControlPlane

from fleet.cli.checkup import Check, Level, judge_builds, judge_clocks, judge_descriptors, judge_disk, judge_end
from fleet.cli.doctor import doctor, size_of
from fleet.cli.doctor_clusters import check_clusters
from fleet.store.crypto import find_key, load_or_make_key, name_of_key
from fleet.store.sql import open_state

DAY = 86_400.0
GIB = 1 << 30
LAB = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def level_of(checks: list[Check], words: str) -> Level:
    found = [check for check in checks if words in check.what]
    assert len(found) == 1, checks
    assert (found[0].level is Level.OK) or found[0].next_step
    return found[0].level


class TestJudging:
    @pytest.mark.parametrize(
        ("free", "level"),
        [
            (0, Level.MISS),
            (499 << 20, Level.MISS),
            (500 << 20, Level.WARN),
            (2 * GIB - 1, Level.WARN),
            (2 * GIB, Level.OK),
        ],
    )
    def test_a_disk_is_short_before_it_is_full(self, free: int, level: Level) -> None:
        check = judge_disk(Path("/data"), free, 10 * GIB, {"cache": GIB, "mirror": 0})
        assert (check.level, "cache 1.0 GiB" in check.what, "mirror" in check.what) == (level, True, False)

    def test_what_does_not_shut_builds_in_is_a_warning(self) -> None:
        assert judge_builds(("own files only", "no sockets")).level is Level.OK
        check = judge_builds(("own files only",))
        assert (check.level, "builds could reach the network" in check.what) == (Level.WARN, True)
        assert "docs/operating.md" in check.next_step

    @pytest.mark.parametrize(
        ("days", "level"), [(-1.0, Level.MISS), (0.0, Level.MISS), (13.9, Level.WARN), (14.1, Level.OK)]
    )
    def test_an_end_is_said_two_weeks_before(self, days: float, level: Level) -> None:
        check = judge_end("credential eu-1: token", 1e9 + days * DAY, 1e9, "fleet cluster grant eu-1")
        assert (check.level, bool(check.next_step)) == (level, level is not Level.OK)

    def test_a_certificate_without_an_end_is_good_in_each_time_zone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        last_second = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC).timestamp()  # RFC 5280 4.1.2.5
        try:
            for zone in ("Asia/Tokyo", "America/Los_Angeles"):
                monkeypatch.setenv("TZ", zone)
                time.tzset()
                assert judge_end("server certificate of eu-1", last_second, 1e9, "renew it").level is Level.OK
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_open_files_are_counted_against_clusters(self) -> None:
        assert judge_descriptors(1024, 50).level is Level.OK
        assert judge_descriptors(1024, 100).level is Level.WARN
        assert judge_descriptors(-1, 10_000).level is Level.OK

    @given(st.dictionaries(st.text("abc", min_size=1), st.floats(-3, 3), min_size=1), st.floats(10, 1e6))
    def test_our_own_wrong_clock_is_said_once_and_one_of_theirs_by_its_name(
        self, skews: dict[str, float], wrong: float
    ) -> None:
        assert [check.level for check in judge_clocks(skews)] == [Level.OK]
        if len(skews) > 1:
            (ours,) = judge_clocks({name: skew - wrong for name, skew in skews.items()})
            assert ours.what.startswith("the clock of this machine is")
            assert "ahead" in ours.what
        if len(skews) > 2:
            first = min(skews)
            (theirs,) = judge_clocks(skews | {first: wrong})
            assert theirs.what.startswith(f"the clock of {first} is")


def kubeconfig(*, ca: bytes, server: str = "https://127.0.0.1:1", **user: object) -> bytes:
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(ca).decode()}
    return yaml.safe_dump(
        {
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    ).encode()


def token_until(until: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": until}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2ln"


def data_of(pem: bytes) -> str:
    return base64.b64encode(pem).decode()


class TestCredentials:
    async def test_each_end_is_found_and_named(self, tmp_path: Path) -> None:
        authority = trustme.CA()
        ca = authority.cert_pem.bytes()
        soon = authority.issue_cert("u", not_after=datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=5))
        chain = b"".join(part.bytes() for part in soon.cert_chain_pems)
        raw = {
            "certificate": kubeconfig(
                ca=ca,
                **{"client-certificate-data": data_of(chain), "client-key-data": data_of(soon.private_key_pem.bytes())},
            ),
            "over": kubeconfig(ca=ca, token=token_until(time.time() - 60)),
            "fresh": kubeconfig(ca=ca, token=token_until(time.time() + 90 * DAY)),
            "opaque": kubeconfig(ca=ca, token="seeded-token-1"),
            "plugin": kubeconfig(ca=ca, exec={"apiVersion": "client.authentication.k8s.io/v1", "command": "aws"}),
        }
        (tmp_path / "fresh.kubeconfig").write_bytes(kubeconfig(ca=b"no certificate", token="t"))
        checks = await check_clusters(tmp_path, raw, ask=False)
        assert level_of(checks, "credential certificate: client certificate ends in") is Level.WARN
        assert level_of(checks, "credential over: token ended") is Level.MISS
        assert level_of(checks, "credential opaque:") is Level.OK
        assert level_of(checks, "credential plugin:") is Level.MISS
        assert level_of(checks, "credential fresh: a certificate in it does not read") is Level.MISS  # the file wins
        assert "seeded-token-1" not in repr(checks)

    async def test_a_real_server_tells_its_time_without_a_credential(self, api_server: ControlPlane) -> None:
        raw = {"eu-1": yaml.safe_dump(api_server.kubeconfig()).encode()}
        mark = api_server.ledger_mark()
        checks = await check_clusters(None, raw, ask=True, allowed=LAB)
        assert level_of(checks, "clocks of 1 clusters agree") is Level.OK
        assert {entry.user for entry in api_server.ledger(mark, user_agent="fleet-doctor")} <= {"system:anonymous"}
        checks = await check_clusters(None, raw, ask=True, allowed=LAB, wall=lambda: time.time() + 90)
        assert level_of(checks, "the clock of eu-1 is ") is Level.MISS
        checks = await check_clusters(None, raw, ask=True, allowed=LAB, wall=lambda: time.time() + 400_000 * DAY)
        assert level_of(checks, "server certificate of eu-1 ended") is Level.MISS

    async def test_what_the_hub_would_not_dial_is_not_asked(self, api_server: ControlPlane) -> None:
        config = api_server.kubeconfig()
        server = config["clusters"][0]["cluster"]["server"].replace("127.0.0.1", "localhost")
        config["clusters"][0]["cluster"]["server"] = server
        mark = api_server.ledger_mark()
        checks = await check_clusters(None, {"eu-1": yaml.safe_dump(config).encode()}, ask=True)
        assert level_of(checks, "eu-1 is not asked: ") is Level.WARN
        assert api_server.ledger(mark, user_agent="fleet-doctor") == []

    async def test_a_silent_or_another_server_is_named(self, api_server: ControlPlane) -> None:
        config = api_server.kubeconfig()
        server = config["clusters"][0]["cluster"]["server"]
        stranger = kubeconfig(ca=trustme.CA().cert_pem.bytes(), server=server, token="t")
        checks = await check_clusters(
            None,
            {"down": kubeconfig(ca=trustme.CA().cert_pem.bytes(), token="t"), "other": stranger},
            ask=True,
            allowed=LAB,
        )
        assert level_of(checks, "down at 127.0.0.1:1 does not answer") is Level.WARN
        assert level_of(checks, "other: its certificate is not trusted") is Level.MISS


class TestMachine:
    @pytest.fixture(autouse=True)
    def alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in os.environ if name.startswith("FLEET_") and name != "FLEET_KUSTOMIZE"]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    @staticmethod
    def run(data: Path, root: Path) -> tuple[int, str]:
        out = io.StringIO()
        return doctor(root, out, data_dir=data, ask_clusters=False), out.getvalue()

    @staticmethod
    def make(data: Path) -> None:
        async def state() -> None:
            opened = await open_state(data, load_or_make_key(data, {}).key)
            await opened.put_credential("eu-1", kubeconfig(ca=trustme.CA().cert_pem.bytes(), token="t"), 1.0)
            await opened.close()

        asyncio.run(state())

    def test_a_machine_without_a_hub_is_well(self, tmp_path: Path) -> None:
        code, text = self.run(tmp_path / "data", tmp_path)
        assert code == 0, text
        assert "no hub has run here yet" in text
        assert "ok    builds are shut in: " in text or "warn  builds could " in text

    def test_a_state_with_its_key_is_well_and_its_credentials_are_read(self, tmp_path: Path) -> None:
        self.make(tmp_path / "data")
        code, text = self.run(tmp_path / "data", tmp_path)
        assert code == 0, text
        assert "0 audit entries" in text
        assert "credential eu-1: authority is good for" in text

    @pytest.mark.parametrize("trouble", ["gone", "other", "open", "damaged", "readable"])
    def test_each_trouble_is_a_miss_with_its_next_step(self, tmp_path: Path, trouble: str) -> None:
        data = tmp_path / "data"
        self.make(data)
        key = data / "key"
        if trouble == "gone":
            key.unlink()
        elif trouble == "other":
            key.write_text("ab" * 32)
        elif trouble == "open":
            key.chmod(0o644)
        elif trouble == "damaged":
            (data / "state.db").write_bytes(os.urandom(9_000))
        else:
            data.chmod(0o755)
        code, text = self.run(data, tmp_path)
        assert code == 1, text
        lines = text.splitlines()
        missed = [number for number, line in enumerate(lines) if line.startswith("MISS")]
        assert missed
        assert all(lines[number + 1].startswith("      next: ") for number in missed)

    def test_files_that_go_while_they_are_counted_are_no_trouble(self, tmp_path: Path) -> None:
        kept, swept, stop = tmp_path / "kept", tmp_path / "a" / "b", threading.Event()
        kept.write_bytes(b"x" * 1000)

        def sweep() -> None:
            while not stop.is_set():
                swept.mkdir(parents=True)
                for number in range(20):
                    (swept / str(number)).touch()
                shutil.rmtree(swept.parent)

        thread = threading.Thread(target=sweep)
        thread.start()
        try:
            assert {size_of(tmp_path) for _ in range(1000)} == {1000}
        finally:
            stop.set()
            thread.join()
        assert (size_of(kept), size_of(tmp_path / "gone")) == (1000, 0)

    def test_a_stopped_hub_is_a_warning(self, tmp_path: Path) -> None:
        folder = tmp_path / "state" / "fleet"
        folder.mkdir(parents=True, mode=0o700)
        (folder / "url").write_text("http://127.0.0.1:9\n")
        code, text = self.run(tmp_path / "data", tmp_path)
        assert (code, "warn  the hub at http://127.0.0.1:9 does not answer" in text) == (0, True)

    def test_a_key_beside_the_one_that_seals_is_needed_until_no_entry_lies_under_it(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        self.make(data)
        old = (data / "key").read_text().strip()
        new = "ab" * 32
        (data / "key").write_text(f"{new}\n{old}\n")
        code, text = self.run(data, tmp_path)
        name = name_of_key(bytes.fromhex(old))
        assert (code, f"warn  key {name} is needed: 2 entries" in text) == (0, True), text

        async def turn() -> None:
            state = await open_state(data, bytes.fromhex(new), older=[bytes.fromhex(old)])
            keys = state.keys(lambda: find_key(data, {}))
            await keys.look()
            await keys.turn()
            await state.close()

        asyncio.run(turn())
        code, text = self.run(data, tmp_path)
        assert (code, f"ok    key {name} is needed no more by any entry" in text) == (0, True), text
        assert old not in text
        assert new not in text

    def test_a_key_that_is_missing_is_named_and_amid_an_exchange_both_are_asked_for(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        self.make(data)
        file = data / "key"
        old, new = file.read_text().strip(), "ab" * 32
        names = {key: name_of_key(bytes.fromhex(key)) for key in (old, new)}

        def lacks(key: str, *, put: str) -> str:
            file.write_text(put)
            file.chmod(0o600)
            code, text = self.run(data, tmp_path)
            assert (code, text.count("MISS")) == (1, 1), text
            line = next(line for line in text.splitlines() if line.startswith("MISS"))
            assert f"needs key {names[key]}" in line
            return line + text.partition(line)[2].partition("\n")[2].partition("\n")[0]

        assert "kept copy" in lacks(old, put=new)
        file.unlink()
        code, text = self.run(data, tmp_path)
        assert (code, f"key of the encrypted store is gone: the state needs key {names[old]}" in text) == (1, True), (
            text
        )

        async def begin() -> None:  # and end before an entry was sealed anew
            await (await open_state(data, bytes.fromhex(new), older=[bytes.fromhex(old)])).close()

        asyncio.run(begin())
        assert "both keys" in lacks(old, put=new)
        assert "both keys" in lacks(new, put=old)
        file.write_text(f"{new}\n{old}\n")
        assert self.run(data, tmp_path)[0] == 0

    async def test_beside_a_running_hub_all_is_well_and_the_clusters_are_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with make_world(tmp_path, ("eu-1", "eu-2")) as world:
            world.commit({f"clusters/{name}.yaml": cluster_file(name) for name in ("eu-1", "eu-2")})
            async with world.run():
                async with asyncio.timeout(60):
                    while len(await world.opened.adapters.state.identities()) < 2:
                        await asyncio.sleep(0.05)
                monkeypatch.setenv("FLEET_HUB", world.url)
                monkeypatch.setenv("FLEET_CREDENTIALS", str(tmp_path / "credentials"))
                monkeypatch.setenv("FLEET_ALLOW_ADDRESS", "127.0.0.0/8")
                out = io.StringIO()
                code = await asyncio.to_thread(doctor, tmp_path, out, data_dir=world.data_dir)
        text = out.getvalue()
        assert f"hub at {world.url} is ready" in text
        assert "clocks of 2 clusters agree" in text
        assert "state of default: 2 clusters" in text
        assert code == 0, text
