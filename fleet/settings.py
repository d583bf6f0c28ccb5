"""The hub's own configuration: read once, handed down in parts. Environment `FLEET_*`, then flags, then defaults.

Only this, never the repo, may relax R25, R30 or R31, and status shows that it did.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def user_state_directory() -> Path:
    """Where a user's own hub keeps its data: `$XDG_STATE_HOME/fleet`, by default `~/.local/state/fleet`."""
    root = os.environ.get("XDG_STATE_HOME", "")
    return (Path(root) if root else Path.home() / ".local" / "state") / "fleet"


def _address(text: str) -> tuple[str, int]:
    host, mark, port = text.rpartition(":")
    if not mark or not port.isdigit():
        raise ValueError(f"{text!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


def _words(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]


class Settings(BaseSettings):
    """One hub. Each field is `FLEET_<NAME>` in the environment; docs/reference/configuration.md lists them."""

    model_config = SettingsConfigDict(env_prefix="FLEET_", extra="ignore", frozen=True, secrets_dir=None)

    repo: str = Field(default="", description="URL or, on this machine, path of the fleet repo")
    branch: str = Field(default="main", description="the tracked branch; it only moves forward")
    data_dir: Path = Field(default_factory=user_state_directory, description="database, mirror, cache, keys (0700)")
    listen: str = Field(default="127.0.0.1:8080", description="address of the API")
    metrics_listen: str = Field(default="", description="own port for /metrics without a token, as 127.0.0.1:9090")
    poll_seconds: float = Field(default=30.0, gt=0, description="how often Git is asked, with 20 % jitter")
    credentials: Path | None = Field(default=None, description="directory of NAME.kubeconfig files")
    git_token_file: Path | None = Field(default=None, description="file with the token or password for https")
    git_username: str = Field(default="git", description="user name that goes with the token")
    git_ssh_key: Path | None = Field(default=None, description="private key for ssh")
    git_known_hosts: Path | None = Field(default=None, description="host keys for ssh; required with it")
    git_ca: Path | None = Field(default=None, description="certificate authority of the Git host")
    git_allow_http: bool = Field(default=False, description="relaxes R25: plain http to the Git host")
    signers: Path | None = Field(default=None, description="allowed signers; with it each commit must be signed")
    allow_address: Words = Field(default=(), description="relaxes R31: CIDRs of lab addresses that are allowed")
    webhook_secret_file: Path | None = Field(default=None, description="secret of /hooks/git; unset: off")
    key_file: Path | None = Field(
        default=None, description="keys of the encrypted store, one a line, the first seals; unset: made once"
    )
    render_workers: int = Field(default=2, ge=1, le=16, description="processes that run kustomize")
    allow_charts: bool = Field(default=False, description="build helmCharts from archives inside the commit (R27)")
    helm: Path | None = Field(default=None, description="the helm for charts; unset: the one on PATH")
    events_kept: int = Field(default=100_000, ge=1_000, description="events of the timeline; the oldest go first")
    cache_limit_mib: int = Field(
        default=2_048, ge=64, description="rendered results on disk; those unused longest go first, and none in use"
    )
    mirror_keep_days: float = Field(default=30.0, ge=1, description="mirrors of an earlier URL or branch go after this")
    otlp_endpoint: str = Field(default="", description="OTLP/HTTP endpoint for traces; empty: none are sent")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")

    def allowed_networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The relaxed addresses, parsed; raises ValueError on anything that is no CIDR."""
        return tuple(ipaddress.ip_network(text) for text in self.allow_address)

    def listen_address(self) -> tuple[str, int]:
        """Host and port of the API; raises ValueError."""
        return _address(self.listen)

    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the open /metrics, None where there is none; raises ValueError."""
        return _address(self.metrics_listen) if self.metrics_listen else None

    def relaxed(self) -> tuple[str, ...]:
        """What this configuration relaxes, in words, for the status."""
        words: list[str] = []
        if self.git_allow_http:
            words.append("R25: plain http to the Git host")
        if self.allow_address:
            words.append(f"R31: addresses {', '.join(self.allow_address)}")
        return tuple(words)
