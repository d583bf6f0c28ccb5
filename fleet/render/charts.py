"""Charts inside a commit: where kustomize looks for them, and archives unpacked with limits (R27, R28).

kustomize reads charts as directories only and would fetch what it does not find. So an archive in the commit is
unpacked to the place where kustomize looks, within the build's private directory.
"""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from fleet.core.problems import Origin
from fleet.errors import ChartInvalid, FleetError, RemoteBaseRefused
from fleet.render.limits import RunLimits
from fleet.render.mentions import ChartUse
from fleet.render.tree import CommitTree
from fleet.values import dataclass

_GZIP = 31  # zlib's word for a gzip header and its widest window
_PATH_CHARACTERS, _PATH_DEPTH = 512, 32  # of one path inside a chart: each step costs a directory


@dataclass(slots=True)
class Room:
    """What the archives of one build may still unpack to, all of them together."""

    input_bytes: int
    files: int  # directories count as well

    @classmethod
    def within(cls, limits: RunLimits) -> Room:
        """All that the limits of a build allow."""
        return cls(limits.input_bytes, limits.files)


@dataclass(frozen=True, slots=True)
class FoundChart:
    """Files of the commit that make up a chart, none where it is not there."""

    directory: str  # where kustomize looks for it
    files: tuple[str, ...] = ()
    archive: str = ""  # as it is named: it may be a link
    absent: tuple[str, ...] = ()


def find_chart(tree: CommitTree, home: str, chart: ChartUse) -> FoundChart:
    """A chart below `home` (a real directory): as a directory, else as NAME-VERSION.tgz or NAME.tgz."""
    inside = [home] if home else []
    versioned = f"{chart.name}-{chart.version}" if chart.version else chart.name
    steps = [versioned] if chart.version and chart.repo else []
    directory = "/".join([*inside, *steps, chart.name])
    if directory in tree.directories:
        start = f"{directory}/"
        return FoundChart(directory, tuple(path for path in tree.entries if path.startswith(start)))
    archive = "/".join([*inside, f"{versioned}.tgz"])
    if archive in tree.entries:
        return FoundChart(directory, (archive,), archive, (directory,))
    return FoundChart(directory, absent=(directory, archive))


def chart_missing(chart: ChartUse, found: FoundChart, origin: Origin) -> FleetError:
    """What to say of a chart that is not in the commit."""
    version = f" --version {chart.version}" if chart.version else ""
    repo = f" --repo {chart.repo}" if chart.repo else " --repo URL"
    return RemoteBaseRefused(
        f"the chart {chart.name} is not in this commit",
        where=str(origin),
        why=f"neither {' nor '.join(found.absent)} is there, and kustomize would fetch it from the network",
        next_step=f"fleet vendor chart {chart.name}{version}{repo}",
    )


def unpack_charts(repo: Path, charts: Mapping[str, str], files: Mapping[str, bytes], limits: RunLimits) -> None:
    """Lay out each archive where kustomize looks for it; raises ChartInvalid."""
    room = Room.within(limits)
    for archive, directory in charts.items():
        chart = read_archive(files[archive], archive, room)
        chart.setdefault("values.yaml", b"")  # kustomize demands one, helm does not
        for name, content in chart.items():
            target = repo / directory / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)


def read_archive(raw: bytes, where: str, room: Room) -> dict[str, bytes]:
    """The files of a chart archive by their path inside the chart; raises ChartInvalid for anything else.

    room: what it may unpack to; what it did is taken off. It is inflated within that before anything reads it as a tar,
    because a reader of tars holds whole what its headers announce, a long name or a table of attributes.
    """
    found: dict[str, bytes] = {}
    try:
        plain = _inflated(raw, where, room)
        with tarfile.open(fileobj=BytesIO(plain), mode="r:") as archive:
            for member in archive:
                room.files -= 1
                if room.files < 0:
                    raise _invalid(where, "with the other archives of this build it unpacks to too many files")
                if member.isdir():
                    continue
                if not member.isreg() or member.issparse():
                    raise _invalid(where, f"{member.name!r:.80} is no plain file")
                name = _path_inside(member.name, where)
                content = archive.extractfile(member)
                if content is None or name in found:
                    raise _invalid(where, f"{member.name!r:.80} is in it twice")
                found[name] = content.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RecursionError) as error:
        raise _invalid(where, f"it does not read as one: {error}") from error
    if "Chart.yaml" not in found:
        raise _invalid(where, "it holds no Chart.yaml")
    return found


def _inflated(raw: bytes, where: str, room: Room) -> bytes:
    stream = zlib.decompressobj(_GZIP)
    plain = stream.decompress(raw, room.input_bytes + 1)
    if len(plain) > room.input_bytes:
        raise _invalid(where, "with the other archives of this build it unpacks to too many bytes")
    if not stream.eof:
        raise _invalid(where, "it ends early")
    if stream.unused_data:
        raise _invalid(where, "more follows after its end")
    room.input_bytes -= len(plain)
    return plain


def _path_inside(name: str, where: str) -> str:
    """A member's path without the directory that every chart archive starts with."""
    if len(name) > _PATH_CHARACTERS or name.count("/") > _PATH_DEPTH:
        raise _invalid(where, f"{name!r:.80} is too long a path")
    steps = name.split("/")
    if len(steps) < 2 or any(step in ("", ".", "..") for step in steps) or "\\" in name or "\0" in name:
        raise _invalid(where, f"{name!r:.80} is no path inside the chart")
    return "/".join(steps[1:])


def _invalid(where: str, why: str) -> ChartInvalid:
    return ChartInvalid(
        "not a chart archive that can be built", where=where, why=why, next_step="vendor it again: fleet vendor chart"
    )
