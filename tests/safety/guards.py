"""The cases of all guards of the refusal table."""

from __future__ import annotations

from safety import guards_cluster, guards_decisions, guards_evidence, guards_repo
from safety.case import Case

CASES: dict[str, Case] = {
    **guards_cluster.CASES,
    **guards_decisions.CASES,
    **guards_evidence.CASES,
    **guards_repo.CASES,
}
