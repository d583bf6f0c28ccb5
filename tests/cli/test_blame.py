"""`fleet blame`: the line that gives a field its value, its commit, and "unknown" where no line alone does."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cli.planrepo import WHO, git
from fixtures.layouts.documents import COMPONENT, KUSTOMIZATION, cluster, overlay
from inventory.building import write

from fleet.cli.app import run
from fleet.cli.blame import Asked, blame
from fleet.errors import NotKnown, UsageInvalid

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "blame.json").read_text())

BASE, PROD, BIG = "overlays/web/base", "overlays/web/prod", "components/big"
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {team: "{shop}", twice: alike}
spec:
  replicas: 2
  minReadySeconds: 31
  paused: true
  revisionHistoryLimit: 7
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      priorityClassName: low
      schedulerName: "${scheduler}"
      terminationGracePeriodSeconds: 41
      serviceAccountName: base-account
      hostname: target
      subdomain: subdomain
      containers:
        - name: main
          image: web
          args: ["--url=https://${domain}/x", '--level=${level:=info}']
          envFrom: [{configMapRef: {name: web-cfg}}]
"""
OTHER = """apiVersion: v1
kind: Service
metadata: {name: api}
spec:
  selector: {app: api}
  ports: [{port: 8080, name: subdomain}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  host: from-settings
  text: |
    first line here
    second line there
"""
FILES = {
    "clusters/eu-1.yaml": cluster("eu-1", "prod", variables={"domain": "eu.acme.example", "scheduler": "own"}),
    "overlays/web/overlay.yaml": overlay({"all": True, "components": [BIG]}, substitute=True),
    f"{BASE}/kustomization.yaml": KUSTOMIZATION
    + """namespace: shop
resources: [web.yaml, other.yaml]
configMapGenerator:
  - name: web-cfg
    envs: [web.env]
    files: [routes.txt]
    literals:
      - theme=light
secretGenerator:
  - name: web-key
    literals:
      - password=correct-horse-battery
images:
  - name: web
    newName: reg.example/shop/web
    newTag: 1.7.4
replacements:
  - source: {kind: ConfigMap, name: settings, fieldPath: data.host}
    targets:
      - select: {kind: Deployment}
        fieldPaths: [spec.template.spec.hostname]
""",
    f"{BASE}/web.yaml": DEPLOYMENT,
    f"{BASE}/other.yaml": OTHER,
    f"{BASE}/web.env": "timeout=30s\n",
    f"{BASE}/routes.txt": "/a to b\n/c to d\n",
    f"{PROD}/kustomization.yaml": KUSTOMIZATION
    + """resources: [../base]
namePrefix: eu-
commonAnnotations: {tier: gold}
replicas: [{name: web, count: 5}]
patches:
  - path: merge.yaml
  - target: {kind: Deployment}
    patch: |-
      - op: replace
        path: /spec/template/spec/priorityClassName
        value: high
      - {op: add, path: /spec/template/spec/nodeName, value: node-9}
""",
    f"{PROD}/merge.yaml": """apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  minReadySeconds: 77
  # The base says the same: this one wins.
  revisionHistoryLimit: 7
""",
    f"{BIG}/kustomization.yaml": COMPONENT
    + """patches:
  - target: {kind: Deployment}
    patch: |-
      - op: replace
        path: /spec/template/spec/terminationGracePeriodSeconds
        value: 99
""",
}


@pytest.fixture(autouse=True)
def _kustomize(real_kustomize: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLEET_KUSTOMIZE", real_kustomize)
    monkeypatch.delenv("FLEET_HUB", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repo of one cluster, in one commit."""
    place = write(tmp_path_factory.mktemp("blame"), FILES)
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "the first")
    return place


def ask(root: Path, target: str, field: str = "", namespace: str | None = None) -> tuple[int, dict[str, Any]]:
    out = io.StringIO()
    code = blame(root, Asked(target, "eu-1", namespace, field), out, output="json")
    document = json.loads(out.getvalue())
    jsonschema.validate(document, SCHEMA)
    return code, document


def lines_of(answer: dict[str, Any]) -> list[str]:
    return [f"{line['path']}:{line['line']}" for line in answer["lines"]]


def line(path: str, text: str) -> str:
    """Where a text stands: once in the file."""
    found = [at for at, content in enumerate(FILES[path].splitlines(), start=1) if text in content]
    assert len(found) == 1, (path, text, found)
    return f"{path}:{found[0]}"


def origins(root: Path, target: str, field: str) -> dict[str, tuple[bool, list[str]]]:
    _, report = ask(root, target, field)
    return {answer["field"]: (answer["known"], lines_of(answer)) for answer in report["answers"]}


def test_each_field_of_a_deployment_comes_from_the_line_that_gives_it(root: Path) -> None:
    found = {name.removeprefix("spec."): at for name, at in origins(root, "deployment/eu-web", "spec").items()}
    pod, container = "template.spec", "template.spec.containers[name=main]"
    base, prod, kustomization = f"{BASE}/web.yaml", f"{PROD}/kustomization.yaml", f"{BASE}/kustomization.yaml"
    known = {
        "replicas": [line(prod, "count: 5")],
        "minReadySeconds": [line(f"{PROD}/merge.yaml", "77")],
        "revisionHistoryLimit": [line(f"{PROD}/merge.yaml", "revisionHistoryLimit")],
        "paused": [line(base, "paused: true")],
        f"{pod}.priorityClassName": [line(prod, "value: high")],
        f"{pod}.nodeName": [line(prod, "node-9")],
        f"{pod}.schedulerName": [line("clusters/eu-1.yaml", '"scheduler": "own"')],
        f"{pod}.terminationGracePeriodSeconds": [line(f"{BIG}/kustomization.yaml", "value: 99")],
        f"{pod}.serviceAccountName": [line(base, "base-account")],
        f"{pod}.hostname": [line(f"{BASE}/other.yaml", "host: from-settings")],
        f"{pod}.subdomain": [line(base, "subdomain: subdomain")],
        f"{container}.name": [line(base, "name: main")],
        f"{container}.args[0]": [
            line(base, "--url"),
            line("clusters/eu-1.yaml", "eu.acme.example"),
            line(base, "--url"),
        ],
        f"{container}.args[1]": [line(base, "--url")],
    }
    for name, lines in known.items():
        assert set(found[name][1]) == set(lines), name
        assert found[name][0], name
    # kustomize puts prefix and hash to a name that it finds: where no build shows the whole, it is unknown.
    assert found[f"{container}.envFrom[0].configMapRef.name"] == (False, [line(prod, "namePrefix")])
    image = found[f"{container}.image"]
    assert set(image[1]) == {line(kustomization, "newName: reg"), line(kustomization, "newTag")}


def test_what_transformers_give_is_known_or_unknown_but_never_another_line(root: Path) -> None:
    found = origins(root, "service/eu-api", "metadata")
    assert found["metadata.annotations.tier"] == (True, [line(f"{PROD}/kustomization.yaml", "gold")])
    assert found["metadata.namespace"] == (True, [line(f"{BASE}/kustomization.yaml", "namespace: shop")])
    pieces = {line(f"{PROD}/kustomization.yaml", "namePrefix: eu-"), line(f"{BASE}/other.yaml", "{name: api}")}
    assert found["metadata.name"] == (True, sorted(pieces, reverse=True))


def test_generated_configmaps_and_texts_of_several_lines(root: Path) -> None:
    found = origins(root, "configmap/eu-web-cfg", "data")
    assert found["data.timeout"] == (True, [f"{BASE}/web.env:1"])
    assert found["data.theme"] == (True, [line(f"{BASE}/kustomization.yaml", "theme=light")])
    assert found["data[routes.txt]"] == (True, [f"{BASE}/routes.txt:1"])
    found = origins(root, "configmap/eu-settings", "data")
    assert found["data.text"] == (True, [line(f"{BASE}/other.yaml", "first line")])


def test_a_secret_is_traced_and_never_shown(root: Path) -> None:
    out = io.StringIO()
    asked = Asked("secret/eu-web-key", "eu-1", None, "data.password")
    assert blame(root, asked, out) == 0
    assert line(f"{BASE}/kustomization.yaml", "correct-horse") in out.getvalue()
    assert "correct" not in out.getvalue()
    assert "(the value of a Secret)" in out.getvalue()
    assert "fleet-sealed" not in json.dumps(ask(root, "secret/eu-web-key", "data")[1])


def test_an_object_is_where_its_document_or_its_generator_stands(root: Path) -> None:
    assert lines_of(ask(root, "Deployment.apps/eu-web")[1]["answers"][0]) == [f"{BASE}/web.yaml:1"]
    assert lines_of(ask(root, "service/eu-api")[1]["answers"][0]) == [f"{BASE}/other.yaml:1"]


def test_the_last_commit_of_the_line_its_author_and_what_is_not_committed(tmp_path: Path) -> None:
    place = write(tmp_path / "here", FILES)
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "the first")
    merge = place / PROD / "merge.yaml"
    merge.write_text(merge.read_text().replace("77", "78"))
    git(place, "commit", "-q", "-am", "wait longer", "--author", "jo <jo@acme.example>")
    revision = git(place, "rev-parse", "HEAD")
    _, report = ask(place, "deployment/eu-web", "spec.minReadySeconds")
    (found,) = report["answers"][0]["lines"]
    assert (found["commit"], found["subject"], found["author"]) == (revision, "wait longer", "jo")
    assert report["answers"][0]["live"]["reached"] == "unknown: no hub is known here"
    merge.write_text(merge.read_text().replace("78", "79"))
    code, report = ask(place, "deployment/eu-web", "spec.minReadySeconds")
    (found,) = report["answers"][0]["lines"]
    assert (code, found["commit"], found["unknown"]) == (0, None, "this line is not committed yet")
    subprocess.run(
        ["git", "worktree", "add", "-q", str(tmp_path / "linked")], cwd=place, check=True, env={**os.environ}
    )
    _, report = ask(tmp_path / "linked", "deployment/eu-web", "spec.minReadySeconds")
    assert report["answers"][0]["lines"][0]["commit"] == revision


def test_of_a_text_of_several_lines_the_newest_commit_is_told(tmp_path: Path) -> None:
    routes = "/a to b\n/own to one\n/c to d\n"
    place = write(tmp_path / "here", {**FILES, f"{BASE}/routes.txt": routes})
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "the first")
    path = place / BASE / "routes.txt"
    path.write_text(routes.replace("own to one", "own to two"))

    def told() -> tuple[str, str, str]:
        (found,) = ask(place, "configmap/eu-web-cfg", "data[routes.txt]")[1]["answers"][0]["lines"]
        return f"{found['path']}:{found['line']}", found["author"], found["unknown"]

    assert told() == (f"{BASE}/routes.txt:1", None, "a line of it is not committed yet")
    when = {"GIT_AUTHOR_DATE": "2030-01-01T00:00:00Z"}
    words = ["git", "commit", "-q", "-am", "its middle", "--author", "jo <jo@acme.example>"]
    subprocess.run(words, cwd=place, check=True, env={**os.environ, **WHO, **when})
    assert told() == (f"{BASE}/routes.txt:1", "jo", None)


@pytest.mark.parametrize("depth", [1, 2])
def test_where_a_shallow_clone_ends_nobody_is_accused(tmp_path: Path, depth: int) -> None:
    """Git gives all older lines to the commit at which the clone ends; of a newer line the author is known."""
    place = write(tmp_path / "here", FILES)
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "the first")
    merge = place / PROD / "merge.yaml"
    merge.write_text(merge.read_text().replace("77", "78"))
    git(place, "commit", "-q", "-am", "wait longer", "--author", "jo <jo@acme.example>")
    end = git(place, "rev-parse", f"HEAD~{depth - 1}")
    git(tmp_path, "clone", "-q", "--depth", str(depth), f"file://{place}", "shallow")
    (found,) = ask(tmp_path / "shallow", "deployment/eu-web", "spec.minReadySeconds")[1]["answers"][0]["lines"]
    if depth == 1:
        why = f"this clone is shallow, and its history ends at {end[:7]}: git fetch --unshallow"
        assert (found["commit"], found["unknown"]) == (None, why)
    else:
        assert (found["author"], found["unknown"]) == ("jo", None)


LAYERS = (BASE, "overlays/web/mid", PROD)


def random_overlays(choice: random.Random) -> tuple[dict[str, str], dict[str, str]]:
    """Layers that set annotations over one another in random ways, often alike; and which line wins for each."""
    truth: dict[str, str] = {}
    files = {
        "clusters/eu-1.yaml": cluster("eu-1", "prod"),
        "overlays/web/overlay.yaml": overlay({"all": True}),
        "overlays/web/base/kustomization.yaml": KUSTOMIZATION + "resources: [web.yaml]\n",
        "overlays/web/base/web.yaml": "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\n"
        "  labels: {app: web}\n  annotations:\n",
    }

    def add(path: str, text: str, key: str) -> None:
        files[path] = files.get(path, "") + text + "\n"
        truth[key] = f"{path}:{files[path].count(chr(10))}"

    keys = [f"k{number}" for number in range(6)]
    for key in keys:
        add(f"{BASE}/web.yaml", f"    {key}: {choice.choice(['alike', f'base-{key}'])}", key)
    for below, here in pairwise(LAYERS):
        kustomization, merge = f"{here}/kustomization.yaml", f"{here}/merge.yaml"
        files[kustomization] = KUSTOMIZATION + f"resources: [../{below.rpartition('/')[2]}]\n"
        files[kustomization] += "patches:\n  - path: merge.yaml\n  - target: {labelSelector: app=web}\n    patch: |-\n"
        files[kustomization] += "      - {op: test, path: /kind, value: Service}\n"
        files[merge] = "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  namespace: shop\n  annotations:\n"
        for how in ("merge", "operation"):  # in the order in which kustomize takes them
            for key in choice.sample(keys, 2):
                value = choice.choice(["alike", f"{here.rpartition('/')[2]}-{how}-{key}"])
                if how == "merge":
                    add(merge, f"    {key}: {value}", key)
                else:
                    operation = f"{{op: replace, path: /metadata/annotations/{key}, value: {value}}}"
                    add(kustomization, f"      - {operation}", key)
    return files, truth


@pytest.mark.parametrize("seed", range(3))
def test_in_random_overlays_the_line_that_wins_is_named(tmp_path: Path, seed: int) -> None:
    files, truth = random_overlays(random.Random(seed))
    found = origins(write(tmp_path, files), "service/web", "metadata.annotations")
    assert found == {f"metadata.annotations.{key}": (True, [place]) for key, place in truth.items()}


def test_the_commands_of_the_page_find_their_lines_in_the_example_repo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = Path(__file__).resolve().parents[2]
    commands = re.findall(r"^fleet (blame .*)$", (repo / "docs" / "plan.md").read_text(encoding="utf-8"), re.MULTILINE)
    monkeypatch.chdir(repo)
    assert len(commands) == 3
    assert [run(shlex.split(command)) for command in commands[:2]] == [0, 0]
    assert "overlays/web/base/deployment.yaml:2" in (said := capsys.readouterr().out)
    assert "overlays/web/base/kustomization.yaml:19" in said
    assert run(shlex.split(commands[2])) == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert lines_of(answer) == ["overlays/web/prod/hpa.yaml:8"]


def test_what_is_asked_wrongly_says_what_to_write(root: Path) -> None:
    with pytest.raises(NotKnown) as missing:
        ask(root, "hpa/eu-web")
    assert "Deployment/eu-web" in missing.value.next_step
    with pytest.raises(NotKnown, match="sets no spec"):
        ask(root, "deployment/eu-web", "spec.nothing")
    with pytest.raises(UsageInvalid, match="is no object"):
        ask(root, "web")
