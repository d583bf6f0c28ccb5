"""What objects already say to Argo CD and Flux, said in our own annotations (`compat`; design, section 3).

It is written into the rendered object, so that plan, `fleet render` and the cluster show what was understood. An
annotation of ours that is there already wins. What cannot be kept is an error: guessing could delete or overwrite.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from fleet.core.documents import Document, Json, mapping_at
from fleet.core.objects import HookDelete, HookPhase, PruneRule, ref_of
from fleet.errors import DocumentInvalid

ARGOCD, FLUX = "argocd", "flux"
_ARGO, _KUSTOMIZE = "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/"
_OFF = "disabled"
_NUMBER = re.compile(r"[-+]?[0-9]{1,5}\Z")
Meaning = dict[str, str]  # our annotations, without their prefix


def understood(document: Document, compat: Collection[str]) -> Document:
    """The document with our annotations for what the others' say; itself where they say nothing that matters here.

    compat: `argocd`, `flux`. Raises DocumentInvalid, naming object and annotation, for what cannot be kept.
    """
    notes = mapping_at(document, "metadata", "annotations")
    meant: Meaning = {}
    for tool, table in _TABLES.items():
        if tool not in compat:
            continue
        for name, read in table.items():
            value = notes.get(name)
            if isinstance(value, str):
                meant |= read(document, name, value)
    if "hook" not in meant:
        meant.pop("hook-delete", None)  # of a hook that is applied like any other object
    ours: dict[str, Json] = {f"fleet.internal/{name}": value for name, value in meant.items()}
    if ours.keys() <= notes.keys():
        return document
    return {**document, "metadata": {**mapping_at(document, "metadata"), "annotations": {**ours, **notes}}}


def _wave(document: Document, name: str, value: str) -> Meaning:
    if not _NUMBER.match(value):
        raise _refused(document, name, f"{value!r} is not a whole number", 'write "0", or the wave that was meant')
    return {"wave": value}


def _sync_options(document: Document, name: str, value: str) -> Meaning:
    found: Meaning = {}
    for word in _words(value):
        option, _, said = word.partition("=")
        match option, said:
            case (("Prune" | "Delete"), "false"):
                # There is one rule for both here: what must not go with its Application must not go at all.
                found["prune"] = PruneRule.DISABLED
            case (("Prune" | "Delete"), "confirm"):
                found.setdefault("prune", PruneRule.CONFIRM)
            case (("Prune" | "Delete"), wrong) if wrong != "true":
                raise _refused(document, name, f"{wrong!r} is not true, false or confirm", f"{option}=false keeps it")
            case (("Force" | "Replace"), "true"):
                found["replace"] = "enabled"
            case _:
                _known(document, name, word, option, _SYNC_OPTIONS)
    return found


# What needs no answer here: an object of a kind that is not served waits for it, and every apply is server-side.
_SYNC_OPTIONS = frozenset(
    {
        *("Prune", "Delete", "Force", "Replace", "SkipDryRunOnMissingResource", "ServerSideApply", "Validate"),
        *("ApplyOutOfSyncOnly", "CreateNamespace", "FailOnSharedResource", "PruneLast", "RespectIgnoreDifferences"),
        *("PrunePropagationPolicy", "ClientSideApplyMigration"),
    }
)


def _hook(document: Document, name: str, value: str) -> Meaning:
    phases = _words(value)
    if len(phases) > 1:
        raise _refused(document, name, f"{value!r} names several points", "write one object for each")
    match phases[0] if phases else "":
        case "PreSync" | "PostSync" | "SyncFail" as phase:
            return {"hook": HookPhase(phase)}
        case "Sync":
            return {}  # applied among the others, in its wave
        case "Skip" | "PreDelete" | "PostDelete":
            return {"reconcile": _OFF}  # never applied by a sync
        case other:
            raise _refused(document, name, f"{other!r} is no hook", "PreSync, Sync, PostSync, SyncFail or Skip")


def _hook_delete(document: Document, name: str, value: str) -> Meaning:
    words = _words(value)
    for word in words:
        _known(document, name, word, word, frozenset(HookDelete))
    return {"hook-delete": ",".join(words)} if words else {}


_COMPARE_OPTIONS = frozenset({"IgnoreExtraneous", "ServerSideDiff", "IncludeMutationWebhook"})


def _compare_options(document: Document, name: str, value: str) -> Meaning:
    """`IgnoreExtraneous`: what Git no longer says is no difference, so it is kept."""
    for word in _words(value):
        option = word.partition("=")[0]
        _known(document, name, word, option, _COMPARE_OPTIONS)
    return {"prune": PruneRule.DISABLED} if "IgnoreExtraneous" in _words(value) else {}


def _disabled(key: str) -> Callable[[Document, str, str], Meaning]:
    def read(_: Document, __: str, value: str) -> Meaning:
        return {key: _OFF} if value.lower() == _OFF else {}

    return read


def _force(_: Document, __: str, value: str) -> Meaning:
    return {"replace": "enabled"} if value.lower() == "enabled" else {}


def _ssa(document: Document, name: str, value: str) -> Meaning:
    match value.lower():
        case "ignore":
            return {"reconcile": _OFF}
        case "override" | "merge":
            return {}  # fields that Git does not say are left alone in any case
        case "ifnotpresent":
            return {"reconcile": "ifAbsent"}
        case _:
            raise _refused(document, name, f"{value!r} is no way to apply", "Override, Merge, IfNotPresent or Ignore")


_TABLES: Mapping[str, Mapping[str, Callable[[Document, str, str], Meaning]]] = {
    # A later row wins over an earlier one of its tool.
    ARGOCD: {
        f"{_ARGO}sync-wave": _wave,
        f"{_ARGO}compare-options": _compare_options,
        f"{_ARGO}sync-options": _sync_options,
        f"{_ARGO}hook": _hook,
        f"{_ARGO}hook-delete-policy": _hook_delete,
    },
    FLUX: {
        f"{_KUSTOMIZE}prune": _disabled("prune"),
        f"{_KUSTOMIZE}reconcile": _disabled("reconcile"),
        f"{_KUSTOMIZE}substitute": _disabled("substitute"),
        f"{_KUSTOMIZE}force": _force,
        f"{_KUSTOMIZE}ssa": _ssa,
    },
}


def _words(value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


def _known(document: Document, name: str, word: str, option: str, known: Collection[str]) -> None:
    if option not in known:
        raise _refused(document, name, f"{word!r} is not known", f"one of {', '.join(sorted(known))}")


def _refused(document: Document, name: str, why: str, next_step: str) -> DocumentInvalid:
    ref = ref_of(document)
    return DocumentInvalid(f"{name} on {ref} is refused", where=ref.key, why=why, next_step=next_step)
