"""`fleet schema`: the JSON Schema of a kind of the fleet repo."""

from __future__ import annotations

import json
from typing import TextIO

from fleet.core.nearest import hint
from fleet.errors import UsageInvalid
from fleet.inventory.schema import KINDS, json_schema


def schema_text(kind: str) -> str:
    """As it is published in docs/schemas/ and written by `fleet init`."""
    return json.dumps(json_schema(kind), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def schema(kind: str, out: TextIO) -> int:
    """Write the schema of Fleet, Cluster or Overlay. Raises UsageInvalid for any other."""
    name = next((known for known in KINDS if known.lower() == kind.lower()), None)
    if name is None:
        raise UsageInvalid(f"no kind {kind}", next_step=hint(kind, KINDS, otherwise=f"one of {', '.join(KINDS)}"))
    out.write(schema_text(name))
    return 0
