"""Label and field selectors: parsed once, asked for each object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from fleet.core.documents import Document, at
from fleet.sim.statuses import ApiError, bad_request
from fleet.values import dataclass

Labels = Mapping[str, str]
LabelTest = Callable[[Labels], bool]

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_NAME}\Z")
_VALUE = re.compile(rf"({_NAME})?\Z")
_SET = re.compile(r"\s*(\S+)\s+(in|notin)\s*\(([^)]*)\)\s*\Z")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One clause: key, operator (in, notin, exists, !, gt, lt) and its values."""

    key: str
    operator: str
    values: frozenset[str]

    def matches(self, labels: Labels) -> bool:
        """Whether the labels satisfy this clause."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and _number_matches(value, self.operator, next(iter(self.values)))


def _number_matches(value: str, operator: str, limit: str) -> bool:
    try:
        left, right = int(value), int(limit)
    except ValueError:
        return False
    return left > right if operator == "gt" else left < right


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The clauses of a label selector; raises ApiError 400 in the server's words."""
    return tuple(_clause(clause.strip(), text) for clause in _split(text))


def _split(text: str) -> list[str]:
    parts: list[str] = []
    depth, start = 0, 0
    for index, letter in enumerate(text):
        if letter == "(":
            depth += 1
        elif letter == ")":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    if depth > 0:
        raise bad_request("unable to parse requirement: found '', expected: ',' or ')'")
    return parts if text.strip() else []


def _clause(clause: str, whole: str) -> Requirement:
    in_set = _SET.match(clause)
    if in_set:
        values = frozenset(value.strip() for value in in_set[3].split(","))
        return _checked(Requirement(in_set[1], in_set[2], values), whole)
    for mark, operator in (("!=", "notin"), ("==", "in"), ("=", "in"), (">", "gt"), ("<", "lt")):
        if mark in clause:
            key, _, value = clause.partition(mark)
            return _checked(Requirement(key.strip(), operator, frozenset({value.strip()})), whole)
    if clause.startswith("!"):
        return _checked(Requirement(clause[1:].strip(), "!", frozenset()), whole)
    return _checked(Requirement(clause, "exists", frozenset()), whole)


_KEY_HELP = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_HELP = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def _checked(one: Requirement, whole: str) -> Requirement:
    if not one.key:
        raise bad_request(
            f"unable to parse requirement: found '{whole[:1]}', expected: !, identifier, or 'end of string'"
        )
    if " " in one.key:
        word = one.key.split()[1]
        raise bad_request(f"unable to parse requirement: found '{word}', expected: in, notin, =, ==, !=, gt, lt")
    if not _KEY.match(one.key):
        raise bad_request(f'unable to parse requirement: <nil>: Invalid value: "{one.key}": {_KEY_HELP}')
    for value in one.values:
        if not _VALUE.match(value):
            raise bad_request(
                f'unable to parse requirement: values[0][{one.key}]: Invalid value: "{value}": {_VALUE_HELP}'
            )
    return one


def label_test(text: str) -> LabelTest | None:
    """A test for labels; None where the selector takes everything."""
    clauses = parse_labels(text)
    if not clauses:
        return None
    if len(clauses) == 1:
        return clauses[0].matches
    return lambda labels: all(clause.matches(labels) for clause in clauses)


# Fields that can be selected besides metadata.name and metadata.namespace, by resource.
_FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "pods": {
        "spec.nodeName": ("spec", "nodeName"),
        "spec.restartPolicy": ("spec", "restartPolicy"),
        "spec.schedulerName": ("spec", "schedulerName"),
        "spec.serviceAccountName": ("spec", "serviceAccountName"),
        "spec.hostNetwork": ("spec", "hostNetwork"),
        "status.phase": ("status", "phase"),
        "status.podIP": ("status", "podIP"),
        "status.nominatedNodeName": ("status", "nominatedNodeName"),
    },
    "secrets": {"type": ("type",)},
    "namespaces": {"status.phase": ("status", "phase")},
    "nodes": {"spec.unschedulable": ("spec", "unschedulable")},
    "services": {"spec.clusterIP": ("spec", "clusterIP"), "spec.type": ("spec", "type")},
    "jobs.batch": {"status.successful": ("status", "succeeded")},
    "replicasets.apps": {"status.replicas": ("status", "replicas")},
    "certificatesigningrequests.certificates.k8s.io": {"spec.signerName": ("spec", "signerName")},
    "events": {
        "involvedObject.kind": ("involvedObject", "kind"),
        "involvedObject.namespace": ("involvedObject", "namespace"),
        "involvedObject.name": ("involvedObject", "name"),
        "involvedObject.uid": ("involvedObject", "uid"),
        "involvedObject.apiVersion": ("involvedObject", "apiVersion"),
        "reason": ("reason",),
        "reportingComponent": ("reportingComponent",),
        "source": ("source", "component"),
        "type": ("type",),
    },
}


@dataclass(frozen=True, slots=True)
class FieldClause:
    """One `path=value` or `path!=value`."""

    path: tuple[str, ...]
    equal: bool
    value: str


def parse_fields(text: str, resource: str) -> tuple[FieldClause, ...]:
    """The clauses of a field selector; raises ApiError 400 for a field that cannot be selected."""
    found: list[FieldClause] = []
    for clause in (part.strip() for part in text.split(",")):
        if not clause:
            continue
        mark = "!=" if "!=" in clause else "==" if "==" in clause else "="
        name, found_mark, value = clause.partition(mark)
        if not found_mark:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{clause}'")
        known = {"metadata.name": ("metadata", "name"), "metadata.namespace": ("metadata", "namespace")}
        path = (known | _FIELDS.get(resource, {})).get(name)
        if path is None:
            raise _unknown_field(name, resource)
        found.append(FieldClause(path, mark != "!=", value))
    return tuple(found)


def _unknown_field(name: str, resource: str) -> ApiError:
    if resource in _FIELDS and "." not in resource:
        return bad_request(f"field label not supported: {name}")
    return bad_request(
        f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        if resource not in {"events"}
        else f"field label not supported: {name}"
    )


def fields_match(document: Document, clauses: tuple[FieldClause, ...]) -> bool:
    """Whether a document satisfies all clauses."""
    for clause in clauses:
        value = at(document, *clause.path)
        text = "" if value is None else ("true" if value else "false") if isinstance(value, bool) else str(value)
        if (text == clause.value) != clause.equal:
            return False
    return True
