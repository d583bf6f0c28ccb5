"""What the API is sent: queries and bodies, each with its limits; unknown fields are refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fleet.api.models import ApiModel

Limit = Annotated[int, Field(ge=1, le=1000)]
LARGEST = 2**62  # an id of the database


class PageQuery(ApiModel):
    """Paging of lists."""

    limit: Limit = 500
    continue_: str = Field(default="", validation_alias="continue", serialization_alias="continue", max_length=200)


class ListQuery(PageQuery):
    """Filters and paging of lists."""

    label_selector: str = Field("", max_length=500)
    q: str = Field("", max_length=200)
    health: str = Field("", max_length=200)
    sync: str = Field("", max_length=200)
    cluster: str = Field("", max_length=100)
    overlay: str = Field("", max_length=260)
    environment: str = Field("", max_length=100)


class EventQuery(ApiModel):
    """Filters of the timeline."""

    limit: Limit = 100
    after: int = Field(0, ge=0, le=LARGEST)
    continue_: int = Field(0, ge=0, le=LARGEST, validation_alias="continue", serialization_alias="continue")
    cluster: str = Field("", max_length=100)
    overlay: str = Field("", max_length=260)
    unit: str = Field("", max_length=400)
    newest_first: bool = False


class AfterQuery(ApiModel):
    """Paging by id."""

    limit: Limit = 100
    after: int = Field(0, ge=0, le=LARGEST)
    continue_: int = Field(0, ge=0, le=LARGEST, validation_alias="continue", serialization_alias="continue")


class OpenQuery(PageQuery):
    """Holds or operations that are still open."""

    open_only: bool = False
    limit: Limit = 100


class CommitQuery(ApiModel):
    """Which commit."""

    commit: str = Field(min_length=4, max_length=64)


class SyncBody(ApiModel):
    """`fleet sync`."""

    override: bool = False
    reason: str = Field("", max_length=500)


class SuspendBody(ApiModel):
    """Why, by whom and until when (RFC 3339)."""

    reason: str = Field(min_length=1, max_length=500)
    until: str = Field("", max_length=40)


class ReasonBody(ApiModel):
    """Why."""

    reason: str = Field("", max_length=500)


class ResumeBody(ReasonBody):
    """Whose suspension is lifted: the caller's own, another's, or everybody's."""

    owner: str = Field("", max_length=100, description='"" for the caller')
    all: bool = False


class WipeBody(ApiModel):
    """The name of what is wiped, once more, and why."""

    confirm: str = Field("", max_length=400)
    reason: str = Field(min_length=1, max_length=500)


class ApproveBody(ApiModel):
    """The list that was shown."""

    list_digest: str = Field(min_length=6, max_length=64)
    reason: str = Field("", max_length=500)


class RecoverBody(ApiModel):
    """The list that was shown; "" for whatever waits now. unheard: also while clusters were not heard yet."""

    list_digest: str = Field("", max_length=64, pattern="^([0-9a-f]{6,64})?$")
    unheard: bool = False


class IdentityBody(ApiModel):
    """The identity that a person accepts."""

    identity: str = Field(min_length=1, max_length=100)
    reason: str = Field("", max_length=500)


class TokenBody(ApiModel):
    """A new token."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    role: Literal["viewer", "operator", "admin"]
    expires_seconds: float = Field(30 * 86400, gt=0)


class CredentialBody(ApiModel):
    """A kubeconfig to keep, encrypted; it is never given out again."""

    kubeconfig: str = Field(min_length=1, max_length=262144)
