"""How a repo that was not made for fleet is laid out: from its kustomizations to a proposal of fleet.yaml.

Pure. A kustomization that no other one uses is what somebody deploys; the names of the directories above it say for
which environment or cluster. Objects of Flux and Argo CD (`core.hints`) say more where there are any. What is proposed
is always a directory that exists: what cannot be read becomes a doubt instead.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations_with_replacement, count, pairwise

from fleet.core.hints import Doubt, Hint, Hints
from fleet.core.ids import is_dns_label, is_dns_subdomain
from fleet.core.targets import RESERVED_CLUSTER_NAMES
from fleet.values import dataclass, field

# Words for environments, in the order of promotion.
ENVIRONMENTS = (
    *("sandbox", "dev", "develop", "development", "int", "integration", "test", "testing", "qa", "uat"),
    *("stage", "staging", "preprod", "pre-prod", "prod", "production", "live"),
)
_RANK = {name: rank for rank, name in enumerate(ENVIRONMENTS)}
_WORDS = "|".join(ENVIRONMENTS)
_OF_ENVIRONMENT = re.compile(rf"(?:[a-z]{{2,5}}-)?({_WORDS})-?[0-9]+\Z")
_NUMBERED = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*-?[0-9]+\Z")
# Directories that say what kind of thing lies below, not which one.
_FILLERS = frozenset(("overlays", "overlay", "environments", "envs", "env", "clusters", "variants"))
_ENVIRONMENT, _CLUSTER, _LABEL = "{environment}", "{cluster}", "region"


@dataclass(frozen=True, slots=True)
class Kustomized:
    """A directory with a kustomization. `uses`: directories and files of the repo that it names; "." is the root."""

    directory: str
    is_component: bool = False
    uses: tuple[str, ...] = ()
    trouble: str = ""  # why it can never be built here
    where: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Clusters of a proposed overlay; `path` where its template does not lead there."""

    environments: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    path: str = ""


@dataclass(frozen=True, slots=True)
class ProposedOverlay:
    """An overlay by name and path; without targets it runs where a Cluster names it."""

    name: str
    path: str
    targets: tuple[Target, ...] = ()
    depends_on: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProposedCluster:
    """A cluster that the repo tells of."""

    name: str
    environment: str = ""
    region: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What fleet.yaml would say. `globs`: directories of which each is an overlay of its own."""

    environments: tuple[str, ...] = ()
    overlays: tuple[ProposedOverlay, ...] = ()
    globs: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()  # directories that the globs take
    clusters: tuple[ProposedCluster, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    @property
    def directories(self) -> frozenset[str]:
        """All that an overlay can be built from."""
        return frozenset((*self.alone, *(path for one in self.overlays for path in one.directories)))


@dataclass(frozen=True, slots=True)
class _Seat:
    """One directory with what its path and the hints say about it."""

    directory: str
    template: str
    environment: str = ""
    cluster: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


def propose(found: Sequence[Kustomized], hints: Hints, known_clusters: Collection[str] = ()) -> Proposal:
    """The proposal for a repo. known_clusters: names that its Cluster files have already."""
    doubts = list(hints.doubts)
    wanted = _deployable(found, hints, doubts)
    clusters = _clusters_in(wanted, found, hints.hints, known_clusters)
    seats: defaultdict[str, list[_Seat]] = defaultdict(list)
    after: defaultdict[str, set[str]] = defaultdict(set)
    hinted: dict[str, list[Hint]] = {}
    for hint in hints.hints:
        if hint.directory in wanted:
            hinted.setdefault(hint.directory, []).append(hint)
    for directory in sorted(wanted):
        seat = _seat_of(directory, clusters)
        for hint in hinted.get(directory, ()):
            place = hint.place if hint.place in _RANK or hint.place in clusters else ""
            environment = place if place in _RANK else "" if place else seat.environment
            cluster = "" if place in _RANK else place or seat.cluster
            key = f"={hint.name}"
            seats[key].append(_Seat(directory, seat.template, environment, cluster, hint.labels))
            after[key].update(hint.depends_on)
        if directory not in hinted:
            seats[seat.template.replace(_CLUSTER, "{}").replace(_ENVIRONMENT, "{}")].append(seat)
    regions: dict[str, ProposedCluster] = {}
    for name in sorted(clusters):
        regions[name] = _cluster_of(name, [seat for group in seats.values() for seat in group])
    named, alone = _overlays(seats, after, regions)
    globs, rest = _globs(alone, found, {one.name for one in named})
    named += rest
    stages = {seat.environment for group in seats.values() for seat in group}
    stages |= {cluster.environment for cluster in regions.values()}
    return Proposal(
        tuple(sorted(stages - {""}, key=lambda name: (_RANK.get(name, 99), name))),
        tuple(sorted(named, key=lambda one: one.name)),
        tuple(globs),
        tuple(sorted(set(alone) - {path for one in rest for path in one.directories})),
        tuple(cluster for name, cluster in regions.items() if name not in known_clusters),
        tuple(sorted(set(doubts), key=lambda doubt: (doubt.where, doubt.what))),
    )


def _deployable(found: Sequence[Kustomized], hints: Hints, doubts: list[Doubt]) -> set[str]:
    """Directories that somebody deploys: used by no other one, or an overlay by its place, or named by a hint."""
    used = {path for one in found for path in one.uses if path != one.directory}
    hinted = {hint.directory for hint in hints.hints}
    wanted: set[str] = set()
    failing: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for one in found:
        above = posixpath.basename(posixpath.dirname(one.directory))
        if one.is_component or not (one.directory not in used or above == "overlays" or one.directory in hinted):
            continue
        handing = sorted(hints.handed.intersection(one.uses))
        if one.directory in hints.roots or handing or _is_flux_itself(one):
            what = "only starts Flux" if not handing else "only hands over to Flux or Argo CD"
            why = "what it leads to is taken over by itself"
            doubts.append(Doubt(one.directory, f"{one.directory} is left out", f"it {what}; {why}"))
        elif one.trouble:
            failing[one.where or one.directory, one.trouble].append(one.directory)
        else:
            wanted.add(one.directory)
    for (where, trouble), directories in failing.items():
        more = f" and {len(directories) - 1} more" if len(directories) > 1 else ""
        what = f"{directories[0]}{more} cannot be built"
        doubts.append(Doubt(where, what, trouble, "correct it, then name what was left out in fleet.yaml"))
    return wanted


def _is_flux_itself(one: Kustomized) -> bool:
    return any(posixpath.basename(path) == "gotk-components.yaml" for path in one.uses)


def _clusters_in(
    wanted: Collection[str], found: Sequence[Kustomized], hints: Sequence[Hint], known: Collection[str]
) -> set[str]:
    """Names of clusters: as hints say, below clusters/, or numbered as machines are beside one another."""
    names = {hint.place for hint in hints} | set(known)
    uses = {one.directory: set(one.uses) for one in found}
    siblings: defaultdict[str, list[str]] = defaultdict(list)
    for directory in wanted:
        parts = directory.split("/")
        names.update(after for before, after in pairwise(parts) if before == "clusters")
        names.update(part for part in parts if _OF_ENVIRONMENT.match(part))
        siblings[posixpath.dirname(directory)].append(directory)
    for parent, members in siblings.items():
        numbered = all(_NUMBERED.match(posixpath.basename(member)) for member in members)
        below_environment = any(part in _RANK for part in parent.split("/"))
        if not numbered or not (below_environment or posixpath.basename(parent) != "overlays"):
            continue
        shared = set[str].intersection(*(uses.get(member, set()) for member in members))
        if below_environment or (len(members) > 1 and shared):
            names.update(posixpath.basename(member) for member in members)
    refused = {"", *_RANK, *RESERVED_CLUSTER_NAMES}
    return {name for name in names if is_dns_label(name) and name not in refused}


def _seat_of(directory: str, clusters: Collection[str]) -> _Seat:
    """The path template of a directory: environment and cluster in it replaced, one segment between them a label."""
    parts = directory.split("/")
    at_cluster = next((i for i in reversed(range(len(parts))) if parts[i] in clusters), -1)
    at_stage = next((i for i in range(len(parts)) if parts[i] in _RANK and i != at_cluster), -1)
    template = list(parts)
    labels: dict[str, str] = {}
    if at_stage >= 0:
        template[at_stage] = _ENVIRONMENT
    if at_cluster >= 0:
        template[at_cluster] = _CLUSTER
    if 0 <= at_stage == at_cluster - 2:
        labels[_LABEL] = parts[at_stage + 1]
        template[at_stage + 1] = f"{{label.{_LABEL}}}"
    environment = parts[at_stage] if at_stage >= 0 else ""
    cluster = parts[at_cluster] if at_cluster >= 0 else ""
    return _Seat(directory, "/".join(template), environment, cluster, labels)


def _cluster_of(name: str, seats: Sequence[_Seat]) -> ProposedCluster:
    mine = [seat for seat in seats if seat.cluster == name]
    stages = {seat.environment for seat in mine} - {""}
    by_name = _OF_ENVIRONMENT.match(name)
    stage = stages.pop() if len(stages) == 1 else by_name.group(1) if by_name and not stages else ""
    regions = {seat.labels.get(_LABEL, "") for seat in mine} - {""}
    return ProposedCluster(name, stage, regions.pop() if len(regions) == 1 else "")


def _expanded(template: str, seat: _Seat, clusters: Mapping[str, ProposedCluster]) -> str:
    """Where a template leads for the clusters of a seat; "" where it needs what they lack."""
    cluster = clusters.get(seat.cluster)
    values = {_CLUSTER: seat.cluster, _ENVIRONMENT: cluster.environment if cluster else seat.environment}
    values[f"{{label.{_LABEL}}}"] = cluster.region if cluster else ""
    for name, value in values.items():
        if name in template:
            if not value:
                return ""
            template = template.replace(name, value)
    return template


def _overlays(
    groups: Mapping[str, Sequence[_Seat]], after: Mapping[str, Collection[str]], clusters: Mapping[str, ProposedCluster]
) -> tuple[list[ProposedOverlay], list[str]]:
    """Overlays with a name, and the directories that stand for themselves."""
    placed: dict[str, Sequence[_Seat]] = {}
    alone: list[str] = []
    for key, seats in groups.items():
        if key.startswith("=") or any(seat.environment or seat.cluster for seat in seats):
            placed[key] = seats
        else:
            alone += [seat.directory for seat in seats]
    names = _names(placed)
    known = set(names.values())
    found: list[ProposedOverlay] = []
    for key, seats in placed.items():
        path = _common_template(seats, clusters)
        targets = _targets(seats, path, clusters)
        needs = tuple(sorted(known.intersection(after.get(key, ())) - {names[key]}))
        directories = tuple(sorted({seat.directory for seat in seats}))
        found.append(ProposedOverlay(names[key], path, targets, needs, directories))
    return found, alone


def _common_template(seats: Sequence[_Seat], clusters: Mapping[str, ProposedCluster]) -> str:
    fitting = [seat.template for seat in seats if _expanded(seat.template, seat, clusters) == seat.directory]
    return Counter(fitting).most_common(1)[0][0] if fitting else seats[0].directory


def _targets(seats: Sequence[_Seat], path: str, clusters: Mapping[str, ProposedCluster]) -> tuple[Target, ...]:
    by_path: defaultdict[str, list[_Seat]] = defaultdict(list)
    for seat in seats:
        if seat.environment or seat.cluster or seat.labels:
            by_path["" if _expanded(path, seat, clusters) == seat.directory else seat.directory].append(seat)
    found: list[Target] = []
    for literal, members in sorted(by_path.items()):
        stages = {seat.environment for seat in members if seat.environment and not seat.cluster}
        names = {seat.cluster for seat in members if seat.cluster}
        if stages:
            found.append(Target(environments=tuple(sorted(stages, key=lambda name: _RANK.get(name, 99))), path=literal))
        if names:
            found.append(Target(names=tuple(sorted(names)), path=literal))
        alike = [seat.labels for seat in members if seat.labels and not seat.cluster and not seat.environment]
        found.extend(Target(labels=labels, path=literal) for labels in alike)
    return tuple(found)


def _names(groups: Mapping[str, Sequence[_Seat]]) -> dict[str, str]:
    """A name for each group: of its hint, else the last telling directory, longer where two would be alike."""
    names: dict[str, str] = {}
    for depth in range(1, 12):
        left = [key for key in groups if key not in names]
        wishes = {key: _wish(key, groups[key], depth) for key in left}
        counts = Counter([*wishes.values(), *names.values()])
        names |= {key: wish for key, wish in wishes.items() if counts[wish] == 1}
    taken = set(names.values())
    for key in sorted(set(groups) - names.keys()):
        names[key] = _numbered(_wish(key, groups[key], 1), 1, taken)
        taken.add(names[key])
    return names


def _numbered(name: str, first: int, taken: Collection[str]) -> str:
    return next(found for number in count(first) if (found := f"{name}-{number}") not in taken)


def _wish(key: str, seats: Sequence[_Seat], depth: int) -> str:
    if key.startswith("=") and depth == 1:
        return _as_name(key[1:])
    telling = [part for part in seats[0].template.split("/") if "{" not in part and part not in _FILLERS]
    return _as_name(".".join(telling[-depth:]) or "everything")


def _as_name(text: str) -> str:
    """As near to a directory's name as Kubernetes can carry; what is proposed is read before it is used."""
    name = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    name = re.sub(r"[-.]*\.[-.]*", ".", name)
    return name if is_dns_subdomain(name) else "overlay"


def _globs(
    alone: Sequence[str], found: Sequence[Kustomized], taken: Collection[str]
) -> tuple[list[str], list[ProposedOverlay]]:
    """Globs that match these directories and no other one; what no glob takes is named by itself."""
    left, all_directories = set(alone), _with_parents(one.directory for one in found)
    names: dict[str, str] = {}
    candidates: defaultdict[str, set[str]] = defaultdict(set)
    for directory in alone:
        parts = directory.split("/")
        for mask in _masks(len(parts)):
            pattern = "/".join("*" if star else part for part, star in zip(parts, mask, strict=True))
            candidates[pattern].add(directory)
    by_depth: defaultdict[int, list[str]] = defaultdict(list)
    for directory in all_directories:
        by_depth[directory.count("/")].append(directory)
    globs: list[str] = []
    for glob, members in sorted(candidates.items(), key=lambda pair: (-len(pair[1]), pair[0].count("*"), pair[0])):
        new = members & left
        if len(new) < 2:
            continue
        pattern = re.compile(re.escape(glob).replace(r"\*", "[^/]*") + r"\Z")
        if any(pattern.match(other) and other not in members for other in by_depth[glob.count("/")]):
            continue
        fixed = glob[: glob.index("*")].rpartition("/")[0]
        named = {directory: directory.removeprefix(fixed).lstrip("/").replace("/", ".") for directory in new}
        unique = len(set(named.values())) == len(new) and not {*names.values(), *taken}.intersection(named.values())
        # A directory of an earlier glob stays with that one; all others must be able to carry their name.
        if unique and all(is_dns_subdomain(name) for name in named.values()):
            globs.append(glob)
            names |= named
            left -= new
    used = {*names.values(), *taken}
    rest: list[ProposedOverlay] = []
    for directory in sorted(left):
        telling = [part for part in directory.split("/") if part not in _FILLERS]
        wish = _as_name(".".join(telling)) if directory != "." else "everything"
        name = wish if wish not in used else _numbered(wish, 2, used)
        used.add(name)
        rest.append(ProposedOverlay(name, directory, directories=(directory,)))
    return globs, rest


def _masks(length: int) -> list[tuple[bool, ...]]:
    """Which segments become `*`: one or two of them, which is enough for what people build."""
    pairs = combinations_with_replacement(range(length), 2)
    return [tuple(index in pair for index in range(length)) for pair in pairs]


def _with_parents(directories: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for directory in directories:
        while directory and directory not in found:
            found.add(directory)
            directory = posixpath.dirname(directory)
    return found
