"""Kubeconfigs: kubectl's merge and paths for a person, R30 for the hub, and never a silent anonymous request."""

from __future__ import annotations

import base64
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis.strategies import binary, text
from testbed.authority import Authority

from fleet.errors import CredentialFailed, CredentialMissing, CredentialRefused
from fleet.kube.access import FixedAccess, Ticket, tls_context
from fleet.kube.execplugin import ExecAccess
from fleet.kube.kubeconfig import Trust, access_from, load_kubeconfigs, person_paths, read_kubeconfig
from fleet.kube.tokenfile import TokenFileAccess

CA = base64.b64encode(b"a PEM").decode()


def config(user: dict[str, Any] | None = None, **cluster: Any) -> bytes:
    entry = {"server": "https://10.7.0.1:6443", "certificate-authority-data": CA, **cluster}
    return yaml.safe_dump(
        {
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": entry}],
            "users": [{"name": "u", "user": user if user is not None else {"token": "abc"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    ).encode()


def ticket(raw: bytes, trust: Trust = Trust.HUB, *, context: str = "") -> Ticket:
    access = access_from(read_kubeconfig(raw, "eu-1"), trust, context=context)
    assert isinstance(access, FixedAccess)
    return access.fixed


# What both may use


def test_a_token_becomes_the_authorization() -> None:
    found = ticket(config())
    assert found.authorization == "Bearer abc"
    assert found.endpoint.server == "https://10.7.0.1:6443"
    assert found.endpoint.ca == b"a PEM"


def test_a_token_of_digits_and_a_user_called_no_stay_what_is_written() -> None:
    raw = config().replace(b"token: abc", b"token: 0123456")
    assert ticket(raw).authorization == "Bearer 0123456"
    raw = config({"username": "PLACE", "password": "x"}).replace(b"PLACE", b"no")
    assert base64.b64decode(ticket(raw).authorization.removeprefix("Basic ")) == b"no:x"


def test_impersonation_becomes_headers() -> None:
    user = {
        "token": "abc",
        "as": "jo",
        "as-uid": "7",
        "as-groups": ["dev", "ops"],
        "as-user-extra": {"acme.io/Team": ["a", "b"]},
    }
    assert ticket(config(user)).endpoint.headers == (
        ("Impersonate-User", "jo"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Extra-acme.io%2FTeam", "a"),
        ("Impersonate-Extra-acme.io%2FTeam", "b"),
    )


def test_the_only_context_is_taken_where_none_is_current() -> None:
    assert ticket(config().replace(b"current-context: x", b"current-context: ''")).authorization


def test_an_unknown_context_is_named_with_those_that_exist() -> None:
    with pytest.raises(CredentialMissing, match=r"no context prod.*it has x"):
        ticket(config(), context="prod")


@pytest.mark.parametrize("user", [{}, {"token": ""}, {"username": ""}, {"password": "x"}])
@pytest.mark.parametrize("trust", list(Trust))
def test_without_a_credential_there_is_no_anonymous_request(user: dict[str, Any], trust: Trust) -> None:
    with pytest.raises(CredentialRefused, match="holds no credential"):
        ticket(config(user), trust)


@pytest.mark.parametrize("trust", list(Trust))
def test_a_context_whose_user_is_not_there_is_no_anonymous_request(trust: Trust) -> None:
    with pytest.raises(CredentialRefused, match="holds no credential"):
        ticket(config().replace(b"user: u", b"user: other"), trust)


# The hub refuses (R30), a person may


REFUSED = [
    ("user", {"exec": {"command": "aws", "apiVersion": "client.authentication.k8s.io/v1"}}, "exec"),
    ("user", {"auth-provider": {"name": "gcp"}, "token": "abc"}, "auth-provider"),
    ("user", {"tokenFile": "/var/token"}, "tokenFile"),
    ("user", {"client-certificate": "a.crt", "client-key": "a.key"}, "client-certificate"),
    ("cluster", {"certificate-authority": "/etc/ssl/ca.crt", "certificate-authority-data": None}, "certificate-auth"),
    ("cluster", {"insecure-skip-tls-verify": True, "certificate-authority-data": None}, "insecure-skip-tls-verify"),
    ("cluster", {"server": "http://10.7.0.1:8080"}, "plain http"),
]


@pytest.mark.parametrize(("where", "fields", "named"), REFUSED, ids=[named for _, _, named in REFUSED])
def test_the_hub_refuses_with_rule_and_line(where: str, fields: dict[str, Any], named: str) -> None:
    raw = config(fields) if where == "user" else config(**fields)
    field = next(iter(fields))
    line = next(number for number, text in enumerate(raw.decode().splitlines(), 1) if f"{field}:" in text)
    with pytest.raises(CredentialRefused) as caught:
        ticket(raw, Trust.HUB)
    assert named in caught.value.why
    assert "R30" in caught.value.why
    assert caught.value.where == f"eu-1:{line}"


def test_a_person_may_use_all_of_these(tmp_path: Path) -> None:
    (tmp_path / "pki").mkdir()
    for name in ("ca.crt", "a.crt", "a.key"):
        (tmp_path / "pki" / name).write_text(name)

    def person(raw: bytes) -> Any:
        path = tmp_path / "config"
        path.write_bytes(raw)
        return access_from(load_kubeconfigs([path]), Trust.PERSON)

    files = {"certificate-authority": "pki/ca.crt", "certificate-authority-data": ""}
    found = person(config({"client-certificate": "pki/a.crt", "client-key": "pki/a.key"}, **files)).fixed
    assert (found.endpoint.ca, found.certificate, found.key) == (b"ca.crt", b"a.crt", b"a.key")
    assert isinstance(person(config({"exec": {"command": "aws", "apiVersion": "x"}})), ExecAccess)
    token_file = person(config({"tokenFile": "pki/token", "token": "older"}))
    assert isinstance(token_file, TokenFileAccess)
    assert token_file.path == tmp_path / "pki" / "token"
    insecure = {"insecure-skip-tls-verify": True, "certificate-authority-data": ""}
    assert person(config(**insecure)).fixed.endpoint.insecure
    assert person(config(server="http://127.0.0.1:8001")).fixed.endpoint.server == "http://127.0.0.1:8001"
    oidc = {"auth-provider": {"name": "oidc", "config": {"id-token": "jwt"}}}
    assert person(config(oidc)).fixed.authorization == "Bearer jwt"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"server": "10.7.0.1:6443"}, "expected https://HOST:PORT"),
        ({"server": ""}, "expected https://HOST:PORT"),
        ({"server": "https://jo:pw@10.7.0.1"}, "expected https://HOST:PORT"),
        ({"server": "https://10.7.0.1:99999"}, "expected https://HOST:PORT"),
        ({"server": "https://10.7.0.1?x=y"}, "expected https://HOST:PORT"),
        ({"certificate-authority-data": "%%%"}, "no base64"),
        ({"proxy-url": "socks5://"}, "proxy-url"),
        ({"proxy-url": "https://10.7.0.9:3128"}, "proxy-url"),
    ],
)
@pytest.mark.parametrize("trust", list(Trust))
def test_what_cannot_be_meant_is_refused(fields: dict[str, Any], why: str, trust: Trust) -> None:
    with pytest.raises(CredentialRefused, match=why):
        ticket(config(**fields), trust)


@pytest.mark.parametrize(
    ("user", "why"),
    [
        ({"token": "a\nb"}, "no header can carry"),
        ({"client-certificate-data": CA}, "belong together"),
        ({"token": "x", "as-groups": ["ops"]}, "need as"),
    ],
)
def test_a_user_that_cannot_be_meant_is_refused(user: dict[str, Any], why: str) -> None:
    with pytest.raises(CredentialRefused, match=why):
        ticket(config(user))


def test_nothing_of_a_credential_is_in_a_value_s_text() -> None:
    found = ticket(config({"token": "t0ken", "as": "jo"}, **{"proxy-url": "http://u:pa55@10.0.0.1:3128"}))
    assert "t0ken" not in repr(found)
    assert "pa55" not in repr(found)


# Files that are no kubeconfig


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b"kind: Config\nusers: [", "line"),
        (b"kind: Secret\ndata: {}", "kind: Config"),
        (b"just text", "kind: Config"),
        (b"kind: Config\nkind: Config", "there twice"),
        (b"a: &a [x]\n" + b"b: [" + b"*a," * 60_000 + b"]", "more than"),
        (b"kind: &a [*a]", "more than|unhashable|alias|recursive"),
        (b"\xff\xfe", "no YAML"),
        (b"#" * (2 << 20), "larger than"),
    ],
    ids=["empty", "broken", "other-kind", "text", "twice", "aliases", "recursive", "bytes", "huge"],
)
def test_what_is_no_kubeconfig_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(CredentialRefused, match=why):
        ticket(raw)


@given(binary() | text().map(str.encode))
def test_any_bytes_are_refused_or_read_and_nothing_else_happens(raw: bytes) -> None:
    with pytest.raises((CredentialRefused, CredentialMissing)):
        ticket(raw)


# kubectl's merge


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(content))
    return path


def test_files_are_merged_and_the_first_that_names_something_wins(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a" / "config",
        """
        contexts: [{name: x, context: {cluster: c, user: u}}]
        users: [{name: u, user: {token: first}}]
        """,
    )
    second = write(
        tmp_path / "b" / "config",
        """
        current-context: x
        clusters: [{name: c, cluster: {server: "https://second", certificate-authority: ca.crt}}]
        users: [{name: u, user: {token: second}}]
        """,
    )
    (tmp_path / "b" / "ca.crt").write_text("of b")
    merged = load_kubeconfigs([first, tmp_path / "missing", second])
    access = access_from(merged, Trust.PERSON)
    assert isinstance(access, FixedAccess)
    assert access.fixed.authorization == "Bearer first"
    assert access.fixed.endpoint.server == "https://second"
    assert access.fixed.endpoint.ca == b"of b"  # relative to the file that names it


def test_the_files_are_those_of_kubectl(tmp_path: Path) -> None:
    assert person_paths({}, tmp_path) == (tmp_path / ".kube" / "config",)
    assert person_paths({"KUBECONFIG": "/a::/b"}, tmp_path) == (Path("/a"), Path("/b"))


def test_no_file_at_all_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CredentialMissing, match="no kubeconfig"):
        load_kubeconfigs([tmp_path / "config"])


# Certificates


def test_a_client_certificate_is_loaded_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.create(tmp_path / "ca")
    certificate, key = authority.issue_client("jo")
    encoded = {"client-certificate-data": certificate, "client-key-data": key}
    user = {name: base64.b64encode(value).decode() for name, value in encoded.items()}
    raw = config(user, **{"certificate-authority-data": base64.b64encode(authority.ca_pem).decode()})
    monkeypatch.setenv("TMPDIR", "/nonexistent")
    assert tls_context(ticket(raw), "eu-1").cert_store_stats()["x509_ca"] == 1


def test_certificates_that_are_none_and_encrypted_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialFailed, match="no PEM certificate"):
        tls_context(ticket(config()), "eu-1")
    authority = Authority.create(tmp_path / "ca")
    certificate, _ = authority.issue_client("jo")
    other = authority.issue_client("jo")[1]
    locked = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
    for key in (other, locked, b"nonsense"):
        user = {
            "client-certificate-data": base64.b64encode(certificate).decode(),
            "client-key-data": base64.b64encode(key).decode(),
        }
        with pytest.raises(CredentialFailed, match="client certificate cannot be used"):
            tls_context(ticket(config(user, **{"certificate-authority-data": ""})), "eu-1")
