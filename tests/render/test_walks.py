"""What one walk may cost the hub's own loop: counted, never by the clock (R18, R28)."""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Mapping, Sequence
from itertools import islice, permutations

import pytest
from render.world import SMALL, World, commit

from fleet.errors import DocumentInvalid, FleetError, RenderTooLarge, ResourceMissing
from fleet.ports.render import RenderRequest
from fleet.render import closure as closures
from fleet.render import reader as readers
from fleet.render.closure import read_closure
from fleet.render.inputs import Closure
from fleet.render.reader import Reader
from fleet.render.tree import CommitTree


def bases(count: int, lines: int, text: str = "- x\n") -> dict[str, str]:
    """`app` names so many bases, each of which names one file so often."""
    names = [f"../b{number}" for number in range(count)]
    found = {"app/kustomization.yaml": f"resources: [{', '.join(names)}]\n"}
    for number in range(count):
        found[f"b{number}/kustomization.yaml"] = f"# {number}\nresources:\n" + text * lines
        found[f"b{number}/x"] = ""
    return found


def walked(texts: Mapping[str, str]) -> tuple[Closure, list[str]]:
    """The closure of `app`, and what was read for it."""
    snapshot = commit(texts)
    return read_closure(CommitTree(snapshot), Reader(), "app"), snapshot.reads


def test_a_walk_ends_where_its_files_say_more_than_one_may() -> None:
    closure, reads = walked(bases(100, 49_900))
    assert isinstance(closure.error, RenderTooLarge)
    assert closure.error.where == "b2/kustomization.yaml"
    assert reads == ["app/kustomization.yaml", *(f"b{number}/kustomization.yaml" for number in range(3))]


def test_a_large_overlay_of_many_bases_passes() -> None:
    closure, reads = walked(bases(400, 200))
    assert closure.error is None
    assert len(reads) == 401


def test_long_texts_of_few_values_are_counted_too() -> None:
    closure, reads = walked(bases(100, 10, f"- x # {'y' * 90_000}\n"))
    assert isinstance(closure.error, RenderTooLarge)
    assert len(reads) == 11


def test_what_is_named_again_is_followed_and_counted_again() -> None:
    plugin = "apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: p}\nprefix: x\n"
    snapshot = commit({"app/kustomization.yaml": f"transformers: [{'p.yaml, ' * 40_000}]\n", "app/p.yaml": plugin})
    assert isinstance(read_closure(CommitTree(snapshot), Reader(), "app").error, RenderTooLarge)
    replacement = {"app/kustomization.yaml": "replacements:\n" + "- path: r\n" * 12, "app/r": "x" * 1_000_000}
    closure, reads = walked(replacement)
    assert isinstance(closure.error, RenderTooLarge)
    assert reads.count("app/r") == 9


@pytest.mark.parametrize("field", ["transformers", "patchesStrategicMerge"])
def test_texts_within_a_file_share_its_limit(field: str) -> None:
    inline = "- |\n  a: [" + "x," * 9_000 + "]\n"
    assert isinstance(walked({"app/kustomization.yaml": f"{field}:\n{inline * 6}"})[0].error, DocumentInvalid)
    few = walked({"app/kustomization.yaml": f"patchesStrategicMerge:\n{inline * 5}"})[0]
    assert few.error is None


def bomb(depth: int) -> str:
    """A Secret of a few bytes whose aliases stand for 8 ** depth values."""
    levels = [f"l{number}: &l{number} [{', '.join([f'*l{number - 1}'] * 8)}]" for number in range(1, depth)]
    return "\n".join(["kind: Secret", "l0: &l0 [value, value, value, value, value, value, value, value]", *levels])


def within(field: str, text: str) -> dict[str, str]:
    plugin = {"apiVersion": "builtin", "kind": "PatchTransformer", "metadata": {"name": "p"}, "patch": text}
    entry = {"patches": {"patch": text}, "patchesStrategicMerge": text, "transformers": json.dumps(plugin)}[field]
    return {"app/kustomization.yaml": json.dumps({field: [entry]})}


@pytest.mark.parametrize("field", ["patches", "patchesStrategicMerge", "transformers"])
def test_what_aliases_of_a_text_within_a_file_stand_for_is_counted(field: str) -> None:
    for text in (bomb(6), bomb(30), "kind: Secret\na: &a [*a]\n", "kind: Secret\nb: &b {c: *b}\n"):
        assert isinstance(walked(within(field, text))[0].error, DocumentInvalid)
    sound = walked(within(field, bomb(3)))[0]
    assert sound.error is None
    assert "value" in sound.secret_texts


@pytest.mark.parametrize("use", ["patches:\n{uses}", "patchesStrategicMerge:\n{uses}"])
def test_a_long_text_that_is_used_again_and_again_is_not_kept_again(use: str) -> None:
    item = "- patch: *t\n" if use.startswith("patches:") else "- *t\n"
    long = "kind: Secret\n  " + "".join(f"k{number}: value-{number}\n  " for number in range(1_500))
    head = f"namePrefix: &t |\n  {long}\n"
    closure = walked({"app/kustomization.yaml": head + use.format(uses=item * 5)})[0]
    assert closure.error is None
    assert sum(map(len, closure.secret_texts)) < 3 * len(long)
    many = walked({"app/kustomization.yaml": head + use.format(uses=item * 200)})[0]
    assert isinstance(many.error, DocumentInvalid)


def test_texts_within_files_count_for_the_walk() -> None:
    inline = "patchesStrategicMerge:\n- |\n  a: [" + "x," * 40_000 + "]\n"
    closure, reads = walked(
        bases(100, 0) | {f"b{number}/kustomization.yaml": f"# {number}\n{inline}" for number in range(100)}
    )
    assert isinstance(closure.error, RenderTooLarge)
    assert len(reads) == 4


def test_did_you_mean_compares_few_and_short_names(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []
    original = difflib.get_close_matches

    def counted(word: str, possibilities: Sequence[str], n: int, cutoff: float) -> list[str]:
        compared.extend(possibilities)
        return original(word, possibilities, n, cutoff)

    monkeypatch.setattr(closures.difflib, "get_close_matches", counted)
    long = {f"app/{''.join(name)}{'x' * 190}": "" for name in islice(permutations("abcdefgh"), 2000)}
    short = {f"app/settings-{number}.yaml": "" for number in range(2000)}
    texts = {**long, **short}
    error = walked({**texts, "app/kustomization.yaml": "resources: [settings-77x.yaml]\n"})[0].error
    assert isinstance(error, ResourceMissing)
    assert "did you mean settings-77" in error.next_step
    assert len(compared) <= 500
    assert max(map(len, compared)) <= 64
    compared.clear()
    walked({**texts, "app/kustomization.yaml": f"resources: [{'x' * 198}]\n"})
    assert not compared


def test_what_a_reader_keeps_is_bounded_by_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_REMEMBERED_BYTES", 1_000_000)
    reader = Reader()
    for number in range(30):
        texts = {"app/kustomization.yaml": f"# {number}\nresources:\n" + "- x\n" * 1000, "app/x": ""}
        assert read_closure(CommitTree(commit(texts)), reader, "app").error is None
        assert reader.bytes_kept <= 1_000_000
    snapshot = commit(texts)
    read_closure(CommitTree(snapshot), reader, "app")
    assert not snapshot.reads  # the last is still known


async def test_the_loop_gets_its_turn_after_each_walk_and_the_others_go_on(world: World) -> None:
    texts = {**SMALL, **{f"bad{n}/kustomization.yaml": f"resources: [gone{n}.yaml]\n" for n in range(5)}}
    texts |= {path.replace("app/", "large/"): text for path, text in bases(3, 49_900).items()}
    snapshot = commit(texts)
    seen: list[int] = []

    async def turns() -> None:
        while True:
            seen.append(world.renderer.stats.walks)
            await asyncio.sleep(0)

    asked = [RenderRequest(path) for path in ("large", "app", *(f"bad{n}" for n in range(5)))]
    async with asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(turns())
        made = await asyncio.gather(*(world.renderer.render(snapshot, one) for one in asked), return_exceptions=True)
        looking.cancel()
    assert isinstance(made[0], RenderTooLarge)
    assert [one for one in made if not isinstance(one, FleetError)] == [made[1]]
    assert set(range(1, 7)) <= set(seen)
