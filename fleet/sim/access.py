"""Who calls, and whether they may: bearer tokens, and RBAC from the roles and bindings that lie in the store."""

from __future__ import annotations

from fleet.core.documents import Document, documents_at, items_at, text_at
from fleet.sim.requests import Target
from fleet.sim.statuses import ApiError, forbidden
from fleet.sim.storage import Store
from fleet.values import dataclass

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class User:
    """A caller: name and groups."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str, uid: str = "") -> User:
    """The user that a ServiceAccount's token stands for."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid)


_OWN_REVIEWS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
_PUBLIC_PATHS = ("/api", "/api/", "/apis", "/apis/", "/healthz", "/livez", "/readyz", "/openapi", "/version")


class Access:
    """Tokens and rights of one cluster."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.tokens: dict[str, User] = {}

    def user_of(self, authorization: str) -> User | None:
        """The caller; anonymous without a header, None for a token that is not known (401)."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return ANONYMOUS
        return self.tokens.get(token.strip())

    def check(self, user: User, target: Target) -> None:
        """Raise the 403 that the real server gives."""
        if not self.allows(user, target):
            raise refusal(user, target)

    def allows(self, user: User, target: Target) -> bool:
        """Whether the user may do this."""
        if MASTERS in user.groups:
            return True
        if not target.is_resource:
            return self._allows_path(user, target)
        if AUTHENTICATED in user.groups and target.verb == "create" and target.resource in _OWN_REVIEWS:
            return True
        return any(_rule_allows(rule, target) for rule in self.rules(user, target.namespace))

    def check_grant(self, user: User, target: Target, document: Document) -> None:
        """Refuse a role or binding that gives away more than its author holds (no escalation)."""
        if target.group != _RBAC or MASTERS in user.groups:
            return
        if target.resource in {"roles", "clusterroles"}:
            wanted, verb = documents_at(document, "rules"), "escalate"
        else:
            wanted, verb = self._role_rules(document, target.namespace), "bind"
        if self.allows(user, Target("", verb, _RBAC, "v1", target.namespace, target.resource, target.name)):
            return
        held = self.rules(user, target.namespace)
        missing = [rule for rule in wanted if not _covered(rule, held)]
        if missing:
            groups = " ".join(f'"{group}"' for group in user.groups)
            lines = "\n".join(_shown(rule) for rule in missing)
            name = text_at(document, "metadata", "name")
            why = (
                f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n'
                f"{lines}"
            )
            raise forbidden(target.resource, _RBAC, name, why)

    def _allows_path(self, user: User, target: Target) -> bool:
        if target.verb in {"get", "head"}:
            if target.path.startswith(("/healthz", "/livez", "/readyz", "/version")):
                return True
            if AUTHENTICATED in user.groups and target.path.startswith(_PUBLIC_PATHS):
                return True
        for rule in self.rules(user, ""):
            for path in items_at(rule, "nonResourceURLs"):
                text = str(path)
                fits = text in {"*", target.path} or (text.endswith("*") and target.path.startswith(text[:-1]))
                if fits and _names(rule, "verbs", target.verb):
                    return True
        return False

    def rules(self, user: User, namespace: str) -> list[Document]:
        """All rules that hold for a user in a namespace ("" for the cluster)."""
        found: list[Document] = []
        places = [("clusterrolebindings", "")] + ([("rolebindings", namespace)] if namespace else [])
        for plural, where in places:
            for key, row in self._store.rows(f"{plural}.{_RBAC}").items():
                if where and key[0] != where:
                    continue
                binding = row.document()
                if any(_is_subject(user, subject, key[0]) for subject in documents_at(binding, "subjects")):
                    found += self._role_rules(binding, key[0])
        return found

    def _role_rules(self, binding: Document, namespace: str) -> list[Document]:
        kind, name = text_at(binding, "roleRef", "kind"), text_at(binding, "roleRef", "name")
        plural, where = ("clusterroles", "") if kind == "ClusterRole" else ("roles", namespace)
        row = self._store.get(f"{plural}.{_RBAC}", (where, name))
        return documents_at(row.document(), "rules") if row else []


def _is_subject(user: User, subject: Document, namespace: str) -> bool:
    kind, name = text_at(subject, "kind"), text_at(subject, "name")
    if kind == "User":
        return name == user.name
    if kind == "Group":
        return name in user.groups
    if kind == "ServiceAccount":
        place = text_at(subject, "namespace") or namespace
        return user.name == f"system:serviceaccount:{place}:{name}"
    return False


def _names(rule: Document, key: str, wanted: str) -> bool:
    listed = items_at(rule, key)
    return "*" in listed or wanted in listed


def _rule_allows(rule: Document, target: Target) -> bool:
    if not _names(rule, "verbs", target.verb) or not _names(rule, "apiGroups", target.group):
        return False
    wanted = f"{target.resource}/{target.subresource}" if target.subresource else target.resource
    resources = items_at(rule, "resources")
    if not ("*" in resources or wanted in resources or (target.subresource and f"*/{target.subresource}" in resources)):
        return False
    named = items_at(rule, "resourceNames")
    return not named or (bool(target.name) and target.name in named)


def _covered(rule: Document, held: list[Document]) -> bool:
    """Whether each verb on each resource of a rule is among the rights held."""
    names = [str(name) for name in items_at(rule, "resourceNames")] or [""]
    for group in items_at(rule, "apiGroups"):
        for resource in items_at(rule, "resources"):
            plural, _, sub = str(resource).partition("/")
            for verb in items_at(rule, "verbs"):
                for name in names:
                    wanted = Target("", str(verb), str(group), "", "", plural, name, sub)
                    if not any(_rule_allows(one, wanted) for one in held):
                        return False
    return True


def _shown(rule: Document) -> str:
    parts: list[str] = []
    for key, title in (
        ("apiGroups", "APIGroups"),
        ("resources", "Resources"),
        ("resourceNames", "ResourceNames"),
        ("nonResourceURLs", "NonResourceURLs"),
        ("verbs", "Verbs"),
    ):
        values = items_at(rule, key)
        if values:
            parts.append(f"{title}:[" + " ".join(f'"{value}"' for value in values) + "]")
    return "{" + ", ".join(parts) + "}"


def refusal(user: User, target: Target) -> ApiError:
    """The 403 for this user and request."""
    if not target.is_resource:
        return forbidden("", "", "", f'User "{user.name}" cannot {target.verb} path "{target.path}"')
    resource = f"{target.resource}/{target.subresource}" if target.subresource else target.resource
    where = f'in the namespace "{target.namespace}"' if target.namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {target.verb} resource "{resource}" in API group "{target.group}" {where}'
    return forbidden(target.resource, target.group, target.name, why)
