"""`fleet backup FILE` and `fleet restore FILE`: the hub's state in one file, and back into a data directory."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fleet.cli.client import data_folder
from fleet.cli.output import age, say
from fleet.errors import KeyMissing
from fleet.settings import Settings
from fleet.store.backup import make_backup
from fleet.store.crypto import find_key


def backup(file: Path, *, data_dir: Path | None, with_key: bool) -> int:
    """Write a backup; the hub may run meanwhile."""
    folder = data_dir or data_folder()
    found = find_key(folder, os.environ)
    if found is None:
        raise KeyMissing(
            "the key of the encrypted store is gone",
            where=str(folder),
            why="a backup is sealed under it, and could not be read without it",
            next_step="put the kept copy of the key back: fleet doctor",
        )
    started = time.monotonic()
    manifest = make_backup(folder, file, found, with_key=with_key, left_out=_left_out(), at=time.time())
    size = file.stat().st_size
    say(
        f"backup of {manifest.installation or 'an installation without a commit yet'} in {file}: "
        f"{manifest.clusters} clusters, schema {manifest.db_schema}, {size / 1e6:.1f} MB, "
        f"{time.monotonic() - started:.1f} s"
    )
    if with_key:
        say("It holds the key: who reads this file reads every credential. Keep it like one.")
    _say_left_out(manifest.left_out, "Not in it, keep it elsewhere")
    return 0


def restore(file: Path, *, data_dir: Path | None, replace: bool, upgrade: bool) -> int:
    """Put a backup into a data directory that no hub uses."""
    from fleet.store.restore import restore_backup

    folder = data_dir or data_folder()
    found = find_key(folder, os.environ)
    now = time.time()
    restored = asyncio.run(restore_backup(file, folder, found, replace_state=replace, upgrade=upgrade, at=now))
    manifest = restored.manifest
    made = datetime.fromtimestamp(manifest.made_at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    say(
        f"restored {manifest.installation or 'the state'} into {folder}: {manifest.clusters} clusters, "
        f"as of {made} ({age(now - manifest.made_at)} ago)"
    )
    if restored.kept is not None:
        say(f"The state that was there is kept as {restored.kept}")
    _say_left_out(manifest.left_out, "Left out of the backup, and the hub may need it")
    if restored.revoked:
        names = ", ".join(restored.revoked)
        say(f"Its tokens are revoked, as some may have been since: {names}. The hub's own is made anew at its start;")
        say("others by fleet token create")
    in_force = f"In force are {', '.join(restored.suspended)}." if restored.suspended else "There is none in it."
    say(f"Suspensions by command are those of the backup: one given since must be given again. {in_force}")
    say("A hub started on it observes and writes nothing until you have seen what it found: fleet recover")
    return 0


def _left_out() -> Sequence[str]:
    """What else a hub with this environment reads, by its place alone."""
    settings = Settings()
    places = {
        "kubeconfigs": settings.credentials,
        "token of the Git host": settings.git_token_file,
        "ssh key of the Git host": settings.git_ssh_key,
        "host keys of the Git host": settings.git_known_hosts,
        "authority of the Git host": settings.git_ca,
        "allowed signers": settings.signers,
        "webhook secret": settings.webhook_secret_file,
    }
    return [f"{what} ({place})" for what, place in places.items() if place is not None]


def _say_left_out(left_out: Sequence[str], heading: str) -> None:
    if left_out:
        say(f"{heading}: {', '.join(left_out)}")
