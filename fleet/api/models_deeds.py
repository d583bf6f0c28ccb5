"""The API's objects of what people and the hub did: holds, events, audit, operations, and what was given out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fleet.api.models import API_VERSION, ApiModel, Metadata, Page


class HoldDeletion(ApiModel):
    """One object that a hold would delete."""

    unit: str
    object: str
    uid: str
    created_at: str | None = None
    goes_with: list[str] = Field(default_factory=list[str])
    reason: str = ""
    message: str = ""


class HoldOut(ApiModel):
    """One hold: its exact list, and how it ended."""

    api_version: Literal["fleet.internal/v1"] = API_VERSION
    kind: Literal["Hold"] = "Hold"
    metadata: Metadata
    overlay: str
    commit: str
    list_digest: str
    clusters: list[str]
    would: str
    messages: list[str]
    deletions: list[HoldDeletion]
    created_at: str | None
    expires_at: str | None
    decision: str = ""
    decided_by: str = ""
    reason: str = ""
    gone: list[HoldDeletion] = Field(
        default_factory=list[HoldDeletion],
        description="In the answer to a rejection of what was approved: what had gone or was on its way.",
    )


class EventOut(ApiModel):
    """One line of the timeline."""

    id: int
    at: str | None
    kind: str
    cluster: str = ""
    unit: str = ""
    commit: str = ""
    object: str = ""
    message: str


class AuditOut(ApiModel):
    """One entry of the audit log."""

    id: int
    at: str | None
    actor: str
    action: str
    cluster: str = ""
    identity: str = ""
    unit: str = ""
    object: str = ""
    uid: str = ""
    uid_after: str = ""
    commit: str = ""
    reason: str = ""
    approver: str = ""
    outcome: str = ""
    seal: str = ""


class OperationOut(ApiModel):
    """A requested action and how it ended."""

    id: str
    kind: str
    target: str
    actor: str
    requested_at: str | None
    reason: str = ""
    outcome: str = ""
    message: str = ""
    ended_at: str | None = None


class HoldList(Page):
    """Holds, newest first."""

    items: list[HoldOut]


class EventList(Page):
    """Events, oldest first unless asked otherwise."""

    items: list[EventOut]


class AuditList(Page):
    """Audit entries, oldest first."""

    items: list[AuditOut]


class OperationList(Page):
    """Operations, newest first."""

    items: list[OperationOut]


class LeavingOut(ApiModel):
    """A unit that left Git and is not let go yet. commit: the one that dropped it; fall: why a person must allow it.

    objects: what fleet owns of it, as its cluster said last; wipe: by whose word that is deleted first.
    """

    unit: str
    commit: str
    fall: str = ""
    wipe: str = ""
    objects: list[str] = Field(default_factory=list[str])


class LeavingList(Page):
    """Units on their way out, by name."""

    items: list[LeavingOut]


class TokenOut(ApiModel):
    """A token without its secret part; `token` is set once, in the answer to its creation."""

    id: str
    name: str
    role: str
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None = None
    token: str = ""


class TokenList(Page):
    """Tokens."""

    items: list[TokenOut]


class CredentialOut(ApiModel):
    """A credential's name, age and end; never its content (R32)."""

    name: str
    added_at: str | None
    ends_at: str | None = None
    renew_at: str | None = None


class CredentialList(Page):
    """Credentials."""

    items: list[CredentialOut]


class SuspensionOut(ApiModel):
    """A suspension by command."""

    scope: str
    reason: str
    owner: str = ""
    until: str = ""


class SuspensionList(Page):
    """Suspensions by command."""

    items: list[SuspensionOut]


class RecoveryOut(ApiModel):
    """A unit whose record was rebuilt from the cluster and waits for a person. then: what follows if Git lacks it."""

    cluster: str
    unit: str
    objects: int
    commit: str = ""
    then: str = ""


class RecoveryList(Page):
    """Units that wait for `fleet recover --confirm`. list_digest: what that is bound to, "" where none waits.

    unheard: clusters with the same overlays that this hub has not heard yet; what was taken back may stand there alone.
    """

    items: list[RecoveryOut]
    list_digest: str = ""
    unheard: list[str] = Field(default_factory=list[str])


class Done(ApiModel):
    """An action was carried out."""

    message: str = ""
