# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the CAs of this scenario: authorities.py DIRECTORY.

A root, a CA below it that signs, whose key has a passphrase, two more that take their place, and a CA that nobody
trusts, with a client's certificate; and a client's certificate of the root that has expired.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXTENSIONS = """
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
[client]
basicConstraints=critical,CA:FALSE
extendedKeyUsage=clientAuth
subjectAltName=DNS:client.example.org
"""
# `openssl x509` cannot sign for a time that is over.
REGISTER = """
[ca]
default_ca=root
[root]
database=register
new_certs_dir=.
rand_serial=yes
default_md=sha256
policy=anybody
[anybody]
commonName=supplied
"""
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def main() -> None:
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, mode=0o700)
    (directory / "extensions").write_text(EXTENSIONS)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, stdin=subprocess.DEVNULL)

    def root(name: str) -> None:
        openssl(
            "req", "-x509", *NEW_KEY, "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "365",
            "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def signed(name: str, issuer: str, section: str, *key: str) -> None:
        openssl("req", "-new", *NEW_KEY, *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-days", "300",
            "-extfile", "extensions", "-extensions", section, "-out", f"{name}.pem",
        )  # fmt: skip

    root("root")
    signed("signing", "root", "ca", "-passout", "pass:molecule")
    with (directory / "signing.pem").open("a") as chain:
        chain.write((directory / "root.pem").read_text())
    # The one that will take its place.
    root("next_root")
    signed("next", "next_root", "ca", "-passout", "pass:molecule")
    with (directory / "next.pem").open("a") as chain:
        chain.write((directory / "next_root.pem").read_text())
    (directory / "register.cnf").write_text(REGISTER)
    (directory / "register").touch()
    openssl("req", "-new", *NEW_KEY, "-nodes", "-keyout", "expired.key", "-out", "expired.csr", "-subj", "/CN=expired")
    openssl(
        "ca", "-batch", "-notext", "-config", "register.cnf", "-cert", "root.pem", "-keyfile", "root.key",
        "-startdate", "20240101000000Z", "-enddate", "20240131000000Z", "-extfile", "extensions",
        "-extensions", "client", "-in", "expired.csr", "-out", "expired.pem",
    )  # fmt: skip
    root("unknown")
    signed("intruder", "unknown", "client", "-nodes")
    (directory / "done").touch()


if __name__ == "__main__":
    main()
