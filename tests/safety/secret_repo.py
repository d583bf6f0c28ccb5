"""Files of a fleet repo with Secrets in it: good ones, and ways in which one is refused with its value near."""

from __future__ import annotations

_HEAD = "apiVersion: v1\nkind: Secret\n"
GENERATED = "secretGenerator:\n- {name: generated, namespace: default, envs: [generated.env]}\n"


def secret_file(name: str, value: str) -> str:
    return f"{_HEAD}metadata: {{name: {name}, namespace: default}}\nstringData: {{password: '{value}'}}\n"


def _with(kustomization: str, **files: str) -> dict[str, str]:
    return {"kustomization.yaml": kustomization, **{name.replace("_", "."): text for name, text in files.items()}}


_ONE = "resources: [secret.yaml]\n"
_GOOD = secret_file("s", "SEED")

# By overlay; SEED is replaced by the secret. Each is refused at another place.
BAD: dict[str, dict[str, str]] = {
    "no-base64": _with(_ONE, secret_yaml=_GOOD.replace("stringData", "data").replace("SEED", "SEED!!")),
    "twice": _with(_ONE, secret_yaml=_GOOD + "stringData: {password: SEED}\n"),
    "open-quote": _with(_ONE, secret_yaml=_GOOD.replace("SEED'}", "SEED}")),
    "bad-indent": _with(_ONE, secret_yaml=f"{_HEAD}metadata:\n  name: s\n stringData:\n  password: SEED\n"),
    "a-tag": _with(_ONE, secret_yaml=_GOOD.replace("'SEED'", "!vault SEED")),
    "a-list": _with(_ONE, secret_yaml=_GOOD.replace("'SEED'", "[SEED]")),
    "no-namespace": _with(_ONE, secret_yaml=_GOOD.replace(", namespace: default", "")),
    "no-name": _with(_ONE, secret_yaml=_GOOD.replace("name: s, ", "")),
    "generate-name": _with(_ONE, secret_yaml=_GOOD.replace("name: s, ", "generateName: SEED-, ")),
    "two-of-one": _with("resources: [secret.yaml, again.yaml]\n", secret_yaml=_GOOD, again_yaml=_GOOD),
    "encrypted": _with(_ONE, secret_yaml=f"{_GOOD}sops: {{mac: x}}\n"),
    "literal": _with("secretGenerator:\n- {name: g, namespace: default, literals: [SEED]}\n"),
    "env-file": _with("secretGenerator:\n- {name: g, namespace: default, envs: [e.env]}\n", e_env="a b=SEED\n"),
    "merge-missing": _with(
        "secretGenerator:\n- {name: g, namespace: default, behavior: merge, literals: [password=SEED]}\n"
    ),
    "patch": _with(
        f"{_ONE}patches:\n- target: {{kind: Secret}}\n  patch: |-\n"
        "    - {op: test, path: /stringData/password, value: SEED}\n"
        "    - {op: remove, path: /stringData/nothing}\n",
        secret_yaml=_GOOD,
    ),
    "merge-patch": _with(
        f"{_ONE}patches:\n- patch: |-\n"
        "    {apiVersion: v1, kind: Secret, metadata: {name: other}, stringData: {p: SEED}}\n",
        secret_yaml=_GOOD,
    ),
    "patch-without-name": _with(
        f"{_ONE}patches:\n- patch: |-\n    apiVersion: v1\n    kind: Secret\n    stringData:\n      password: SEED\n",
        secret_yaml=_GOOD,
    ),
    "patch-with-bad-indent": _with(
        f"{_ONE}patches:\n- patch: |-\n    apiVersion: v1\n    kind: Secret\n    metadata:\n      name: s\n"
        "     stringData:\n      password: SEED\n",
        secret_yaml=_GOOD,
    ),
    "operations-with-bad-indent": _with(
        f"{_ONE}patches:\n- target: {{kind: Secret}}\n  patch: |-\n    - op: add\n      path: /stringData/a\n"
        "     value: SEED\n",
        secret_yaml=_GOOD,
    ),
    "inline-merge": _with(
        f"{_ONE}patchesStrategicMerge:\n- |-\n  apiVersion: v1\n  kind: Secret\n  stringData:\n    password: SEED\n",
        secret_yaml=_GOOD,
    ),
    "replacement": _with(
        f"{_ONE}replacements:\n- source: {{kind: Secret, name: s, fieldPath: stringData.password}}\n"
        "  targets: [{select: {kind: ConfigMap}, fieldPaths: [data.missing]}]\n",
        secret_yaml=_GOOD,
    ),
    "unknown-type": _with(_ONE, secret_yaml=_GOOD.replace("stringData", "type: 7\nstringData")),
    "a-number": _with(_ONE, secret_yaml=_GOOD.replace("'SEED'", "{SEED: 1}")),
}
