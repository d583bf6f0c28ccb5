"""`fleet vendor`: remote bases and charts copied into the repo with a lock, and what moved since."""

from __future__ import annotations

import http.server
import io
import os
import shutil
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import yaml
from testbed import binaries
from testbed.authority import Authority
from testbed.fixtures import require
from testbed.gitrepo import GitRepo

from fleet.cli.app import run
from fleet.core.vendoring import BaseRef, parse_base
from fleet.errors import UsageInvalid

Fleet = Callable[..., tuple[int, str]]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkout, and the current directory."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fleet(root: Path) -> Fleet:
    def command(*arguments: str) -> tuple[int, str]:
        out = io.StringIO()
        with redirect_stdout(out), redirect_stderr(out):
            code = run(list(arguments))
        assert "Traceback" not in out.getvalue()
        return code, out.getvalue()

    return command


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


HOST = "https://git.acme.example"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HOST}/org/repo//config/default?ref=v1", (f"{HOST}/org/repo", "config/default", "v1")),
        ("git.acme.example/org/repo/config?ref=v1.2.3", (f"{HOST}/org/repo", "config", "v1.2.3")),
        (f"{HOST}/org/repo.git/config?ref=main", (f"{HOST}/org/repo.git", "config", "main")),
        (f"git::{HOST}/a/b?ref=v1&timeout=90s", (f"{HOST}/a/b", "", "v1")),
        ("ssh://git@git.acme.example/org/repo//x?ref=v1", ("ssh://git@git.acme.example/org/repo", "x", "v1")),
        ("git@git.acme.example:org/repo.git//x?ref=v1", ("git@git.acme.example:org/repo.git", "x", "v1")),
    ],
)
def test_a_base_is_read_as_kustomize_writes_it(text: str, expected: tuple[str, str, str]) -> None:
    assert parse_base(text) == BaseRef(*expected)


@pytest.mark.parametrize(
    "text",
    [f"{HOST}/o/r//x", f"{HOST}/o/r//x?ref=--upload-pack=x", f"{HOST}/o/r//../x?ref=v1", f"{HOST}/o/r//x?ref=a..b"],
)
def test_a_base_without_a_version_or_out_of_its_repo_is_refused(text: str) -> None:
    with pytest.raises(UsageInvalid):
        parse_base(text)


class TestBase:
    @pytest.fixture
    def upstream(self, tmp_path: Path) -> GitRepo:
        repo = GitRepo.create(tmp_path / "upstream.git")
        repo.commit(
            {
                "deploy/default/kustomization.yaml": "resources: [../base]\n",
                "deploy/base/kustomization.yaml": "resources: [cm.yaml]\n",
                "deploy/base/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\n",
                "docs/large.md": "not needed\n",
            }
        )
        repo.git("tag", "v1", "main")
        return repo

    def test_a_copy_holds_what_a_build_reads_and_says_when_upstream_moves(
        self, fleet: Fleet, root: Path, upstream: GitRepo
    ) -> None:
        code, said = fleet("vendor", "base", f"{upstream.path}//deploy/default?ref=v1", "--to", "vendor/up")
        assert code == 0, said
        assert set(files_of(root / "vendor")) == {
            "up/deploy/default/kustomization.yaml", "up/deploy/base/kustomization.yaml", "up/deploy/base/cm.yaml",
        }  # fmt: skip
        (copy,) = yaml.safe_load((root / "vendor.lock.yaml").read_text())["copies"]
        assert (copy["ref"], copy["commit"], copy["path"]) == ("v1", upstream.head(), "vendor/up")
        assert fleet("vendor", "--check")[0] == 0
        upstream.commit({"deploy/base/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z, namespace: b}\n"})
        upstream.git("tag", "-f", "v1", "main")
        code, said = fleet("vendor", "--check")
        assert (code, f"v1 is {upstream.head()[:7]} there now" in said) == (1, True)  # type: ignore[index]
        assert fleet("vendor", "--check", "--offline")[0] == 0
        assert fleet("vendor", "base", f"{upstream.path}//deploy/default?ref=v1", "--to", "vendor/up")[0] == 0
        assert b"name: z" in (root / "vendor/up/deploy/base/cm.yaml").read_bytes()
        assert fleet("vendor", "--check")[0] == 0

    def test_a_copy_that_was_changed_by_hand_is_named(self, fleet: Fleet, root: Path, upstream: GitRepo) -> None:
        fleet("vendor", "base", f"{upstream.path}//deploy/default?ref=v1", "--to", "vendor/up")
        (root / "vendor/up/deploy/base/cm.yaml").write_text("kind: Other\n")
        code, said = fleet("vendor", "--check", "--offline")
        assert (code, "CHANGED  vendor/up" in said, "next: git restore vendor/up" in said) == (1, True, True)
        shutil.rmtree(root / "vendor/up")
        assert "gone" in fleet("vendor", "--check", "--offline")[1]

    def test_what_is_no_unchanged_copy_of_the_same_base_is_never_replaced(
        self, fleet: Fleet, root: Path, upstream: GitRepo
    ) -> None:
        base, other = f"{upstream.path}//deploy/default?ref=v1", f"{upstream.path}//deploy/base?ref=v1"
        (root / "overlays/web").mkdir(parents=True)
        (root / "overlays/web/kustomization.yaml").write_text("resources: []\n")
        (root / "notes").write_text("a file\n")
        assert fleet("vendor", "base", base)[0] == 0  # vendor/upstream
        changed = root / "vendor/upstream/deploy/base/cm.yaml"
        for arguments, why in (
            ((base, "--to", "overlays"), "does not list it"),
            ((base, "--to", "notes"), "does not list it"),
            ((base, "--to", "vendor"), "does not list it"),
            ((base, "--to", "vendor/upstream/inner"), "vendor/upstream is a copy of its own"),
            ((other,), f"it is a copy of {upstream.path}//deploy/default"),
        ):
            before = files_of(root)
            code, said = fleet("vendor", "base", *arguments)
            assert (code, why in said, "  next  give --to another directory" in said) == (2, True, True), said
            assert files_of(root) == before
        changed.write_text("kind: Other\n")
        before = files_of(root)
        code, said = fleet("vendor", "base", base)
        assert (code, "changed since it was copied" in said, files_of(root) == before) == (2, True, True)
        shutil.rmtree(root / "vendor/upstream")
        assert fleet("vendor", "base", base)[0] == 0
        (root / "vendor/empty").mkdir()
        assert fleet("vendor", "base", other, "--to", "vendor/empty")[0] == 0
        assert fleet("vendor", "--check", "--offline")[0] == 0

    def test_a_base_with_a_base_from_elsewhere_is_refused_and_nothing_is_written(
        self, fleet: Fleet, root: Path, upstream: GitRepo
    ) -> None:
        upstream.commit({"deploy/base/kustomization.yaml": "resources: ['https://x.example/a/b?ref=v1']\n"})
        code, said = fleet("vendor", "base", f"{upstream.path}//deploy/default?ref=main")
        assert (code, "RemoteBaseRefused" in said) == (1, True)
        for url in (
            f"{upstream.path}//nowhere?ref=v1",
            f"{upstream.path}//deploy?ref=v9",
            "http://x.example/a/b?ref=v1",
        ):
            assert fleet("vendor", "base", url)[0] == 1
        assert fleet("vendor", "base", f"{upstream.path}//deploy/default?ref=v1", "--to", "../out")[0] == 2
        assert files_of(root) == {}

    def test_a_base_that_would_lay_a_git_directory_into_ours_is_refused(
        self, fleet: Fleet, root: Path, upstream: GitRepo
    ) -> None:
        hook = upstream.git("rev-parse", "main:docs/large.md").strip()
        inner = tree_of(upstream, b"100644 post-checkout", hook)
        hidden = tree_of(upstream, b"40000 .git", inner)
        person = ("-c", "user.name=jo", "-c", "user.email=jo@acme.example")
        commit = upstream.git(*person, "commit-tree", hidden, "-m", "a trap").strip()
        upstream.git("update-ref", "refs/heads/trap", commit)
        code, said = fleet("vendor", "base", f"{upstream.path}?ref=trap")
        assert (code, "FetchFailed" in said) == (1, True)
        assert files_of(root) == {}


def tree_of(repo: GitRepo, name: bytes, oid: str) -> str:
    """A tree with one entry that git itself would not write."""
    raw = name + b"\0" + bytes.fromhex(oid)
    command = ["git", "--git-dir", str(repo.path), "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    return subprocess.run(command, input=raw, capture_output=True, check=True).stdout.decode().strip()


def chart(version: str, about: str = "") -> bytes:
    texts = {
        "web/Chart.yaml": f"apiVersion: v2\nname: web\nversion: {version}\n{about}",
        "web/templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: shop}\n"
        "data: {version: {{ .Chart.Version | quote }}}\n",
    }
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in texts.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return made.getvalue()


class TestChart:
    @pytest.fixture
    def host(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
        """A chart repository over https: its address and its folder."""
        folder = tmp_path / "host"
        folder.mkdir()
        authority = Authority.create(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        certificate, key = authority.issue_server("localhost")
        for name, content in (("crt", certificate), ("key", key)):
            (tmp_path / name).write_bytes(content)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "crt", tmp_path / "key")

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *given: object) -> None:
                super().__init__(*given, directory=str(folder))  # type: ignore[arg-type]

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"https://localhost:{server.server_port}", folder
        server.shutdown()
        server.server_close()
        thread.join()

    @staticmethod
    def publish(folder: Path, *versions: str, digest: str = "", about: str = "") -> None:
        rows = []
        for version in versions:
            content = chart(version, about)
            (folder / f"web-{version}.tgz").write_bytes(content)
            rows.append({"version": version, "urls": [f"web-{version}.tgz"], "digest": digest})
        (folder / "index.yaml").write_text(yaml.safe_dump({"apiVersion": "v1", "entries": {"web": rows}}))

    def vendored(self, fleet: Fleet, repo: str, version: str = "1.0.0") -> tuple[int, str]:
        return fleet("vendor", "chart", "web", "--version", version, "--repo", repo, "--to", "apps/web/charts")

    def test_an_archive_is_locked_built_and_checked_against_its_repository(
        self, fleet: Fleet, root: Path, host: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repo, folder = host
        self.publish(folder, "1.0.0")
        assert self.vendored(fleet, repo)[0] == 0
        assert fleet("vendor", "--check")[0] == 0
        self.publish(folder, "1.1.0", "1.0.0")
        code, said = fleet("vendor", "--check")
        assert (code, "web 1.1.0 is out, copied was 1.0.0" in said) == (1, True)
        assert self.vendored(fleet, repo, "1.1.0")[0] == 0
        assert sorted(path.name for path in (root / "apps/web/charts").iterdir()) == ["web-1.1.0.tgz"]
        assert len(yaml.safe_load((root / "vendor.lock.yaml").read_text())["copies"]) == 1
        require("helm")
        monkeypatch.setenv("FLEET_HELM", str(binaries.find("helm")))
        monkeypatch.setenv("FLEET_ALLOW_CHARTS", "true")
        head = "apiVersion: fleet.internal/v1\n"
        (root / "fleet.yaml").write_text(f"{head}kind: Fleet\nspec: {{overlays: [{{dirs: apps/*, paths: ['.']}}]}}\n")
        (root / "clusters").mkdir()
        cluster = "kind: Cluster\nmetadata: {name: eu-1}\nspec: {overlays: [web]}\n"
        (root / "clusters/eu-1.yaml").write_text(head + cluster)
        (root / "apps/web/kustomization.yaml").write_text(
            f"helmCharts:\n- {{name: web, version: 1.1.0, repo: '{repo}', releaseName: web}}\n"
        )
        code, said = fleet("render", "web@eu-1")
        assert (code, "1.1.0" in said) == (0, True), said

    def test_another_archive_than_the_index_names_is_refused(
        self, fleet: Fleet, root: Path, host: tuple[str, Path]
    ) -> None:
        repo, folder = host
        self.publish(folder, "1.0.0", digest="ab" * 32)
        code, said = self.vendored(fleet, repo)
        assert (code, "ChartInvalid" in said) == (1, True)
        self.publish(folder, "1.0.0", about="dependencies: [{name: redis, version: 1.0.0}]\n")
        code, said = self.vendored(fleet, repo)
        assert (code, "redis" in said) == (1, True)
        assert self.vendored(fleet, repo, "9.9.9")[0] == 3
        assert self.vendored(fleet, repo.replace("https", "http"))[0] == 2
        assert self.vendored(fleet, "oci://registry.acme.example/charts")[0] == 2
        (folder / "index.yaml").write_text("<html>")
        assert self.vendored(fleet, repo)[0] == 1
        assert files_of(root) == {}

    def test_an_archive_from_a_file_is_locked_too(self, fleet: Fleet, root: Path, tmp_path: Path) -> None:
        (tmp_path / "web.tgz").write_bytes(chart("2.0.0"))
        arguments = ("vendor", "chart", "web", "--version", "2.0.0")
        assert fleet(*arguments, "--file", str(tmp_path / "web.tgz"))[0] == 0
        assert (root / "charts/web-2.0.0.tgz").exists()
        assert fleet("vendor", "--check")[0] == 0
        (root / "charts/web-2.0.0.tgz").write_bytes(os.urandom(100))
        assert fleet("vendor", "--check")[0] == 1
        assert fleet(*arguments)[0] == 2
