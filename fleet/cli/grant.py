"""`fleet cluster grant NAME`: as you, a service account with the least role for what is rendered, and its token.

What is created is shown first and waits for a yes. Everything is an apply that may be repeated: a grant that was
refused halfway, or whose token ends soon, is run again, and roles that are not needed any more are taken away.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.checkout import Checkout, local_renderer, open_checkout, render_all
from fleet.cli.client import Client
from fleet.cli.output import clean, say, when
from fleet.cli.problems import counted
from fleet.core.documents import Document, canonical, text_at
from fleet.core.fleet import Cluster, Mode
from fleet.core.ids import Identity, ObjectRef
from fleet.core.objects import INSTALLATION_LABEL, BundleObject, ref_of
from fleet.core.parent import parse_parent
from fleet.core.record import PARENT_NAMESPACE, installation_hash
from fleet.core.rights import (
    ACCOUNT,
    GRANT_LABEL,
    RBAC,
    Resource,
    Rights,
    grant_documents,
    missing_rights,
    rights_of,
    wide_lines,
    widened_for,
)
from fleet.errors import ClusterError, FleetError, Forbidden, IdentityUnreadable, NotKnown, Unauthorized, UsageInvalid
from fleet.ports.kube import Catalog, Kube, ServedKind
from fleet.values import dataclass

if TYPE_CHECKING:
    from fleet.kube.access import Access
    from fleet.kube.objects import ClusterKube

MANAGER = "fleet-grant"
_MADE = (
    (RBAC, "Role"),
    (RBAC, "RoleBinding"),
    (RBAC, "ClusterRole"),
    (RBAC, "ClusterRoleBinding"),
    ("", "ServiceAccount"),
)
_PROOF_TRIES = 20  # an API server takes a moment until it knows of a new role
_PROOF_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asked for."""

    name: str
    context: str = ""
    read_only: bool = False
    cluster_admin: bool = False
    yes: bool = False
    to: Path | None = None  # a file for the kubeconfig, instead of the hub
    server: str = ""  # where the hub finds the API server, if not where you do
    seconds: int = 90 * 86400
    hub: str = ""
    revoke: bool = False


def grant(root: Path, wish: Wish, *, output: str) -> int:
    """Grant, or with -o yaml print what would be created. 1 where a person says no."""
    if output not in ("table", "yaml"):
        raise UsageInvalid(f"-o {output} is not for grant", next_step="table or yaml")
    if wish.read_only + wish.cluster_admin + wish.revoke > 1:
        raise UsageInvalid("--read-only, --cluster-admin and --revoke exclude each other", next_step="give one of them")
    checkout = open_checkout(root)
    cluster = next((one for one in checkout.fleet.clusters.values() if one.name == wish.name), None)
    if cluster is None and wish.revoke and wish.context:  # it left the repo, and what was granted goes last
        return asyncio.run(_revoke(None, wish))
    if cluster is None:
        raise NotKnown(
            f"there is no cluster {wish.name} in this checkout",
            where=str(root),
            next_step=f"fleet cluster add {wish.name} --context CONTEXT",
        )
    # Asked for before anything is created: without a hub the token would have nowhere to go.
    client = None if wish.to or wish.revoke or output == "yaml" else Client(wish.hub)
    work = _revoke(cluster.identity, wish) if wish.revoke else _grant(checkout, cluster, wish, output, client)
    return asyncio.run(work)


async def _grant(checkout: Checkout, cluster: Cluster, wish: Wish, output: str, client: Client | None) -> int:
    from fleet.kube.connect import WritesAsPerson, connect_person, person_access

    objects, warnings = await _rendered(checkout, wish.name)
    access = await person_access(context=wish.context or wish.name)
    kube = await connect_person(cluster=wish.name, expected=cluster.identity, fence=WritesAsPerson(), access=access)
    try:
        catalog = await kube.discover()
        owned = await _owned(kube, catalog, checkout.fleet.name)
        rights = await needed_rights(kube, catalog, objects, read_only=wish.read_only, owned=owned)
        documents = grant_documents(rights, cluster_admin=wish.cluster_admin)
        if output == "yaml":
            _print_yaml(documents)
            for line in (*warnings, *_notes(rights)):
                say(line, sys.stderr)
            return 0
        left = await _left_over(kube, catalog, documents)
        for line in (*_shown(wish, rights, left), *warnings, *_notes(rights)):
            say(line)
        target = str(wish.to) if wish.to else f"the hub at {client.url if client else ''}"
        if not wish.yes and not _asked(f"Create as you, and give the token to {target}? [y/N] "):
            say("nothing was created")
            return 1
        await _create(kube, catalog, documents, left)
        token, ends = await kube.issue_token(PARENT_NAMESPACE, ACCOUNT, wish.seconds)
        raw = await _kubeconfig(access, wish, token)
        await _prove(raw, wish.name, kube.identity)
    finally:
        await kube.close()
    if wish.to is not None:
        write_private(wish.to, raw)
    elif client is not None:
        client.call("PUT", f"/api/v1/credentials/{wish.name}", {"kubeconfig": raw.decode()})
    say(f"{wish.name}: identity proven with the new token, which ends {when(ends)}")
    if wish.to is None:
        say(f"The hub renews it before that. When more is rendered: fleet cluster grant {wish.name}")
    else:
        say(f"Nobody renews a file: before that, or when more is rendered: fleet cluster grant {wish.name}")
    if cluster.mode is Mode.OBSERVE and not wish.read_only:
        say(f"Next: when the differences are what you want, mode: manage in {cluster.origin.path}")
    return 0


async def _revoke(identity: Identity | None, wish: Wish) -> int:
    """Take away what grants created; objects that the hub applied stay, and so does the namespace of the parents."""
    from fleet.kube.connect import WritesAsPerson, connect_person

    kube = await connect_person(
        context=wish.context or wish.name, cluster=wish.name, expected=identity, fence=WritesAsPerson()
    )
    try:
        left = await _left_over(kube, await kube.discover(), ())
        if not left:
            say(f"no grant of ours is on {wish.name}")
            return 0
        say(f"Will delete on {wish.context or wish.name}, and with it every token of the hub:")
        for _, ref, _ in left:
            say(f"  {ref}")
        if not wish.yes and not _asked("Delete these as you? [y/N] "):
            say("nothing was deleted")
            return 1
        for kind, ref, uid in left:
            await kube.delete(kind, ref.namespace, ref.name, uid=uid)
    finally:
        await kube.close()
    say(f"{wish.name}: the hub has no access any more. Its copy of the token: fleet credential remove {wish.name}")
    return 0


async def _rendered(checkout: Checkout, name: str) -> tuple[list[BundleObject], list[str]]:
    """All objects for a cluster; a unit that cannot be rendered is told, because its rights will be missing."""
    units = [unit for unit in checkout.fleet.units.values() if unit.name.cluster == name]
    async with local_renderer() as (renderer, _):
        bundles = await render_all(checkout, units, renderer)
    objects: list[BundleObject] = []
    warnings: list[str] = []
    for unit, bundle in zip(units, bundles, strict=True):
        if isinstance(bundle, FleetError):
            warnings.append(f"without rights for {unit.name}, which cannot be rendered: {bundle.what}")
        else:
            objects += bundle.objects
    return objects, warnings


async def needed_rights(
    kube: Kube,
    catalog: Catalog,
    objects: Sequence[BundleObject],
    *,
    read_only: bool = False,
    owned: Sequence[Document] = (),
) -> Rights:
    """The rights for these objects on this cluster; asks which of their namespaces exist."""
    resources = {key: Resource(kind.plural, kind.namespaced) for key, kind in catalog.kinds.items()}
    made = {item.ref.name for item in objects if (item.ref.group, item.ref.kind) == ("", "Namespace")}
    namespaces = sorted({item.ref.namespace for item in objects} - {""} | made)
    existing = await _existing(kube, catalog, namespaces)
    return rights_of(objects, resources, existing=existing, read_only=read_only, owned=owned)


async def _existing(kube: Kube, catalog: Catalog, namespaces: Sequence[str]) -> set[str]:
    kind = _kind(catalog, "", "Namespace")
    found = await asyncio.gather(*(kube.get(kind, "", name, metadata_only=True) for name in namespaces))
    return {name for name, live in zip(namespaces, found, strict=True) if live is not None}


async def _owned(kube: Kube, catalog: Catalog, installation: str) -> list[Document]:
    """All that the installation owns on this cluster, of the kinds that its units' parents name."""
    selector = f"{INSTALLATION_LABEL}={installation_hash(installation)}"
    maps = _kind(catalog, "", "ConfigMap")
    parents = await kube.list(maps, namespace=PARENT_NAMESPACE, selector=selector)
    kinds = {kind for document in parents.items if (parent := parse_parent(document)) for kind in parent.kinds}
    found: list[Document] = []
    for group, name in sorted(kinds):
        kind = catalog.find(group, name)
        if kind is not None:
            # A binding is needed whole: what it refers to decides which right it takes to let it go.
            listed = await kube.list(kind, selector=selector, metadata_only=group != RBAC)
            what: Document = {"apiVersion": f"{kind.group}/{kind.version}".lstrip("/"), "kind": kind.kind}
            found += [{**item, **what} for item in listed.items]
    return found


async def grant_differs(kube: Kube, catalog: Catalog, objects: Sequence[BundleObject], *, read_only: bool) -> list[str]:
    """What an earlier grant did not give for these objects, or gave more widely than it must be by now, in words.

    [] where there was none, or it cannot be told.
    """
    roles: list[Document] = []
    try:
        for name in ("ClusterRole", "Role"):
            listed = await kube.list(_kind(catalog, RBAC, name), selector=f"{GRANT_LABEL}={ACCOUNT}")
            roles += listed.items
        if not roles:
            return []
        lacking = missing_rights(await needed_rights(kube, catalog, objects, read_only=read_only), roles)
        now_there = sorted(await _existing(kube, catalog, widened_for(roles)))
        wide = f"the hub holds rights on the whole cluster that are for {', '.join(now_there)} alone, there by now"
        return [*(f"the hub may not: {text}" for text in lacking), *([wide] if now_there else [])]
    except ClusterError:
        return []  # beside what the differences themselves say


def _kind(catalog: Catalog, group: str, kind: str) -> ServedKind:
    found = catalog.find(group, kind)
    if found is None:
        raise UsageInvalid(f"this API server does not serve {kind}", next_step="see what answers at this address")
    return found


def _shown(wish: Wish, rights: Rights, left: Sequence[tuple[ServedKind, ObjectRef, str]]) -> list[str]:
    """What would be created, in words."""
    if wish.cluster_admin:
        role = "cluster role binding fleet-hub-admin: EVERYTHING on this cluster (cluster-admin)"
    else:
        inside = {(rule.group, rule.resource) for rules in rights.namespaces.values() for rule in rules}
        whole = {(rule.group, rule.resource) for rule in rights.cluster}
        spaces = counted(len(rights.namespaces), "namespace")
        read = "to read " if wish.read_only else "for "
        everywhere = counted(len(whole), "kind")
        role = f"role {ACCOUNT} {read}{counted(len(inside), 'kind')} in {spaces}, {everywhere} of the cluster"
    lines = [
        f"Will create on {wish.context or wish.name}: namespace {PARENT_NAMESPACE}, serviceaccount {ACCOUNT}, a token,",
        f"  {role} (fleet cluster grant {wish.name} -o yaml)",
    ]
    if left:
        lines.append(f"  and take away {', '.join(f'{ref}' for _, ref, _ in left[:6])}{' …' if len(left) > 6 else ''}")
    return lines


def _notes(rights: Rights) -> list[str]:
    unserved = (
        f"no rights for {kind}: not served here, and nothing rendered for it defines it" for kind in rights.unserved
    )
    return [*unserved, *wide_lines(rights)]


def _asked(question: str) -> bool:
    sys.stdout.write(question)
    sys.stdout.flush()
    answer = sys.stdin.readline().strip().lower()
    return answer in ("y", "yes")


def _print_yaml(documents: Sequence[Document]) -> None:
    import yaml

    yaml.safe_dump_all(documents, sys.stdout, sort_keys=False, explicit_start=True)


async def _left_over(
    kube: ClusterKube, catalog: Catalog, documents: Sequence[Document]
) -> list[tuple[ServedKind, ObjectRef, str]]:
    """What an earlier grant made and this one does not, with its UID; the account last."""
    made = Counter(
        (text_at(one, "kind"), text_at(one, "metadata", "namespace"), text_at(one, "metadata", "name"))
        for one in documents
    )
    found: list[tuple[ServedKind, ObjectRef, str]] = []
    for group, name in _MADE:
        kind = _kind(catalog, group, name)
        listed = await kube.list(kind, selector=f"{GRANT_LABEL}={ACCOUNT}", metadata_only=True)
        for item in listed.items:
            ref = ref_of(item)
            if (name, ref.namespace, ref.name) not in made:
                found.append((kind, ObjectRef(group, name, ref.namespace, ref.name), text_at(item, "metadata", "uid")))
    return found


async def _create(
    kube: ClusterKube,
    catalog: Catalog,
    documents: Sequence[Document],
    left: Sequence[tuple[ServedKind, ObjectRef, str]],
) -> None:
    """Apply all in order; a refusal says what stands already, and nothing is taken back."""
    done: list[str] = []
    for document in documents:
        ref = ref_of(document)
        try:
            kind = _kind(catalog, ref.group, ref.kind)
            await kube.apply(kind, ref.namespace, ref.name, canonical(document), manager=MANAGER, force=True)
        except ClusterError as error:
            raise _halfway(error, str(ref), done) from error
        done.append(str(ref))
    for kind, ref, uid in left:
        await kube.delete(kind, ref.namespace, ref.name, uid=uid)


def _halfway(error: ClusterError, ref: str, done: Sequence[str]) -> FleetError:
    before = f"; created before it: {', '.join(done)}" if done else "; nothing was created"
    return type(error)(
        f"the grant ended at {ref}",
        where=error.where,
        why=f"{error.why or error.what}{before}",
        next_step="run it again with more rights, or let somebody review and apply: fleet cluster grant NAME -o yaml",
    )


async def _kubeconfig(access: Access, wish: Wish, token: str) -> bytes:
    from fleet.kube.kubeconfig import token_kubeconfig

    endpoint = (await access.ticket()).endpoint
    if wish.server:
        endpoint = replace(endpoint, server=wish.server.rstrip("/"))
    return json.dumps(token_kubeconfig(wish.name, endpoint, token)).encode()


async def _prove(raw: bytes, name: str, identity: str) -> None:
    """Read the cluster's identity with the new token, as the hub will."""
    from fleet.kube.connect import connect_person
    from fleet.kube.kubeconfig import Trust, access_from, read_kubeconfig

    access = access_from(read_kubeconfig(raw, f"credential {name}"), Trust.HUB)
    for left in reversed(range(_PROOF_TRIES)):
        try:
            kube = await connect_person(cluster=name, expected=Identity(identity), access=access)
        except (IdentityUnreadable, Forbidden, Unauthorized):
            if not left:
                raise
            await asyncio.sleep(_PROOF_PAUSE_SECONDS)
        else:
            await kube.close()
            return


def write_private(path: Path, raw: bytes) -> None:
    """A file that only its owner can read, complete or not there."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600, and of a name that nobody knows
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)  # where it did not take its place
    say(clean(f"Wrote {path} (0600)"))
