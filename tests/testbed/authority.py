"""Certificates of one cluster: its authority, its server certificate, client certificates for anybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


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
