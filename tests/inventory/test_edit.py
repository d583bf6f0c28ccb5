"""`images:` edited in place: the file then says exactly what was meant, and no other byte of it changes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.core.promotion import FIELDS, Move, moves_of
from fleet.errors import PromotionRefused
from fleet.inventory.edit import read_kustomization

PATH = "overlays/web/prod/kustomization.yaml"
NAMES = ("reg.example/shop", "reg.example/api", "db", "cache")
VALUES = {
    "newName": st.sampled_from(["eu.example/shop", "db", "on"]),
    "newTag": st.sampled_from(
        ["1.4.2", "1.10", "7", "1e3", "2024-11-20", "v2", "0x1f", "yes", "3f9c1ab", "1:20", "a:b"]
    ),
    "digest": st.sampled_from(["sha256:" + "ab" * 32, "sha256:" + "01" * 32]),
}
values = st.fixed_dictionaries({}, optional=VALUES)
entries = st.dictionaries(st.sampled_from(NAMES), values, max_size=4)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, dict[str, dict[str, str]]]:
    """A kustomization as people write it, and the images in it."""
    ending, indent, gap = (
        draw(st.sampled_from(["\n", "\r\n"])),
        draw(st.sampled_from(["", "  "])),
        draw(st.integers(1, 3)),
    )
    said = draw(entries)
    before = draw(
        st.lists(st.sampled_from(["# who: jo", "namespace: shop", "", "labels: [{pairs: {a: &b c}}]"]), unique=True)
    )
    after = draw(st.lists(st.sampled_from(["# end", "", "resources:", "replicas: [{name: a, count: 2}]"]), unique=True))
    lines = ["kind: Kustomization", *before]
    if said:
        lines.append("images:" + draw(st.sampled_from(["", "  # by hand", " "])))
    for name, given_values in said.items():
        pairs = draw(st.permutations([("name", name), *given_values.items()]))
        for number, (key, value) in enumerate(pairs):
            quote = draw(st.sampled_from(["'", '"'] if _is_odd(value) else ["", "'", '"']))
            comment = draw(st.sampled_from(["", "  # keep", " "]))
            start = f"{indent}-{' ' * gap}" if number == 0 else indent + " " * (gap + 1)
            lines.append(f"{start}{key}: {quote}{value}{quote}{comment}")
            if draw(st.booleans()):
                lines.append(draw(st.sampled_from(["", f"{indent}  # between", "# between"])))
    return ending.join([*lines, *after]) + draw(st.sampled_from(["", ending])), said


def _is_odd(value: str) -> bool:
    return not isinstance(yaml.safe_load(value), str) or value in ("1e3", "1:20")


@settings(deadline=None)
@given(files(), entries)
def test_an_edit_says_what_is_meant_and_changes_no_other_byte(
    file: tuple[str, dict[str, dict[str, str]]], earlier: dict[str, dict[str, str]]
) -> None:
    text, said = file
    found = read_kustomization(text.encode(), PATH)
    assert {entry.name: dict(entry.values) for entry in found.entries} == said
    wish = "images:\n" + "".join(
        f"- name: '{name}'\n" + "".join(f"  {key}: '{value}'\n" for key, value in given_values.items())
        for name, given_values in earlier.items()
    )
    first = read_kustomization((wish if earlier else "{}").encode(), "before")
    moves = moves_of(first.entries, found.entries)
    if any(
        re.search(rf"- +{name}:", text) for move in moves for name in (move.before or {}).keys() - move.after.keys()
    ):
        return  # a field goes whose line may hold the dash: see below
    edited = found.edited(moves).decode()
    assert yaml.safe_load(edited) == meant(yaml.safe_load(text), moves)
    assert_only_images_differ(text, edited, moves)


def meant(document: dict[str, Any], moves: tuple[Move, ...]) -> dict[str, Any]:
    """The document with the moves, by another way than the code under test."""
    if not moves:
        return document
    images = [dict(item) for item in document.get("images") or []]
    for move in moves:
        if move.before is None:
            images.append({"name": move.name})
        (item,) = [item for item in images if item["name"] == move.name]
        rest = {key: value for key, value in item.items() if key not in FIELDS}
        item.clear()
        item.update({**rest, **move.after})
    return {**document, "images": images}


FIELD = re.compile(r"( *-? *)(newName|newTag|digest|name): [^ \r\n]+(.*)")


def assert_only_images_differ(before: str, after: str, moves: tuple[Move, ...]) -> None:
    """Lines without an image's field are the same ones; a field that stays keeps its place and its comment."""
    was, now = ([line for line in text.split("\n") if not FIELD.match(line)] for text in (before, after))
    if "images:" not in before and moves:
        now.remove("images:\r" if "\r\n" in before else "images:")
    assert [line.rstrip("\r") for line in was if line.strip()] == [line.rstrip("\r") for line in now if line.strip()]
    shapes = [Counter(found.groups() for found in FIELD.finditer(text.replace("\r", ""))) for text in (before, after)]
    removed = sum(name not in move.after for move in moves if move.before for name in move.before)
    assert (shapes[0] - shapes[1]).total() <= removed  # one that is added elsewhere may look like one that goes
    assert ("\r\n" in after) == ("\r\n" in before)
    assert not re.search(r"(?<!\r)\n", after) or "\r\n" not in before


SHOP = "images:\n- name: shop\n  newTag: 1.4.1 # by hand\n"


def edited(text: str, **after: str) -> str:
    return read_kustomization(text.encode(), PATH).edited([Move("shop", {"newTag": "1.4.1"}, after)]).decode()


def test_a_tag_is_replaced_where_it_stands() -> None:
    assert edited(SHOP, newTag="1.4.2") == SHOP.replace("1.4.1", "1.4.2")
    assert edited(SHOP, newTag="1.5") == SHOP.replace("1.4.1", '"1.5"')  # else it were a number
    assert edited(SHOP.replace("1.4.1", "'1.4.1'"), newTag="1.5") == SHOP.replace("1.4.1", "'1.5'")
    assert edited(SHOP, digest="sha256:aa") == "images:\n- name: shop\n  digest: sha256:aa\n"


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("images: [{name: shop, newTag: 1.4.1}]\n", 1, "images is no list with an entry on lines of its own"),
        ("images:\n- {name: shop, newTag: 1.4.1}\n", 2, "the entry is written in flow style"),
        ("images:\n- &a\n  name: shop\n  newTag: 1.4.1\n", 2, "an anchor, an alias or a tag stands in images"),
        ("a: &t 1.4.1\nimages:\n- name: shop\n  newTag: *t\n", 4, "an anchor, an alias or a tag stands in images"),
        ("a: &i\n- name: shop\n  newTag: 1.4.1\nimages: *i\n", 4, "images is an alias of what stands elsewhere"),
        ("images:\n- name: shop\n  newTag: !!str 1.4.1\n", 3, "an anchor, an alias or a tag stands in images"),
        ("images:\n- name: shop\n  newTag: |-\n    1.4.1\n", 3, "the field goes over several lines"),
        ("{images: []}\n", 1, "it is written in flow style, or indented"),
        ("images:\n- name: shop\n- name: shop\n", 3, "image shop is here twice, first in line 2"),
        ("images:\n- name: shop\n  newTag: 1.4\n", 3, "newTag is no text; quote it"),
        ("images:\n- name: shop\nimages: []\n", 3, "key images is here twice"),
        (
            "images:\n- newTag: 1.4.1\n  name: shop\n",
            2,
            "newTag would go, and shares its line with the dash of the entry",
        ),
        ("a: &a {}\n<<: *a\n", 2, "a merge key, or a key that is no text"),
        ("a: 1\n---\nb: 1\n", 1, "it is not one mapping"),
        ("a: [\n", 2, "it is no YAML"),
        ("patch: |\n  a: 1", 1, "an edit here would not say what is meant"),
        ("a: &a [*a]\n", 1, "its aliases multiply, or contain themselves"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused_with_its_line(text: str, line: int, why: str) -> None:
    with pytest.raises(PromotionRefused) as refused:
        edited(text, **({"digest": "sha256:aa"} if "would go" in why else {"newTag": "1.4.2"}))
    assert (refused.value.where, refused.value.why) == (f"{PATH}:{line}", why)


def test_aliases_that_multiply_are_refused_and_ordinary_ones_are_not() -> None:
    grows = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
    )
    with pytest.raises(PromotionRefused, match="cannot be edited"):
        read_kustomization(grows.encode(), PATH)
    plain = "commonLabels: &l {a: b}\nlabels: [{pairs: *l}]\n" + SHOP
    assert edited(plain, newTag="1.4.2") == plain.replace("1.4.1", "1.4.2")
