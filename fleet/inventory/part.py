"""What all parts of the three kinds share, and the names of their own complaints."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

TARGET_INVALID = "target_invalid"  # pydantic's type of this error, for the reason TargetInvalid
STEP_INVALID = "step_invalid"


class Part(BaseModel):
    """What all parts share: camelCase names, unknown fields refused, no value turned into another type."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", strict=True, frozen=True, populate_by_name=False, use_enum_values=True
    )
