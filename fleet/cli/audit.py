"""`fleet audit`: the audit log of a data directory, checked or written out; the hub may run meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import orjson

from fleet.cli.client import state_folder
from fleet.cli.output import clean
from fleet.core.audit import AuditEntry, Head, Link, heads_in, verify_chain
from fleet.errors import KeyMissing, UsageInvalid


def verify(data_dir: Path | None, heads: Sequence[Path], export: Path | None, out: TextIO) -> int:
    """Print what is not as it was written, and up to which entry the end is proven; 1 if anything is wrong."""
    from fleet.store.audit import read_log
    from fleet.store.crypto import audit_key, find_key
    from fleet.store.inspect import root_of

    directory = _directory(data_dir)
    found = find_key(directory, os.environ)
    if found is None:
        raise KeyMissing(
            "the log cannot be checked without the key",
            where=str(directory),
            next_step="give it by FLEET_KEY_FILE, or name the hub's folder with --data-dir",
        )
    witnesses = [head for path in heads for head in heads_in(_read(path))]
    links, stored = read_log(directory) if export is None else _exported(export)
    verdict = verify_chain(audit_key(root_of(directory, found)), links, stored=stored, witnesses=witnesses)
    for fault in verdict.faults:
        out.write(f"{clean(fault.message)}\n")
    number = verdict.head.number
    if verdict.faults:
        out.write(f"{number} entries were read. Next: fleet restore of an older backup shows what they were\n")
        return 1
    out.write(f"{number} entries, each as it was written\n")
    if verdict.proven == number:
        out.write(
            f"proven to its end: its head {verdict.head.seal[:12]} was seen outside the store\n" if number else ""
        )
    else:
        out.write(
            f"proven up to entry {verdict.proven}; whether anything behind entry {number} was cut off is not: no head\n"
            "of it was given. Heads stand in the hub's log and on the clusters; give them as text:\n"
            "  kubectl get configmaps -n fleet-system -o yaml | fleet audit verify --heads hub.log --heads -\n"
        )
    return 0


def export(data_dir: Path | None, out: TextIO) -> int:
    """One JSON object a line, oldest first, with all that `verify --export` needs."""
    from fleet.store.audit import read_log

    links, _ = read_log(_directory(data_dir))
    for link in links:
        out.write(orjson.dumps({"number": link.number, **asdict(link.entry), "seal": link.seal}).decode() + "\n")
    return 0


def _exported(path: Path) -> tuple[Iterable[Link], Head | None]:
    links: list[Link] = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        try:
            row: dict[str, Any] = orjson.loads(line)
            entry = AuditEntry(**{name: row[name] for name in AuditEntry.__dataclass_fields__})
            links.append(Link(row["number"], entry, row["seal"]))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageInvalid(
                "the export does not read", where=f"{path}:{number}", why=type(error).__name__, next_step="export again"
            ) from error
    return links, links[-1].head if links else None  # a file does not tell where the log went on


def _directory(given: Path | None) -> Path:
    return given or Path(os.environ.get("FLEET_DATA_DIR") or state_folder())


def _read(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageInvalid(
            "a file cannot be read",
            where=str(path),
            why=error.strerror or "",
            next_step="name the file of an export, or - for standard input",
        ) from error
