"""Lines out of the chunks of a watch, with a limit: objects reach megabytes, a hostile stream never ends one."""

from __future__ import annotations

from fleet.errors import AnswerInvalid


class Lines:
    """Collects chunks and gives whole lines. Each byte is copied at most twice, whatever the chunks are like."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._begun: list[bytes] = []  # the line that has no end yet, in pieces
        self._size = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left of a line that was begun."""
        return self._size == 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without their ends; empty lines are left out."""
        *ended, rest = chunk.split(b"\n")
        lines: list[bytes] = []
        for piece in ended:
            line = piece if not self._begun else b"".join([*self._begun, piece])
            self._begun, self._size = [], 0
            self._check(len(line))
            if line and not line.isspace():
                lines.append(line)
        if rest:
            self._begun.append(rest)
            self._size += len(rest)
            self._check(self._size)
        return lines

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise AnswerInvalid(
                "the watch breaks off",
                why=f"one event is larger than {self._limit >> 20} MiB",
                next_step="see what answers at this address",
            )
