# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Algorithm policies, strongest first, and their intersection with what an sshd knows. Pure.

The key exchanges are the hybrid post-quantum ones: a recorded session must stay secret when large quantum computers
exist. OpenSSH 8.5 and later clients speak sntrup761x25519, 9.9 and later mlkem768x25519.
"""

from __future__ import annotations

from collections.abc import Sequence

KEY_EXCHANGE = (
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
)
# ChaCha20-Poly1305 and the encrypt-then-MAC modes with CBC are left out: the prefix truncation attack
# (CVE-2023-48795) needs them where one side lacks strict key exchange.
CIPHERS = (
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
)
MACS = (
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "umac-128-etm@openssh.com",
)
# ECDSA over the NIST curves is left out as a host key; RSA signatures are SHA-2 only.
HOST_KEY = (
    "ssh-ed25519-cert-v01@openssh.com",
    "ssh-ed25519",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
# Users may also log in with hardware keys, whose older kind exists only on a NIST curve, and CAs may sign with them.
CA_SIGNATURE = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp256",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
PUBLIC_KEY = (
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    *CA_SIGNATURE,
)

DEFAULTS: dict[str, tuple[str, ...]] = {
    "key_exchange_algorithms": KEY_EXCHANGE,
    "ciphers": CIPHERS,
    "macs": MACS,
    "host_key_algorithms": HOST_KEY,
    "public_key_algorithms": PUBLIC_KEY,
    "ca_signature_algorithms": CA_SIGNATURE,
}
KEYWORDS = {
    "key_exchange_algorithms": "KexAlgorithms",
    "ciphers": "Ciphers",
    "macs": "MACs",
    "host_key_algorithms": "HostKeyAlgorithms",
    "public_key_algorithms": "PubkeyAcceptedAlgorithms",
    "ca_signature_algorithms": "CASignatureAlgorithms",
}
# The argument of `ssh -Q` that lists what this OpenSSH was built with.
QUERIES = {
    "key_exchange_algorithms": "kex",
    "ciphers": "cipher",
    "macs": "mac",
    "host_key_algorithms": "HostKeyAlgorithms",
    "public_key_algorithms": "PubkeyAcceptedAlgorithms",
    "ca_signature_algorithms": "sig",
}


class NoCommonAlgorithm(ValueError):
    """The policy and this sshd share no algorithm of one class."""


def intersect(option: str, wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the wanted algorithms that are known, in the policy's order; raises NoCommonAlgorithm if none is."""
    common = tuple(dict.fromkeys(name for name in wanted if name in set(known)))
    if not common:
        raise NoCommonAlgorithm(
            f"ssh_{option}: this OpenSSH knows none of {', '.join(wanted) or '(an empty list)'}; "
            f"it knows {', '.join(known)}"
        )
    return common


def key_types(algorithms: Sequence[str]) -> frozenset[str]:
    """Return the types of keys, as written in a public key, that may sign with one of the algorithms."""
    types = {name for name in algorithms if not name.startswith("rsa-sha2-")}
    for name in algorithms:
        if name.startswith("rsa-sha2-"):
            types.add("ssh-rsa-cert-v01@openssh.com" if "-cert-" in name else "ssh-rsa")
    return frozenset(types)
