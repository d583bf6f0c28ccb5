"""Whether a webhook was signed by who knows the secret (R39); it only hastens a fetch, its content is never used."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import StrEnum

BODY_LIMIT_BYTES = 1024 * 1024
# The generic one of fleet, and the one that GitHub, Gitea and others send.
SIGNATURE_HEADERS = ("x-fleet-signature", "x-hub-signature-256")
_PREFIX = "sha256="


class WebhookVerdict(StrEnum):
    """What to do with a delivery; the status code that fits is beside it."""

    ACCEPTED = "accepted"  # 202
    OFF = "off"  # 404: no secret is set
    TOO_LARGE = "too-large"  # 413
    UNSIGNED = "unsigned"  # 401: no signature header
    WRONG = "wrong"  # 401


def judge_webhook(body: bytes, headers: Mapping[str, str], secret: bytes) -> WebhookVerdict:
    """Check `sha256=<hex HMAC-SHA256 of the raw body>`; header names in any case, the fleet header first.

    Without a secret nothing is accepted. The comparison takes the same time wherever two signatures differ.
    """
    if not secret:
        return WebhookVerdict.OFF
    if len(body) > BODY_LIMIT_BYTES:
        return WebhookVerdict.TOO_LARGE
    given = {name.lower(): value for name, value in headers.items()}
    signature = next((given[name] for name in SIGNATURE_HEADERS if given.get(name)), "")
    if not signature:
        return WebhookVerdict.UNSIGNED
    expected = webhook_signature(body, secret)
    # As bytes: a header may hold anything, and text beyond ASCII cannot be compared in constant time. What is no UTF-8
    # comes as surrogates, which have no bytes of their own.
    same = hmac.compare_digest(signature.strip().lower().encode(errors="surrogateescape"), expected.encode())
    return WebhookVerdict.ACCEPTED if same else WebhookVerdict.WRONG


def webhook_signature(body: bytes, secret: bytes) -> str:
    """The header's value for a body."""
    return _PREFIX + hmac.new(secret, body, "sha256").hexdigest()
