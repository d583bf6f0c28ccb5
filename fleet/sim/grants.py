"""What gives rights: aggregated cluster roles, and tokens of service accounts."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.sim.namespaces import MANAGER, SOON
from fleet.sim.selectors import label_test
from fleet.sim.storage import Event, Key
from fleet.sim.writes import WriteOptions

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster
    from fleet.sim.controllers import Controllers

RBAC = "rbac.authorization.k8s.io"


class Grants:
    """The controllers of roles and tokens of one cluster."""

    def __init__(self, cluster: SimCluster, controllers: Controllers) -> None:
        self._cluster, self._controllers = cluster, controllers

    def on_cluster_role(self, event: Event) -> None:
        """Put the rules of aggregated roles together anew."""
        self._controllers.later(SOON, self._aggregate)

    def _aggregate(self) -> None:
        kind = self._cluster.kind(RBAC, "ClusterRole")
        rows = self._cluster.store.rows(kind.resource)
        for key, row in sorted(rows.items()):
            if b'"aggregationRule"' not in row.body:
                continue
            document = row.document()
            rules: list[Json] = []
            for selector in documents_at(document, "aggregationRule", "clusterRoleSelectors"):
                test = label_test(selector_text(selector))
                for other, part in sorted(rows.items()):
                    if other != key and (test is None or test(part.labels)):
                        rules += [rule for rule in documents_at(part.document(), "rules") if rule not in rules]
            if rules != items_at(document, "rules"):
                body: Document = {
                    "apiVersion": kind.api_version,
                    "kind": kind.kind,
                    "metadata": {"name": key[1]},
                    "rules": rules,
                }
                options = WriteOptions(manager="clusterrole-aggregation-controller", force=True)
                self._cluster.objects.apply(kind, "", key[1], body, options)

    def on_secret(self, event: Event) -> None:
        """Fill a service account's token in."""
        after = event.after
        if after is None or b"kubernetes.io/service-account-token" not in after.body:
            return
        if not mapping_at(after.document(), "data").get("token"):
            self._controllers.later(SOON, lambda: self._fill_token(event.key))

    def _fill_token(self, key: Key) -> None:
        secrets, accounts = self._cluster.kind("", "Secret"), self._cluster.kind("", "ServiceAccount")
        secret = self._cluster.objects.get(secrets, *key)
        name = text_at(secret, "metadata", "annotations", "kubernetes.io/service-account.name")
        account = self._cluster.objects.find(accounts, key[0], name)
        if account is None:
            return
        uid = text_at(account, "metadata", "uid")
        token = self._cluster.issue_token(key[0], name, uid)
        data: Document = {
            "token": base64.b64encode(token.encode()).decode(),
            "namespace": base64.b64encode(key[0].encode()).decode(),
            "ca.crt": base64.b64encode(self._cluster.authority_pem.encode()).decode(),
        }

        def change(old: Document) -> Document:
            metadata = dict(mapping_at(old, "metadata"))
            metadata["annotations"] = {**mapping_at(metadata, "annotations"), "kubernetes.io/service-account.uid": uid}
            return {**old, "metadata": metadata, "data": {**mapping_at(old, "data"), **data}}

        self._cluster.objects.change(secrets, *key, change, MANAGER)


def selector_text(selector: Document) -> str:
    """A LabelSelector object as the text of a query."""
    parts = [f"{key}={value}" for key, value in mapping_at(selector, "matchLabels").items()]
    for one in documents_at(selector, "matchExpressions"):
        key, values = text_at(one, "key"), ",".join(str(value) for value in items_at(one, "values"))
        match text_at(one, "operator"):
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)
