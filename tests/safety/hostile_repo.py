"""Hostile things that a fleet repo can hold: each is refused for a reason of its own, with its rule.

Overlays by name: their files over a harmless one, and the reason that must be given. Files of the inventory: path and
content, and the reason of the problem that must be shown.
"""

# ruff: noqa: E501 - a table: one hostile thing a line

from __future__ import annotations

from dataclasses import dataclass

from hubworld import cluster_file, config_map, overlay
from testbed.gitrepo import Content, Link

_MAP = config_map("m", "1")


@dataclass(frozen=True, slots=True)
class Overlay:
    """One overlay. files: beside its harmless config map; reason: a class of fleet/errors.py."""

    reason: str
    files: dict[str, Content]


def _build(reason: str, kustomization: str, **files: Content) -> Overlay:
    named = {name.replace("__", "/").replace("_", "."): content for name, content in files.items()}
    return Overlay(reason, {"kustomization.yaml": kustomization, **named})


def _object(reason: str, text: str) -> Overlay:
    return _build(reason, "resources: [o.yaml]\n", o_yaml=text)


_BOMB = "x: &x0 [a, a, a, a, a, a, a, a, a, a]\n" + "".join(
    f"y{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 9)
)
_BUILTIN = "{apiVersion: builtin, kind: PatchTransformer, metadata: {name: x}, path: ../../../etc/passwd}"

OVERLAYS: dict[str, Overlay] = {
    # paths and links out of the commit
    "absolute": _build("PathEscapes", "resources: [/etc/passwd]\n"),
    "parents": _build("PathEscapes", "resources: [../../../../etc/passwd]\n"),
    "link-out": _build("PathEscapes", "resources: [l]\n", l=Link("../../../../../etc/passwd")),
    "link-absolute": _build("PathEscapes", "resources: [l]\n", l=Link("/etc/passwd")),
    "link-circle": _build("PathEscapes", "resources: [a]\n", a=Link("b"), b=Link("a")),
    "link-directory": _build("PathEscapes", "resources: [d/passwd]\n", d=Link("/etc")),
    "generator-file": _build("PathEscapes", "configMapGenerator: [{name: x, files: [k=/etc/passwd]}]\n"),
    "generator-env": _build("PathEscapes", "secretGenerator: [{name: x, envs: [../../../root/.env]}]\n"),
    "patch-file": _build("PathEscapes", "resources: [m.yaml]\npatches: [{path: /etc/passwd}]\n"),
    "replacement-file": _build("PathEscapes", "resources: [m.yaml]\nreplacements: [{path: /etc/passwd}]\n"),
    "openapi-file": _build("PathEscapes", "resources: [m.yaml]\nopenapi: {path: /etc/passwd}\n"),
    "crds-file": _build("PathEscapes", "resources: [m.yaml]\ncrds: [/etc/passwd]\n"),
    "built-in-path": _build("PathEscapes", f"resources: [m.yaml]\ntransformers: ['{_BUILTIN}']\n"),
    "unknown-field": _build("PathEscapes", "resources: [m.yaml]\nfuture: [{deep: /etc/passwd}]\n"),
    # the network
    "http-base": _build("RemoteBaseRefused", "resources: ['https://127.0.0.2:1/a.yaml']\n"),
    "git-base": _build("RemoteBaseRefused", "resources: ['git@127.0.0.2:a/b.git']\n"),
    "git-option": _build("RemoteBaseRefused", "resources: ['ssh://-oProxyCommand=touch x/a/b']\n"),
    "git-ext": _build("RemoteBaseRefused", "resources: ['git::https://127.0.0.2:1/a/b']\n"),
    "github-base": _build("RemoteBaseRefused", "resources: [github.com/org/repo]\n"),
    "file-url": _build("RemoteBaseRefused", "resources: ['file:///etc']\n"),
    "query-base": _build("RemoteBaseRefused", "resources: ['example.com/a/b?ref=x']\n"),
    "http-patch": _build("RemoteBaseRefused", "resources: [m.yaml]\npatches: [{path: 'http://127.0.0.2:1/p.yaml'}]\n"),
    # programs
    "exec-plugin": _build("PluginRefused", "generators: ['{apiVersion: acme.io/v1, kind: Exec, metadata: {name: x}}']\n"),
    "function": _build(
        "PluginRefused", "transformers: [f.yaml]\n",
        f_yaml="apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  annotations:\n    config.kubernetes.io/function: |\n"
        "      exec: {path: /bin/sh}\n"),
    "chart": _build("PluginRefused", "helmCharts: [{name: x, repo: 'https://127.0.0.2:1'}]\n"),
    "chart-generator": _build(
        "PluginRefused",
        "generators: ['{apiVersion: builtin, kind: HelmChartInflationGenerator, metadata: {name: x}}']\n"),
    "plugin-directory": _build("PluginRefused", "transformers: [p]\n", p__kustomization_yaml="resources: []\n"),
    # YAML
    "deep": _build("DocumentInvalid", f"resources: [m.yaml]\nx: {'[' * 3000}{']' * 3000}\n"),
    "not-utf8": Overlay("DocumentInvalid", {"kustomization.yaml": b"resources: [m.yaml]\n# \xff\xfe\n"}),
    "field-twice": _build("DocumentInvalid", "resources: [m.yaml]\nResources: [other.yaml]\n"),
    "no-mapping": _build("DocumentInvalid", "- m.yaml\n"),
    "bomb-in-kustomization": _build("DocumentInvalid", f"resources: [m.yaml]\n{_BOMB}"),
    "key-twice": _object("DocumentInvalid", f"{_MAP}metadata: {{name: other}}\n"),
    "name-with-slash": _object("DocumentInvalid", _MAP.replace("name: m", "name: ../../m")),
    "forged-mark": _object(
        "DocumentInvalid", _MAP.replace("name: m,", "name: m, annotations: {fleet.internal/owner: a/b/c},")),
    # what an object may not be
    "object-twice": _build("DuplicateObject", "resources: [a.yaml, b.yaml]\n", a_yaml=_MAP, b_yaml=f"{_MAP}# again\n"),
    "encrypted": _object("EncryptedUnsupported", f"{_MAP}sops: {{mac: x}}\n"),
    "huge-object": _object("RenderTooLarge", _MAP.replace("'1'", "'" + "x" * 3_000_000 + "'")),
    "empty": _build("RenderEmpty", "resources: []\n"),
    # a limited tenant
    "team-kind": _object(
        "NotAllowedForTeam",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: x}\n"
        "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n"),
    "team-namespace": _object("NotAllowedForTeam", _MAP.replace("default", "kube-system")),
    "team-replace": _object(
        "NotAllowedForTeam", _MAP.replace("name: m,", "name: m, annotations: {fleet.internal/replace: enabled},")),
}  # fmt: skip

INVENTORY: dict[str, tuple[str, Content, str]] = {
    "a name out of the folder": ("clusters/h1.yaml", cluster_file("../x"), "FieldInvalid"),
    "a name with a line break": ("clusters/h2.yaml", cluster_file('"a\\nb"'), "FileInvalid"),
    "a cluster called prod": ("clusters/h3.yaml", cluster_file("prod"), "NameInvalid"),
    "one name twice": ("clusters/h4.yaml", cluster_file("twice") + "---\n" + cluster_file("twice"), "DuplicateName"),
    "one identity twice": (
        "clusters/h5.yaml",
        cluster_file("eu-8", identity="same") + "---\n" + cluster_file("eu-9", identity="same"),
        "DuplicateName",
    ),
    "aliases that grow": ("clusters/h6.yaml", f"kind: Cluster\n{_BOMB}", "FileInvalid"),
    "nesting without end": ("clusters/h7.yaml", "kind: " + "[" * 3000 + "]" * 3000, "FileInvalid"),
    "a key twice": ("clusters/h8.yaml", cluster_file("h8") + "kind: Cluster\n", "FileInvalid"),
    "a tag of Python": ("clusters/h9.yaml", "kind: !!python/object/apply:os.system ['touch x']\n", "FileInvalid"),
    "bytes that are no text": ("clusters/h10.yaml", b"\xff\xfe\x00", "FileInvalid"),
    "an unknown field": ("clusters/h11.yaml", cluster_file("h11", sudo="true"), "FieldInvalid"),
    "a path out of the repo": (
        "overlays/h12/overlay.yaml",
        "apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {name: h12}\n"
        "spec: {clusters: [{names: [eu-1], path: ../../etc}]}\n",
        "PathMissing",
    ),
    "wider than the team": (
        "overlays/team-wide/overlay.yaml",
        "apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {name: team-wide}\n"
        "spec: {clusters: [{names: [eu-1]}], sync: {adopt: always}}\n",
        "NotAllowedForTeam",
    ),
    "where the team may not run": (
        "overlays/team-away/overlay.yaml",
        "apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {name: team-away}\nspec: {clusters: [{names: [eu-2]}]}\n",
        "NotAllowedForTeam",
    ),
}
FLEET = """apiVersion: fleet.internal/v1
kind: Fleet
metadata: {name: default}
spec:
  rollout: {steps: []}
  teams:
    tenant: {dirs: [overlays/team-*], clusters: {matchLabels: {region: eu, tenant: "yes"}},
             allow: {namespaces: [default], kinds: [ConfigMap]}, replace: false}
"""


def files() -> dict[str, Content]:
    """The whole repo, with one harmless overlay."""
    made: dict[str, Content] = {
        "fleet.yaml": FLEET,
        "clusters/eu-1.yaml": cluster_file("eu-1").replace("{region: eu}", '{region: eu, tenant: "yes"}'),
        "clusters/eu-2.yaml": cluster_file("eu-2"),
        **overlay("overlays/good", {"g": config_map("good", "1")}),
    }
    for name, case in OVERLAYS.items():
        made |= overlay(f"overlays/{name}", {"m": config_map(f"m-{name}", "1")}, clusters="[{names: [eu-1]}]")
        made |= {f"overlays/{name}/{path}": content for path, content in case.files.items()}
    for path, content, _ in INVENTORY.values():
        if path.startswith("overlays/"):
            made |= overlay(path.rpartition("/")[0], {"m": config_map("n", "1")})
        made[path] = content
    return made
