"""Kubernetes quantities: parsed exactly and printed as the server prints them (1000m is 1, 1024Mi is 1Gi)."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_PATTERN = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE]?)\Z")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_BY_EXPONENT = {power: suffix for suffix, power in _DECIMAL.items()}


class QuantityInvalid(ValueError):
    """Text that is no quantity, with the server's sentence."""


def _split(text: str) -> tuple[Fraction, str]:
    found = _PATTERN.match(text)
    if found is None:
        raise QuantityInvalid(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    sign, digits, suffix = found.groups()
    value = Fraction(digits if not digits.endswith(".") else digits + "0") * (-1 if sign == "-" else 1)
    if suffix in _BINARY:
        return value * 1024 ** _BINARY[suffix], "binary"
    if suffix in _DECIMAL:
        return value * Fraction(10) ** _DECIMAL[suffix], "decimal"
    return value * Fraction(10) ** int(suffix[1:]), "exponent"


def value_of(text: str) -> Fraction:
    """The exact number; raises QuantityInvalid."""
    return _split(text)[0]


@lru_cache(4096)
def canonical_quantity(text: str) -> str:
    """As the server prints it; raises QuantityInvalid."""
    value, family = _split(text.strip())
    if value == 0:
        return "0"
    nano = value * 10**9
    rounded = -((-nano.numerator) // nano.denominator) if nano > 0 else nano.numerator // nano.denominator
    value = Fraction(rounded, 10**9)
    if family == "binary" and abs(value) >= 1024 and value.denominator == 1:
        number, power = value.numerator, 0
        while number % 1024 == 0 and power < 6:
            number, power = number // 1024, power + 1
        suffix = next((name for name, one in _BINARY.items() if one == power), "")
        return f"{number}{suffix}"
    number, power = rounded, -9
    while number % 1000 == 0 and power < 18:
        number, power = number // 1000, power + 3
    if family == "exponent":
        return f"{number}e{power}" if power else str(number)
    return f"{number}{_BY_EXPONENT[power]}"
