"""Dataclasses of `fleet.values` against the standard library's: the same behaviour, field for field."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from fleet.values import dataclass, field

Make = Callable[..., Any]


def classes(make: Make) -> dict[str, Any]:
    """The same classes by either decorator."""

    @make(frozen=True, slots=True)
    class Plain:
        """Of each kind of field."""

        first: int
        second: str = "x"
        third: tuple[int, ...] = ()
        unseen: str = field(default="", repr=False, compare=False)
        made: dict[str, int] = field(default_factory=dict[str, int], compare=False)

        def both(self) -> str:
            return f"{self.first} {self.second}"

    @make(frozen=True, slots=True, order=True)
    class Ordered:
        """In the order of its fields."""

        low: int
        high: str = ""

    @make(slots=True)
    class Mutable:
        """Can be changed."""

        first: int
        rest: list[int] = field(default_factory=list[int])

    @make(slots=True, eq=False)
    class ByIdentity:
        """Equal to itself alone."""

        first: int = 0

    @make(frozen=True, slots=True)
    class Own:
        """Methods of its own stay."""

        first: int
        second: int = 0

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and self.first == other.first

        def __hash__(self) -> int:
            return hash(self.first)

        def __repr__(self) -> str:
            return "own"

    @make(frozen=True, slots=True)
    class Equal:
        """An equality of its own, and a hash by fields."""

        first: int

        def __eq__(self, other: object) -> bool:
            return self is other

    @make(frozen=True, slots=True)
    class Empty:
        """Without a field."""

    @make(frozen=True, slots=True)
    class Inherits(Plain):
        """Left to the standard library."""

        fourth: int = 4

    found = {kind.__name__: kind for kind in (Plain, Ordered, Mutable, ByIdentity, Own, Equal, Empty, Inherits)}
    for kind in found.values():
        kind.__qualname__ = kind.__name__
    return found


OURS, THEIRS = classes(dataclass), classes(dataclasses.dataclass)
ARGUMENTS: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "Plain": [
        ((1,), {}),
        ((1, "x", (2,)), {}),
        ((1,), {"unseen": "a"}),
        ((2,), {"made": {"a": 1}}),
        ((), {"first": 1}),
    ],
    "Ordered": [((1,), {}), ((1, "b"), {}), ((0, "z"), {}), ((2, "a"), {})],
    "Mutable": [((1,), {}), ((1, [2]), {}), ((2,), {"rest": []})],
    "ByIdentity": [((), {}), ((1,), {})],
    "Own": [((1,), {}), ((1, 2), {}), ((2,), {})],
    "Equal": [((1,), {}), ((1,), {})],
    "Empty": [((), {}), ((), {})],
    "Inherits": [((1,), {}), ((1,), {"fourth": 5})],
}
EACH = pytest.mark.parametrize("name", list(OURS))


def outcome(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except Exception as error:
        return type(error).__name__, str(error)


@EACH
def test_it_is_called_prints_compares_and_hashes_as_the_standard_one(name: str) -> None:
    ours, theirs = ([kind(*args, **words) for args, words in ARGUMENTS[name]] for kind in (OURS[name], THEIRS[name]))
    has_address = name == "ByIdentity"
    for at, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        assert repr(mine) == repr(other)
        assert has_address or outcome(lambda mine=mine: hash(mine)) == outcome(lambda other=other: hash(other))
        for mine_too, other_too in zip(ours[at:], theirs[at:], strict=True):
            for method in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"):
                told = [
                    outcome(lambda a=a, b=b, method=method: getattr(a, method)(b))
                    for a, b in ((mine, mine_too), (other, other_too))
                ]
                assert told[0] == told[1], (method, mine, mine_too)
        assert mine != other
        assert mine.__eq__(other) in (NotImplemented, False)


@EACH
def test_its_fields_signature_and_class_are_those_of_the_standard_one(name: str) -> None:
    mine, other = OURS[name], THEIRS[name]
    assert [(one.name, one.type) for one in dataclasses.fields(mine)] == [
        (one.name, one.type) for one in dataclasses.fields(other)
    ]
    assert str(inspect.signature(mine)) == str(inspect.signature(other))
    assert mine.__init__.__annotations__ == other.__init__.__annotations__
    for attribute in ("__match_args__", "__slots__", "__doc__", "__module__", "__qualname__"):
        assert getattr(mine, attribute) == getattr(other, attribute)
    assert repr(mine.__dataclass_params__) == repr(other.__dataclass_params__)
    assert not hasattr(mine(*ARGUMENTS[name][0][0], **ARGUMENTS[name][0][1]), "__dict__")


@EACH
def test_wrong_calls_and_writes_fail_as_with_the_standard_one(name: str) -> None:
    args, words = ARGUMENTS[name][0]
    for wrong in ((), (1, 2, 3, 4, 5, 6, 7)):
        assert outcome(lambda wrong=wrong: repr(OURS[name](*wrong))[:4]) == outcome(
            lambda wrong=wrong: repr(THEIRS[name](*wrong))[:4]
        )
    assert outcome(lambda: OURS[name](nothing=1)) == outcome(lambda: THEIRS[name](nothing=1))
    mine, other = OURS[name](*args, **words), THEIRS[name](*args, **words)
    if "first" in mine.__slots__:
        assert outcome(lambda: setattr(mine, "first", 7)) == outcome(lambda: setattr(other, "first", 7))
        assert outcome(lambda: delattr(mine, "first")) == outcome(lambda: delattr(other, "first"))
    # Of another name the standard library's own refusal fails where a class has slots.
    assert isinstance(outcome(lambda: setattr(mine, "nothing", 7)), tuple)


@EACH
def test_the_functions_of_the_standard_library_take_it(name: str) -> None:
    args, words = ARGUMENTS[name][-1]
    mine, other = OURS[name](*args, **words), THEIRS[name](*args, **words)
    assert dataclasses.is_dataclass(mine)
    assert dataclasses.asdict(mine) == dataclasses.asdict(other)
    assert repr(dataclasses.replace(mine)) == repr(dataclasses.replace(other))
    if "first" in dataclasses.asdict(mine):
        assert dataclasses.replace(mine, first=9).first == 9
    assert dataclasses.asdict(copy.deepcopy(mine)) == dataclasses.asdict(mine)


@dataclass(frozen=True, slots=True)
class Kept:
    """One that pickle can find by its name."""

    first: int
    second: tuple[str, ...] = ()


def test_it_goes_through_pickle_and_patterns() -> None:
    found = pickle.loads(pickle.dumps(Kept(1, ("a",))))
    assert found == Kept(1, ("a",))
    match found:
        case Kept(first, second=("a",)):
            assert first == 1
        case _:
            pytest.fail("no match")
    with pytest.raises(FrozenInstanceError):
        found.first = 2  # type: ignore[misc]


def test_each_instance_gets_a_value_of_its_own_from_a_factory() -> None:
    one, other = OURS["Mutable"](1), OURS["Mutable"](1)
    one.rest.append(1)
    assert other.rest == []


def test_a_field_without_default_after_one_with_is_refused() -> None:
    with pytest.raises(TypeError, match="non-default argument 'second' follows default argument"):

        @dataclass(frozen=True, slots=True)
        class Wrong:  # pyright: ignore[reportGeneralTypeIssues]
            first: int = 0
            second: int  # type: ignore[misc]


def test_methods_are_compiled_once_for_all_classes_of_so_many_fields() -> None:
    codes = {kind.__init__.__code__.co_code for kind in (OURS["Ordered"], Kept)}
    assert len(codes) == 1
