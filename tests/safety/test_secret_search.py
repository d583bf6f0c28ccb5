"""The search finds what is planted, in every form: else that it finds nothing would say nothing."""

from __future__ import annotations

import base64
import gzip
import json
import textwrap
import zlib
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from safety.secret_search import Search

SECRET = b'canary-9f+2/7c e1="d4\xc3\xa9-b80a55d2c7'
HIDDEN = {
    "plain": SECRET,
    "hex": SECRET.hex().encode(),
    "upper hex": SECRET.hex().upper().encode(),
    "URL": quote_from_bytes(SECRET).encode(),
    "every character URL-coded": "".join(f"%{byte:02x}" for byte in SECRET).encode(),
    "JSON": json.dumps(SECRET.decode("latin-1")).encode(),
    "base64": base64.b64encode(SECRET),
    "base64 of a pair": base64.b64encode(b"bot:" + SECRET),
    "base64 of a line": base64.b64encode(b"token " + SECRET + b"\n"),
    "base64 for URLs": base64.urlsafe_b64encode(b"x" + SECRET + b"yy"),
    "base64 over lines": b"\n    ".join(
        textwrap.wrap(base64.b64encode(SECRET).decode(), 11)[i].encode() for i in range(5)
    ),
    "first half": SECRET[: len(SECRET) // 2],
    "second half": SECRET[len(SECRET) // 2 :],
    "over lines": SECRET[:9] + b"\n" + SECRET[9:20] + b"\r\n  " + SECRET[20:],
    "in quoted pieces": b'"' + SECRET[:15] + b'", "' + SECRET[15:] + b'"',
    "backwards": SECRET[::-1],
    "gzip": gzip.compress(b"log line " + SECRET),
    "zlib": zlib.compress(b"blob 40\0" + SECRET),
}


@pytest.mark.parametrize("form", HIDDEN)
def test_a_planted_secret_is_found_in_every_form(form: str) -> None:
    planted = HIDDEN[form] if form in ("gzip", "zlib") else b"2026-01-01 info: " + HIDDEN[form] + b" and more\n"
    assert {found.secret for found in Search({"canary": SECRET}).look("logs", "hub.log", planted)} == {"canary"}


def test_another_text_of_the_same_kind_is_not_found() -> None:
    other = b'canary-00+0/00 00="00-0000000000' * 3
    search = Search({"canary": SECRET})
    for text in (other, base64.b64encode(other), other.hex().encode(), gzip.compress(other)):
        assert search.look("logs", "hub.log", text) == []
    assert search.searched["logs"] > 0


def test_names_and_contents_of_files_are_searched(tmp_path: Path) -> None:
    secret = b"0123456789abcdef0123456789abcdef"
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "clean").write_bytes(b"nothing")
    (tmp_path / "a" / secret.decode()).write_bytes(b"")
    (tmp_path / "b").write_bytes(b"x" + secret)
    found = Search({"canary": secret}).look_in_files("files", tmp_path)
    assert {item.place.rpartition("/")[2] for item in found} == {secret.decode(), "b"}
