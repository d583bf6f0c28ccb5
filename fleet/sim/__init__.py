"""Simulated Kubernetes clusters: N API servers in one process, for the demo, for load and for faults.

    async with Simulation(clusters=["eu-1", "eu-2"], seed=7) as sim:
        sim.kubeconfig("eu-1")             # bytes, admin; kubeconfig("eu-1", user="jo") for one without rights
        cluster = sim.cluster("eu-1")      # SimCluster
        cluster.identity                   # UID of kube-system
        cluster.get("apps", "Deployment", "shop", "web"); cluster.list("", "ConfigMap")
        cluster.drift("apps", "Deployment", "shop", "web", {"spec": {"replicas": 9}}, manager="kubectl-edit")
        cluster.faults.add("error", code=503, retry_after=1, verbs={"list"}, count=2)
        cluster.ledger.writes(since=0); cluster.ledger.count(verb="watch")
        url = await sim.control.start()    # HTTP for `fleet sim drift`, with sim.control.token (control.py)

What pods do is said by image tags and annotations (fates.py), what the servers do wrong by faults (faults.py).

It is held to the real server by the conformance suite: where they disagree, the real one is right.
"""

from fleet.sim.cluster import SimCluster
from fleet.sim.simulation import Simulation

__all__ = ["SimCluster", "Simulation"]
