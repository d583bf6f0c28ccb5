from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.compat import ARGOCD, FLUX, understood
from fleet.core.objects import HookDelete, HookPhase, ObjectOptions, PruneRule
from fleet.core.options import options_of, wants_substitution
from fleet.errors import DocumentInvalid

BOTH = frozenset({ARGOCD, FLUX})
PLAIN = ObjectOptions()
ARGO, KUSTOMIZE = "argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/"
KEPT = replace(PLAIN, prune=PruneRule.DISABLED)
ALONE = replace(PLAIN, reconcile=False)
REPLACED = replace(PLAIN, replace=True)


def noted(**annotations: str) -> dict[str, Any]:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "annotations": annotations}}


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        (f"{ARGO}sync-wave", "-5", replace(PLAIN, wave=-5)),
        (f"{ARGO}sync-options", "Prune=false", KEPT),
        (f"{ARGO}sync-options", "Delete=false", KEPT),
        (f"{ARGO}sync-options", "Prune=confirm", replace(PLAIN, prune=PruneRule.CONFIRM)),
        (f"{ARGO}sync-options", "Delete=confirm,Prune=false", KEPT),
        (f"{ARGO}sync-options", "Prune=false, Delete=confirm", KEPT),
        (f"{ARGO}sync-options", "SkipDryRunOnMissingResource=true,ServerSideApply=true,Prune=true", PLAIN),
        (f"{ARGO}sync-options", "Force=true", REPLACED),
        (f"{ARGO}sync-options", "Replace=true,Validate=false", REPLACED),
        (f"{ARGO}sync-options", "Replace=false", PLAIN),
        (f"{ARGO}compare-options", "IgnoreExtraneous", KEPT),
        (f"{ARGO}compare-options", "ServerSideDiff=true", PLAIN),
        (f"{ARGO}hook", "PreSync", replace(PLAIN, hook=HookPhase.PRE_SYNC)),
        (f"{ARGO}hook", "PostSync", replace(PLAIN, hook=HookPhase.POST_SYNC)),
        (f"{ARGO}hook", "SyncFail", replace(PLAIN, hook=HookPhase.SYNC_FAIL)),
        (f"{ARGO}hook", "Sync", PLAIN),
        (f"{ARGO}hook", "Skip", ALONE),
        (f"{ARGO}hook", "PostDelete", ALONE),
        (f"{KUSTOMIZE}prune", "Disabled", KEPT),
        (f"{KUSTOMIZE}prune", "enabled", PLAIN),
        (f"{KUSTOMIZE}reconcile", "disabled", ALONE),
        (f"{KUSTOMIZE}ssa", "Ignore", ALONE),
        (f"{KUSTOMIZE}ssa", "Merge", PLAIN),
        (f"{KUSTOMIZE}ssa", "Override", PLAIN),
        (f"{KUSTOMIZE}ssa", "IfNotPresent", replace(PLAIN, only_if_absent=True)),
        (f"{KUSTOMIZE}force", "enabled", REPLACED),
        ("example.org/sync-wave", "3", PLAIN),
    ],
)
def test_an_annotation_of_another_tool_means_what_ours_mean_where_compat_says_so(
    name: str, value: str, meant: ObjectOptions
) -> None:
    document = noted(**{name: value})
    assert options_of(understood(document, BOTH)) == meant
    other = ARGOCD if name.startswith(KUSTOMIZE) else FLUX
    assert understood(document, {other}) is document


def test_what_a_hook_leaves_behind_is_its_delete_policy() -> None:
    notes = {f"{ARGO}hook": "PreSync", f"{ARGO}hook-delete-policy": "HookSucceeded,HookFailed"}
    options = options_of(understood(noted(**notes), BOTH))
    assert options.hook_delete == {HookDelete.SUCCEEDED, HookDelete.FAILED}
    sync = {**notes, f"{ARGO}hook": "Sync"}
    assert options_of(understood(noted(**sync), BOTH)) == PLAIN


def test_substitution_is_left_out_where_flux_says_so() -> None:
    document = noted(**{f"{KUSTOMIZE}substitute": "disabled"})
    assert not wants_substitution(understood(document, BOTH))
    assert wants_substitution(document)


def test_an_annotation_of_ours_wins() -> None:
    document = noted(**{f"{ARGO}sync-wave": "3", "fleet.internal/wave": "1"})
    assert options_of(understood(document, BOTH)).wave == 1


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        (f"{ARGO}sync-wave", "first", "not a whole number"),
        (f"{ARGO}sync-options", "Prune=flase", "'flase' is not true, false or confirm"),
        (f"{ARGO}sync-options", "Purne=false", "'Purne=false' is not known"),
        (f"{ARGO}hook", "PreSync,PostSync", "names several points"),
        (f"{ARGO}hook", "Presync", "'Presync' is no hook"),
        (f"{ARGO}hook-delete-policy", "HookSuceeded", "is not known"),
        (f"{KUSTOMIZE}ssa", "Sometimes", "no way to apply"),
    ],
)
def test_what_cannot_be_kept_is_an_error_with_the_annotation(name: str, value: str, why: str) -> None:
    with pytest.raises(DocumentInvalid) as caught:
        understood(noted(**{name: value}), BOTH)
    assert name in caught.value.what
    assert why in caught.value.why
    assert caught.value.next_step


@given(st.dictionaries(st.sampled_from(["a", "b", f"{ARGO}sync-wave"]), st.sampled_from(["1", "2"]), max_size=3))
def test_nothing_is_taken_out_and_the_argument_stays_as_it_is(notes: dict[str, str]) -> None:
    document = noted(**notes)
    found = understood(document, BOTH)["metadata"]["annotations"]
    assert {name: value for name, value in found.items() if not name.startswith("fleet.")} == notes
    assert document == noted(**notes)
