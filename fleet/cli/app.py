"""The parser: kubectl's grammar, one function per command. Each imports its handler only when it is called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from fleet.cli.client import Client
from fleet.cli.output import EXIT_DENIED, EXIT_FAILURE, EXIT_NOT_FOUND, EXIT_USAGE, print_error
from fleet.errors import FleetError, NotAllowed, NotAuthenticated, NotKnown, UsageInvalid

Output = Annotated[str, Parameter(["--output", "-o"], help="table, wide, json, yaml, name or jsonpath=EXPRESSION")]
Hub = Annotated[str, Parameter("--hub", help="address of the hub (FLEET_HUB)")]
Reason = Annotated[str, Parameter("--reason", help="goes into the audit log")]
Selector = Annotated[str, Parameter(["--selector", "-l"], help="labels, as region=eu,tier!=canary")]
Timeout = Annotated[str, Parameter("--timeout", help="as 30s, 5m")]
Root = Annotated[Path, Parameter("--root", help="the checkout")]

app = App(
    name="fleet",
    help="GitOps for fleets of Kubernetes clusters.",
    version_flags=[],
    help_format="plaintext",
    help_formatter="plain",  # drawing boxes takes a fifth of a second
)
cluster_app = App(name="cluster", help="Clusters of the inventory and their identities.")
credential_app = App(name="credential", help="Kubeconfigs that the hub keeps, encrypted.")
token_app = App(name="token", help="Tokens for the API.")
audit_app = App(name="audit", help="The hub's audit log: checked, or written out.")
vendor_app = App(name="vendor", help="Copies of remote bases and charts inside the repo, with a digest lock.")
rollout_app = App(name="rollout", help="Stop, move and approve the rollout of a commit.")
sim_app = App(name="sim", help="Act on the simulated clusters of a running demo.")
for part in (cluster_app, credential_app, token_app, audit_app, vendor_app, rollout_app, sim_app):
    app.command(part)


def run(arguments: list[str]) -> int:
    """Run one command; never shows a traceback without --debug."""
    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"]
    try:
        return int(app(words, exit_on_error=False, print_error=False, result_action="return_value") or 0)
    except CycloptsError as error:
        print_error(UsageInvalid(str(error), next_step=f"fleet {' '.join(words[:1])} --help"))
        return EXIT_USAGE
    except FleetError as error:
        if debug:
            raise
        print_error(error)
        return _code_of(error)
    except (KeyboardInterrupt, BrokenPipeError):
        # Nobody reads any more: closing quietly is what kubectl does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 130
    except Exception as error:  # the edge of the program: a bug is told in one line, its trace with --debug
        if debug:
            raise
        print_error(
            FleetError(
                "a bug of fleet ended this command",
                why=f"{type(error).__name__}: {error}",
                next_step="run it again with --debug, and report the trace",
            )
        )
        return EXIT_FAILURE


def _code_of(error: FleetError) -> int:
    match error:
        case UsageInvalid():
            return EXIT_USAGE
        case NotKnown():
            return EXIT_NOT_FOUND
        case NotAllowed() | NotAuthenticated():
            return EXIT_DENIED
        case _:
            return EXIT_FAILURE


# Read


@app.command
def get(
    kind: str,
    *names: str,
    output: Output = "table",
    selector: Selector = "",
    q: str = "",
    health: str = "",
    sync_state: Annotated[str, Parameter("--sync")] = "",
    cluster: str = "",
    overlay: str = "",
    environment: str = "",
    hub: Hub = "",
) -> int:
    """List clusters, units, overlays, holds, rollouts, events or operations, worst first."""
    from fleet.cli.get import get as handler

    filters = {
        "labelSelector": selector,
        "q": q,
        "health": health,
        "sync": sync_state,
        "cluster": cluster,
        "overlay": overlay,
        "environment": environment,
    }
    return handler(Client(hub), kind, names, output, filters)


@app.command
def describe(kind: str, name: str, *, output: Output = "table", hub: Hub = "") -> int:
    """Show one cluster, unit, overlay, hold or rollout with its reasons."""
    from fleet.cli.describe import describe as handler

    return handler(Client(hub), kind, name, output)


@app.command
def status(*, output: Output = "table", hub: Hub = "") -> int:
    """Show the fleet at a glance, and what needs a person."""
    from fleet.cli.overview import status as handler

    return handler(Client(hub), output)


@app.command
def history(
    *,
    cluster: str = "",
    overlay: str = "",
    unit: str = "",
    limit: int = 50,
    audit: bool = False,
    watch: Annotated[bool, Parameter(["--watch", "-w"])] = False,
    output: Output = "table",
    hub: Hub = "",
) -> int:
    """Show the timeline, or with --audit the audit log."""
    from fleet.cli.history import history as handler

    filters = {"cluster": cluster, "overlay": overlay, "unit": unit}
    return handler(Client(hub), filters=filters, limit=limit, audit=audit, watch=watch, output=output)


@app.command
def wait(*, commit: str, timeout: Timeout = "5m", root: Root = Path(), hub: Hub = "") -> int:
    """Wait until every target observed a commit; REV may be HEAD or a branch of this checkout."""
    from fleet.cli.act import wait_for_commit
    from fleet.cli.checkout import revision_of
    from fleet.cli.keys import seconds_of

    return wait_for_commit(Client(hub), revision_of(root, commit), timeout_seconds=seconds_of(timeout))


# Act


@app.command
def sync(
    unit: str,
    *,
    override: bool = False,
    reason: Reason = "",
    wait: bool = True,
    timeout: Timeout = "5m",
    hub: Hub = "",
) -> int:
    """Fetch, then make a unit equal to Git now; --override passes windows and rollout order, never holds."""
    from fleet.cli.act import sync as handler
    from fleet.cli.keys import seconds_of

    return handler(Client(hub), unit, override=override, reason=reason, wait=wait, timeout_seconds=seconds_of(timeout))


@app.command
def refresh(*, hub: Hub = "") -> int:
    """Ask the hub to look into Git now."""
    from fleet.cli.act import refresh as handler

    return handler(Client(hub))


@app.command
def suspend(scope: str, name: str = "", *, reason: Reason, until: str = "", hub: Hub = "") -> int:
    """Stop writes to the fleet, a cluster, an overlay or a unit."""
    from fleet.cli.act import suspend as handler

    return handler(Client(hub), scope, name, reason=reason, until=until)


@app.command
def resume(scope: str, name: str = "", *, reason: Reason = "", hub: Hub = "") -> int:
    """Let a suspended scope go on."""
    from fleet.cli.act import resume as handler

    return handler(Client(hub), scope, name, reason=reason)


@app.command
def approve(
    hold: str,
    digest: str = "",
    *,
    list_digest: Annotated[str, Parameter("--list", help="the list of the hold, as it was shown")] = "",
    base: Annotated[str, Parameter("--base", help="of a plan: as in fleet plan")] = "",
    head: Annotated[str, Parameter("--head", help="of a plan: as in fleet plan")] = "",
    root: Root = Path(),
    reason: Reason = "",
    hub: Hub = "",
) -> int:
    """Approve exactly the list of a hold that was shown; `plan DIGEST` before the merge; or an override (`op-...`)."""
    if hold == "plan":
        from fleet.cli.approve_plan import approve_plan

        return approve_plan(Client(hub), root, digest, base=base, head=head, reason=reason)
    from fleet.cli.act import approve as handler
    from fleet.cli.act import approve_override

    if hold.startswith("op-"):
        return approve_override(Client(hub), hold, reason=reason)
    if digest or base or head or not list_digest:
        raise UsageInvalid(
            f"what of {hold} is approved is not said", next_step=f"fleet approve {hold} --list DIGEST, as it was shown"
        )
    return handler(Client(hub), hold, list_digest=list_digest, reason=reason)


@app.command
def reject(hold: str, *, reason: Reason, hub: Hub = "") -> int:
    """Keep what a hold would delete."""
    from fleet.cli.act import reject as handler

    return handler(Client(hub), hold, reason=reason)


@app.command
def rollback(overlay: str, *, reason: Reason, to: str = "", hub: Hub = "") -> int:
    """Give the clusters of an overlay back what they held before its latest rollout (--to: that commit)."""
    from fleet.cli.rollout import rollback as handler

    return handler(Client(hub), overlay, to=to, reason=reason)


@rollout_app.command(name="pause")
def rollout_pause(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Release nothing more of it for now."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "pause", reason=reason)


@rollout_app.command(name="resume")
def rollout_resume(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Go on after a pause, a halt, an abort or a rollback."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "resume", reason=reason)


@rollout_app.command(name="promote")
def rollout_promote(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Go past the step it stands at, without the clusters that are not Healthy; never past an approval."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "promote", reason=reason)


@rollout_app.command(name="abort")
def rollout_abort(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Release nothing more of it, under any commit; what was released stays."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "abort", reason=reason)


@rollout_app.command(name="approve")
def rollout_approve(commit: str, *, step: str, reason: Reason = "", hub: Hub = "") -> int:
    """Approve a step of it, once for all overlays that have it."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "approve", reason=reason, step=step)


# On a checkout


@app.command
def validate(path: Path = Path(), *, build: bool = True, output: Output = "table") -> int:
    """Check the fleet repo in a checkout: inventory and, unless --no-build, all builds."""
    from fleet.cli.builds import check_builds
    from fleet.cli.validate import validate as handler

    return handler(path, sys.stdout, output=output, checks=[check_builds] if build else [])


@app.command
def init(path: Path = Path(), *, name: str = "default", explain: bool = False) -> int:
    """Make a fleet repo that works, from nothing or from what lies there; --explain says what was not understood."""
    from fleet.cli.init import init as handler

    return handler(path, sys.stdout, name=name, explain=explain)


@app.command
def schema(kind: Literal["Fleet", "Cluster", "Overlay"]) -> int:
    """Print the JSON Schema of a kind."""
    from fleet.cli.schema import schema as handler

    return handler(kind, sys.stdout)


@app.command
def render(unit: str, *, why: bool = False, root: Root = Path()) -> int:
    """Print what Git says for a unit; --why shows its path and variables with file and line."""
    from fleet.cli.render import render as handler

    return handler(root, unit, why=why)


@app.command
def diff(target: str, *, context: str = "", root: Root = Path(), output: Output = "table") -> int:
    """Compare a unit or a cluster with the live objects, by your own kubeconfig; 0 same, 1 different, 2 error."""
    from fleet.cli.diff import diff as handler

    return handler(root, target, context=context, output=output)


@app.command
def plan(
    *,
    base: Annotated[str, Parameter("--base", help="a commit, origin's main without it")] = "",
    head: Annotated[str, Parameter("--head", help="a commit, without it the working tree merged into the base")] = "",
    kube: Annotated[str, Parameter("--kube", help="tell APIs that Kubernetes 1.N deprecates or removed")] = "",
    live: Annotated[bool, Parameter("--live", help="ask the clusters too, by your kubeconfig; writes nothing")] = False,
    timeout: Annotated[str, Parameter("--timeout", help="with --live: for each cluster, as 30s")] = "30s",
    root: Root = Path(),
    output: Annotated[str, Parameter(["--output", "-o"], help="terminal, wide, markdown, json or sarif")] = "terminal",
) -> int:
    """Show what a change does to the whole fleet, before it is merged; 0 no change, 1 change, 2 error."""
    from fleet.cli.keys import seconds_of
    from fleet.cli.plan import plan as handler

    seconds = seconds_of(timeout) if live else 0.0
    return handler(root, base=base, head=head, kube=kube, output=output, live_seconds=seconds)


@app.command
def promote(
    overlay: str,
    *,
    earlier: Annotated[str, Parameter("--from", help="the environment that proved it")],
    later: Annotated[str, Parameter("--to", help="the environment that gets it")],
    branch: Annotated[str, Parameter("--branch", help="its name; without it promote/OVERLAY-ENV-COMMIT")] = "",
    without_evidence: Annotated[bool, Parameter("--without-evidence", help="ask no hub; needs --reason")] = False,
    reason: Annotated[str, Parameter("--reason", help="why without evidence; goes into the commit")] = "",
    root: Root = Path(),
    hub: Hub = "",
) -> int:
    """Hand the images of one environment to the next: one commit on a new branch, with the evidence. Never pushes."""
    from fleet.cli.promote import Wish, reason_of
    from fleet.cli.promote import promote as handler

    why = reason_of(without_evidence=without_evidence, reason=reason)
    return handler(root, Wish(overlay, earlier, later, branch, why, hub), sys.stdout)


@vendor_app.default
def vendor(*, check: bool = False, offline: bool = False, root: Root = Path()) -> int:
    """--check compares the copies with the lock and with where they came from; 1 if anything differs."""
    from fleet.cli.vendor import check as handler

    if not check:
        raise UsageInvalid("nothing is said to be vendored", next_step="fleet vendor base URL, chart NAME, or --check")
    return handler(root, sys.stdout, offline=offline)


@vendor_app.command(name="base")
def vendor_base(url: str, *, to: str = "", root: Root = Path()) -> int:
    """Copy a remote base, as a kustomization names it with ?ref=, and all that it reads into the repo."""
    from fleet.cli.vendor import vendor_base as handler

    return handler(root, url, to, sys.stdout)


@vendor_app.command(name="chart")
def vendor_chart(
    name: str, *, version: str, repo: str = "", file: Path | None = None, to: str = "", root: Root = Path()
) -> int:
    """Put a chart's archive into the repo, from --repo URL or --file ARCHIVE; --to is the chartHome, else charts/."""
    from fleet.cli.vendor import vendor_chart as handler

    if bool(repo) == (file is not None):
        raise UsageInvalid("a chart comes from one place", next_step="give --repo URL or --file ARCHIVE")
    return handler(root, name, version, repo, to, file, sys.stdout)


@app.command
def compare(
    *,
    overlay: Annotated[str, Parameter("--overlay", help="the overlay whose clusters are compared")],
    root: Root = Path(),
    output: Annotated[str, Parameter(["--output", "-o"], help="table, json or yaml")] = "table",
) -> int:
    """Show where an overlay differs between its clusters, and by which line; 0 same, 1 different, 2 error."""
    from fleet.cli.compare import compare as handler

    return handler(root, overlay, sys.stdout, output=output)


@app.command
def blame(
    target: Annotated[str, Parameter(help="KIND/NAME")],
    *,
    cluster: Annotated[str, Parameter("--cluster", help="the cluster that it is on")],
    namespace: Annotated[str | None, Parameter(["--namespace", "-n"], help="where several are called so")] = None,
    field: Annotated[str, Parameter("--field", help="a field, as spec.replicas, or all below it")] = "",
    root: Root = Path(),
    hub: Hub = "",
    output: Annotated[str, Parameter(["--output", "-o"], help="table, json or yaml")] = "table",
) -> int:
    """Show the line that gives an object or its field, with commit and author; 1 where that is unknown."""
    from fleet.cli.blame import Asked
    from fleet.cli.blame import blame as handler

    return handler(root, Asked(target, cluster, namespace, field, hub), sys.stdout, output=output)


@app.command
def preflight(
    *,
    kube: Annotated[str, Parameter("--kube", help="the version to ask about, 1.N")],
    root: Root = Path(),
    output: Annotated[str, Parameter(["--output", "-o"], help="table, json, yaml or sarif")] = "table",
) -> int:
    """List what a version of Kubernetes does not serve any more, with file and line."""
    from fleet.cli.preflight import preflight as handler

    return handler(root, kube, sys.stdout, output=output)


# Way in


@app.command
def hub(
    *,
    repo: str = "",
    branch: str = "",
    data_dir: Path | None = None,
    listen: str = "",
    credentials: Path | None = None,
    allow_address: tuple[str, ...] = (),
    poll_seconds: float | None = None,
) -> int:
    """Run the hub; each flag is also FLEET_<NAME> in the environment."""
    from fleet.cli.hub import hub as handler

    given = {
        "repo": repo,
        "branch": branch,
        "data_dir": data_dir,
        "listen": listen,
        "credentials": credentials,
        "allow_address": allow_address,
        "poll_seconds": poll_seconds,
    }
    return handler({name: value for name, value in given.items() if value not in ("", None, ())})


@app.command
def recover(*, confirm: bool = False, hub: Hub = "") -> int:
    """After a lost data directory: show what the clusters hold; --confirm lets the hub write again."""
    from fleet.cli.recover import recover as handler

    return handler(Client(hub), confirm=confirm)


@app.command
def backup(file: Path, *, data_dir: Path | None = None, with_key: bool = False) -> int:
    """Write the hub's state into one file, also while it runs; the key stays out unless --with-key."""
    from fleet.cli.backup import backup as handler

    return handler(file, data_dir=data_dir, with_key=with_key)


@app.command
def restore(file: Path, *, data_dir: Path | None = None, replace: bool = False, upgrade: bool = False) -> int:
    """Put a backup into a data directory that no hub uses; it observes only until fleet recover --confirm."""
    from fleet.cli.backup import restore as handler

    return handler(file, data_dir=data_dir, replace=replace, upgrade=upgrade)


@app.command
def doctor(*, root: Path = Path(), data_dir: Path | None = None, clusters: bool = True) -> int:
    """Check renderer, hub, disk, key, state, credentials and clocks; --no-clusters asks no cluster."""
    from fleet.cli.doctor import doctor as handler

    return handler(root, sys.stdout, data_dir=data_dir, ask_clusters=clusters)


@cluster_app.command(name="add")
def cluster_add(
    name: str,
    *,
    context: str = "",
    environment: str = "",
    location: str = "",
    labels: Annotated[tuple[str, ...], Parameter(["--label"])] = (),
    root: Root = Path(),
) -> int:
    """Read a cluster as you, and write its file: mode observe, identity recorded."""
    from fleet.cli.cluster import add as handler

    return handler(root, name, context=context, environment=environment, location=location, labels=labels)


@cluster_app.command(name="grant")
def cluster_grant(
    name: str,
    *,
    context: str = "",
    read_only: bool = False,
    cluster_admin: bool = False,
    yes: Annotated[bool, Parameter(["--yes", "-y"])] = False,
    to: Path | None = None,
    server: str = "",
    duration: str = "90d",
    revoke: bool = False,
    output: Output = "table",
    root: Root = Path(),
    hub: Hub = "",
) -> int:
    """As you, give the hub a service account with the least role for what is rendered; again: a new token.

    -o yaml prints the objects for review. --to FILE: the kubeconfig goes there, not to the hub. --server URL: where
    the hub finds the API server. --revoke takes it all away again.
    """
    from fleet.cli.grant import Wish
    from fleet.cli.grant import grant as handler
    from fleet.cli.keys import seconds_of

    seconds = int(seconds_of(duration))
    wish = Wish(name, context, read_only, cluster_admin, yes, to, server, seconds, hub, revoke)
    return handler(root, wish, output=output)


@cluster_app.command(name="identity")
def cluster_identity(name: str, *, accept: str = "", reason: Reason = "", hub: Hub = "") -> int:
    """Show the recorded identity; --accept IDENTITY takes another one, audited."""
    from fleet.cli.cluster import identity as handler

    return handler(Client(hub), name, accept=accept, reason=reason)


@cluster_app.command(name="remove")
def cluster_remove(name: str, *, root: Root = Path()) -> int:
    """Take a cluster's file out of the checkout; merging that detaches it and leaves its objects."""
    from fleet.cli.cluster import remove as handler

    return handler(root, name)


@credential_app.command(name="add")
def credential_add(name: str, file: Path, *, hub: Hub = "") -> int:
    """Give the hub a kubeconfig (- reads standard input)."""
    from fleet.cli.keys import credential_add as handler

    return handler(Client(hub), name, file)


@credential_app.command(name="list")
def credential_list(*, output: Output = "table", hub: Hub = "") -> int:
    """Names of the kubeconfigs that the hub keeps."""
    from fleet.cli.keys import credential_list as handler

    return handler(Client(hub), output)


@credential_app.command(name="remove")
def credential_remove(name: str, *, hub: Hub = "") -> int:
    """The hub forgets a kubeconfig."""
    from fleet.cli.keys import credential_remove as handler

    return handler(Client(hub), name)


@token_app.command(name="create")
def token_create(
    name: str, *, role: Literal["viewer", "operator", "admin"], expires: str = "30d", hub: Hub = ""
) -> int:
    """Print a new token, once."""
    from fleet.cli.keys import token_create as handler

    return handler(Client(hub), name, role, expires)


@token_app.command(name="list")
def token_list(*, output: Output = "table", hub: Hub = "") -> int:
    """Names, roles and ends of tokens."""
    from fleet.cli.keys import token_list as handler

    return handler(Client(hub), output)


@token_app.command(name="revoke")
def token_revoke(name: str, *, hub: Hub = "") -> int:
    """Revoke a token; in effect within 5 s."""
    from fleet.cli.keys import token_revoke as handler

    return handler(Client(hub), name)


@audit_app.command(name="verify")
def audit_verify(
    *,
    heads: Annotated[tuple[Path, ...], Parameter(["--heads"])] = (),
    export: Path | None = None,
    data_dir: Path | None = None,
) -> int:
    """Find what was changed, dropped or moved; --heads FILE: text with heads from the hub's log or the clusters."""
    from fleet.cli.audit import verify as handler

    return handler(data_dir, heads, export, sys.stdout)


@audit_app.command(name="export")
def audit_export(*, data_dir: Path | None = None) -> int:
    """Write the whole log, one JSON object a line; verify --export FILE checks it."""
    from fleet.cli.audit import export as handler

    return handler(data_dir, sys.stdout)


# Demo


@app.command
def demo(*, script: bool = False, clusters: int = 30, listen: str = "127.0.0.1:8080") -> int:
    """Hub and simulated clusters in one process on the example repo; --script plays and checks a story."""
    from fleet.cli.demo import demo as handler

    return handler(script=script, clusters=clusters, listen=listen)


@sim_app.command(name="drift")
def sim_drift(unit: str = "", *, cluster: str = "") -> int:
    """Change an object by hand on a simulated cluster of the running demo."""
    from fleet.cli.sim import drift as handler

    return handler(unit, cluster)


@app.command
def version() -> int:
    """Print the version."""
    from fleet import __version__

    sys.stdout.write(f"fleet {__version__}\n")
    return 0


@app.command
def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a completion script: eval "$(fleet completion bash)"."""
    sys.stdout.write(app.generate_completion(shell=shell))
    return 0
