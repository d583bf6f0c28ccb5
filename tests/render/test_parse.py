"""The parser against kustomize itself: what it writes is read back as what was put in."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import DocumentInvalid
from fleet.render.parse import documents, scalar

# Each has bitten someone: they look like something else to one YAML parser or another.
AWKWARD = [
    *("=", "<<", "~", "null", "Null", "", " ", "-", "?", ":", "!", "&a", "*a", "%", "@", "`", "#", "a #b", "a: b"),
    *("- a", "yes", "No", "on", "OFF", "y", "n", "Y", "true", "True", "TRUE", "017", "0o17", "0x1F", "0b11", "1_000"),
    *("1e3", "1E+3", "1.", ".5", "-.5", "+1", "-0", "0", "00", "08", "1:30", "190:20:30", ".inf", "-.inf", ".nan"),
    *(".NaN", "Infinity", "NaN", "1.0", "1.10", "18446744073709551616", "9223372036854775808", "2020-01-01"),
    *("2020-01-01T00:00:00Z", "2020-1-1", "12:00", "2001-12-14 21:59:43.10 -5", "a\nb", "a\nb\n", "\na", "a\n\n"),
    *("  a\n b\n", "a \n", "\ta", "a\tb", "\n", "\n\n", "---\n", "a\n---\nb\n", "...\n", "\u2028", "a\u2028b"),
    *("\u2029", "\ufeff", "\u00a0", "é", "日本", "\U0001f600", "\x1b[0m", "\r", "a\r\nb", "'", '"', "''", '"a"'),
    *("a'b\"c", "\\", "\\n", "{", "}", "[a]", "{a: b}", ",", "|", ">", "|-\n", "x" * 200, "a b " * 60),
]
# kustomize itself refuses U+007F and U+FFFE, and reads U+0085 as a blank.
REFUSED = [chr(code) for code in (*range(0x7F, 0xA0), 0xFFFE, 0xFFFF)]
ANY_TEXT = st.text(st.characters(exclude_characters=REFUSED, exclude_categories=["Cs"]), max_size=40)
TEXT = st.sampled_from(AWKWARD) | ANY_TEXT | st.text("ab: #-'\"\n\t=<|>", max_size=120)
NUMBERS = (
    st.integers(-(2**63), 2**64 - 1)
    | st.integers(-1000, 1000)
    | st.floats(-1e6, 1e6, width=32).map(lambda number: round(number, 3))
)


def is_key(text: str) -> bool:
    """kustomize takes a key `<<` for a merge."""
    return text not in ("", "<<")


VALUES = st.recursive(
    TEXT | NUMBERS | st.booleans(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(is_key), inner, max_size=4),
    max_leaves=15,
)


PAIR = re.compile(r"\\u(d[89ab]..)\\u(d[c-f]..)")


def as_one(pair: re.Match[str]) -> str:
    """YAML has no surrogate pairs."""
    high, low = int(pair[1], 16), int(pair[2], 16)
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


def through_kustomize(kustomize: str, directory: Path, specs: list[object]) -> list[object]:
    """Custom resources with these specs, built by kustomize and read back."""
    resources = [
        {"apiVersion": "acme.io/v1", "kind": "Thing", "metadata": {"name": f"n{number}"}, "spec": {"value": spec}}
        for number, spec in enumerate(specs)
    ]
    directory.mkdir(exist_ok=True)
    written = json.dumps({"apiVersion": "v1", "kind": "List", "items": resources})
    (directory / "all.json").write_text(PAIR.sub(as_one, written))
    (directory / "kustomization.yaml").write_text("resources: [all.json]\n")
    made = {
        document["metadata"]["name"]: document["spec"]["value"] for document in documents(build(kustomize, directory))
    }
    return [made[f"n{number}"] for number in range(len(specs))]


def build(kustomize: str, directory: Path) -> bytes:
    verb = "kustomize" if Path(kustomize).name.startswith("kubectl") else "build"
    done = subprocess.run([kustomize, verb, str(directory)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_awkward_texts_come_back_as_texts(kustomize: str, tmp_path: Path) -> None:
    assert through_kustomize(kustomize, tmp_path, list(AWKWARD)) == AWKWARD
    keys = [{text: 1} for text in AWKWARD if is_key(text)]
    assert through_kustomize(kustomize, tmp_path, list(keys)) == keys


@SLOW
@given(st.lists(VALUES, min_size=1, max_size=12))
def test_any_value_comes_back_as_it_was(kustomize: str, tmp_path: Path, specs: list[object]) -> None:
    assert through_kustomize(kustomize, tmp_path / "any", specs) == specs


PLAIN = [
    *("=", "<<", "yes", "No", "on", "y", "017", "0o17", "0x1F", "0b11", "1_000", "1e3", "1.5e+3", "1.", ".5", "+1"),
    *("-0", "1:30", "2020-01-01", "2020-01-01T00:00:00Z", "null", "~", "Null", "True", "9223372036854775807", "1.10"),
    *("0.5", "08", "09.5", "1__0", "_1", "0x", "0b", "-0x1F", "-017", "1e", "e3", "+", ".", "1.2.3", "10Mi", "0.1.0"),
]


def test_plain_scalars_mean_what_they_mean_to_kubernetes_own_parser(kustomize: str, tmp_path: Path) -> None:
    """kubectl turns the same document into JSON by the parser that kustomize uses."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl on this machine")
    lines = "".join(f"  k{number}: {text}\n" for number, text in enumerate(PLAIN))
    document = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\nspec:\n{lines}"
    (tmp_path / "a.yaml").write_text(document)
    done = subprocess.run(
        [kubectl, "label", "--local", "-f", str(tmp_path / "a.yaml"), "a=b", "-o", "json"],
        capture_output=True,
        check=False,
        env={"HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr.decode()
    theirs = json.loads(done.stdout)["spec"]
    ours = documents(document.encode())[0]["spec"]
    assert (
        {PLAIN[int(key[1:])]: value for key, value in ours.items()}
        == {  # type: ignore[union-attr]
            PLAIN[int(key[1:])]: value for key, value in theirs.items()
        }
    )


def test_the_last_newline_of_a_block_before_a_separator_is_kept() -> None:
    assert documents(b"a: |\n  x\n---\nb: |-\n  y\n---\nc: |+\n  z\n\n") == [{"a": "x\n"}, {"b": "y"}, {"c": "z\n\n"}]


def test_empty_documents_are_left_out() -> None:
    assert documents(b"---\n---\na: 1\n---\n# nothing\n---\nnull\n") == [{"a": 1}]


@pytest.mark.parametrize(
    "raw",
    [
        b"a: 1\na: 2\n",
        b"- a\n",
        b"text\n",
        b"a: [\n",
        b"a: !!python/object:os.system x\n",
        b"a: !!binary aGk=\n",
        b"a: .inf\n",
        b"? [a]\n: b\n",
        b"a: \xff\n",
        b"a: &a [*a]\n",
        ("a: " + "[" * 200 + "]" * 200).encode(),
    ],
)
def test_what_no_object_may_hold_is_refused(raw: bytes) -> None:
    with pytest.raises(DocumentInvalid):
        documents(raw)


def test_an_alias_bomb_is_refused_and_a_plain_alias_is_not() -> None:
    bomb = "l0: &l0 [a, b, c, d, e]\n" + "".join(
        f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(DocumentInvalid, match="limits"):
        documents(bomb.encode())
    assert documents(b"a: &a {b: 1}\nc: *a\n") == [{"a": {"b": 1}, "c": {"b": 1}}]


def test_a_fault_is_named_with_its_line() -> None:
    with pytest.raises(DocumentInvalid) as caught:
        documents(b"a: 1\nb:\n  c: 1\n  c: 2\n")
    assert caught.value.where == "line 4"
    assert "'c'" in caught.value.why


@given(st.text(max_size=20))
def test_a_plain_scalar_is_text_a_number_or_a_word(text: str) -> None:
    try:
        value = scalar(text)
    except DocumentInvalid:
        return
    assert value is None or isinstance(value, (bool, int, float)) or value == text
