"""`rollout:` blocks: each cluster goes to the first step that matches, and what does not fit is named with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventory.snapshots import KUSTOMIZATION, cluster, fleet, load, overlay, said, small_repo

from fleet.core.fleet import Cluster, Environment
from fleet.core.ids import ClusterName, OverlayName
from fleet.core.problems import Origin
from fleet.core.rollout_policy import (
    Amount,
    Gate,
    OnFailure,
    PrometheusCheck,
    RolloutPolicy,
    Step,
)
from fleet.core.steps import limit_of, stages_of, unavailable_limit_of
from fleet.sim.workload_status import amount_of

HERE = Origin("fleet.yaml", 1)
WEB = OverlayName("web")


def clusters_of(**environments: str) -> dict[ClusterName, Cluster]:
    return {
        ClusterName(name): Cluster(ClusterName(name), HERE, environment=stage) for name, stage in environments.items()
    }


def taken(policy: RolloutPolicy, clusters: dict[ClusterName, Cluster], *environments: str) -> dict[str, list[str]]:
    staged = stages_of(policy, clusters, tuple(map(Environment, environments)))
    assert not staged.left_over
    return {stage.name: [str(name) for name in stage.clusters] for stage in staged.stages}


def test_by_default_environments_go_in_the_declared_order_one_cluster_first() -> None:
    clusters = clusters_of(p2="prod", p1="prod", d1="dev", x1="lab", n1="")
    staged = stages_of(RolloutPolicy(), clusters, (Environment("dev"), Environment("prod")))
    assert [(stage.name, stage.clusters) for stage in staged.stages] == [
        ("dev", ("d1",)), ("prod", ("p1", "p2")), ("lab", ("x1",)), ("rest", ("n1",)),
    ]  # fmt: skip
    assert all(stage.step.one_first for stage in staged.stages)


def test_no_steps_means_at_once() -> None:
    assert stages_of(RolloutPolicy(steps=()), clusters_of(a="prod"), ()).stages == ()


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["dev", "prod", ""]), min_size=1), st.data())
def test_each_cluster_is_in_the_first_step_that_matches_and_in_no_other(stages: dict[str, str], data) -> None:
    wants = data.draw(st.lists(st.sampled_from(["dev", "prod", "rest"]), min_size=1, max_size=4))
    steps = tuple(
        Step(f"s{n}", HERE, rest=want == "rest", environments=() if want == "rest" else (want,))
        for n, want in enumerate(wants)
    )
    staged = stages_of(RolloutPolicy(steps), clusters_of(**stages), ())
    for name, stage in stages.items():
        matching = [n for n, want in enumerate(wants) if want in ("rest", stage)]
        found = [n for n, part in enumerate(staged.stages) if name in part.clusters]
        assert found == matching[:1]
        assert (name in staged.left_over) == (not matching)


@pytest.mark.parametrize(
    ("amount", "total", "limit"),
    [(None, 9, None), (Amount(number=3), 9, 3), (Amount(share=0.5), 9, 5), (Amount(share=0.05), 16, 1),
     (Amount(share=0.3), 10, 3), (Amount(share=1.0), 7, 7), (Amount(share=0.01), 0, 1)],
)  # fmt: skip
def test_a_share_is_rounded_up_and_never_forbids_all(amount: Amount | None, total: int, limit: int | None) -> None:
    assert limit_of(amount, total) == limit


@pytest.mark.parametrize(
    ("amount", "total", "limit"),
    [(None, 9, None), (Amount(number=2), 9, 2), (Amount(share=0.25), 5, 1), (Amount(share=0.25), 8, 2),
     (Amount(share=0.1), 40, 4), (Amount(share=0.7), 10, 7), (Amount(share=0.3), 9, 2), (Amount(share=0.05), 10, 1)],
)  # fmt: skip
def test_a_share_that_may_be_unavailable_is_rounded_down_as_a_deployments_and_never_forbids_all(
    amount: Amount | None, total: int, limit: int | None
) -> None:
    assert unavailable_limit_of(amount, total) == limit
    if amount is not None and amount.share:
        assert limit == max(1, amount_of(f"{round(amount.share * 100)}%", total, up=False))


def test_the_overlays_block_stands_above_the_fleets_field_by_field() -> None:
    files = small_repo()
    files["fleet.yaml"] = fleet("""
        rollout:
          steps: [{name: dev, environments: [dev], soak: 10m}, {name: all, rest: true, maxUnavailable: 5%}]
          onFailure: rollback
    """)
    files["overlays/web/overlay.yaml"] = overlay("{clusters: [{all: true}], rollout: {healthTimeout: 90s}}")
    files["overlays/api/overlay.yaml"] = overlay("{clusters: [{all: true}], rollout: {steps: []}}")
    files["overlays/api/kustomization.yaml"] = KUSTOMIZATION
    loaded = load(files)
    assert not said(loaded)
    web, api = (loaded.fleet.overlays[OverlayName(name)].rollout for name in ("web", "api"))
    assert web.steps is not None
    assert [(s.name, s.soak_seconds, str(s.origin)) for s in web.steps] == [
        ("dev", 600.0, "fleet.yaml:6"), ("all", 0.0, "fleet.yaml:6"),
    ]  # fmt: skip
    assert (web.health_timeout_seconds, web.on_failure, web.own_steps) == (90, OnFailure.ROLLBACK, False)
    assert (api.steps, api.own_steps, api.on_failure) == ((), True, OnFailure.ROLLBACK)


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("", None), (", approveTimeout: 1m", 60.0), (", approveTimeout: 24h", 86400.0)]
)
def test_an_approval_may_have_a_timeout(timeout: str, seconds: float | None) -> None:
    files = small_repo()
    files["fleet.yaml"] = fleet(f"rollout: {{steps: [{{name: ok, approve: 2{timeout}}}, {{name: all, rest: true}}]}}")
    steps = load(files).fleet.overlays[OverlayName("web")].rollout.steps
    assert steps is not None
    assert (steps[0].approvals, steps[0].approve_timeout_seconds) == (2, seconds)


def test_clusters_that_no_step_takes_are_named_and_stay_as_they_are() -> None:
    files = small_repo()
    files["fleet.yaml"] = fleet("rollout: {steps: [{name: dev, environments: [dev]}]}")
    loaded = load(files)
    (line,) = said(loaded)
    assert line == "error StepInvalid fleet.yaml:5: web is taken by no step of its rollout on eu-1"
    assert [str(name) for name in loaded.fleet.unknown.units] == ["web@eu-1"]
    assert [str(name) for name in loaded.fleet.units] == ["web@dev-1"]
    files["fleet.yaml"] = fleet("rollout: {steps: [{name: dev, environments: [dev]}, {name: rest, rest: true}]}")
    assert not said(load(files))


@pytest.mark.parametrize("where", ["fleet.yaml", "overlays/web/overlay.yaml"])
def test_a_step_that_matches_nothing_is_an_error_with_its_line(where: str) -> None:
    files = small_repo()
    block = "rollout: {steps: [{name: canary, clusters: {matchLabels: {tier: canary}}}, {name: all, rest: true}]}"
    files[where] = fleet(block) if where == "fleet.yaml" else overlay(f"clusters: [{{all: true}}]\n{block}")
    (line,) = said(load(files))
    assert "StepInvalid" in line
    assert f"{where}:" in line
    assert "step canary matches no cluster" in line
    files["clusters/eu-1.yaml"] = cluster("eu-1", labels="{tier: canary}")
    assert not said(load(files))


@pytest.mark.parametrize("where", ["fleet.yaml", "overlays/web/overlay.yaml"])
@pytest.mark.parametrize("step", ["approve: 1", "gates: [{name: errors, http: {url: 'https://x.test'}}]"])
def test_a_last_step_that_nothing_comes_after_is_named_with_its_line(where: str, step: str) -> None:
    files = small_repo()
    for steps, is_unread in (f"{{name: all, rest: true}}, {{name: ok, {step}}}", True), (
        f"{{name: ok, {step}}}, {{name: all, rest: true}}", False,
    ):  # fmt: skip
        block = f"rollout: {{steps: [{steps}]}}"
        files[where] = fleet(block) if where == "fleet.yaml" else overlay(f"clusters: [{{all: true}}]\n{block}")
        lines = said(load(files))
        assert len(lines) == is_unread
        for line in lines:
            assert f"{where}:" in line
            assert "step ok is never asked about" in line


def test_a_step_is_not_said_to_match_nothing_while_a_cluster_file_is_not_known() -> None:
    files = small_repo() | {"clusters/broken.yaml": "kind: Cluster\nmetadata: ["}
    files["fleet.yaml"] = fleet("rollout: {steps: [{name: c, clusters: {names: [eu-9]}}, {name: all, rest: true}]}")
    assert not [line for line in said(load(files)) if "StepInvalid" in line]


@pytest.mark.parametrize(
    ("steps", "what"),
    [
        ("{name: a, rest: true, environments: [dev]}", "rest takes all that is left"),
        ("{name: a, clusters: {all: true, path: x}}", "a step only selects"),
        ("{name: a}", "give clusters, environments, rest, approve or gates"),
        ("{name: a, rest: true, gates: [{name: g}]}", "a gate is one of prometheus, http, job"),
        ("{name: a, rest: true, gates: [{name: g, http: {url: ftp://x}}]}", "no URL"),
        ("{name: a, rest: true, gates: [{name: g, http: {url: 'https://u:p@x'}}]}", "name a credential instead"),
        ("{name: a, rest: true, gates: [{name: g, prometheus: {url: 'https://x', query: up}}]}", "no threshold"),
        (
            "{name: a, rest: true, gates: [{name: g, prometheus: {url: 'https://x', query: up, above: 2, below: 1}}]}",
            "no number is above 2",
        ),
        (
            "{name: a, rest: true, gates: [{name: g, prometheus: {url: 'https://x/?q=1', query: up, below: 1}}]}",
            "without ?query",
        ),
        (
            "{name: a, rest: true, gates: [{name: g, http: {url: 'https://x'}, window: 20m, timeout: 20m}]}",
            "nothing can pass",
        ),
        (
            "{name: a, rest: true, soak: 30m, gates: [{name: g, http: {url: 'https://x'}, window: 30m, timeout: 10m}]}",
            "nothing can pass",
        ),
        ("{name: a, rest: true, gates: [{name: g, http: {url: 'https://x'}, interval: 1ms}]}", "between 1s and 1h"),
        (
            "{name: a, rest: true, gates: [{name: g, http: {url: 'https://x'}}, {name: g, http: {url: 'https://y'}}]}",
            "gate g is given twice",
        ),
        ("{name: a, gates: [{name: g, job: {path: job.yaml}}]}", "must name its cluster"),
        ("{name: a, rest: true, gates: [{name: g, job: {path: job.yaml}, window: 1m}]}", "completes once"),
        ("{name: a, approve: 1, soak: 5m}", "nothing to soak"),
        ("{name: a, rest: true, approveTimeout: 1h}", "approveTimeout without approve"),
        ("{name: a, approve: 1, approveTimeout: 59s}", "between 1m and 720h"),
        ("{name: a, approve: 1, approveTimeout: 721h}", "between 1m and 720h"),
        ("{name: a, rest: true, maxUnavailable: 0}", "lets no cluster begin"),
        ("{name: a, rest: true, maxParallel: 0%}", "lets no cluster begin"),
        ("{name: a, rest: true, maxParallel: 101%}", "in the form of 25%"),
        ("{name: a, approve: 1}, {name: a, rest: true}", "step a is given twice"),
    ],
)
def test_a_step_that_cannot_be_done_is_refused_with_its_line(steps: str, what: str) -> None:
    (problem, *_) = load(small_repo() | {"fleet.yaml": fleet(f"rollout:\n  steps: [{steps}]")}).fleet.problems
    assert what in problem.what
    assert (problem.origin.path, problem.origin.line > 0) == ("fleet.yaml", True)


@pytest.mark.parametrize(
    ("step", "gate", "timeout", "window"),
    [
        ("soak: 30m", "http: {url: 'https://x'}", 2400.0, 1800.0),
        ("soak: 30m", "http: {url: 'https://x'}, window: 0s", 600.0, 0.0),
        ("soak: 30m", "http: {url: 'https://x'}, window: 5m, timeout: 6m", 360.0, 300.0),
        ("soak: 30m", "job: {path: smoke.yaml}", 600.0, 0.0),
        ("maxParallel: 1", "http: {url: 'https://x'}", 600.0, 0.0),
        ("soak: 30m", "http: {url: 'https://x'}, timeout: 10m", 600.0, 570.0),
        ("soak: 30m", "http: {url: 'https://x'}, timeout: 1h", 3600.0, 1800.0),
        ("soak: 720h", "http: {url: 'https://x'}", 604800.0, 604200.0),
        ("soak: 720h", "http: {url: 'https://x'}, timeout: 168h, interval: 1h", 604800.0, 601200.0),
        ("soak: 720h", "job: {path: smoke.yaml}, timeout: 10m", 600.0, 0.0),
        ("soak: 1h", "http: {url: 'https://x'}, window: 167h55m", 604800.0, 604500.0),
    ],
    ids=[
        "while it soaks",
        "twin: once, as it says",
        "its own window",
        "a Job completes once",
        "no soak",
        "as its timeout allows",
        "twin: its timeout is longer",
        "the longest",
        "the longest by hand",
        "a Job, cut off",
        "the longest window",
    ],
)
def test_a_gate_reads_well_for_as_long_as_its_step_soaks(step: str, gate: str, timeout: float, window: float) -> None:
    files = small_repo() | {"smoke.yaml": JOB}
    files["fleet.yaml"] = fleet(f"rollout:\n  steps: [{{name: a, rest: true, {step}, gates: [{{name: g, {gate}}}]}}]")
    loaded = load(files)
    assert not said(loaded)
    steps = loaded.fleet.overlays[OverlayName("web")].rollout.steps
    assert steps is not None
    (found,) = steps[0].gates
    assert (found.timeout_seconds, found.window_seconds) == (timeout, window)


JOB = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: smoke, namespace: shop}\nspec: {template: {}}\n"


@pytest.mark.parametrize(
    ("path", "content", "what"),
    [
        ("gone.yaml", None, "no such file in this commit"),
        ("bad.yaml", "kind: [", "gate smoke: the Job bad.yaml:"),
        ("two.yaml", JOB + "---\n" + JOB, "exactly one Job"),
        ("pod.yaml", JOB.replace("Job", "Pod"), "exactly one Job"),
        ("no-namespace.yaml", JOB.replace(", namespace: shop", ""), "name or namespace"),
        ("long.yaml", JOB.replace("smoke", "s" * 41), "name or namespace"),
        ("teams/shop/job.yaml", JOB, "in a team's directory"),
        ("jobs/smoke.yaml", JOB, ""),
    ],
)
def test_the_job_of_a_gate_is_looked_at_before_it_runs(path: str, content: str | None, what: str) -> None:
    gate = f"{{name: smoke, job: {{path: {path}}}}}"
    files = small_repo() | {
        "fleet.yaml": fleet(f"""
            teams: {{shop: {{dirs: [teams/shop]}}}}
            rollout:
              steps: [{{name: all, rest: true, gates: [{gate}]}}]
        """)
    }
    if content is not None:
        files[path] = content
    lines = [line for line in said(load(files)) if "teams/shop" not in line.partition(": gate")[0]]
    if not what:
        assert not lines
        return
    (line,) = lines
    assert line.startswith("error StepInvalid fleet.yaml:7: gate smoke: ")
    assert what in line


def test_a_gate_keeps_what_is_written_and_its_line() -> None:
    gate = "{name: errors, prometheus: {url: 'https://p', query: up, above: 0}, interval: 5s, window: 1m, retries: 0}"
    files = small_repo() | {
        "fleet.yaml": fleet(f"rollout:\n  steps:\n  - name: all\n    rest: true\n    gates: [{gate}]")
    }
    loaded = load(files)
    assert not said(loaded)
    ((step,),) = ([*(loaded.fleet.rollout.steps or ())],)
    assert step.gates == (
        Gate("errors", PrometheusCheck("https://p", "up", None, 0.0), Origin("fleet.yaml", 9), 5.0, 660.0, 60.0, 0),
    )


def test_a_team_may_not_give_steps_but_a_shorter_patience() -> None:
    files = small_repo()
    files["fleet.yaml"] = fleet("teams: {web: {dirs: [overlays/web]}}")
    files["overlays/web/overlay.yaml"] = overlay("{clusters: [{all: true}], rollout: {steps: []}}")
    (line,) = said(load(files))
    assert "NotAllowedForTeam overlays/web/overlay.yaml:4" in line
    files["overlays/web/overlay.yaml"] = overlay("{clusters: [{all: true}], rollout: {healthTimeout: 1m}}")
    loaded = load(files)
    assert not said(loaded)
    assert loaded.fleet.overlays[WEB].health_timeout_seconds == 60
