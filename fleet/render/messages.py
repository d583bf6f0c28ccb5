"""What kustomize says, as our errors: repo paths instead of temporary ones, the cause first, no Secret value (R32)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import orjson

from fleet.errors import DocumentInvalid, DuplicateObject, FleetError, RenderFailed, ResourceMissing
from fleet.render.parse import Allowance, nodes_of

_LONGEST = 600
_DEPRECATED = re.compile(r"^# Warning:.*$\n?", re.MULTILINE)
# kubectl writes its errors as log lines: a quoted text, or an indented block.
_LOGGED = re.compile(
    r"""^[EW]\d{4} .*?\] "command failed" err=(?:(?P<text>"(?:[^"\\]|\\.)*")|<\n(?P<block>.*?)\n\s*>)""", re.M | re.S
)
# kustomize prints whole configurations, literals and patches included, between backquotes, which may be in them too.
_CONFIGURATION = re.compile(r"with config: `.*`(?=:|$)", re.DOTALL)
# So it does with an inline patch that is none, and with one that it takes for the path of a file.
_PATCH = re.compile(r'from \[patch: (?P<text>"(?:[^"\\]|\\.)*")\]', re.DOTALL)
_PATCH_FOR_A_PATH = re.compile(
    r"(?:with config: `.*)?(?:open|evalsymlink failure on) (?P<text>[^\n{]*[\n{].*)"
    r": (?:no such file or directory|file name too long|not a directory|invalid argument)",
    re.DOTALL,
)
_NODES_OF_A_PATCH = 50_000
# Where it cannot write an object as YAML, it prints all of it.
_DUMP = re.compile(r"map\[string\]interface \{\}\{.*\}: ", re.DOTALL)
_LITERAL = re.compile(r"literal source(s)? .*?, expected", re.DOTALL)
_DUPLICATE = re.compile(r"may not add resource with an already registered id: (?P<id>\S+)")
_MISSING = re.compile(r"open (?P<path>\S+): no such file or directory")
_YAML_LINE = re.compile(r"(?:yaml: )?line (?P<line>\d+): (?P<why>[^\n]*?)(?: in File: (?P<file>\S+))?(?:'|$|:)")
_FILE = re.compile(r"(?:in File: |resources from ')(?P<file>[^\s']+)")
_INVALID = re.compile(r"invalid Kustomization: (?P<why>.*?)$", re.MULTILINE)
_HELM = re.compile(r"Error: (?P<why>(?:(?!Error: ).)*?): unable to run: '", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r'unknown field "(?P<field>[^"]+)"')


def error_of(stderr: bytes, *, directory: str, root: str, secrets: Collection[str], facts: bool) -> FleetError:
    """The error for a failed build.

    directory: the temporary directory that stands for the repo's root. root: the unit's path. secrets: texts that
    must not appear. facts: whether the ConfigMap `fleet-cluster` was given to this build.
    """
    text = _cleaned(stderr.decode(errors="replace"), directory, secrets)
    where = root or "."
    if found := _DUPLICATE.search(text):
        return DuplicateObject(
            f"{_readable(found['id'])} is defined twice",
            where=_first_file(text, root) or where,
            why="two resources of this build have the same id",
            next_step="remove or rename one",
        )
    if found := _HELM.search(text):
        why = _shortened(found["why"])
        lacks = "missing in charts/" in why
        return RenderFailed(
            "helm refuses a chart",
            where=where,
            why=why,
            next_step="vendor it with what it depends on: fleet vendor chart" if lacks else "correct its values",
        )
    if found := _MISSING.search(text):
        return ResourceMissing(
            f"{found['path']} cannot be read", where=where, why="no such file", next_step="put it into the repo"
        )
    if "MalformedYAMLError" in text or "yaml: " in text:
        place = _YAML_LINE.search(text)
        file = _first_file(text, root) or where
        line = f":{place['line']}" if place else ""
        why = place["why"] if place else _shortened(text)
        return DocumentInvalid("not valid YAML", where=f"{file}{line}", why=why, next_step="correct the file")
    if found := _UNKNOWN_FIELD.search(text):
        return RenderFailed(
            f"the field {found['field']} is not known to kustomize", where=where, next_step="correct its name"
        )
    if "fleet-cluster" in text and not facts:
        return RenderFailed(
            "the ConfigMap fleet-cluster is not in this build",
            where=where,
            why="only components that a unit names are given it, not the overlay itself",
            next_step="move the replacement into a component",
        )
    return RenderFailed(
        "kustomize refuses it", where=where, why=_shortened(text), next_step=f"try: kustomize build {where}"
    )


def _cleaned(text: str, directory: str, secrets: Collection[str]) -> str:
    text = _LOGGED.sub(_unlogged, _DEPRECATED.sub("", text))
    hidden = [secret for secret in secrets if len(secret) > 3]
    text = _PATCH.sub(lambda found: _shown(found, _unquoted(found["text"]), hidden, "from an inline patch"), text)
    text = _PATCH_FOR_A_PATH.sub(
        lambda found: _shown(found, found["text"].replace(f"{directory}/", ""), hidden, "an inline patch is no patch"),
        text,
    )
    text = _CONFIGURATION.sub("", text)
    text = _DUMP.sub("", text)
    text = _LITERAL.sub("literal source, expected", text)
    text = text.replace(f"{directory}/", "").replace(directory, ".")
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "(hidden)")
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text).strip()


def _unlogged(line: re.Match[str]) -> str:
    if line["text"] is None:
        return line["block"]
    try:
        return str(orjson.loads(line["text"]))
    except orjson.JSONDecodeError:
        return line["text"]


def _shown(found: re.Match[str], patch: str, hidden: Iterable[str], words: str) -> str:
    """What kustomize says with the text of a patch, or in words where that may hold a value of a Secret."""
    if "Secret" in found[0] or not _is_yaml(patch) or any(secret in patch for secret in hidden):
        return f"{words} (hidden: it may hold values of a Secret)"
    return found[0]


def _is_yaml(text: str) -> bool:
    try:
        return bool(list(nodes_of(text.encode(), allowance=Allowance(_NODES_OF_A_PATCH))))
    except DocumentInvalid:
        return False


def _unquoted(text: str) -> str:
    try:
        return str(orjson.loads(text))
    except orjson.JSONDecodeError:  # Go quotes a little otherwise than JSON
        return text


def _first_file(text: str, root: str) -> str:
    found = _FILE.search(text)
    if not found:
        return ""
    name = found["file"].rstrip("':")
    return name if "/" in name or not root else f"{root}/{name}"


def _readable(identifier: str) -> str:
    """`Deployment.v1.apps/web.shop` as `Deployment shop/web`."""
    kind, _, rest = identifier.partition("/")
    name, _, namespace = rest.rstrip(":,'").rpartition(".")
    kind = kind.split(".", 1)[0]
    if not name:
        return f"{kind} {rest}"
    return f"{kind} {name}" if namespace.startswith("[no") else f"{kind} {namespace}/{name}"


def _shortened(text: str) -> str:
    """The innermost cause stands last in kustomize's chain."""
    line = " ".join(text.split()).removeprefix("Error: ")
    return line if len(line) <= _LONGEST else f"… {line[-_LONGEST:]}"
