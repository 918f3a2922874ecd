# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy as a host keeps it, so that it can look after its certificates without the controller."""

from __future__ import annotations

import hashlib
import json
import typing as t

from ..transaction import files
from .model import CertificateError, Raw
from .store import ROOT

# No certificate can have this name.
POLICY = f"{ROOT}/policy.json"
KEPT = ("certificates", "issuers", "authorities", "alarm_days", "metrics_directory")
PASSPHRASE = "key_passphrase"  # noqa: S105 - the name of an option
# Where they are is the controller's business, and another controller has them elsewhere.
CONTROLLER_FILES = ("certificate_file", "key_file", "trust_file", "server_trust_file")
ON_CONTROLLER = "on the controller"
# Prometheus' own directory for the node exporter is Debian's.
METRICS_DIRECTORY = "/var/lib/prometheus/node-exporter"
MEND = "run the role tls, which writes it again"


def pack(arguments: Raw) -> bytes:
    """Return what is kept of a module's arguments: no secret, and nothing that is true for one run only."""
    policy = {key: _plain(arguments[key]) for key in KEPT if arguments.get(key) is not None}
    return json.dumps({"digest": _digest(policy), "policy": policy}, indent=1, sort_keys=True).encode() + b"\n"


def read(path: str = POLICY) -> dict[str, t.Any]:
    """Return the arguments that a host has kept. Raises CertificateError."""
    try:
        content = files.read_file(path)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror or error}; {MEND}") from error
    try:
        found = json.loads(content)
    except ValueError as error:
        raise CertificateError(f"{path} is damaged: it is no JSON; {MEND}") from error
    policy = found.get("policy") if isinstance(found, dict) else None
    if not isinstance(policy, dict) or found.get("digest") != _digest(policy):
        raise CertificateError(f"{path} is damaged: it is not what the role wrote; {MEND}")
    return policy


def metrics_directory(policy: Raw) -> str:
    """Return where metrics go, empty if nowhere."""
    directory = policy.get("metrics_directory")
    return METRICS_DIRECTORY if directory is None else str(directory)


def _digest(policy: Raw) -> str:
    return hashlib.sha256(json.dumps(policy, sort_keys=True).encode()).hexdigest()


def _plain(value: t.Any) -> t.Any:
    """Return a value without secrets, without options that are not set, and without the places of files."""
    if isinstance(value, t.Mapping):
        return {
            key: ON_CONTROLLER if key in CONTROLLER_FILES else _plain(entry)
            for key, entry in value.items()
            if entry is not None and key != PASSPHRASE
        }
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
