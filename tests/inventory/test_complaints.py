"""What the schema refuses is said with the field, the line and a way out."""

from __future__ import annotations

import pytest
from inventory.snapshots import cluster, fleet, load, overlay, small_repo

CASES = [
    ("clusters/x.yaml", cluster("eu-2", "{enviroment: prod}"), "unknown field spec.enviroment", "environment"),
    ("clusters/x.yaml", cluster("eu-2", "{mode: obsreve}"), "allowed: manage or observe", "did you mean observe?"),
    ("clusters/x.yaml", cluster("eu-2", "{}", "{payments: yes}"), "read as true or false", "quote it"),
    ("clusters/x.yaml", cluster("eu-2", "{}", "{v: 1.20}"), "read as a number", "quote it"),
    ("clusters/x.yaml", cluster("EU-2"), "no name", "lower-case"),
    ("clusters/x.yaml", cluster("eu-2", "[a]"), "spec must be a mapping, not a list", "mapping"),
    ("clusters/x.yaml", cluster("eu-2", "{variables: {cluster_name: x}}"), "built in", "cannot be set"),
    ("clusters/x.yaml", cluster("eu-2", "{connection: {credential: a, inCluster: {}}}"), "exclude each other", ""),
    ("clusters/x.yaml", cluster("eu-2", "{overlays: [{nam: web}]}"), "spec.overlays[0].nam", "did you mean name?"),
    ("overlays/web/overlay.yaml", overlay("{source: {name: a}}"), "spec.source is reserved", "not built yet"),
    ("overlays/web/overlay.yaml", overlay("{helm: {}}"), "spec.helm is reserved", "not built yet"),
    ("overlays/web/overlay.yaml", overlay("{clusters: [{matchLabel: {a: b}}]}"), "matchLabel", "mean matchLabels?"),
    ("overlays/web/overlay.yaml", overlay("{substitute: maybe}"), "must be true or false, not text", ""),
    ("overlays/web/overlay.yaml", overlay("{ignoreDifferences: [{kind: X}]}"), "it ignores nothing", "pointers"),
    ("overlays/web/overlay.yaml", overlay("{rollout: {healthTimeout: soon}}"), "in the form of 10m", "10m"),
    ("overlays/web/overlay.yaml", overlay(f"rollout: {{healthTimeout: {'9' * 400}h}}"), "in the form of 10m", "10m"),
    ("fleet.yaml", fleet("budget: {share: 250%}"), "in the form of 25%", "25%"),
    ("fleet.yaml", fleet("budget: {share: 0.25}"), "must be text", ""),
    ("fleet.yaml", fleet("overlays: [{dirs: a, paths: ['{clutser}']}]"), "{clutser} is not known", "{cluster}"),
    ("fleet.yaml", fleet("overlays: [{dirs: a, clusters: []}]"), "unknown field spec.overlays[0].clusters", ""),
    ("fleet.yaml", fleet("sync: {windows: [{kind: deny, schedule: '99 * * * *', duration: 1h}]}"), "no cron", ""),
    ("fleet.yaml", fleet("rollout: {steps: [{name: a, maxParalel: 1}]}"), "maxParalel", "did you mean maxParallel?"),
]


@pytest.mark.parametrize(("path", "text", "what", "label"), CASES, ids=[case[2] for case in CASES])
def test_a_wrong_field_is_named_with_line_and_way_out(path: str, text: str, what: str, label: str) -> None:
    (problem, *_) = load(small_repo() | {path: text}).fleet.problems
    assert what in problem.what
    assert label in problem.label
    assert (problem.origin.path, problem.effect != "", problem.next_step != "") == (path, True, True)
    line = text.splitlines()[problem.origin.line - 1]
    underlined = line[problem.column - 1 : problem.column - 1 + problem.length]
    assert underlined == underlined.strip()
