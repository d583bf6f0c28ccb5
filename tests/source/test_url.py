"""Nothing but a plain place, branch or commit id ever reaches git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import sampled_from, text

from fleet.errors import GitUrlRefused
from fleet.source.url import check_branch, check_revision, parse_url

GOOD = [
    ("https://git.example.org/acme/fleet.git", "https", "git.example.org"),
    ("https://bot@git.example.org:8443/acme/fleet", "https", "git.example.org"),
    ("ssh://git@git.example.org:2222/acme/fleet.git", "ssh", "git.example.org"),
    ("git@git.example.org:acme/fleet.git", "ssh", "git.example.org"),
    ("https://[2001:db8::1]/fleet.git", "https", "2001:db8::1"),
]
BAD = [
    "",
    "-oProxyCommand=touch /tmp/x",
    "--upload-pack=touch /tmp/x",
    "ext::sh -c touch% /tmp/x",
    "fd::17",
    "git://git.example.org/fleet.git",
    "ftp://git.example.org/fleet.git",
    "http://git.example.org/fleet.git",
    "file:///srv/fleet.git",
    "/srv/fleet.git",
    ".",
    "https://bot:token@git.example.org/fleet.git",
    "https://git.example.org",
    "https://git.example.org/",
    "https://git.example.org/fleet.git?x=1",
    "https://git.example.org/fleet.git#x",
    "https://-x.example.org/fleet.git",
    "ssh://-oProxyCommand=x/fleet.git",
    "ssh://git@host/-x",
    "-x@host:fleet.git",
    "git@-host:fleet.git",
    "git@host:-x",
    "git@host:fleet.git\n",
    "https://git.example.org/fleet .git",
    "https://git.example.org/fleet\x1b[31m.git",
    "https://git.example.org:99999/fleet.git",
    "https://git.example.org:0/fleet.git",
    "https://${HOME}/fleet.git",
    "https://git.example.org/" + "x" * 3000,
]


@pytest.mark.parametrize(("url", "protocol", "host"), GOOD)
def test_https_and_ssh_are_taken_as_they_are(url: str, protocol: str, host: str) -> None:
    found = parse_url(url)
    assert (found.protocol, found.text, found.host) == (protocol, url, host)


@pytest.mark.parametrize("url", BAD)
def test_everything_else_is_refused_with_a_remedy(url: str) -> None:
    with pytest.raises(GitUrlRefused) as refused:
        parse_url(url)
    assert all((refused.value.what, refused.value.where, refused.value.why, refused.value.next_step))
    assert "token" not in refused.value.why


@pytest.mark.parametrize("text", ["--upload-pack=touch", "-oProxyCommand=x", "ext::sh", "git::https://host/a/b"])
def test_an_option_or_a_helper_is_refused_as_that_also_where_paths_are_allowed(text: str) -> None:
    with pytest.raises(GitUrlRefused, match="for an option or a helper program"):
        parse_url(text, allow_path=True)


def test_http_and_paths_are_taken_only_where_the_hub_says_so(tmp_path: Path) -> None:
    assert parse_url("http://127.0.0.1:8080/fleet.git", allow_http=True).protocol == "http"
    for text_ in (str(tmp_path), f"file://{tmp_path}"):
        found = parse_url(text_, allow_path=True)
        assert (found.protocol, found.text) == ("file", str(tmp_path))
    assert Path(parse_url(".", allow_path=True).text).is_absolute()
    with pytest.raises(GitUrlRefused):
        parse_url(str(tmp_path), allow_http=True)
    with pytest.raises(GitUrlRefused):
        parse_url("http://127.0.0.1/fleet.git", allow_path=True)
    with pytest.raises(GitUrlRefused):
        parse_url("file://host/fleet.git", allow_path=True)


@given(text())
def test_any_text_is_read_or_refused_and_never_an_option(given_text: str) -> None:
    try:
        found = parse_url(given_text, allow_http=True, allow_path=True)
    except GitUrlRefused:
        return
    assert not found.text.startswith("-")
    assert "::" not in found.text.partition("/")[0]


@pytest.mark.parametrize("name", ["main", "release/2026", "a.b_c-d", "ünïcode"])
def test_plain_branches_are_taken(name: str) -> None:
    assert check_branch(name) == name


BAD_BRANCHES = ["-x", "--all", "+a", "a..b", "a~1", "a^", "a:b", "a*", "a?", "a[b", "a\\b", "a@{1}", "@", "HEAD"]
BAD_BRANCHES += ["a/", "/a", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "refs/heads/main"]


@pytest.mark.parametrize("name", ["", "a b", "a\x00", "a\n", "x" * 300, *BAD_BRANCHES])
def test_branches_that_git_could_read_otherwise_are_refused(name: str) -> None:
    with pytest.raises(GitUrlRefused):
        check_branch(name)


@given(text(alphabet=sampled_from("ab./-@{~^:?*[\\ \x7f\x00é"), max_size=12))
def test_what_is_taken_git_takes_too(name: str) -> None:
    try:
        check_branch(name)
    except GitUrlRefused:
        return
    done = subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True)
    assert done.returncode == 0


@pytest.mark.parametrize("revision", ["", "main", "3f9c1ab", "A" * 40, "-" + "a" * 39, "a" * 41, "a" * 40 + "\n"])
def test_only_whole_commit_ids_are_taken(revision: str) -> None:
    with pytest.raises(GitUrlRefused):
        check_revision(revision)
    assert check_revision("a" * 40) == "a" * 40
