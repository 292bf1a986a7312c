"""Certificates of a private authority, for servers with TLS."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .programs import ServerNotFound


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a private certificate authority, and of the certificates it signed for a server and a client."""

    authority: Path
    certificate: Path
    key: Path
    client_certificate: Path
    client_key: Path


def make_certificates(directory: Path) -> Certificates:
    """Make a private certificate authority, a server certificate for localhost and a client certificate.

    Raises:
        ServerNotFound: openssl is not installed.
    """
    if shutil.which("openssl") is None:
        raise ServerNotFound("openssl is not in PATH; run: apt-get install openssl")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    extensions = [
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        "basicConstraints=CA:FALSE",
        "keyUsage=digitalSignature,keyEncipherment",
        "extendedKeyUsage=serverAuth,clientAuth",
    ]
    (directory / "extensions").write_text("\n".join(extensions) + "\n")
    new_key = ["-newkey", "rsa:2048", "-nodes"]
    # Python 3.13 verifies strictly (RFC 5280): an authority without keyUsage is refused.
    authority = ["-addext", "basicConstraints=critical,CA:TRUE"]
    authority += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl("req", "-x509", *new_key, "-days", "30", "-subj", "/CN=jobqueue test authority", *authority,
            "-keyout", "ca.key", "-out", "ca.crt")  # fmt: skip
    for owner in ("server", "client"):
        name = "localhost" if owner == "server" else "jobqueue test client"
        openssl("req", *new_key, "-subj", f"/CN={name}", "-keyout", f"{owner}.key", "-out", f"{owner}.csr")
        openssl("x509", "-req", "-in", f"{owner}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "30", "-extfile", "extensions", "-out", f"{owner}.crt")  # fmt: skip
    files = ("ca.crt", "server.crt", "server.key", "client.crt", "client.key")
    return Certificates(*(directory / name for name in files))
