"""Limits of one connection to one cluster (R18, R19). Seconds and bytes; read once from settings, handed down."""

from __future__ import annotations

from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class KubeLimits:
    """The defaults suit a hub with many clusters; tests shorten them."""

    call_seconds: float = 60.0  # one call with its repeats; the API server itself gives up at 60
    list_seconds: float = 150.0  # a list with all its pages; what is older says little of now (R21)
    idle_seconds: float = 40.0  # no byte for so long ends a call
    connect_seconds: float = 10.0  # for its address, and again for the connection
    read_tries: int = 4
    page_objects: int = 500
    answer_bytes: int = 64 << 20  # one answer, after decompression
    list_bytes: int = 512 << 20  # all pages of a list
    event_bytes: int = 8 << 20  # one line of a watch; objects reach 1.5 MB, managedFields come on top
    # Values are what a JSON text makes when it is parsed (`fleet.kube.weight`): time on the hub's loop, and memory.
    answer_values: int = 3_000_000  # 0.7 s and 230 MB at worst; 20 MiB of CRDs, with descriptions 60 MiB
    list_values: int = 12_000_000  # 900 MB at worst; 20,000 Deployments, or 100,000 ConfigMaps
    event_values: int = 500_000  # 0.1 s; the densest object of 1.5 MB, managedFields and all
    watch_seconds: float = 1800.0  # a watch is renewed after 0.75 to 1.25 times this, spread in time
    proof_seconds: float = 4.0  # the short first watch that proves a resumed position, spread likewise
    silence_seconds: float = 150.0  # bookmarks come about every 60 s (R19)
    steady_seconds: float = 10.0  # a watch that lived shorter than this counts as a failure for the backoff
    identity_seconds: float = 600.0  # a write later than this after the last proof proves anew (R1)
    credential_seconds: float = 60.0  # how long a token file or stored credential is used without looking again
    plugin_seconds: float = 60.0  # an exec plugin
    concurrency: int = 16
    joining_concurrency: int = 4
    joining_answers: int = 16  # answers until a new connection may use more than `joining_concurrency`
    connections: int = 512  # watches and calls together
    watches: int = 448  # at most; calls never wait for a connection that a watch holds
    relist_seconds: float = 60.0  # what has no watch is listed so often; the status is Unknown after three times that
    log_bytes: int = 64 << 10
