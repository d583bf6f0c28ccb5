"""When what a kubeconfig holds ends, by its own word: certificates and tokens that are JWTs.

A word of somebody else: a cluster's own API server makes the tokens that renew the hub's.
"""

from __future__ import annotations

import base64

from cryptography import x509

from fleet.core.documents import Document, at, mapping_at, parse_document, text_at
from fleet.core.renewal import Ends
from fleet.errors import CredentialRefused
from fleet.kube.access import Ticket

# 9999-01-01: a certificate of that year has no end (RFC 5280 4.1.2.5), and a token of a later one says no time.
_NO_END_SECONDS = 253_370_764_800.0

_LONGEST_TOKEN = 64 << 10  # no header holds more; what is longer could become more values than anybody counted (R18)


def ends_of(ticket: Ticket, where: str) -> Ends:
    """The first end of all that a ticket consists of; raises CredentialRefused for a certificate that does not read."""
    found: list[Ends] = []
    try:
        for what, pem in (("client certificate", ticket.certificate), ("authority", ticket.endpoint.ca)):
            parts = x509.load_pem_x509_certificates(pem) if pem else []
            found += [
                Ends(what, end, one.not_valid_before_utc.timestamp())
                for one in parts
                if (end := one.not_valid_after_utc.timestamp()) < _NO_END_SECONDS
            ]
    except ValueError:
        raise CredentialRefused(
            "a certificate in it does not read", where=where, next_step="make a new credential"
        ) from None
    token = token_ends(ticket.authorization)
    if token.at or not found:
        found.append(token)
    return min(found, key=lambda one: one.at)


def token_ends(authorization: str) -> Ends:
    """What a bearer token says of itself; nobody has checked its signature. All zero where it is no JWT."""
    claims = _claims(authorization.removeprefix("Bearer "))
    whose = mapping_at(claims, "kubernetes.io")
    namespace, name = text_at(whose, "namespace"), text_at(whose, "serviceaccount", "name")
    is_account = bool(namespace and name) and text_at(claims, "sub") == f"system:serviceaccount:{namespace}:{name}"
    account = f"{namespace}/{name}" if is_account else ""
    return Ends("token", _seconds(claims, "exp"), _seconds(claims, "nbf") or _seconds(claims, "iat"), account)


def _seconds(claims: Document, name: str) -> float:
    """A time among the claims; 0.0 where it says none, or one that is beyond all calendars."""
    found = at(claims, name)
    return float(found) if isinstance(found, int | float) and 0 < found < _NO_END_SECONDS else 0.0


def _claims(token: str) -> Document:
    parts = token.split(".")
    if len(parts) != 3 or len(token) > _LONGEST_TOKEN:
        return {}
    try:
        return parse_document(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
