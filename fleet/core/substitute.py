"""Per-cluster values in rendered objects: on parsed scalars after the build, never on text (section 3 of the design).

A scalar that is exactly `${name}` takes the variable's value with its type; inside longer text, and where Kubernetes
has only strings, it is text. `${name:=default}`; `$${x}` is the literal `${x}`; `$x` stays; keys are never touched.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence

import orjson

from fleet.core.documents import Document, Json, canonical, text_at
from fleet.core.objects import ref_of
from fleet.core.options import wants_substitution
from fleet.errors import DocumentInvalid, VariableUnknown
from fleet.values import dataclass, field

# Anything in braces is caught, so that a spelling that is not understood is an error and not silently kept.
_MENTION = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_./-]*)(?P<rest>[^}]*)\}")
_TEXT_MAPS = frozenset({"labels", "annotations", "matchLabels", "nodeSelector"})
_TEXT_LISTS = frozenset({"args", "command"})
_TEXT_FIELDS: Mapping[tuple[str, str], frozenset[tuple[str, ...]]] = {
    ("v1", "ConfigMap"): frozenset({("data",), ("binaryData",)}),
    ("v1", "Secret"): frozenset({("data",), ("stringData",)}),
    ("v1", "Service"): frozenset({("spec", "selector")}),
    ("v1", "ReplicationController"): frozenset({("spec", "selector")}),
}


@dataclass(slots=True)
class _Findings:
    """What is wrong in a whole bundle: one error tells all of it."""

    unknown: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # (name, where)
    wrong: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])  # (what, where)


def substitute(
    documents: Sequence[Document], variables: Mapping[str, Json], *, generated: Iterable[int] = ()
) -> list[Document]:
    """Put variables into the documents of one bundle; the documents given are not changed.

    generated: indexes of the ConfigMaps and Secrets whose name holds a hash of their content, where a mention is
    refused. Raises VariableUnknown with all unknown names, or DocumentInvalid with all other faults.
    """
    fixed = frozenset(generated)
    findings = _Findings()
    result: list[Document] = []
    for index, document in enumerate(documents):
        if not wants_substitution(document):
            result.append(document)
        elif index in fixed:
            _refuse_mentions(document, findings)
            result.append(document)
        else:
            value = _Substitution(document, variables, findings).run()
            result.append(value)
    _raise(findings, variables)
    return result


def names_in(documents: Iterable[Document]) -> frozenset[str]:
    """All names that are mentioned; a bundle depends on the values of these alone."""
    return frozenset(
        match["name"]
        for document in documents
        if wants_substitution(document)
        for _, text in _texts(document, ())
        for match in _MENTION.finditer(text)
        if match["name"]
    )


def is_mention(value: Json) -> bool:
    """Whether this is exactly `${name}`, without a default."""
    match = _MENTION.fullmatch(value) if isinstance(value, str) else None
    return bool(match and match["name"] and not match["rest"])


def _texts(value: Json, path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, str(index)))


@dataclass(slots=True)
class _Substitution:
    """One document: walks it once, with the path for messages and for what must stay text."""

    document: Document
    variables: Mapping[str, Json]
    findings: _Findings
    text_fields: frozenset[tuple[str, ...]] = frozenset()

    def run(self) -> Document:
        kind = text_at(self.document, "apiVersion"), text_at(self.document, "kind")
        self.text_fields = _TEXT_FIELDS.get(kind, frozenset())
        return {key: self._value(item, (key,)) for key, item in self.document.items()}

    def _value(self, value: Json, path: tuple[str, ...]) -> Json:
        if isinstance(value, str):
            return self._scalar(value, path) if "$" in value else value
        if isinstance(value, dict):
            return {key: self._value(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._value(item, (*path, str(index))) for index, item in enumerate(value)]
        return value

    def _scalar(self, text: str, path: tuple[str, ...]) -> Json:
        match = _MENTION.fullmatch(text)
        if match and match["name"] and not self._is_text(path):
            found, value = self._lookup(match, path)
            return copy.deepcopy(value) if found else text
        return _MENTION.sub(lambda one: self._as_text(one, path), text)

    def _is_text(self, path: tuple[str, ...]) -> bool:
        if len(path) < 2:
            return False
        parent = path[-2]
        if parent in _TEXT_MAPS or parent in _TEXT_LISTS or path[:-1] in self.text_fields:
            return True
        return path[-1] == "value" and len(path) >= 3 and path[-3] == "env"

    def _as_text(self, match: re.Match[str], path: tuple[str, ...]) -> str:
        if not match["name"]:
            return "${"  # `$${x}`: what follows is plain text
        found, value = self._lookup(match, path)
        if not found:
            return match[0]
        if isinstance(value, (dict, list)):
            kind = "list" if isinstance(value, list) else "map"
            self.findings.wrong.append((f"{match['name']} is a {kind}, and only text fits here", self._where(path)))
            return match[0]
        return text_of(value)

    def _lookup(self, match: re.Match[str], path: tuple[str, ...]) -> tuple[bool, Json]:
        name, rest = match["name"], match["rest"]
        if rest and not rest.startswith(":="):
            spelling = f"{match[0]} is not understood: write ${{{name}}} or ${{{name}:=default}}, or $${{ for a literal"
            self.findings.wrong.append((spelling, self._where(path)))
            return False, None
        if name in self.variables:
            return True, self.variables[name]
        if rest:
            return True, _default(rest[2:])
        self.findings.unknown.append((name, self._where(path)))
        return False, None

    def _where(self, path: tuple[str, ...]) -> str:
        return f"{ref_of(self.document)} {dotted(path)}"


def text_of(value: Json) -> str:
    """A scalar variable inside text: true, 3, 0.5, "" for null."""
    if isinstance(value, str):
        return value
    return "" if value is None else canonical(value).decode()


def dotted(path: Sequence[str]) -> str:
    """A path as people write it: `spec.template.spec.containers[0].image`."""
    shown = ""
    for step in path:
        shown += f"[{step}]" if step.isdigit() else f".{step}" if shown else step
    return shown


def _default(text: str) -> Json:
    """A default is JSON's null, true, false or number where it looks like one, else text."""
    if text in ("true", "false", "null") or re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text):
        value: Json = orjson.loads(text)
        return value
    return text


def _refuse_mentions(document: Document, findings: _Findings) -> None:
    for path, text in _texts(document, ()):
        if any(match["name"] for match in _MENTION.finditer(text)):
            where = f"{ref_of(document)} {dotted(path)}"
            findings.wrong.append(
                ("a variable inside a generated object, whose name holds a hash of its content", where)
            )


def _raise(findings: _Findings, variables: Mapping[str, Json]) -> None:
    if findings.unknown:
        names = sorted({name for name, _ in findings.unknown})
        known = ", ".join(sorted(variables)) or "none"
        raise VariableUnknown(
            f"{_count(len(names), 'variable')} not defined: {', '.join(names)}",
            where="; ".join(f"{where} ({name})" for name, where in findings.unknown[:20]),
            why=f"defined here: {known}",
            next_step="define it, write ${name:=default}, or $${name} where the text is meant",
        )
    if findings.wrong:
        raise DocumentInvalid(
            f"{_count(len(findings.wrong), 'place')} where substitution is refused",
            where="; ".join(where for _, where in findings.wrong[:20]),
            why="; ".join(dict.fromkeys(what for what, _ in findings.wrong[:20])),
            next_step="use a replacement from ConfigMap fleet-cluster, or annotate fleet.internal/substitute: disabled",
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
