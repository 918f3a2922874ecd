# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of the module access_policy."""

from __future__ import annotations

from typing import Any

from .files import FORMATS
from .pam import ADDITIONAL, PRIMARY, STACKS

BLOCKS = (PRIMARY, ADDITIONAL)


def _list(options: dict[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": options}


FILES: dict[str, Any] = {
    "path": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "content": {"type": "str"},
    "settings": {
        "type": "dict",
        "options": {
            "format": {"type": "str", "choices": list(FORMATS), "required": True},
            "section": {"type": "str"},
            "values": {"type": "dict", "default": {}},
            "flags": {"type": "list", "elements": "str", "default": []},
        },
    },
    "block": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "text": {"type": "str", "default": ""},
            "at": {"type": "str", "choices": ["start", "end"], "default": "end"},
        },
    },
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
    "validate": {"type": "list", "elements": "str", "default": []},
    "only_if_exists": {"type": "bool", "default": False},
}
PAM_PROFILES: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "priority": {"type": "int"},
    "default": {"type": "bool", "default": True},
    # "password" is the name of a stack here, and no secret.
    **{name: {"type": "str", "no_log": False} for stack in STACKS for name in (stack, f"{stack}_initial")},
    **{f"{stack}_type": {"type": "str", "choices": list(BLOCKS)} for stack in STACKS},
    "session_interactive_only": {"type": "bool", "default": False},
}
MOUNTS: dict[str, Any] = {
    "path": {"type": "str", "required": True},
    "type": {"type": "str"},
    "source": {"type": "str"},
    "options": {"type": "list", "elements": "str", "default": []},
    "size": {"type": "str"},
}
PASSWORD_AGING: dict[str, Any] = {
    "maximum_days": {"type": "int"},
    "minimum_days": {"type": "int"},
    "warning_days": {"type": "int"},
    "inactive_days": {"type": "int"},
    "except": {"type": "list", "elements": "str", "default": []},
}
TRANSACTION: dict[str, Any] = {
    "id": {"type": "str"},
    "nonce": {"type": "str", "no_log": False},
    "reason": {"type": "str"},
    "logins": {
        "type": "list",
        "elements": "dict",
        "options": {
            "client_address": {"type": "str"},
            "client_port": {"type": "int"},
            "server_address": {"type": "str"},
            "server_port": {"type": "int"},
            "port": {"type": "int"},
            "elevation_proof": {"type": "str", "no_log": False},
        },
    },
}
ARGUMENT_SPEC: dict[str, Any] = {
    "files": _list(FILES),
    "pam_profiles": _list(PAM_PROFILES),
    "mounts": _list(MOUNTS),
    "password_aging": {"type": "dict", "options": PASSWORD_AGING, "no_log": False},
    "administrators": {"type": "list", "elements": "str", "default": []},
    "has_become_password": {"type": "bool", "default": False, "no_log": False},
    "operation": {
        "type": "str",
        "choices": ["validate", "stage", "discard", "apply", "commit", "rollback", "status"],
        "default": "apply",
    },
    "window_seconds": {"type": "int", "default": 90},
    "confirm_logins": {"type": "int", "default": 3},
    "confirm_seconds": {"type": "float", "default": 10.0},
    "transaction": {"type": "dict", "options": TRANSACTION},
}
