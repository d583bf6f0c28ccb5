"""How units are kept in sync: when, what is left alone, what is healthy, how much may be deleted, who stopped it."""

from __future__ import annotations

from enum import StrEnum

from fleet.core.problems import Origin
from fleet.values import dataclass, field


class SyncMode(StrEnum):
    """auto applies what is released; manual waits for `fleet sync`."""

    AUTO = "auto"
    MANUAL = "manual"


class Validate(StrEnum):
    """How a plan is validated before the first write (R14)."""

    SERVER = "server"
    SCHEMA = "schema"


class Adopt(StrEnum):
    """What happens to objects that exist already and carry no mark (R4)."""

    NEVER = "never"
    IF_NO_DIFF = "ifNoDiff"
    ALWAYS = "always"


class WindowKind(StrEnum):
    """Deny wins over allow."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which syncs are allowed or denied: cron, length in seconds, IANA time zone.

    origin: where its list stands; one that moved to another line is the same window.
    """

    kind: WindowKind
    schedule: str
    duration_seconds: int
    time_zone: str = "UTC"
    origin: Origin = field(default=Origin(""), compare=False)


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """Section 7 of the design; the fleet's defaults, an overlay's own values instead."""

    mode: SyncMode = SyncMode.AUTO
    prune: bool = True
    self_heal: bool = True
    validate: Validate = Validate.SERVER
    adopt: Adopt = Adopt.NEVER
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Suspension:
    """A person stopped it; `until` (RFC 3339 or "") lists it as overdue when past, it never resumes by itself."""

    reason: str
    owner: str = ""
    until: str = ""
    scope: str = ""  # "fleet", "cluster eu-1", "overlay web", "unit web@eu-1"
    origin: Origin | None = None  # None: by command

    @property
    def next_step(self) -> str:
        """How anybody lifts it."""
        if self.origin is not None:
            return f"edit {self.origin}"
        return f"fleet resume {self.scope}" + (f" --owner {self.owner}" if self.owner else "")

    def __str__(self) -> str:
        """Who stopped it, and why."""
        return f"suspended by {self.owner}: {self.reason}" if self.owner else f"suspended: {self.reason}"


@dataclass(frozen=True, slots=True)
class IgnoreRule:
    """Fields that are not compared or applied: JSON pointers and / or field managers. Empty criteria match all."""

    group: str | None = None
    kind: str = ""
    namespace: str = ""
    name: str = ""
    pointers: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IgnoreNote:
    """Who had fields ignored, why, and until when: for people. Not in the rule, whose other text is another rule.

    Past `until` (RFC 3339 or "") it is listed as overdue; the rule stays in force.
    """

    what: str
    origin: Origin
    reason: str = ""
    owner: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class HealthRule:
    """CEL expressions over the live object for a kind that kstatus does not know."""

    kind: str
    group: str | None = None
    healthy: str = ""
    degraded: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """Deletions a unit may do in a sliding hour before a person is asked (R9). share: 0..1."""

    objects: int = 20
    share: float = 0.25
    share_from: int = 8
    clusters: int = 3
