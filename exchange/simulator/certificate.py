"""A certificate that the paper exchange makes for itself."""

import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID_FOR: Final = timedelta(days=30)


class Certificate:
    """For `localhost`, 127.0.0.1 and one more host; `path` is what clients are to trust.

    The private key never stays on the disk; `remove` deletes the certificate.
    """

    def __init__(self, host: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._folder = tempfile.TemporaryDirectory(prefix="paper-exchange-")
        self.path = Path(self._folder.name) / "certificate.pem"
        self.path.write_bytes(self._signed(host).public_bytes(serialization.Encoding.PEM))

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # The library takes the key from a file only: it exists for as long as this call.
        with tempfile.NamedTemporaryFile(dir=self._folder.name) as key_file:
            key_file.write(
                self._key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            key_file.flush()
            context.load_cert_chain(self.path, key_file.name)
        return context

    def remove(self) -> None:
        self._folder.cleanup()

    def _signed(self, host: str) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "paper exchange")])
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + VALID_FOR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _names(host: str) -> list[x509.GeneralName]:
    names = dict.fromkeys(("localhost", "127.0.0.1", host))
    return [_name(each) for each in names if each]


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
