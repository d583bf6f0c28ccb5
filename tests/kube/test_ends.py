"""What a credential says of its own end is a foreign word: a cluster's own server makes the tokens."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fleet.kube.access import Endpoint, Ticket
from fleet.kube.ends import ends_of, token_ends

ISSUED, END = 1_800_000_000, 1_807_776_000


def bearer(claims: str) -> str:
    return f"Bearer h.{base64.urlsafe_b64encode(claims.encode()).rstrip(b'=').decode()}.s"


def token(**claims: object) -> str:
    return bearer(json.dumps(claims))


def certificate(end: datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fleet")])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(end)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_what_is_too_long_for_a_token_is_not_read() -> None:
    assert token_ends(token(exp=END, more="x" * 20_000)).at == END
    assert token_ends(token(exp=END, more="x" * 100_000)).at == 0.0


def test_a_token_ends_when_it_says_so() -> None:
    said = token_ends(token(exp=END, iat=ISSUED))
    assert (said.what, said.at, said.issued) == ("token", END, ISSUED)
    assert token_ends(token(exp=END, nbf=ISSUED + 5, iat=ISSUED)).issued == ISSUED + 5


NO_TIMES = (
    "3e11",
    "1807776000000",
    "253402300800",
    "1e300",
    "9" * 30,
    "-1",
    "-1e300",
    "0",
    '"1807776000"',
    "null",
    "[]",
)


@pytest.mark.parametrize("said", NO_TIMES)
def test_what_is_no_time_of_a_calendar_counts_as_not_said(said: str) -> None:
    assert token_ends(bearer(f'{{"exp": {said}, "iat": {ISSUED}}}')).at == 0
    assert token_ends(bearer(f'{{"exp": {END}, "nbf": {said}, "iat": {ISSUED}}}')).issued == ISSUED
    assert token_ends(bearer(f'{{"exp": {END}, "iat": {said}}}')).issued == 0


@pytest.mark.parametrize("said", ["NaN", "Infinity", "1e400", "9" * 400])
def test_what_is_no_number_of_json_makes_it_no_jwt(said: str) -> None:
    assert token_ends(bearer(f'{{"exp": {said}, "iat": {ISSUED}}}')).at == 0


def test_the_first_end_of_all_parts_counts() -> None:
    end = datetime.fromtimestamp(END, UTC) - timedelta(days=1)
    ticket = Ticket(Endpoint("https://10.0.0.1"), token(exp=END), certificate(end))
    assert (ends_of(ticket, "here").what, ends_of(ticket, "here").at) == ("client certificate", END - 86_400)


def test_a_certificate_without_an_end_has_none() -> None:
    never = certificate(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))  # RFC 5280 4.1.2.5
    assert ends_of(Ticket(Endpoint("https://10.0.0.1"), "", never), "here").at == 0
    with_token = ends_of(Ticket(Endpoint("https://10.0.0.1"), token(exp=END), never), "here")
    assert (with_token.what, with_token.at) == ("token", END)
