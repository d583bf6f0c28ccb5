"""Chart repositories over https, for `fleet vendor chart`: the index, and the archive it names."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import yaml

from fleet import __version__
from fleet.errors import FetchFailed, UsageInvalid
from fleet.values import dataclass

_SECONDS = 60
_INDEX_BYTES, _ARCHIVE_BYTES = 128 << 20, 64 << 20


@dataclass(frozen=True, slots=True)
class Release:
    """One version of a chart in an index. digest: hex SHA-256, "" where the index does not say."""

    version: str
    url: str
    digest: str


def releases_of(repository: str, name: str) -> tuple[Release, ...]:
    """All versions of a chart, in the order of the index (newest first by custom); raises FetchFailed. Blocking."""
    address = repository.rstrip("/") + "/index.yaml"
    try:
        index: Any = yaml.load(_get(address, _INDEX_BYTES), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        rows = cast("list[Mapping[str, Any]]", index["entries"].get(name) or [])
        return tuple(
            Release(str(row["version"]), urljoin(address, str(row["urls"][0])), str(row.get("digest") or ""))
            for row in rows
        )
    except (yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise FetchFailed(
            "this is no chart repository", where=address, why=type(error).__name__, next_step="check --repo"
        ) from error


def archive_of(release: Release) -> bytes:
    """The archive; raises FetchFailed. Blocking."""
    return _get(release.url, _ARCHIVE_BYTES)


class _StaysOnHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _get(address: str, limit: int) -> bytes:
    _check(address)
    request = urllib.request.Request(address, headers={"User-Agent": f"fleet/{__version__}"})  # noqa: S310 - https only
    try:
        with urllib.request.build_opener(_StaysOnHttps).open(request, timeout=_SECONDS) as answer:
            content = answer.read(limit + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        why = str(getattr(error, "reason", "") or error) or type(error).__name__
        raise FetchFailed(
            "the chart cannot be fetched", where=address, why=why, next_step="check --repo and your network"
        ) from error
    if len(content) > limit:
        raise FetchFailed(
            "the answer is too large",
            where=address,
            why=f"the limit is {limit >> 20} MiB",
            next_step="helm pull it by hand, then fleet vendor chart --file ARCHIVE",
        )
    return content


def _check(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme == "oci":
        raise UsageInvalid(
            f"{address} is in an OCI registry", next_step=f"helm pull {address}, then fleet vendor chart --file FILE"
        )
    if parts.scheme != "https" or not parts.hostname or parts.password:
        raise UsageInvalid(
            f"{address} is no https address without a password", next_step="give --repo https://HOST/PATH"
        )
