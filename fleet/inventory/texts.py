"""What a single value of a fleet repo's file may be: names, labels, paths, durations, shares.

Each refusal says in words what is wrong; the patterns are for editors.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, JsonValue, Tag

from fleet.core.ids import is_dns_label, is_dns_subdomain
from fleet.core.targets import is_known_placeholder, placeholders
from fleet.core.variables import is_built_in, is_variable_name

_PERCENT = r"^(100|[0-9]{1,2}(\.[0-9]{1,6})?)%$"
_DURATION = r"^([0-9]{1,9}(\.[0-9]{1,6})?(h|m|s|ms)){1,4}$"
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)")
_PRINTED = re.compile(r"[!-~]+\Z")
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def duration_seconds(text: str) -> float:
    """`10m`, `1h30m`, `45s` in seconds; the form is checked by the schema."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))


def share_of(text: str) -> float:
    """`25%` as 0.25."""
    return float(text.removesuffix("%")) / 100


def _cluster_name(text: str) -> str:
    if not is_dns_label(text):
        raise ValueError("no name: lower-case letters, digits and - (at most 63, a letter or digit at both ends)")
    return text


def _overlay_name(text: str) -> str:
    if not is_dns_subdomain(text):
        raise ValueError("no name: lower-case letters, digits, - and . (at most 253)")
    return text


def _label_key(text: str) -> str:
    if not _LABEL_KEY.match(text):
        raise ValueError("no label key as Kubernetes has them")
    return text


def _label_value(text: str) -> str:
    if not _LABEL_VALUE.match(text):
        raise ValueError("no label value as Kubernetes has them: at most 63 of letters, digits, -, _ and .")
    return text


def _as_written(value: Any) -> Any:
    """A label that YAML reads as a boolean or number is an error that says how to write it."""
    if isinstance(value, bool):
        raise ValueError('read as true or false; quote it, as in "yes"')
    if isinstance(value, int | float):
        raise ValueError(f'read as a number; quote it: "{value}"')
    return value


def _variable_name(text: str) -> str:
    if is_built_in(text):
        raise ValueError("built in: it says where a unit runs and cannot be set")
    if not is_variable_name(text):
        raise ValueError("no name of a variable: letters, digits and _, no digit first")
    return text


def _path(text: str) -> str:
    if text.startswith("/") or "\\" in text or "\x00" in text:
        raise ValueError("paths are relative, with /")
    return text


def _template(text: str) -> str:
    unknown = [name for name in placeholders(text) if not is_known_placeholder(name)]
    if unknown:
        raise ValueError(
            f"{{{unknown[0]}}} is not known; there are {{cluster}}, {{environment}}, {{location}}, {{label.KEY}}"
        )
    return _path(text)


def _pointer(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("no JSON pointer: it starts with /, as in /spec/replicas")
    return text


def _url(text: str) -> str:
    parts = urlsplit(text)
    try:
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        has_port = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not has_port or not _PRINTED.match(text):
        raise ValueError("no URL: write one as https://prometheus.acme.io")
    if "@" in parts.netloc:
        raise ValueError("a user or password in a URL would lie in Git in clear; name a credential instead")
    if parts.fragment:
        raise ValueError("a URL that is asked has no #fragment")
    return text


def _base_url(text: str) -> str:
    if urlsplit(_url(text)).query:
        raise ValueError("the address of the server alone, without ?query; the query has its own field")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError("no such time zone; write one as Europe/Berlin") from error
    return text


def _schedule(text: str) -> str:
    try:
        CronSim(text, _ANY_TIME)
    except CronSimError as error:
        raise ValueError(f"no cron expression: {error}") from error
    return text


# The pattern is for editors; the validator says in words what is wrong.
ClusterNameText = Annotated[
    str,
    Field(json_schema_extra={"pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}),
    AfterValidator(_cluster_name),
]
OverlayNameText = Annotated[
    str,
    Field(json_schema_extra={"pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "maxLength": 253}),
    AfterValidator(_overlay_name),
]
PathText = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_path)]
TemplateText = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_template)]
Labels = dict[
    Annotated[str, AfterValidator(_label_key)],
    Annotated[str, BeforeValidator(_as_written), AfterValidator(_label_value)],
]
VariablesMap = dict[Annotated[str, AfterValidator(_variable_name)], JsonValue]
DurationText = Annotated[str, Field(pattern=_DURATION, description="As 10m, 1h30m, 45s")]
PercentText = Annotated[str, Field(pattern=_PERCENT, description="As 25%")]
ScheduleText = Annotated[
    str, Field(max_length=100, description="A cron expression of five fields"), AfterValidator(_schedule)
]
ZoneText = Annotated[str, Field(max_length=100), AfterValidator(_zone)]
PointerText = Annotated[str, Field(max_length=1024), AfterValidator(_pointer)]
CredentialText = Annotated[str, AfterValidator(_overlay_name)]
UrlText = Annotated[str, Field(max_length=2048), AfterValidator(_url)]
BaseUrlText = Annotated[str, Field(max_length=2048), AfterValidator(_base_url)]
Pattern = Annotated[str, Field(min_length=1, max_length=253)]
EnvironmentText = ClusterNameText


def text_or_mapping(value: Any) -> str:
    """The tag of an entry that is a name, or a mapping with a name in it."""
    return "<text>" if isinstance(value, str) else "<mapping>"


def _number_or_percent(value: Any) -> str:
    return "<percent>" if isinstance(value, str) else "<number>"


# Tags in angle brackets appear in the places that pydantic reports; they are taken out again (complaints.py).
AtLeastOne = Annotated[
    Annotated[int, Field(ge=1), Tag("<number>")] | Annotated[PercentText, Tag("<percent>")],
    Discriminator(_number_or_percent),
]
AtLeastNone = Annotated[
    Annotated[int, Field(ge=0), Tag("<number>")] | Annotated[PercentText, Tag("<percent>")],
    Discriminator(_number_or_percent),
]
