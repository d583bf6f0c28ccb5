"""The gates of a rollout's steps as they are written."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from fleet.inventory.part import STEP_INVALID, Part
from fleet.inventory.texts import (
    BaseUrlText,
    ClusterNameText,
    CredentialText,
    DurationText,
    PathText,
    UrlText,
    duration_seconds,
)

_MARGIN_SECONDS = 600.0  # beyond its window, in which a gate may still pass
_LONGEST_SECONDS = 7 * 86400.0  # a timeout


class PrometheusPart(Part):
    """An instant query; each value of its answer must be below and above these numbers, where they are given."""

    url: BaseUrlText
    query: Annotated[str, Field(min_length=1, max_length=4096)]
    below: Annotated[float, Field(allow_inf_nan=False)] | None = None
    above: Annotated[float, Field(allow_inf_nan=False)] | None = None
    credential: CredentialText | None = None

    @model_validator(mode="after")
    def _has_bounds(self) -> PrometheusPart:
        if self.below is None and self.above is None:
            raise PydanticCustomError(STEP_INVALID, "no threshold: give below, above, or both")
        if self.below is not None and self.above is not None and self.above >= self.below:
            raise PydanticCustomError(STEP_INVALID, "no number is above {above} and below {below}", dict(self))
        return self


class HttpPart(Part):
    """A GET; its answer must have this status, and this text in its body where one is given."""

    url: UrlText
    status: Annotated[int, Field(ge=200, le=599)] = 200
    contains: Annotated[str, Field(max_length=1000)] = ""
    credential: CredentialText | None = None


class JobPart(Part):
    """A file of the repo with one Job, which must complete."""

    path: PathText
    cluster: Annotated[ClusterNameText | None, Field(description="default: the first Healthy cluster of the step")] = (
        None
    )


class GatePart(Part):
    """What is measured once a step's clusters are Healthy, before the step is over: one of prometheus, http, job."""

    name: ClusterNameText
    prometheus: PrometheusPart | None = None
    http: HttpPart | None = None
    job: JobPart | None = None
    interval: Annotated[DurationText | None, Field(description="Between two readings, by default 30s")] = None
    timeout: Annotated[
        DurationText | None,
        Field(description="Failed after this unless it reads well, by default 10m more than the window"),
    ] = None
    window: Annotated[
        DurationText | None,
        Field(
            description="It must read well for so long, by default as long as the step soaks and a given timeout allows"
        ),
    ] = None
    retries: Annotated[int, Field(ge=0, le=100, description="Bad readings in a row that are forgiven")] = 2

    @model_validator(mode="after")
    def _can_pass(self) -> GatePart:
        if sum(part is not None for part in (self.prometheus, self.http, self.job)) != 1:
            raise PydanticCustomError(STEP_INVALID, "a gate is one of prometheus, http, job")
        interval, timeout, window = self.seconds_in(0.0)
        if not 1 <= interval <= 3600:
            raise PydanticCustomError(STEP_INVALID, "an interval is between 1s and 1h")
        if not max(interval, window) < timeout <= _LONGEST_SECONDS:
            text = "a timeout is longer than interval and window, and at most 168h; else nothing can pass"
            raise PydanticCustomError(STEP_INVALID, text)
        if self.job is not None and window:
            raise PydanticCustomError(STEP_INVALID, "a Job completes once; it has no window")
        return self

    def seconds_in(self, soak: float) -> tuple[float, float, float]:
        """Interval, timeout, window, in a step that soaks for so many seconds; what is not written fits what is.

        One good reading at its first second would say nothing of what happens while it soaks.
        """
        interval = duration_seconds(self.interval or "30s")
        given = duration_seconds(self.timeout) if self.timeout else None
        if self.window:
            window = duration_seconds(self.window)
        elif self.job is not None:
            window = 0.0
        else:
            fits = _LONGEST_SECONDS - _MARGIN_SECONDS if given is None else given - interval
            window = min(soak, max(fits, 0.0))
        timeout = min(window + _MARGIN_SECONDS, _LONGEST_SECONDS) if given is None else given
        return interval, timeout, window
