"""Kubeconfigs: merged as kubectl merges them, read under one of two kinds of trust.

A person's own kubeconfig is that person's authority: exec plugins, files, loopback and skipped verification are
theirs to use. The hub's credentials are data that somebody handed in: whatever runs a program, reads a file of the
hub's machine or gives up TLS is refused, with rule and line (R30).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from fleet.errors import CredentialMissing, CredentialRefused
from fleet.kube.access import Access, Endpoint, FixedAccess, Ticket
from fleet.kube.execplugin import ExecAccess, Plugin
from fleet.kube.tokenfile import TokenFileAccess
from fleet.kube.yamltree import Node, read_yaml
from fleet.values import dataclass

_PROXY_SCHEMES = ("http", "socks5", "socks5h")
_HUB_RULES = {
    "exec": "an exec plugin would run a program on the hub",
    "auth-provider": "an auth-provider needs programs or files of the hub",
    "client-certificate": "it names a file of the hub; use client-certificate-data",
    "client-key": "it names a file of the hub; use client-key-data",
    "tokenFile": "it names a file of the hub; use token",
    "certificate-authority": "it names a file of the hub; use certificate-authority-data",
}
_HUB_NEXT = "make a credential for the hub: fleet cluster grant"
_EXEC_EXTENSION = "client.authentication.k8s.io/exec"


class Trust(StrEnum):
    """Whose authority a kubeconfig is."""

    PERSON = "person"
    HUB = "hub"


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """Merged entries by name. The first file that defines a name wins, as with kubectl."""

    clusters: Mapping[str, Node]
    users: Mapping[str, Node]
    contexts: Mapping[str, Node]
    current: str
    where: str

    def context(self, name: str = "") -> tuple[Node, Node | None]:
        """The cluster and the user of a context (default: the current one, or the only one)."""
        chosen = name or self.current or (next(iter(self.contexts)) if len(self.contexts) == 1 else "")
        if not chosen:
            raise CredentialMissing(
                "the kubeconfig does not say which cluster is meant",
                where=self.where,
                why=f"no current-context, and it has {len(self.contexts)} contexts",
                next_step="name one with --context, or set current-context",
            )
        context = self.contexts.get(chosen)
        if context is None:
            raise CredentialMissing(
                f"the kubeconfig has no context {chosen}",
                where=self.where,
                why=f"it has {', '.join(sorted(self.contexts)[:10]) or 'none'}",
                next_step="kubectl config get-contexts",
            )
        cluster, user = self.clusters.get(context.text("cluster")), context.text("user")
        if cluster is None:
            raise CredentialMissing(
                f"context {chosen} names a cluster that is not there",
                where=context.where,
                why=f"no entry {context.text('cluster') or '(empty)'} under clusters",
                next_step="correct the context",
            )
        return cluster, self.users.get(user)


def read_kubeconfig(raw: bytes, file: str) -> Kubeconfig:
    """Read one kubeconfig; raises CredentialRefused when it is none."""
    return merge([_parse(raw, file)], file)


def load_kubeconfigs(paths: Sequence[Path]) -> Kubeconfig:
    """Merge files in kubectl's order; missing ones are skipped. Raises CredentialMissing when none is there."""
    found = [_parse(path.read_bytes(), str(path)) for path in paths if path.is_file()]
    where = ":".join(str(path) for path in paths)
    if not found:
        raise CredentialMissing(
            "there is no kubeconfig", where=where, why="no such file", next_step="set KUBECONFIG, or pass --kubeconfig"
        )
    return merge(found, where)


def person_paths(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where kubectl looks: the list in KUBECONFIG, else ~/.kube/config."""
    listed = tuple(Path(part) for part in environ.get("KUBECONFIG", "").split(":") if part)
    return listed or (home / ".kube" / "config",)


def merge(documents: Sequence[Node], where: str) -> Kubeconfig:
    """Merge parsed kubeconfigs: the first entry of a name wins, and the first current-context that is set."""
    current = next((text for text in (document.text("current-context") for document in documents) if text), "")
    return Kubeconfig(
        clusters=_entries(documents, "clusters", "cluster"),
        users=_entries(documents, "users", "user"),
        contexts=_entries(documents, "contexts", "context"),
        current=current,
        where=where,
    )


def token_kubeconfig(name: str, endpoint: Endpoint, token: str) -> dict[str, Any]:
    """A kubeconfig that the hub may use (R30): all data inside. Raises CredentialRefused where the hub would."""
    if endpoint.insecure or not endpoint.server.startswith("https://"):
        raise CredentialRefused(
            f"no credential for the hub can be made of {endpoint.place}",
            why="your kubeconfig does not verify this server, and the hub trusts no server unseen (R30)",
            next_step="put its certificate-authority-data into your kubeconfig, with an https server",
        )
    cluster: dict[str, str | bool] = {"server": endpoint.server}
    if endpoint.ca:
        cluster["certificate-authority-data"] = base64.b64encode(endpoint.ca).decode("ascii")
    if endpoint.tls_server_name:
        cluster["tls-server-name"] = endpoint.tls_server_name
    if endpoint.proxy:
        cluster["proxy-url"] = endpoint.proxy
    if not endpoint.compress:
        cluster["disable-compression"] = True
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def access_from(config: Kubeconfig, trust: Trust, *, context: str = "") -> Access:
    """The access that a context gives. Raises CredentialRefused and CredentialMissing with file and line."""
    cluster, user = config.context(context)
    reader = _Reader(trust)
    if user is None:
        # An absent user is kubectl's anonymous one; fleet never asks anonymously in silence.
        raise _no_credential(cluster.where)
    return reader.access(cluster, user)


def _parse(raw: bytes, file: str) -> Node:
    try:
        document = read_yaml(raw, file)
    except ValueError as error:
        raise CredentialRefused(
            "the kubeconfig cannot be read", where=file, why=str(error), next_step="correct the file"
        ) from None
    if not document.fields or document.text("kind") not in ("", "Config"):
        raise CredentialRefused(
            "this is no kubeconfig", where=file, why="expected kind: Config", next_step="give a kubeconfig file"
        )
    return document


def _entries(documents: Sequence[Node], plural: str, singular: str) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    for document in documents:
        listed = document.fields.get(plural)
        for item in listed.items if listed else ():
            name, content = item.text("name"), item.fields.get(singular)
            if name and content is not None:
                entries.setdefault(name, content)
    return entries


def _no_credential(where: str) -> CredentialRefused:
    return CredentialRefused(
        "the kubeconfig holds no credential",
        where=where,
        why="without token, client certificate, password or exec plugin requests would be anonymous",
        next_step="give its user a credential",
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads one cluster entry with one user entry under a trust profile."""

    trust: Trust

    def access(self, cluster: Node, user: Node) -> Access:
        if self.trust is Trust.HUB:
            self._refuse_for_hub(cluster)
            self._refuse_for_hub(user)
        endpoint = self._endpoint(cluster, user)
        if "exec" in user.fields:
            return ExecAccess(endpoint, self._plugin(user.fields["exec"], cluster, endpoint))
        certificate, key = self._data(user, "client-certificate"), self._data(user, "client-key")
        if bool(certificate) != bool(key):
            raise _refused(user.where, "a client certificate and its key belong together", "give both")
        ticket = Ticket(endpoint, self._authorization(user), certificate, key)
        if token_file := user.text("tokenFile"):
            return TokenFileAccess(ticket, _resolved(user.fields["tokenFile"], token_file))
        if not ticket.authorization and not certificate:
            raise _no_credential(user.where)
        return FixedAccess(ticket)

    def _refuse_for_hub(self, entry: Node) -> None:
        for name, why in _HUB_RULES.items():
            if name in entry.fields and entry.fields[name].value not in (None, ""):
                raise _refused(entry.fields[name].where, f"{name}: {why} (R30)", _HUB_NEXT)
        if entry.flag("insecure-skip-tls-verify"):
            line = entry.fields["insecure-skip-tls-verify"].where
            raise _refused(line, "insecure-skip-tls-verify: anybody could answer for this cluster (R30)", _HUB_NEXT)

    def _endpoint(self, cluster: Node, user: Node) -> Endpoint:
        server = self._server(cluster)
        insecure = cluster.flag("insecure-skip-tls-verify")
        authority = self._data(cluster, "certificate-authority")
        if insecure and authority:
            raise _refused(
                cluster.fields["insecure-skip-tls-verify"].where,
                "insecure-skip-tls-verify and a certificate authority contradict each other",
                "drop insecure-skip-tls-verify",
            )
        return Endpoint(
            server=server,
            ca=authority,
            tls_server_name=cluster.text("tls-server-name"),
            insecure=insecure,
            proxy=self._proxy(cluster),
            compress=not cluster.flag("disable-compression"),
            headers=_impersonation(user),
        )

    def _server(self, cluster: Node) -> str:
        server = cluster.text("server")
        where = cluster.fields["server"].where if "server" in cluster.fields else cluster.where
        parts = _split(server)
        if (
            parts is None
            or parts.scheme not in ("https", "http")
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise _refused(where, "server: expected https://HOST:PORT", "correct the address")
        if parts.scheme == "http" and self.trust is Trust.HUB:
            raise _refused(where, "server: plain http shows the credential to the network (R30)", "use https")
        return parts.geturl().rstrip("/")  # with its scheme in small letters: TLS is asked of `https:`

    def _proxy(self, cluster: Node) -> str:
        proxy = cluster.text("proxy-url")
        if not proxy:
            return ""
        parts = _split(proxy)
        if parts is None or parts.port is None or parts.scheme not in _PROXY_SCHEMES:
            raise _refused(
                cluster.fields["proxy-url"].where,
                f"proxy-url: only {', '.join(_PROXY_SCHEMES)} proxies with a port are understood; "
                "a direct connection is never tried instead (R30)",
                "write http://HOST:PORT or socks5://HOST:PORT",
            )
        return parts.geturl()

    def _authorization(self, user: Node) -> str:
        token = user.text("token").strip()
        if not token and "auth-provider" in user.fields:
            # A person's older OpenID login: the id token is used as it stands, and never refreshed here.
            token = _id_token(user.fields["auth-provider"])
        if token:
            return _header_safe(f"Bearer {token}", user.where)
        name = user.text("username")
        if not name:
            return ""
        pair = f"{name}:{user.text('password')}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"

    def _data(self, entry: Node, name: str) -> bytes:
        """The bytes of NAME-data, else of the file NAME (a person's only)."""
        if text := entry.text(f"{name}-data"):
            try:
                return base64.b64decode("".join(text.split()), validate=True)
            except (binascii.Error, ValueError):
                where = entry.fields[f"{name}-data"].where
                raise _refused(where, f"{name}-data is no base64", "copy the value again") from None
        if not (path := entry.text(name)):
            return b""
        try:
            return _resolved(entry.fields[name], path).read_bytes()
        except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
            why = f"{name}: {getattr(error, 'strerror', None) or error}"
            raise _refused(entry.fields[name].where, why, "correct the path") from None

    def _plugin(self, spec: Node, cluster: Node, endpoint: Endpoint) -> Plugin:
        command = spec.text("command")
        if not command:
            raise _refused(spec.where, "exec: no command", "correct the user entry")
        directory = Path(spec.file).absolute().parent
        extensions = cluster.fields.get("extensions")
        config = next(
            (
                item.fields["extension"].plain()
                for item in (extensions.items if extensions else ())
                if item.text("name") == _EXEC_EXTENSION and "extension" in item.fields
            ),
            None,
        )
        return Plugin(
            # A command with a slash counts from the kubeconfig's directory, another one is found on PATH.
            command=str(directory / command) if "/" in command else command,
            args=tuple(text for item in _items(spec, "args") if isinstance(text := item.value, str)),
            env=tuple((item.text("name"), item.text("value")) for item in _items(spec, "env")),
            api_version=spec.text("apiVersion"),
            interactive=spec.text("interactiveMode"),
            cluster_info=spec.flag("provideClusterInfo"),
            config=config,
            install_hint=spec.text("installHint"),
            where=spec.where,
        )


def _split(url: str) -> SplitResult | None:
    """The parts of a URL with a host, and a port that can be one; None for all others.

    Python would pass over tabs and line ends in it, which another reader of the same text does not.
    """
    if any(c.isspace() or not c.isprintable() for c in url):
        return None
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and parts.port != 0 else None
    except ValueError:
        return None


def _refused(where: str, why: str, next_step: str) -> CredentialRefused:
    return CredentialRefused("the kubeconfig is not used", where=where, why=why, next_step=next_step)


def _items(entry: Node, name: str) -> list[Node]:
    found = entry.fields.get(name)
    return found.items if found else []


def _resolved(node: Node, path: str) -> Path:
    """Relative paths count from the file that holds them."""
    return Path(node.file).absolute().parent / path


def _header_safe(value: str, where: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise _refused(where, "the token holds characters that no header can carry", "copy the token again")
    return value


def _id_token(provider: Node) -> str:
    config = provider.fields.get("config")
    token = config.text("id-token") if config and provider.text("name") == "oidc" else ""
    if not token:
        raise _refused(
            provider.fields["name"].where if "name" in provider.fields else provider.where,
            "auth-provider: only an id-token that is there already can be used",
            "use an exec plugin (for OpenID: kubectl oidc-login)",
        )
    return token


def _impersonation(user: Node) -> tuple[tuple[str, str], ...]:
    """`as`, `as-uid`, `as-groups`, `as-user-extra` as Impersonate-* headers."""
    headers: list[tuple[str, str]] = []
    if name := user.text("as"):
        headers.append(("Impersonate-User", name))
    if uid := user.text("as-uid"):
        headers.append(("Impersonate-Uid", uid))
    headers += [("Impersonate-Group", item.value) for item in _items(user, "as-groups") if isinstance(item.value, str)]
    for key, values in user.fields["as-user-extra"].fields.items() if "as-user-extra" in user.fields else ():
        escaped = "".join(c if c.isascii() and (c.isalnum() or c in "-_.~") else f"%{ord(c):02X}" for c in key)
        headers += [
            (f"Impersonate-Extra-{escaped}", item.value) for item in values.items if isinstance(item.value, str)
        ]
    if headers and not user.text("as"):
        raise _refused(user.where, "as-groups, as-uid and as-user-extra need as", "add as: USER")
    return tuple((name, _header_safe(value, user.where)) for name, value in headers)
