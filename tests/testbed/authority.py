"""Certificates of one cluster: its authority, its server certificate, client certificates for anybody."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority kept in a folder; `ca.crt` is what clients must trust."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Authority:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA(organization_name="fleet test bed")
        authority.cert_pem.write_to_path(str(folder / "ca.crt"))
        authority.private_key_pem.write_to_path(str(folder / "ca.key"))
        return cls(folder)

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def ca_pem(self) -> bytes:
        return self.ca_file.read_bytes()

    def issue_server(self, *names: str, not_after: datetime | None = None) -> tuple[bytes, bytes]:
        """Certificate and key (PEM) for these host names and addresses."""
        return _pems(self._trusted().issue_cert(*names, not_after=not_after))

    def issue_client(
        self, user: str, groups: tuple[str, ...] = (), not_after: datetime | None = None
    ) -> tuple[bytes, bytes]:
        """Certificate and key (PEM) that an API server reads as this user; only one group fits into it."""
        if len(groups) > 1:
            raise ValueError("a client certificate of the test bed carries one group")
        organization = groups[0] if groups else "testbed:nobody"
        # Go refuses the empty list of names that trustme writes when it is given none.
        issued = self._trusted().issue_cert(
            "client.testbed", common_name=user, organization_name=organization, not_after=not_after
        )
        return _pems(issued)

    def _trusted(self) -> trustme.CA:
        return trustme.CA.from_pem(self.ca_pem, (self.folder / "ca.key").read_bytes())


def _pems(issued: trustme.LeafCert) -> tuple[bytes, bytes]:
    return b"".join(blob.bytes() for blob in issued.cert_chain_pems), issued.private_key_pem.bytes()


def write_signing_key(path: Path) -> None:
    """A fresh RSA key, as service account tokens are signed with."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def aged_token(signing_key: Path, token: str, *, issued_ago: float, left: float) -> str:
    """The same service account token, as if it had been issued so many seconds ago to live so many more from now on."""
    header, claims, _ = (json.loads(_unpadded(part)) if part.startswith("ey") else {} for part in token.split("."))
    now = int(time.time())
    claims |= {"iat": now - int(issued_ago), "nbf": now - int(issued_ago), "exp": now + int(left)}
    text = ".".join(_padless(json.dumps(part).encode()) for part in (header, claims))
    key = serialization.load_pem_private_key(signing_key.read_bytes(), password=None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return f"{text}.{_padless(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _padless(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
