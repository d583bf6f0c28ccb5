"""The manifest of a Job that a gate runs: one file of the repo, which no team may write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from fleet.core.documents import Document, text_at
from fleet.core.fleet import Cluster, TeamRights
from fleet.core.ids import ClusterName, is_dns_subdomain
from fleet.core.problems import Problem, Severity
from fleet.core.rollout_policy import Gate, JobCheck, RolloutPolicy
from fleet.errors import StepInvalid
from fleet.inventory.content import NoContent, contents
from fleet.inventory.rights import teams_of
from fleet.inventory.yamlfile import YamlRefused, read_documents
from fleet.ports.source import Snapshot

_MOST_BYTES = 64 << 10
_NAME_LIMIT = 40  # a suffix is added for each run, and Jobs' names become label values of at most 63
_WAITS = "a rollout waits at this gate until it fails by its timeout; nothing is released"


def job_problems(
    policies: Iterable[RolloutPolicy],
    snapshot: Snapshot,
    clusters: Mapping[ClusterName, Cluster],
    teams: Sequence[TeamRights],
) -> tuple[Problem, ...]:
    """What is wrong with Jobs of gates, each with its line. clusters: all that are known."""
    found: list[Problem] = []
    for gate, check in _jobs_of(policies):
        if check.cluster and ClusterName(check.cluster) not in clusters:
            found.append(_problem(gate, f"there is no cluster {check.cluster}", "correct cluster"))
        try:
            read_job(snapshot, check.path, teams)
        except StepInvalid as error:
            found.append(_problem(gate, f"{error.what}: {error.why}", error.next_step))
    return tuple(found)


def job_files(policies: Iterable[RolloutPolicy], snapshot: Snapshot) -> Mapping[str, str]:
    """Blob ids of the Jobs of gates, by path; none for a file that is not there."""
    paths = {check.path for _, check in _jobs_of(policies)}
    return {path: snapshot.tree[path].oid for path in sorted(paths) if path in snapshot.tree}


def _jobs_of(policies: Iterable[RolloutPolicy]) -> Iterator[tuple[Gate, JobCheck]]:
    for gate in (gate for policy in policies for step in policy.steps or () for gate in step.gates):
        if isinstance(gate.check, JobCheck):
            yield gate, gate.check


def read_job(snapshot: Snapshot, path: str, teams: Sequence[TeamRights]) -> Document:
    """The Job of a gate at one commit; raises StepInvalid."""
    if path not in snapshot.tree or not snapshot.tree[path].mode.startswith("100"):
        raise _refused(path, "no such file in this commit", "correct path, from the root of the repo")
    if teams_of(path.rpartition("/")[0], teams):
        raise _refused(path, "it lies in a team's directory, and would run with more than its rights", "move it")
    ((_, raw),) = contents(snapshot, [path])
    if isinstance(raw, NoContent):
        raise _refused(path, raw.what, raw.next_step)
    if len(raw) > _MOST_BYTES:
        raise _refused(path, f"it has {len(raw)} bytes, the limit is {_MOST_BYTES}", "put less into one Job")
    try:
        documents = [document.value for document in read_documents(raw) if document.value is not None]
    except YamlRefused as error:
        raise _refused(f"{path}:{error.line}", error.what, "correct the file") from None
    job = documents[0] if len(documents) == 1 else None
    if not isinstance(job, dict) or (job.get("apiVersion"), job.get("kind")) != ("batch/v1", "Job"):
        raise _refused(path, "it does not hold exactly one Job of batch/v1", "give it a file of its own")
    name, namespace = text_at(job, "metadata", "name"), text_at(job, "metadata", "namespace")
    if not is_dns_subdomain(name) or len(name) > _NAME_LIMIT or not is_dns_subdomain(namespace):
        wants = f"metadata.name (at most {_NAME_LIMIT} characters: each run adds its own) and metadata.namespace"
        raise _refused(path, "its name or namespace is missing or none", f"give {wants}")
    return job


def _refused(where: str, why: str, next_step: str) -> StepInvalid:
    return StepInvalid(f"the Job {where} cannot be run", why=why, next_step=next_step)


def _problem(gate: Gate, what: str, next_step: str) -> Problem:
    about = f"gate {gate.name}: {what}"
    return Problem(Severity.ERROR, "StepInvalid", about, gate.origin, effect=_WAITS, next_step=next_step)
