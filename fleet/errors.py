"""The one error tree: a class name is also the status reason, the API problem type and a page in docs/errors/.

Every error says what went wrong, where (file:line, cluster, object), why, and what to do next. No part of any
error may hold a credential or the value of a Secret (R32): adapters take them out before they raise.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Retry(StrEnum):
    """What waiting is worth after an error."""

    SOON = "soon"  # the same call may go through: back off and repeat
    ON_CHANGE = "on-change"  # another commit, right or setting is needed
    NEVER = "never"  # a person must decide


class FleetError(Exception):
    """Base of all errors that fleet raises on purpose; anything else that escapes is a bug."""

    retry: ClassVar[Retry] = Retry.ON_CHANGE

    def __init__(self, what: str, *, where: str = "", why: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.next_step = what, where, why, next_step

    @property
    def reason(self) -> str:
        """The class name: the status reason, the API problem type, the page in docs/errors/."""
        return type(self).__name__

    @classmethod
    def is_group(cls) -> bool:
        """Whether it only gathers others, so that it has no page in docs/errors/."""
        return cls is FleetError or (cls.__bases__[0] is FleetError and bool(cls.__subclasses__()))

    @property
    def brief(self) -> str:
        """What happened and why, for places that show where and what next by themselves."""
        return f"{self.what}: {self.why}" if self.why else self.what

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"at {self.where}")
        if self.why:
            parts.append(self.why)
        if self.next_step:
            parts.append(f"next: {self.next_step}")
        return "; ".join(parts)


# Usage and the hub's own configuration


class UsageInvalid(FleetError):
    """A command line or a setting that cannot be meant."""


class RendererMissing(FleetError):
    """No kustomize >= 5, no kubectl >= 1.27: nothing can be rendered on this machine."""


class PromotionRefused(FleetError):
    """The environment before proves nothing yet, or a file cannot be edited without touching more than its images."""


# Source (R6, R7, R25, R26)


class SourceError(FleetError):
    """The fleet repo could not be read; the last good commit stays in force."""


class FetchFailed(SourceError):
    """The Git host did not answer, or answered with an error."""

    retry = Retry.SOON


class GitDenied(SourceError):
    """The Git host refuses the credential."""


class GitUrlRefused(SourceError):
    """A URL or ref with a protocol, an option or a character that is not allowed (R25, R26)."""


class GitHostRefused(SourceError):
    """Who answers is not the Git host that was meant, sends elsewhere, or sends what git's check refuses (R25)."""


class RefMissing(SourceError):
    """The tracked branch is not there any more; never read as an empty repo (R7)."""


class HistoryRewritten(SourceError):
    """The tracked branch no longer contains the commit in force (R7)."""

    retry = Retry.NEVER


class CommitTooLarge(SourceError):
    """A commit beyond the limits on files, sizes or depth (R28)."""


class MergeConflict(SourceError):
    """Changes that do not merge into a commit; only `fleet plan` and `fleet rollout revert` say this."""


class SignatureInvalid(SourceError):
    """Signatures are demanded and this commit's is missing, unknown or wrong (R28)."""


# Inventory (R2, R3, R28, R29)


class InventoryError(FleetError):
    """A problem in the fleet repo's own files, with file and line."""


class FileInvalid(InventoryError):
    """A file that is no YAML, or breaks a limit; what it defines is Unknown."""


class FieldInvalid(InventoryError):
    """An unknown field, a wrong type or a value that is not allowed."""


class NameInvalid(InventoryError):
    """A name that Kubernetes or fleet cannot carry; never repaired silently (R3)."""


class FleetRenamed(InventoryError):
    """Another name in fleet.yaml than the marks on all clusters carry; the commit is not taken over (R4, R5)."""


class DuplicateName(InventoryError):
    """Two files define one name or identity; all that carry it stand still (R2)."""


class TargetInvalid(InventoryError):
    """A target without a criterion, or two targets that contradict each other."""


class StepInvalid(InventoryError):
    """A step of a rollout that takes no cluster, or a cluster that no step takes."""


class PathMissing(InventoryError):
    """A unit names a directory that its commit does not contain; never read as empty (R8)."""


class VariableUnknown(InventoryError):
    """A ${name} that no variable defines and that has no default."""


class NotAllowedForTeam(InventoryError):
    """A team's directory holds something outside its allowed kinds, namespaces or clusters (R29)."""


# Render (R8, R27, R28)


class RenderError(FleetError):
    """A unit could not be rendered; it stays on what it had."""


class RenderFailed(RenderError):
    """kustomize refused the input."""


class RenderTimeout(RenderError):
    """kustomize ran longer than its limit and was ended."""

    retry = Retry.SOON


class RenderInterrupted(RenderError):
    """A render worker ended or was closed in the middle; nothing is wrong with the input as far as is known."""

    retry = Retry.SOON


class RenderTooLarge(RenderError):
    """The build broke its memory, output, file or object limit, or its kustomizations say too much (R28)."""


class ResourceMissing(RenderError):
    """A kustomization names a file that is not in this commit."""


class PathEscapes(RenderError):
    """A path or link that leaves the commit (R27)."""


class RemoteBaseRefused(RenderError):
    """A base from the network (R27): vendor it into the repo."""


class PluginRefused(RenderError):
    """A plugin, function or chart that the hub does not allow (R27)."""


class ChartInvalid(RenderError):
    """A chart archive that is damaged, too large, or holds something other than plain files of one chart (R28)."""


class DocumentInvalid(RenderError):
    """A rendered document that is no Kubernetes object, or that breaks a YAML limit."""


class DuplicateObject(RenderError):
    """Two documents of one unit, or two units of one cluster, define one object (R16, R28)."""


class NamespaceMissing(RenderError):
    """A namespaced object without a namespace."""


class RenderEmpty(RenderError):
    """Zero objects where the overlay does not say allowEmpty (R8)."""


class EncryptedUnsupported(RenderError):
    """An object with a top-level sops key; it is never applied as it stands."""


# Talking to a cluster (R1, R18-R20, R30, R31)


class ClusterError(FleetError):
    """Something about one cluster; no other cluster notices."""


class ClusterUnreachable(ClusterError):
    """No connection: refused, no route, no such name, broken TLS handshake."""

    retry = Retry.SOON


class CertificateUntrusted(ClusterError):
    """The server's certificate is not signed by the expected authority, expired, or for another name."""


class ClusterTimeout(ClusterError):
    """No answer within the deadline; a write may still have landed (R20)."""

    retry = Retry.SOON


class AnswerInvalid(ClusterError):
    """Bytes that are no answer of a Kubernetes API server: HTML, half a document, a wrong kind."""

    retry = Retry.SOON


class Unauthorized(ClusterError):
    """401: the credential is not accepted; never read as an absent object (R20)."""


class Forbidden(ClusterError):
    """403: a right is missing, named by verb and resource."""


class NotFound(ClusterError):
    """404 for a path that should exist (a resource type, a parent)."""


class AlreadyExists(ClusterError):
    """409 on create: the name is taken."""


class Conflict(ClusterError):
    """409: somebody changed the object since it was read, or owns a field of ours."""

    retry = Retry.SOON


class Expired(ClusterError):
    """410: the resourceVersion or continue token is too old; list again."""

    retry = Retry.SOON


class ObjectInvalid(ClusterError):
    """422 or 400: the API server refuses the object by schema or validation."""


class ImmutableField(ObjectInvalid):
    """422 on a field that cannot change; nothing is deleted and recreated by itself (R15)."""


class AdmissionDenied(ClusterError):
    """An admission webhook or policy refuses the object."""


class NestedTooDeep(ClusterError):
    """What stands on the cluster is nested so deeply that it was not read whole; it is not written back (R5)."""


class NotChecked(AdmissionDenied):
    """A webhook refuses dry-runs, so that an object cannot be validated before it is applied; shown, not held back."""


class TooManyRequests(ClusterError):
    """429 or 503 with Retry-After."""

    retry = Retry.SOON
    retry_after: float | None = None  # seconds, where the server said so


class Withdrawn(ClusterError):
    """A write that waited its turn was not sent: its unit was suspended, held or taken over meanwhile (R17).

    Or a person rejected the deletion that it is (R9).
    """

    retry = Retry.SOON


class ServerFailed(ClusterError):
    """5xx of the API server or of something in front of it."""

    retry = Retry.SOON


class KindNotServed(ClusterError):
    """The cluster does not serve this kind; nothing of it is deleted for that."""


class WatchSilent(ClusterError):
    """A watch that is connected but says nothing, not even bookmarks (R19)."""

    retry = Retry.SOON


class IdentityMismatch(ClusterError):
    """Another cluster answers under this entry's name; nothing is written to it (R1)."""

    retry = Retry.NEVER


class ClusterRenamed(ClusterError):
    """The cluster of an entry that left the repo answers under a new name; its record comes along (R2)."""

    retry = Retry.SOON


class IdentityUnknown(ClusterError):
    """An entry has not said yet which cluster it is, and may be one that left the repo under another name (R2)."""


class IdentityUnreadable(ClusterError):
    """The kube-system namespace cannot be read; nothing is written (R1)."""


class CredentialMissing(ClusterError):
    """No credential of that name."""


class CredentialRefused(ClusterError):
    """A kubeconfig that asks for what the hub does not do: exec, file references, no TLS (R30)."""


class CredentialFailed(ClusterError):
    """An exec plugin or token file that gives no usable credential; never a silent anonymous request."""

    retry = Retry.SOON


class AddressRefused(ClusterError):
    """A name that resolves to loopback, link-local, metadata or the hub itself (R31)."""


# Reconciling (R4, R11, R16, R17, R23)


class ReconcileError(FleetError):
    """Something about one unit or object on one cluster."""


class ObjectForeign(ReconcileError):
    """An object exists already and is not ours; left alone unless adoption is asked for (R4)."""


class WriterActive(ReconcileError):
    """Somebody wrote an object minutes ago that is to be taken over; `sync.adopt: ifNoDiff` waits until it is quiet."""


class OwnedByOther(ReconcileError):
    """The object or cluster carries another installation's or unit's mark (R4, R16, R23)."""


class Released(ReconcileError):
    """Our mark was taken off an object by someone; neither changed nor deleted until a person decides."""

    retry = Retry.NEVER


class FieldConflict(ReconcileError):
    """Another field manager owns a field that we want and never applied before."""


class RivalManager(ReconcileError):
    """Another writer keeps changing what we set; reverts back off (R17)."""

    retry = Retry.SOON


class HookFailed(ReconcileError):
    """A hook Job or Pod failed; the unit goes no further."""


class HealthTimeout(ReconcileError):
    """A wave did not become Current within its time; later waves are not applied."""


class PruneStuck(ReconcileError):
    """A finalizer, a terminating namespace or its own prune rule keeps an object; nothing else waits for it (R15)."""

    retry = Retry.SOON


class WorkerFailed(ReconcileError):
    """A bug in the worker of one cluster; its trace is kept and it is started again."""

    retry = Retry.SOON


# The hub's own state (R22-R24)


class StateError(FleetError):
    """The hub's own state; in doubt nothing is written to any cluster."""


class StateInUse(StateError):
    """Another process holds this data directory."""


class StateNotWritable(StateError):
    """Disk full or read-only: writing to clusters stops first (R24)."""

    retry = Retry.SOON


class StateBusy(StateError):
    """The state was not read in time; nothing is wrong with it, and nobody's connection ends for it."""

    retry = Retry.SOON


class StateNewer(StateError):
    """The database was written by a newer fleet."""


class StateDamaged(StateError):
    """The database or an entry of it does not verify."""


class BackupInvalid(StateError):
    """A file that is no whole backup of fleet; nothing was restored from it."""


class BackupForeign(StateError):
    """A backup of another installation, or made under another key; nothing was restored from it."""


class BackupOutdated(StateError):
    """A backup with an older schema than this version writes; nothing was restored from it yet."""


class StateLost(StateError):
    """Empty or older state met clusters that carry our marks: observe only until fleet recover --confirm (R24)."""

    retry = Retry.NEVER


class KeyMissing(StateError):
    """A key of the encrypted store is missing or another one."""


# Access (R37-R42)


class AccessError(FleetError):
    """A request that is not allowed or not understood."""


class NotAuthenticated(AccessError):
    """No token, or none that is known, in force and unexpired."""


class NotAllowed(AccessError):
    """The token's role does not cover this."""


class NotKnown(AccessError):
    """No such cluster, overlay, unit, rollout, hold or operation."""


class RequestInvalid(AccessError):
    """A request that breaks the API's schema or a limit."""


class PreconditionFailed(AccessError):
    """If-Match, list digest or plan digest no longer holds."""


class HubUnreachable(AccessError):
    """The CLI finds no hub, or it does not answer."""

    retry = Retry.SOON
