# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the sshd policy: their types, defaults and choices, in one place. Pure."""

from __future__ import annotations

from typing import Any

from . import algorithms

Spec = dict[str, Any]

BANNER = "Authorized use only. All activity is recorded.\n"
MINIMUM_WINDOW_SECONDS = 30
MAXIMUM_WINDOW_SECONDS = 600


def _list(elements: str = "str", **more: Any) -> Spec:
    return {"type": "list", "elements": elements, "default": [], **more}


def _bool(default: bool) -> Spec:
    return {"type": "bool", "default": default}


def _int(default: int) -> Spec:
    return {"type": "int", "default": default}


PENALTIES: Spec = {
    "crash_seconds": {"type": "int"},
    "authentication_failure_seconds": {"type": "int"},
    "no_authentication_seconds": {"type": "int"},
    "grace_exceeded_seconds": {"type": "int"},
    "minimum_seconds": {"type": "int"},
    "maximum_seconds": {"type": "int"},
    "exempt_sources": _list(),
}
PRINCIPALS: Spec = {
    "user": {"type": "str", "required": True},
    "principals": {"type": "list", "elements": "str", "required": True},
}
REVOKED: Spec = {
    "public_key": {"type": "str", "no_log": False},
    "fingerprint": {"type": "str"},
    "serial": {"type": "int"},
    "key_id": {"type": "str", "no_log": False},
    "ca": {"type": "str"},
}
LOGIN: Spec = {
    "client_address": {"type": "str"},
    "client_port": {"type": "int"},
    "server_address": {"type": "str"},
    "server_port": {"type": "int"},
    "port": {"type": "int"},
}
TRANSACTION: Spec = {
    "id": {"type": "str"},
    "nonce": {"type": "str", "no_log": False},
    "reason": {"type": "str"},
    "logins": {"type": "list", "elements": "dict", "options": LOGIN},
}

POLICY: Spec = {
    "ports": _list("int"),
    "listen_addresses": _list(),
    "socket_activation": {"type": "str", "default": "keep", "choices": ["keep", "enabled", "disabled"]},
    "administrators": _list(),
    "permit_root_login": {"type": "str", "default": "auto", "choices": ["auto", "no", "prohibit-password"]},
    "allow_users": _list(),
    "allow_groups": _list(),
    "deny_users": _list(),
    "deny_groups": _list(),
    "password_authentication": {**_bool(False), "no_log": False},
    "keyboard_interactive_authentication": _bool(False),
    "authentication_methods": _list(),
    "use_pam": _bool(True),
    "max_auth_tries": _int(3),
    "max_sessions": _int(4),
    "max_startups": {"type": "str", "default": "10:30:60"},
    "login_grace_seconds": _int(60),
    "client_alive_interval_seconds": _int(300),
    "client_alive_count_max": _int(2),
    "per_source_max_startups": _int(0),
    "per_source_penalties": {"type": "dict", "default": {}, "options": PENALTIES},
    "allow_tcp_forwarding": _bool(False),
    "allow_agent_forwarding": _bool(False),
    "allow_x11_forwarding": _bool(False),
    "allow_stream_local_forwarding": _bool(False),
    "use_dns": _bool(False),
    "compression": _bool(False),
    "tcp_keep_alive": _bool(False),
    "print_last_log": _bool(True),
    "log_level": {"type": "str", "default": "VERBOSE", "choices": ["INFO", "VERBOSE", "DEBUG"]},
    "banner": {"type": "str", "default": BANNER},
    "key_exchange_algorithms": _list(default=list(algorithms.KEY_EXCHANGE), no_log=False),
    "ciphers": _list(default=list(algorithms.CIPHERS)),
    "macs": _list(default=list(algorithms.MACS)),
    "host_key_algorithms": _list(default=list(algorithms.HOST_KEY), no_log=False),
    "public_key_algorithms": _list(default=list(algorithms.PUBLIC_KEY), no_log=False),
    "ca_signature_algorithms": _list(default=list(algorithms.CA_SIGNATURE)),
    "required_rsa_bits": _int(3072),
    "host_key_types": _list(default=["ed25519", "rsa"], choices=["ed25519", "rsa", "ecdsa"], no_log=False),
    "host_certificates": _list(),
    "trusted_user_ca_keys": _list(no_log=False),
    "authorized_principals": _list("dict", options=PRINCIPALS),
    "revoked_keys": _list("dict", options=REVOKED, no_log=False),
    "allow_match_overrides": _bool(False),
    "main_file": _bool(False),
}

FLOW: Spec = {
    "operation": {
        "type": "str",
        "default": "apply",
        "choices": ["validate", "stage", "unstage", "apply", "commit", "rollback", "status"],
    },
    "window_seconds": _int(90),
    "confirm_logins": _int(3),
    "confirm_seconds": {"type": "float", "default": 10.0},
    "transaction": {"type": "dict", "options": TRANSACTION},
}

ARGUMENT_SPEC: Spec = {**POLICY, **FLOW}
