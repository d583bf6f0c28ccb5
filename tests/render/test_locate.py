"""What a worker reads of the files beside a failing build: as much as memory takes, and no value it has not seen."""

from __future__ import annotations

from typing import Any

import pytest
from render.world import config_map

from fleet.errors import DocumentInvalid
from fleet.render import locate, parse
from fleet.render.jobs import BuildJob
from fleet.render.locate import first_fault, places_of, secret_texts
from fleet.render.parse import documents
from fleet.render.worker import _failure

SECRET = b"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2secret}\n"
LARGE = b"- a\n" * 5_000


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A small limit, and how many nodes each text was read as far as."""
    counts: list[int] = []
    original = parse._CountingParser.resolve

    def counted(self: Any, *arguments: Any) -> str:
        counts.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(parse._CountingParser, "resolve", counted)
    for module in (parse, locate):
        monkeypatch.setattr(module, "DOCUMENT_NODES", 1_000)
    return counts


def test_a_document_beyond_the_limit_is_not_read_to_its_end(made: list[int]) -> None:
    files = {"large.yaml": LARGE, "settings.yaml": config_map("web").encode()}
    assert places_of(files, "ConfigMap", "web") == ["settings.yaml:1"]
    assert first_fault({**files, "z.yaml": b"a: [\n"}) is not None
    with pytest.raises(DocumentInvalid, match="limits"):
        documents(LARGE)
    assert len(made) < 3_200


def test_many_documents_within_the_limit_are_all_read() -> None:
    many = b"---\n".join(config_map(f"web-{number}").encode() for number in range(300))
    assert len(documents(many)) == 300
    assert places_of({"many.yaml": many}, "ConfigMap", "web-299") == ["many.yaml:1795"]
    assert secret_texts({"many.yaml": many + b"---\n" + SECRET}, ()) == ({"hunter2secret"}, [])


@pytest.mark.parametrize(
    ("content", "is_hidden"),
    [(SECRET + b"---\n" + LARGE, True), (LARGE + b"---\n" + SECRET, True), (LARGE, False), (SECRET, False)],
)
def test_what_is_too_large_to_be_looked_through_shows_nothing_that_may_be_of_a_secret(
    content: bytes, is_hidden: bool
) -> None:
    files = {"app/a.yaml": content, "app/kustomization.yaml": b"resources: [a.yaml]\n"}
    job = BuildJob((), "app", (), tuple(files), (), None, {}, slim=False, sample=False, template=False, renderer="")
    error = _failure(job, files, b"Error: it is no good: hunter2secret is its value", "/nowhere")
    assert ("hunter2secret" in str(error)) == (content == LARGE)
    assert ("it is no good" in str(error)) != is_hidden
    assert not is_hidden or error.where == "app/a.yaml"
