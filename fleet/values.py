"""Dataclasses just as the standard library's, at a tenth of its price: a command imports a hundred of them.

The standard library writes and compiles the source of six methods for each class, which takes longer than all that a
small command does. Here a method is compiled once for each number of fields, and a class gets it with its own names
in it. What is beyond the plain case (inherited fields, fields outside of `__init__`, `__post_init__`) is left to the
standard library, and so are `fields`, `replace` and `asdict`, which take either kind.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, FrozenInstanceError, field
from functools import cache
from reprlib import recursive_repr
from types import CodeType, FunctionType
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T")


class _Factory:
    """Stands for a default that is made when it is needed, as in the standard library's signatures."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()
_COMPARED = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}


@dataclass_transform(field_specifiers=(field,))
def dataclass(
    *, frozen: bool = False, slots: bool = False, eq: bool = True, order: bool = False
) -> Callable[[type[T]], type[T]]:
    """As `dataclasses.dataclass` with the same arguments."""

    def make(cls: type[T]) -> type[T]:
        if not slots or not _is_plain(cls):
            return dataclasses.dataclass(frozen=frozen, slots=slots, eq=eq, order=order)(cls)
        return _made(cls, frozen=frozen, eq=eq, order=order)

    return make


def _is_plain(cls: type) -> bool:
    own = cls.__dict__
    if hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__post_init__") or "__slots__" in own:
        return False
    if any(name in own for name in ("__init__", "__setattr__", "__delattr__", *_COMPARED)):
        return False
    found: Mapping[str, object] = own.get("__annotations__", {})
    return all(_is_plain_field(name, kind, own.get(name, MISSING)) for name, kind in found.items())


def _is_plain_field(name: str, kind: object, default: object) -> bool:
    if name == "self" or name.startswith("__") or not isinstance(kind, str):
        return False
    if any(word in kind for word in ("ClassVar", "InitVar", "KW_ONLY")):
        return False
    return not isinstance(default, dataclasses.Field) or (default.init and default.kw_only is not True)


def _made(cls: type[T], *, frozen: bool, eq: bool, order: bool) -> type[T]:
    own = set(cls.__dict__)
    if not cls.__doc__:
        cls.__doc__ = cls.__name__  # else its signature is written out for it
    dataclasses.dataclass(init=False, repr=False, eq=False)(cls)  # the fields, and nothing that must be compiled
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # it became one in the line above
    made: Any = _slotted(cls, tuple(one.name for one in fields))
    params: Any = made.__dataclass_params__
    params.init, params.repr, params.eq, params.order, params.frozen = True, True, eq, order, frozen
    _put(made, "__init__", _init_of(made, fields, frozen=frozen))
    if "__repr__" not in own:
        _put(made, "__repr__", _repr_of(tuple(one.name for one in fields if one.repr)))
    compared = tuple(one.name for one in fields if one.compare)
    if eq:
        if "__eq__" not in own:
            _put(made, "__eq__", _named(made, _comparing(len(compared))["__eq__"], compared))
        if "__hash__" not in own or made.__hash__ is None:  # Python puts None there beside an __eq__ of the class
            hashed = tuple(one.name for one in fields if (one.compare if one.hash is None else one.hash))
            made.__hash__ = _named(made, _comparing(len(hashed))["__hash__"], hashed) if frozen else None
    if order:
        for name in _COMPARED:
            _put(made, name, _named(made, _comparing(len(compared), order=True)[name], compared))
    if frozen:
        _freeze(made, frozenset(one.name for one in fields))
    return made


def _slotted(cls: type, names: tuple[str, ...]) -> type:
    """The class once more, with slots: they cannot be added to one that is there."""
    body = {name: value for name, value in cls.__dict__.items() if name not in names}
    body["__slots__"] = names
    for name in ("__dict__", "__weakref__"):
        body.pop(name, None)
    made = type(cls)(cls.__name__, cls.__bases__, body)
    made.__qualname__ = cls.__qualname__
    return made


def _init_of(cls: type, fields: Sequence[dataclasses.Field[Any]], *, frozen: bool) -> FunctionType:
    factories = tuple(at for at, one in enumerate(fields) if one.default_factory is not MISSING)
    defaults = [_FACTORY if at in factories else one.default for at, one in enumerate(fields)]
    first = next((at for at, one in enumerate(fields) if at in factories or one.default is not MISSING), len(fields))
    late = next((one.name for one in fields[first:] if _is_needed(one)), "")
    if late:
        raise TypeError(f"non-default argument {late!r} follows default argument")
    cells: list[object] = [_FACTORY, *(fields[at].default_factory for at in factories)]
    if frozen:
        cells += [cls.__dict__[one.name].__set__ for one in fields]
    names = tuple(one.name for one in fields)
    init = _named(cls, _initial(len(fields), factories, frozen)(*cells), names, tuple(defaults[first:]))
    init.__annotations__ = {one.name: one.type for one in fields} | {"return": None}
    return init


def _is_needed(one: dataclasses.Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


@cache
def _initial(count: int, factories: tuple[int, ...], frozen: bool) -> Callable[..., FunctionType]:
    """What makes an `__init__` of so many fields, given the factories of these, and how each is set when frozen."""
    given = ["factory", *(f"g{at}" for at in factories), *(f"s{at}" for at in range(count if frozen else 0))]
    values = [f"(g{at}() if f{at} is factory else f{at})" if at in factories else f"f{at}" for at in range(count)]
    lines = [f"s{at}(self, {value})" if frozen else f"self.f{at} = {value}" for at, value in enumerate(values)]
    head = f"def make({', '.join(given)}):\n def __init__({', '.join(['self', *_numbered(count)])}):\n"
    return _compiled(head + "".join(f"  {line}\n" for line in lines or ["pass"]) + " return __init__\n")["make"]


@cache
def _comparing(count: int, *, order: bool = False) -> dict[str, FunctionType]:
    """`__hash__` and `__eq__` of so many fields, or what puts them in order."""
    own, others = (f"({''.join(f'{name}.{one}, ' for one in _numbered(count))})" for name in ("self", "other"))
    text = f"def __hash__(self):\n return hash({own})\n"
    for method, sign in (_COMPARED if order else {"__eq__": "=="}).items():
        text += f"def {method}(self, other):\n if other.__class__ is self.__class__:\n"
        text += f"  return {own} {sign} {others}\n return NotImplemented\n"
    return _compiled(text)


def _numbered(count: int) -> list[str]:
    return [f"f{at}" for at in range(count)]


def _compiled(text: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    exec(text, made)  # noqa: S102 - made of numbers alone, by the two functions above
    return made


def _named(
    cls: type, method: FunctionType, names: tuple[str, ...], defaults: tuple[object, ...] | None = None
) -> FunctionType:
    """The method with a class's names for those of its template."""
    real = dict(zip(_numbered(len(names)), names, strict=True))

    def renamed(found: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(real.get(name, name) for name in found)

    code: CodeType = method.__code__
    own = code.replace(co_varnames=renamed(code.co_varnames), co_names=renamed(code.co_names))
    # In the class's module, so that annotations mean there what they mean in the class.
    return FunctionType(own, sys.modules[cls.__module__].__dict__, method.__name__, defaults, method.__closure__)


def _repr_of(names: tuple[str, ...]) -> Callable[[object], str]:
    @recursive_repr()
    def shown(self: object) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({fields})"

    return shown


def _freeze(cls: Any, names: frozenset[str]) -> None:
    def assign(self: object, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete(self: object, name: str) -> None:
        if type(self) is cls or name in names:
            raise FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    _put(cls, "__setattr__", assign)
    _put(cls, "__delattr__", delete)
    for name, method in (("__getstate__", _state_of), ("__setstate__", _take_state)):
        if name not in cls.__dict__:
            setattr(cls, name, method)


def _state_of(self: Any) -> list[object]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _take_state(self: Any, state: Sequence[object]) -> None:
    for one, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, one.name, value)


def _put(cls: type, name: str, method: Any) -> None:
    method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
    setattr(cls, name, method)
