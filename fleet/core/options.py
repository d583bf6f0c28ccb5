"""What an object's annotations `fleet.internal/*` ask of fleet. A typo is an error: it could switch pruning back on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from fleet.core.documents import Document, Json, mapping_at
from fleet.core.objects import (
    INSTALLATION_LABEL,
    OWNER_ANNOTATION,
    HookDelete,
    HookPhase,
    ObjectOptions,
    PruneRule,
    ref_of,
)
from fleet.errors import DocumentInvalid

PREFIX = "fleet.internal/"
SUBSTITUTE = "fleet.internal/substitute"
HOOK = "fleet.internal/hook"
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "fleet.internal/wave": (),  # any whole number
    "fleet.internal/prune": tuple(PruneRule),
    "fleet.internal/reconcile": ("enabled", "disabled", "ifAbsent"),
    "fleet.internal/replace": ("enabled", "disabled"),
    SUBSTITUTE: ("enabled", "disabled"),
    HOOK: tuple(HookPhase),
    "fleet.internal/hook-delete": tuple(HookDelete),  # one or more, separated by commas
}
WAVE_LIMIT = 10_000


def options_of(document: Document) -> ObjectOptions:
    """Read the annotations of one object; raises DocumentInvalid naming object, annotation and what is allowed."""
    annotations = mapping_at(document, "metadata", "annotations")
    ours = {name: value for name, value in annotations.items() if name.startswith(PREFIX)}
    if INSTALLATION_LABEL in mapping_at(document, "metadata", "labels"):
        raise _refused(document, INSTALLATION_LABEL, "fleet sets this mark itself", "take the label out")
    if not ours:
        return _NONE
    for name, value in ours.items():
        _check(document, name, value)
    deletes = _words(ours, "fleet.internal/hook-delete")
    hook = ours.get(HOOK)
    return ObjectOptions(
        wave=int(str(ours.get("fleet.internal/wave", "0"))),
        prune=PruneRule(str(ours.get("fleet.internal/prune", PruneRule.ALLOWED))),
        reconcile=ours.get("fleet.internal/reconcile") != "disabled",
        only_if_absent=ours.get("fleet.internal/reconcile") == "ifAbsent",
        replace=ours.get("fleet.internal/replace") == "enabled",
        hook=HookPhase(str(hook)) if hook is not None else None,
        hook_delete=frozenset(HookDelete(word) for word in deletes) or _NONE.hook_delete,
    )


def wants_substitution(document: Document) -> bool:
    """False where the object says `fleet.internal/substitute: disabled`."""
    return mapping_at(document, "metadata", "annotations").get(SUBSTITUTE) != "disabled"


def is_hook(document: Document) -> bool:
    """Whether an object, rendered or live, is a hook's. What Argo CD calls one says so too (`core.compat`)."""
    return HOOK in mapping_at(document, "metadata", "annotations")


_NONE = ObjectOptions()


def _words(ours: Mapping[str, Json], name: str) -> tuple[str, ...]:
    value = ours.get(name)
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else ()


def _check(document: Document, name: str, value: Json) -> None:
    if name == OWNER_ANNOTATION:
        raise _refused(document, name, "fleet sets this mark itself", "take the annotation out")
    allowed = _ALLOWED.get(name)
    if allowed is None:
        near = difflib.get_close_matches(name, _ALLOWED, n=1)
        raise _refused(document, name, "no such annotation", f"did you mean {near[0]}" if near else "take it out")
    if name == "fleet.internal/wave":
        if not isinstance(value, str) or not _is_wave(value):
            raise _refused(document, name, "not a whole number in quotes", f'write "0", up to "{WAVE_LIMIT}"')
        return
    words = _words({name: value}, name) if name == "fleet.internal/hook-delete" else (value,)
    if not words or any(word not in allowed for word in words):
        raise _refused(document, name, f"the value {value!r} is not allowed", f"write {' or '.join(allowed)}")


def _is_wave(text: str) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit() and len(digits) <= 5 and abs(int(text)) <= WAVE_LIMIT


def _refused(document: Document, name: str, why: str, next_step: str) -> DocumentInvalid:
    return DocumentInvalid(f"{name} on {ref_of(document)} is refused", where=name, why=why, next_step=next_step)
