"""What is fuzzed: every place where bytes of a stranger are read. Only the declared errors may come out of each."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from safety.fuzz import Target

from fleet.core.ids import Revision
from fleet.core.webhook import BODY_LIMIT_BYTES, WebhookVerdict, judge_webhook, webhook_signature
from fleet.errors import AnswerInvalid, ClusterError, CredentialMissing, CredentialRefused
from fleet.inventory.load import load_fleet
from fleet.kube.access import FixedAccess
from fleet.kube.answers import Asked, Reply, document_of, error_of, is_absent, warnings_of
from fleet.kube.framing import Lines
from fleet.kube.kubeconfig import Trust, access_from, read_kubeconfig
from fleet.kube.limits import KubeLimits
from fleet.kube.reflector import Reflector
from fleet.ports.kube import Changed, Proved, Removed
from fleet.ports.source import LINK_MODE, TreeEntry
from fleet.render.closure import read_closure
from fleet.render.reader import Reader
from fleet.render.tree import CommitTree

_YAML = (
    b": ", b"- ", b"? ", b"&a ", b"*a", b"<<: ", b"!!int ", b"!!binary ", b"!x ", b"|\n", b">-\n", b"---\n", b"...\n",
    b"# ", b"{", b"}", b"[", b"]", b'"', b"'", b"\\0", b"\\ud800", b"~", b"null", b"yes", b"0x_", b"0b_",
    b"0o7", b".inf", b"1e999", b"2026-01-01", b"%YAML 1.1\n", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\x00", b"\n", b"  ",
    b"&a [*a, *a]", b"? [&z [x,x], &y [*z,*z], &w [*y,*y]]\n: 1\n",
)  # fmt: skip


def _words(text: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in text.split())


class _Commit:
    """A commit of a few files."""

    def __init__(self, files: Mapping[str, bytes], links: Sequence[str] = ()) -> None:
        self._files = files
        self.revision = Revision(hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest())
        self.tree = {
            path: TreeEntry(LINK_MODE if path in links else "100644", hashlib.sha256(raw).hexdigest())
            for path, raw in files.items()
        }

    def read(self, path: str) -> bytes:
        return self._files[path]

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        return {path: self._files[path] for path in paths}


# Inventory: the first line says which file the rest is.

_FLEET = b"""fleet.yaml
apiVersion: fleet.internal/v1
kind: Fleet
metadata: {name: acme}
spec:
  clusters: clusters/
  overlays:
  - {dirs: overlays/*, paths: ["{cluster}", "{environment}", "."]}
  - {name: config, path: "scope/{environment}/{label.region}/{cluster}", clusters: [{names: [eu-1]}]}
  environments: [dev, {name: prod, variables: {tier: gold}}]
  variables: {domain: acme.io, cidrs: [10.0.0.0/8], n: 3}
  sync: {mode: auto, windows: [{kind: deny, schedule: "0 9 * * 1-5", duration: 8h, timeZone: Europe/Berlin}]}
  rollout:
    steps: [{name: dev, environments: [dev], soak: 10m, maxParallel: 50%}, {name: rest, rest: true, approve: 1}]
  budget: {objects: 20, share: 25%, shareFrom: 8, clusters: 3}
  teams:
    pay: {dirs: [teams/pay/*], clusters: {matchLabels: {pay: "yes"}}, allow: {namespaces: ["pay-*"], kinds: [Service]}}
  suspend: {reason: move, owner: jo, until: 2026-12-01T00:00:00Z}
"""
_CLUSTER = b"""clusters/a.yaml
apiVersion: fleet.internal/v1
kind: Cluster
metadata: {name: eu-1, labels: {region: eu, tier: canary}}
spec:
  environment: prod
  location: public
  mode: manage
  connection: {credential: eu-1}
  identity: 5f0c1111-0000-4000-8000-000000000000
  overlays: [platform, {name: monitoring, path: ., components: [components/big], variables: {x: 1}}]
  variables: {replicas: 3, allowed: [10.20.0.0/16]}
"""
_OVERLAY = b"""overlays/web/overlay.yaml
apiVersion: fleet.internal/v1
kind: Overlay
metadata: {name: web}
spec:
  clusters:
  - {environments: [dev, prod]}
  - {matchLabels: {tier: canary}, except: [eu-2], components: [components/big], variables: {replicas: 6}}
  - {names: [eu-1], path: special}
  state: present
  dependsOn: [platform]
  substitute: true
  ignoreDifferences: [{kind: Deployment, pointers: [/spec/replicas]}, {managers: [vpa-updater]}]
  health: [{kind: Certificate, healthy: 'status.conditions.exists(c, c.type == "Ready")'}]
  allowEmpty: false
  compat: [argocd, flux]
"""
_AROUND = {
    "fleet.yaml": _FLEET.split(b"\n", 1)[1],
    "clusters/a.yaml": _CLUSTER.split(b"\n", 1)[1],
    "clusters/b.yaml": b"apiVersion: fleet.internal/v1\nkind: Cluster\nmetadata: {name: eu-2}\n"
    b"spec: {environment: dev, overlays: [platform]}\n",
    "overlays/web/overlay.yaml": _OVERLAY.split(b"\n", 1)[1],
    "overlays/web/kustomization.yaml": b"resources: [a.yaml]\n",
    "overlays/web/special/kustomization.yaml": b"resources: [../]\n",
    "overlays/monitoring/kustomization.yaml": b"resources: [a.yaml]\n",
    "overlays/platform/kustomization.yaml": b"resources: [a.yaml]\n",
    "scope/prod/eu/eu-1/kustomization.yaml": b"resources: [a.yaml]\n",
    "components/big/kustomization.yaml": b"kind: Component\n",
}
_INVENTORY_WORDS = _words(
    r"""
fleet.yaml clusters/a.yaml overlays/web/overlay.yaml overlays/web/kustomization.yaml kind: apiVersion:
Fleet Cluster Overlay Component metadata: name: spec: labels: environment: clusters: overlays: names: all:
matchLabels: except: components: variables: path: paths: dirs: state: absent dependsOn: sync: rollout:
steps: rest: soak: budget: share: teams: allow: suspend: until: {cluster} {environment} {label.region}
{label.} ../ / .. * ** eu-1 prod 25% 1e9% -1 10m 10y 0 * * * * * identity: ignoreDifferences: pointers:
health: healthy: substitute: ${x} a~1b
"""
)


def _inventory() -> Callable[[bytes], str]:
    whole = _Commit(_AROUND)
    before = load_fleet(whole)
    assert len(before.fleet.units) >= 4

    def check(data: bytes) -> str:
        name, _, raw = data.partition(b"\n")
        path = name.decode("utf-8", "replace")
        if path not in _AROUND:
            path, raw = "clusters/a.yaml", data
        commit = _Commit({**_AROUND, path: raw})
        after = load_fleet(commit, before, frozenset({path}))  # as the hub does: over what was there
        for problem in after.fleet.problems:
            str(problem.what).encode()
        if len(data) % 8 == 0:
            anew = load_fleet(commit)
            if anew.fleet.unknown.everything is None and set(anew.fleet.units) != set(after.fleet.units):
                raise AssertionError(f"loaded anew it says {set(anew.fleet.units) ^ set(after.fleet.units)} otherwise")
        return "said" if not after.fleet.problems else "refused"

    return check


# The closure reader: one kustomization among files that it may name, and some that it may not.

_KUSTOMIZATIONS = (
    b"""apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: shop
resources: [deployment.yaml, ../base, link.yaml]
components: [../component]
crds: [crd.yaml]
configurations: [names.yaml]
openapi: {path: schema.json}
images: [{name: web, newTag: "2"}]
patches:
- {path: patch.yaml, target: {kind: Deployment}}
- patch: "- {op: add, path: /spec, value: 1}"
configMapGenerator:
- {name: cfg, files: [a.txt, key=b.txt], envs: [x.env], literals: [a=b]}
secretGenerator: [{name: s, files: [secret.txt], literals: [pw=geheim]}]
replacements: [{path: replace.yaml}, {source: {kind: ConfigMap, name: fleet-cluster, fieldPath: data.region}}]
""",
    b"""generators:
- plugin.yaml
- "{apiVersion: builtin, kind: ConfigMapGenerator, metadata: {name: g}, files: [a.txt]}"
transformers:
- |
  apiVersion: builtin
  kind: PatchTransformer
  metadata: {name: p}
  path: patch.yaml
validators: [plugin.yaml]
helmGlobals: {chartHome: charts}
helmCharts: [{name: podinfo, version: 1.0.0, repo: "https://charts.internal", valuesFile: a.txt}]
buildMetadata: [originAnnotations]
sortOptions: {order: fifo}
""",
)
_TREE = {
    "over/kustomization.yaml": b"",
    "base/kustomization.yaml": b"resources: [a.yaml]\n",
    "base/a.yaml": b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
    "component/kustomization.yaml": b"kind: Component\n",
    "over/link.yaml": b"../base/a.yaml",
    "over/out.yaml": b"../../etc/passwd",
    "over/loop": b"loop",
    "over/charts/podinfo-1.0.0.tgz": b"no archive",
    "over/plugin.yaml": b"apiVersion: builtin\nkind: PrefixTransformer\nmetadata: {name: p}\n",
    **{
        f"over/{name}": b"x"
        for name in ("deployment.yaml", "crd.yaml", "names.yaml", "schema.json", "patch.yaml", "a.txt", "b.txt",
                     "x.env", "secret.txt", "replace.yaml")
    },
}  # fmt: skip
_CLOSURE_WORDS = _words(
    r"""
resources: components: bases: crds: patches: path: patchesStrategicMerge: patchesJson6902: generators:
transformers: configMapGenerator: secretGenerator: files: envs: env: literals: replacements: helmCharts:
helmGlobals: chartHome: openapi: configurations: Resources: RESOURCES: ../ ../../ / /etc/passwd out.yaml
loop link.yaml . .. ../base https://x/y github.com/a/b?ref=c git::ssh://x file:///etc/passwd \\0 a.txt
key= = plugin.yaml kind: apiVersion: builtin kustomize.config.k8s.io/v1beta1 function metadata:
annotations: fleet-cluster unknownField:
"""
)


def _closure() -> Callable[[bytes], str]:
    def check(data: bytes) -> str:
        commit = _Commit({**_TREE, "over/kustomization.yaml": data}, ("over/link.yaml", "over/out.yaml", "over/loop"))
        tree = CommitTree(commit)
        found = read_closure(tree, Reader(), "over", charts=True)
        strangers = [path for path in (*found.files, *found.links) if path not in tree.entries]
        if strangers:
            raise AssertionError(f"the closure holds what the commit does not: {strangers}")
        if "over/out.yaml" in found.files or any(path.startswith("/") for path in found.files):
            raise AssertionError("the closure leads out of the commit")
        found.input_digest()
        if found.error is not None:
            str(found.error)
            return found.error.reason
        return "widened" if found.widened else "read"

    return check


# Kubeconfigs, as the hub reads them and as a person's command does (but for files, of which a person may name any).

_KUBECONFIG = b"""apiVersion: v1
kind: Config
current-context: a
clusters:
- name: a
  cluster: {server: "https://a.internal:6443", certificate-authority-data: QQ==, tls-server-name: x, proxy-url: "socks5://p:1"}
contexts: [{name: a, context: {cluster: a, user: u, namespace: n}}]
users:
- name: u
  user: {token: abc, as: jo, as-groups: [x], as-user-extra: {scope: [y]}}
"""
_KUBECONFIGS = (
    _KUBECONFIG,
    _KUBECONFIG.replace(b"{token: abc, as", b"{client-certificate-data: QQ==, client-key-data: QUI=, as"),
    _KUBECONFIG.replace(b"token: abc", b"username: u, password: p"),
    _KUBECONFIG.replace(
        b"token: abc", b"exec: {command: ./get, args: [a], apiVersion: client.authentication.k8s.io/v1}"
    ),
    b'{"apiVersion":"v1","kind":"Config","clusters":[{"name":"a","cluster":{"server":"https://[::1]:6443"}}],'
    b'"contexts":[{"name":"a","context":{"cluster":"a","user":"u"}}],"users":[{"name":"u","user":{"token":"t"}}]}',
)
_KUBECONFIG_WORDS = _words(
    r"""
server: token: exec: auth-provider: client-certificate: client-key: tokenFile: certificate-authority:
certificate-authority-data: client-key-data: insecure-skip-tls-verify: true proxy-url: http:// https://
socks5:// [::1 :99999 : @ ? # %00 username: password: as: as-uid: as-groups: as-user-extra: config:
id-token: name: user: cluster: contexts: users: clusters: current-context: a u QQ== == \\u2028 \
extensions: kind: Config
"""
)


def _kubeconfig() -> Callable[[bytes], str]:
    def check(data: bytes) -> str:
        told = "used"
        for trust in Trust:
            try:
                access = access_from(read_kubeconfig(data, "/nowhere/kubeconfig"), trust)
            except (CredentialRefused, CredentialMissing) as error:
                str(error).encode()
                told = error.reason
                continue
            if trust is Trust.HUB:
                if not isinstance(access, FixedAccess):
                    raise AssertionError(f"the hub would use {type(access).__name__}")
                endpoint = access.fixed.endpoint
                if not endpoint.server.startswith("https://") or endpoint.insecure:
                    raise AssertionError(f"the hub would ask {endpoint.server}")
        return told

    return check


# What a cluster answers: frames of a watch in chunks, lists, and refusals.

_OBJECT = (
    b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"n","uid":"u","resourceVersion":"12",'
    b'"labels":{"fleet.internal/installation":"x"},"managedFields":[{"manager":"fleet","operation":"Apply","fieldsV1":'
    b'{"f:data":{".":{},"f:a":{}}}}]},"data":{"a":"1"}}'
)
_FRAMES = (
    b"".join(b'{"type":"%s","object":%s}\n' % (kind, _OBJECT) for kind in (b"ADDED", b"MODIFIED", b"DELETED")),
    b'{"type":"BOOKMARK","object":{"kind":"ConfigMap","metadata":{"resourceVersion":"13"}}}\n',
    b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n',
    b'{"kind":"Status","status":"Failure","message":"x is invalid","reason":"Invalid","code":422,"details":{"name":"a",'
    b'"causes":[{"field":"spec.x","message":"conflict with \\"kubectl\\"","reason":"FieldManagerConflict"}]}}',
    b"<html><head><title>502 Bad Gateway</title></head></html>",
)
_FRAME_WORDS = _words(
    r"""
"type": "object": "ADDED" "BOOKMARK" "ERROR" "metadata": "resourceVersion": "code": "details": "causes":
"message": "reason": null true 1e309 -0 "\\ud800" "\\u0000" [] {} [[ }} , : "" 410 429 500 "status"
<title> "items": "continue": "fieldsV1": "f:a" "k:{}" "v:1" "." 299
"""
)
_ASKED = Asked("follow ConfigMap", "eu-1")
_SECRET = Asked("read Secret n/a", "eu-1", secret=True)


def _frames() -> Callable[[bytes], str]:
    reflector = Reflector.__new__(Reflector)  # its decoder alone: nothing is asked of a server
    reflector._asked, reflector._version, reflector._limits = _ASKED, "10", KubeLimits()

    def check(data: bytes) -> str:
        size = 1 + data[0] % 97 if data else 1
        told, lines = "nothing", Lines(8 << 10)
        try:
            for at in range(0, len(data), size):
                for line in lines.feed(data[at : at + size]):
                    assert isinstance(reflector._seen(line), Changed | Removed | Proved)
                    told = "event"
        except ClusterError as error:
            str(error).encode()
            told = error.reason
        for asked in (_ASKED, _SECRET):
            status = 200 + (data[-1] if data else 0) * 2
            kind = "application/json" if len(data) % 3 else "text/html"
            reply = Reply(status, kind, 1.0 if len(data) % 2 else None, (), data)
            str(error_of(reply, asked)).encode()
            is_absent(reply, "a")
            try:
                document_of(reply, asked)
            except AnswerInvalid as error:
                str(error).encode()
        warnings_of([data.decode("utf-8", "surrogateescape")], secret=False)
        return told

    return check


# A webhook, from the bytes on the wire: what the server's own parser lets through is judged.

_BODY = b'{"ref":"refs/heads/main","after":"0000"}'
_HOOKS = tuple(
    b"POST /hooks/git HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n%s\r\nContent-Length: %d\r\n\r\n%s"
    % (header, len(_BODY), _BODY)
    for header in (
        b"X-Fleet-Signature: " + webhook_signature(_BODY, b"secret").encode(),
        b"X-Hub-Signature-256: sha256=00",
        b"X-Hub-Signature-256:  SHA256=" + b"g" * 64,
        b"X-Gitlab-Token: secret",
    )
)
_HOOK_WORDS = (
    b"X-Fleet-Signature: ", b"X-Hub-Signature-256: ", b"sha256=", b"\xff", b"\xe9", b"\xc3\xa9", b"\x00", b"\r\n",
    b"\n", b": ", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"Expect: 100-continue\r\n",
    b"GET ", b"POST ", b"HTTP/1.1", b"HTTP/2.0", b"; ", b"%00", b"a" * 300,
)  # fmt: skip


def _webhook() -> Callable[[bytes], str]:
    loop = asyncio.new_event_loop()

    def check(data: bytes) -> str:
        parser = HttpRequestParser(BaseProtocol(loop), loop, 1 << 16, max_line_size=8190, max_field_size=8190)
        head, _, body = data.partition(b"\r\n\r\n")
        try:
            messages, _, _ = parser.feed_data(head + b"\r\n\r\n")
        except HttpProcessingError:
            return "no request"
        if not messages:
            return "no request"
        verdict = judge_webhook(body, messages[0][0].headers, b"secret")
        if verdict is WebhookVerdict.ACCEPTED:
            mark = webhook_signature(body, b"secret").encode()
            if mark not in data.lower():
                raise AssertionError("accepted without its signature")
        assert (verdict is WebhookVerdict.TOO_LARGE) == (len(body) > BODY_LIMIT_BYTES)
        return verdict.value

    return check


TARGETS = {
    target.name: target
    for target in (
        Target("inventory", (_FLEET, _CLUSTER, _OVERLAY), (*_YAML, *_INVENTORY_WORDS), _inventory),
        Target("closure", _KUSTOMIZATIONS, (*_YAML, *_CLOSURE_WORDS), _closure),
        Target("kubeconfig", _KUBECONFIGS, (*_YAML, *_KUBECONFIG_WORDS), _kubeconfig),
        Target("watch", _FRAMES, _FRAME_WORDS, _frames),
        Target("webhook", _HOOKS, _HOOK_WORDS, _webhook),
    )
}
