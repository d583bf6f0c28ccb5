"""Only who knows the secret can hasten a fetch."""

from __future__ import annotations

from hypothesis import given
from hypothesis.strategies import binary, text

from fleet.core.webhook import BODY_LIMIT_BYTES, WebhookVerdict, judge_webhook, webhook_signature

SECRET = b"It's a Secret to Everybody"


def test_the_example_of_githubs_documentation_is_accepted() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert judge_webhook(b"Hello, World!", {"X-Hub-Signature-256": signature}, SECRET) is WebhookVerdict.ACCEPTED


@given(binary(max_size=200), binary(min_size=1, max_size=40))
def test_a_right_signature_is_accepted_under_either_header_in_any_case(body: bytes, secret: bytes) -> None:
    signature = webhook_signature(body, secret)
    for name in ("X-Fleet-Signature", "x-fleet-signature", "X-HUB-SIGNATURE-256"):
        assert judge_webhook(body, {name: signature}, secret) is WebhookVerdict.ACCEPTED


@given(binary(max_size=200), binary(min_size=1), binary(min_size=1), binary(min_size=1))
def test_another_body_or_secret_is_wrong(body: bytes, more: bytes, secret: bytes, other: bytes) -> None:
    signature = webhook_signature(body, secret)
    assert judge_webhook(body + more, {"X-Fleet-Signature": signature}, secret) is WebhookVerdict.WRONG
    if secret.rstrip(b"\0") != other.rstrip(b"\0"):
        assert judge_webhook(body, {"X-Fleet-Signature": signature}, other) is WebhookVerdict.WRONG


@given(text())
def test_any_text_as_signature_is_refused_without_an_error(signature: str) -> None:
    verdict = judge_webhook(b"{}", {"X-Fleet-Signature": signature}, SECRET)
    assert verdict in {WebhookVerdict.WRONG, WebhookVerdict.UNSIGNED}


def test_without_a_secret_even_the_signature_of_the_empty_secret_is_refused() -> None:
    headers = {"X-Fleet-Signature": webhook_signature(b"{}", b"")}
    assert judge_webhook(b"{}", headers, b"") is WebhookVerdict.OFF


def test_a_body_of_the_limit_is_read_and_one_byte_more_is_not() -> None:
    body = bytes(BODY_LIMIT_BYTES)
    headers = {"X-Fleet-Signature": webhook_signature(body, SECRET)}
    assert judge_webhook(body, headers, SECRET) is WebhookVerdict.ACCEPTED
    assert judge_webhook(body + b"\0", headers, SECRET) is WebhookVerdict.TOO_LARGE


def test_a_delivery_without_signature_is_told_from_a_wrong_one() -> None:
    assert judge_webhook(b"{}", {"Content-Type": "application/json"}, SECRET) is WebhookVerdict.UNSIGNED
