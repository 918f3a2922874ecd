# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys, certificates and authorized_keys lines as sshd reads them. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_TYPE = re.compile(r"[a-z0-9][a-z0-9@.-]*\Z")
_CERTIFICATE = "-cert-v01@openssh.com"
FOREVER = 2**64 - 1
_HOST_CERTIFICATE = 2
# How many strings a key consists of, its type included.
_LENGTHS = {"ssh-ed25519": 2, "ssh-rsa": 3, "sk-ssh-ed25519@openssh.com": 3, "sk-ecdsa-sha2-nistp256@openssh.com": 4}


class InvalidKey(ValueError):
    """Text that is not a public key."""


@dataclass(frozen=True)
class PublicKey:
    """A public key or certificate; bits is 0 where the type fixes the size."""

    type: str
    blob: bytes
    bits: int = 0
    comment: str = ""

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 fingerprint as ssh-keygen prints it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")
        return f"SHA256:{digest}"

    @property
    def text(self) -> str:
        """Return type and key, without the comment."""
        return f"{self.type} {base64.b64encode(self.blob).decode()}"

    @property
    def is_certificate(self) -> bool:
        """Return whether this is a certificate and not a plain key."""
        return self.type.endswith(_CERTIFICATE)


@dataclass(frozen=True)
class Certificate:
    """A certificate; key is what it certifies, the times are seconds since 1970, and 0 and FOREVER are no limits."""

    type: str
    key: PublicKey
    is_host: bool
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int


@dataclass(frozen=True)
class AuthorizedKey:
    """One line of an authorized_keys file."""

    key: PublicKey
    options: Mapping[str, tuple[str, ...]]


def _fields(blob: bytes) -> tuple[list[bytes], bool]:
    """Return the length-prefixed strings of a key (RFC 4251, section 5), and whether they fill it exactly."""
    fields: list[bytes] = []
    position = 0
    while position + 4 <= len(blob):
        (length,) = struct.unpack(">I", blob[position : position + 4])
        if position + 4 + length > len(blob):
            return fields, False
        fields.append(blob[position + 4 : position + 4 + length])
        position += 4 + length
    return fields, position == len(blob)


def _bits(key_type: str, fields: Sequence[bytes]) -> int:
    """Return the size of an RSA modulus, 0 for other keys."""
    if key_type == "ssh-rsa" and len(fields) >= 3:
        return int.from_bytes(fields[2], "big").bit_length()
    if key_type == f"ssh-rsa{_CERTIFICATE}" and len(fields) >= 4:
        return int.from_bytes(fields[3], "big").bit_length()
    return 0


def parse_public_key(text: str) -> PublicKey:
    """Read ``type base64 [comment]``; raises InvalidKey with the reason."""
    parts = text.strip().split(None, 2)
    if "\n" in text.strip() or len(parts) < 2 or not _TYPE.match(parts[0]):
        raise InvalidKey("expected one line: type, base64 key and an optional comment")
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKey("the key is not valid base64") from None
    fields, complete = _fields(blob)
    if not fields or fields[0] != parts[0].encode():
        raise InvalidKey(f"the key does not say {parts[0]} inside; it is cut off or of another type")
    key = PublicKey(parts[0], blob, _bits(parts[0], fields), parts[2] if len(parts) > 2 else "")
    # A certificate goes on with numbers, which have no length in front.
    if len(fields) < _LENGTHS.get(key.type, 3) or not (complete or key.is_certificate):
        raise InvalidKey("the key is cut off")
    return key


def parse_certificate(text: str) -> Certificate:
    """Read a certificate as ssh-keygen writes it; raises InvalidKey with the reason. Its signature is not checked.

    Source: OpenSSH, PROTOCOL.certkeys.
    """
    signed = parse_public_key(text)
    if not signed.is_certificate:
        raise InvalidKey(f"{signed.type} is no certificate")
    plain_type = signed.type[: -len(_CERTIFICATE)] + ("@openssh.com" if signed.type.startswith("sk-") else "")
    reader = _Reader(signed.blob)
    _type, _nonce = reader.string(), reader.string()
    own = [plain_type.encode(), *(reader.string() for _field in range(_LENGTHS.get(plain_type, 3) - 1))]
    _serial, purpose, _key_id = reader.number(8), reader.number(4), reader.string()
    names, complete = _fields(reader.string())
    valid_after, valid_before = reader.number(8), reader.number(8)
    _options, _extensions, _reserved = reader.string(), reader.string(), reader.string()
    _authority, _signature = reader.string(), reader.string()
    if not complete or not reader.at_end:
        raise InvalidKey("the certificate is damaged")
    blob = b"".join(struct.pack(">I", len(value)) + value for value in own)
    return Certificate(
        type=signed.type,
        key=PublicKey(plain_type, blob, _bits(plain_type, own)),
        is_host=purpose == _HOST_CERTIFICATE,
        principals=tuple(name.decode(errors="replace") for name in names),
        valid_after=valid_after,
        valid_before=valid_before,
    )


class _Reader:
    """Strings and numbers out of a blob, one after the other; raises InvalidKey behind its end."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._position = 0

    @property
    def at_end(self) -> bool:
        return self._position == len(self._blob)

    def number(self, size: int) -> int:
        return int.from_bytes(self._take(size), "big")

    def string(self) -> bytes:
        return self._take(self.number(4))

    def _take(self, size: int) -> bytes:
        taken = self._blob[self._position : self._position + size]
        if len(taken) < size:
            raise InvalidKey("the certificate is cut off")
        self._position += size
        return taken


def parse_authorized_keys(text: str) -> list[AuthorizedKey]:
    """Return the keys of an authorized_keys file; lines that sshd would skip are skipped."""
    found: list[AuthorizedKey] = []
    for line in text.split("\n"):
        stripped = line.strip(" \t\r")
        if not stripped or stripped.startswith("#"):
            continue
        try:
            found.append(AuthorizedKey(parse_public_key(stripped), {}))
            continue
        except InvalidKey:
            pass
        options, rest = _split_options(stripped)
        try:
            found.append(AuthorizedKey(parse_public_key(rest), _parse_options(options)))
        except InvalidKey:
            continue
    return found


def _split_options(line: str) -> tuple[str, str]:
    """Split at the first blank outside double quotes."""
    quoted = False
    for position, character in enumerate(line):
        if character == '"' and line[position - 1 : position] != "\\":
            quoted = not quoted
        elif character in " \t" and not quoted:
            return line[:position], line[position:].strip()
    return line, ""


def _parse_options(text: str) -> dict[str, tuple[str, ...]]:
    options: dict[str, tuple[str, ...]] = {}
    for name, value in re.findall(r'([A-Za-z0-9-]+)(?:="((?:\\"|[^"])*)")?', text):
        options[name.lower()] = (*options.get(name.lower(), ()), value.replace('\\"', '"'))
    return options


def address_matches(patterns: str, address: str) -> bool:
    """Return whether a ``from=`` list admits the address: CIDR, wildcards, and ! for refusal (ssh_config(5))."""
    admitted = False
    for pattern in (part.strip() for part in patterns.split(",")):
        refuses = pattern.startswith("!")
        if _one_matches(pattern.lstrip("!"), address):
            if refuses:
                return False
            admitted = True
    return admitted


def _one_matches(pattern: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return wildcard_matches(pattern, address)


def wildcard_matches(pattern: str, value: str) -> bool:
    """Return whether value matches a pattern of sshd: * for any run, ? for one character."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, value, re.DOTALL) is not None
