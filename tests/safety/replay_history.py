"""An ordinary history of a fleet repo, and what a person would say of each of its commits.

The shape is that of five public fleets: 93 % of the commits delete no file, 0.6 % delete more than ten, and the rest a
few; most change an image or a value. The judge knows what each commit means because it made it; it shares no code with
the product, reads no rendered output, and counts by the words of the rules alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random

ENVIRONMENTS = {"dev": 2, "staging": 3, "prod": 6}
CLUSTERS = tuple(f"{env}-{number}" for env, count in ENVIRONMENTS.items() for number in range(1, count + 1))
PRECIOUS = frozenset({"Namespace", "PersistentVolumeClaim", "StatefulSet", "CustomResourceDefinition", "ClusterRole"})
HOUR = 3600.0
Thing = tuple[str, str, str]  # kind, namespace, name; a generated one by the name that its generator gives
FLEET = """apiVersion: fleet.internal/v1
kind: Fleet
metadata: {name: default}
spec: {environments: [dev, staging, prod]}
"""


@dataclass(slots=True)
class App:
    """One overlay: files of objects in its base and in its environments, an image, and a generator's value."""

    name: str
    base: dict[str, list[Thing]] = field(default_factory=dict)  # file -> what it holds
    extra: dict[str, dict[str, list[Thing]]] = field(default_factory=lambda: {env: {} for env in ENVIRONMENTS})
    image: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENVIRONMENTS, 1))
    values: dict[str, int] = field(default_factory=dict)  # file -> a value in all its objects
    generated: int | None = 1
    remark: int = 0
    without: set[str] = field(default_factory=set)  # environments that it does not run in

    def things(self, environment: str) -> set[Thing]:
        """All that a cluster of this environment holds of it."""
        if environment in self.without:
            return set()
        files = [*self.base.values(), *self.extra[environment].values()]
        generated = {("ConfigMap", "shop", f"{self.name}-cfg")} if self.generated is not None else set()
        return {thing for held in files for thing in held} | generated

    def copied(self) -> App:
        """Another one, which does not change with this."""
        return replace(
            self,
            base={name: list(held) for name, held in self.base.items()},
            extra={env: {name: list(held) for name, held in files.items()} for env, files in self.extra.items()},
            image=dict(self.image),
            values=dict(self.values),
            without=set(self.without),
        )

    def files(self) -> dict[str, str]:
        """The files of its directory."""
        at = f"overlays/{self.name}"
        clusters = ", ".join(env for env in ENVIRONMENTS if env not in self.without)
        made = {
            f"{at}/overlay.yaml": "apiVersion: fleet.internal/v1\nkind: Overlay\n"
            f"metadata: {{name: {self.name}}}\nspec: {{clusters: [{{environments: [{clusters}]}}]}}\n",
            f"{at}/base/kustomization.yaml": self._base(),
        }
        made |= {f"{at}/base/{name}": self._text(name, held) for name, held in self.base.items()}
        for env, extra in self.extra.items():
            listed = "".join(f"- {name}\n" for name in ("../base", *sorted(extra)))
            images = f"images: [{{name: reg.internal/{self.name}, newTag: v{self.image[env]}}}]\n"
            made[f"{at}/{env}/kustomization.yaml"] = f"resources:\n{listed}{images}"
            made |= {f"{at}/{env}/{name}": self._text(name, held) for name, held in extra.items()}
        return made

    def _base(self) -> str:
        text = f"# {self.remark}\nresources:\n" + "".join(f"- {name}\n" for name in sorted(self.base))
        if not self.base:
            text = f"# {self.remark}\nresources: []\n"
        if self.generated is not None:
            text += (
                f"configMapGenerator: [{{name: {self.name}-cfg, namespace: shop, literals: [v={self.generated}]}}]\n"
            )
        return text

    def _text(self, file: str, held: list[Thing]) -> str:
        value = self.values.get(file, 0)
        return "---\n".join(_manifest(thing, value, self.name) for thing in held)


def _manifest(thing: Thing, value: int, app: str) -> str:
    kind, namespace, name = thing
    metadata = f"metadata: {{name: {name}{f', namespace: {namespace}' if namespace else ''}}}\n"
    match kind:
        case "Deployment" | "StatefulSet":
            claim = "  serviceName: x\n" if kind == "StatefulSet" else ""
            return (
                f"apiVersion: apps/v1\nkind: {kind}\n{metadata}spec:\n  replicas: {1 + value % 3}\n{claim}"
                f"  selector: {{matchLabels: {{app: {name}}}}}\n"
                f"  template:\n    metadata: {{labels: {{app: {name}}}}}\n"
                f"    spec:\n      containers:\n      - name: main\n        image: reg.internal/{app}:v0\n"
                f"        envFrom: [{{configMapRef: {{name: {app}-cfg}}}}]\n"
            )
        case "Service":
            return f"apiVersion: v1\nkind: Service\n{metadata}spec: {{ports: [{{port: {8000 + value}}}]}}\n"
        case "PersistentVolumeClaim":
            spec = f"spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {1 + value}Gi}}}}}}\n"
            return f"apiVersion: v1\nkind: {kind}\n{metadata}{spec}"
        case _:
            body = "" if kind in {"Namespace", "ServiceAccount"} else f"data: {{v: '{value}'}}\n"
            return f"apiVersion: v1\nkind: {kind}\n{metadata}{body}"


@dataclass(slots=True)
class Fleet:
    """The whole repo as its authors think of it."""

    apps: dict[str, App] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLUSTERS, 0))
    readme: int = 0
    number: int = 0  # of names given so far

    def copied(self) -> Fleet:
        """Another one, which does not change with this."""
        apps = {name: app.copied() for name, app in self.apps.items()}
        return replace(self, apps=apps, labels=dict(self.labels))

    def files(self) -> dict[str, str]:
        made = {"fleet.yaml": FLEET, "README.md": f"Words {self.readme}\n"}
        for cluster, label in self.labels.items():
            environment = cluster.rpartition("-")[0]
            made[f"clusters/{cluster}.yaml"] = (
                "apiVersion: fleet.internal/v1\nkind: Cluster\n"
                f"metadata: {{name: {cluster}, labels: {{n: l{label}}}}}\n"
                f"spec: {{environment: {environment}}}\n"
            )
        for app in self.apps.values():
            made |= app.files()
        return made

    def things(self, app: str, cluster: str) -> set[Thing]:
        held = self.apps.get(app)
        return held.things(cluster.rpartition("-")[0]) if held is not None else set()

    def fresh(self, app: App, kind: str) -> Thing:
        self.number += 1
        return (kind, "" if kind == "Namespace" else "shop", f"{app.name}-{self.number}")


def begin(random: Random, apps: int) -> Fleet:
    """Apps of 9 to 16 objects each."""
    fleet = Fleet()
    for number in range(apps):
        app = fleet.apps[f"app{number}"] = App(f"app{number}")
        kinds = ["Deployment", "Service", "ServiceAccount", *["ConfigMap"] * random.randint(5, 10)]
        kinds += random.sample(["PersistentVolumeClaim", "StatefulSet", "Namespace"], random.randint(0, 2))
        for kind in kinds:
            add(fleet, app, app.base, kind)
        for env in ENVIRONMENTS:
            for _ in range(random.randint(0, 2)):
                add(fleet, app, app.extra[env], "ConfigMap")
    return fleet


def add(fleet: Fleet, app: App, place: dict[str, list[Thing]], kind: str) -> None:
    thing = fleet.fresh(app, kind)
    place[f"{thing[2]}.yaml"] = [thing]


# What people do; each takes the fleet and the dice, and says what it did ("" where it did not fit).

Act = Callable[[Fleet, Random], str]


def _some(fleet: Fleet, random: Random) -> App:
    return random.choice(list(fleet.apps.values()))


def _plain(app: App) -> list[str]:
    """Files of the base that hold one ordinary object."""
    return [name for name, held in app.base.items() if len(held) == 1 and held[0][0] in {"ConfigMap", "Service"}]


def bump_image(fleet: Fleet, random: Random) -> str:
    app, env = _some(fleet, random), random.choice(list(ENVIRONMENTS))
    app.image[env] += 1
    return f"{app.name}: image in {env}"


def change_value(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    file = random.choice(list(app.base))
    app.values[file] = app.values.get(file, 0) + 1
    return f"{app.name}: value in {file}"


def change_generator(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    if app.generated is None:
        return ""
    app.generated += 1
    return f"{app.name}: generated value"


def add_object(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    if len(app.base) > 25:
        return ""
    place = app.base if random.random() < 0.7 else app.extra[random.choice(list(ENVIRONMENTS))]
    kind = random.choice(["ConfigMap", "ConfigMap", "Service", "ServiceAccount", "PersistentVolumeClaim"])
    add(fleet, app, place, kind)
    return f"{app.name}: one more object"


def change_label(fleet: Fleet, random: Random) -> str:
    fleet.labels[random.choice(CLUSTERS)] += 1
    return "label of a cluster"


def write_words(fleet: Fleet, random: Random) -> str:
    fleet.readme += 1
    _some(fleet, random).remark += 1
    return "words"


def edit_object_out_of_file(fleet: Fleet, random: Random) -> str:
    """Drops an object from a file of several: no file is deleted."""
    app = _some(fleet, random)
    for held in app.base.values():
        if len(held) > 1:
            held.pop()
            return f"{app.name}: one object less in a file"
    return ""


def drop_object(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    if len(app.base) < 7 or not (files := _plain(app)):
        return ""
    del app.base[random.choice(files)]
    return f"{app.name}: drops an object"


def drop_two(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    if len(app.base) < 11 or len(files := _plain(app)) < 2:
        return ""
    for file in random.sample(files, 2):
        del app.base[file]
    return f"{app.name}: drops two objects"


def drop_of_environment(fleet: Fleet, random: Random) -> str:
    app, env = _some(fleet, random), random.choice(list(ENVIRONMENTS))
    if not app.extra[env]:
        return ""
    del app.extra[env][random.choice(list(app.extra[env]))]
    return f"{app.name}: drops an object in {env}"


def move_file(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    if not (files := _plain(app)):
        return ""
    old = random.choice(files)
    fleet.number += 1
    new = f"moved-{fleet.number}.yaml"
    app.base[new] = app.base.pop(old)
    app.values[new] = app.values.pop(old, 0)
    return f"{app.name}: {old} is {new} now"


def merge_files(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    files = _plain(app)
    if len(files) < 3:
        return ""
    first, *others = random.sample(files, random.randint(2, 3))
    for other in others:
        app.base[first] = app.base[first] + app.base.pop(other)
    return f"{app.name}: files merged"


def move_to_other_app(fleet: Fleet, random: Random) -> str:
    app, other = random.sample(list(fleet.apps.values()), 2)
    if app.without or other.without or len(app.base) < 6 or not (files := _plain(app)):
        return ""
    file = random.choice(files)
    other.base[file] = app.base.pop(file)
    return f"{app.name}: {file} goes to {other.name}"


def rename_object(fleet: Fleet, random: Random) -> str:
    """Another name with the same content, and another file with it."""
    app = _some(fleet, random)
    if len(app.base) < 7 or not (files := _plain(app)):
        return ""
    file = random.choice(files)
    thing = fleet.fresh(app, app.base[file][0][0])
    del app.base[file]
    app.base[f"{thing[2]}.yaml"] = [thing]
    app.values[f"{thing[2]}.yaml"] = app.values.pop(file, 0)
    return f"{app.name}: {file} renamed to {thing[2]}"


def drop_precious(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    files = [name for name, held in app.base.items() if held[0][0] in PRECIOUS]
    if not files:
        return ""
    del app.base[random.choice(files)]
    return f"{app.name}: drops what holds data"


def drop_generator(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    if app.generated is None or any(held[0][0] in {"Deployment", "StatefulSet"} for held in app.base.values()):
        return ""
    app.generated = None
    return f"{app.name}: no generator any more"


def restructure(fleet: Fleet, random: Random) -> str:
    """All files of an app get other names; its objects stay."""
    app = _some(fleet, random)
    if len(app.base) < 11:
        return ""
    fleet.number += 1
    app.base = {f"r{fleet.number}-{name}": held for name, held in app.base.items()}
    app.values = {f"r{fleet.number}-{name}": value for name, value in app.values.items()}
    return f"{app.name}: restructured"


def retire(fleet: Fleet, random: Random) -> str:
    """An app leaves: its objects are let go of, and nothing is deleted."""
    if len(fleet.apps) < 5:
        return ""
    app = _some(fleet, random)
    del fleet.apps[app.name]
    return f"{app.name}: retired"


def drop_many(fleet: Fleet, random: Random) -> str:
    app = _some(fleet, random)
    if len(files := _plain(app)) < 11:
        return ""
    for file in random.sample(files, 11):
        del app.base[file]
    return f"{app.name}: drops eleven objects"


def start_app(fleet: Fleet, random: Random) -> str:
    fleet.number += 1
    app = fleet.apps[f"new{fleet.number}"] = App(f"new{fleet.number}")
    for kind in ("Deployment", "Service", *["ConfigMap"] * random.randint(5, 12)):
        add(fleet, app, app.base, kind)
    return f"{app.name}: new"


KEEPS_FILES: tuple[tuple[float, Act], ...] = (
    (52, bump_image), (18, change_value), (10, change_generator), (8, add_object), (3, change_label), (5, write_words),
    (1.5, edit_object_out_of_file), (1, start_app), (0.3, drop_generator),
)  # fmt: skip
DELETES_FILES: tuple[tuple[float, Act], ...] = (
    (38, drop_object), (12, drop_two), (14, drop_of_environment), (14, move_file), (8, merge_files),
    (6, move_to_other_app), (5, rename_object), (3, drop_precious),
)  # fmt: skip
DELETES_MANY: tuple[tuple[float, Act], ...] = ((50, restructure), (35, retire), (15, drop_many))
SHARE_MANY, SHARE_SOME = 0.006, 0.064


@dataclass(frozen=True, slots=True)
class Commit:
    """One step of the history: what changed of the files, after how many seconds, and the fleet before and after."""

    said: str
    wait: float
    changes: Mapping[str, str | None]
    before: Fleet
    after: Fleet

    @property
    def deleted_files(self) -> int:
        return sum(text is None for text in self.changes.values())


def history(seed: int, commits: int, apps: int = 9) -> list[Commit]:
    """The first commit brings everything; `commits` follow."""
    random, fleet = Random(seed), begin(Random(seed), apps)
    old = fleet.files()
    made = [Commit("begin", 0.0, old, Fleet(), fleet.copied())]
    while len(made) <= commits:
        dice = random.random()
        acts = DELETES_MANY if dice < SHARE_MANY else DELETES_FILES if dice < SHARE_MANY + SHARE_SOME else KEEPS_FILES
        said = ""
        while not said:
            (act,) = random.choices([act for _, act in acts], [weight for weight, _ in acts])
            said = act(fleet, random)
            if not said and acts is DELETES_MANY and all(len(app.base) < 11 for app in fleet.apps.values()):
                acts = KEEPS_FILES
        # Some commits come in a row, others after hours.
        wait = random.uniform(60, 900) if random.random() < 0.6 else random.uniform(3600, 40_000)
        new = fleet.files()
        changes: dict[str, str | None] = {path: text for path, text in new.items() if old.get(path) != text}
        changes |= {path: None for path in old if path not in new}
        made.append(Commit(said, wait, changes, made[-1].after, fleet.copied()))
        old = new
    return made


# The judge


@dataclass(slots=True)
class Judge:
    """Says by the words of R8 to R10 whether a person must be asked, unit by unit."""

    recent: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # deletions of a unit, when

    def gone(self, commit: Commit, app: str, cluster: str) -> set[Thing]:
        """What the cluster loses by it: no moves, no generated names; of an app that leaves, nothing."""
        if not commit.after.things(app, cluster):
            return set()
        lost = commit.before.things(app, cluster) - commit.after.things(app, cluster)
        return {thing for thing in lost if not any(thing in commit.after.things(other, cluster)
                                                   for other in commit.after.apps if other != app)}  # fmt: skip

    def must_ask(self, commit: Commit, app: str, cluster: str, now: float) -> str:
        """The rule by which a person must be asked for this unit; "" where none says so."""
        gone = self.gone(commit, app, cluster)
        if not gone:
            return ""
        if any(kind in PRECIOUS for kind, _, _ in gone):
            return "R10"
        counted = len(gone - _renamed(commit, app))
        if not counted:
            return ""
        before = [at for at in self.recent.get((app, cluster), []) if at > now - HOUR]
        had, total = len(commit.before.things(app, cluster)) + len(before), counted + len(before)
        if total > had / 2:
            return "R8"
        return "R9" if total > 20 or (had >= 8 and total > had / 4) else ""

    def leaves(self, commit: Commit, app: str) -> bool:
        """Whether an app leaves so many clusters that a person must be asked (R8)."""
        had = [name for name in CLUSTERS if commit.before.things(app, name)]
        left = [name for name in had if not commit.after.things(app, name)]
        return len(left) >= 4 and len(left) > len(had) / 4

    def note(self, commit: Commit, now: float) -> None:
        for app in commit.before.apps:
            for cluster in CLUSTERS:
                times = self.recent.setdefault((app, cluster), [])
                times[:] = [at for at in times if at > now - HOUR] + [now] * len(
                    self.gone(commit, app, cluster) - _renamed(commit, app)
                )


def _renamed(commit: Commit, app: str) -> set[Thing]:
    """What only got another name: this commit says so itself."""
    marker = "renamed to "
    if marker not in commit.said or not commit.said.startswith(f"{app}:"):
        return set()
    before, after = commit.before.apps[app].base, commit.after.apps[app].base
    return {thing for file, held in before.items() if file not in after for thing in held}
