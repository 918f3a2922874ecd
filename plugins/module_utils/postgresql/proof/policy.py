# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be proven, as a host keeps it: no secrets; pure."""

from __future__ import annotations

import json
import typing as t

from ..server import Place, Refused

Wish = dict[str, t.Any]
PLACE = ("socket_directory", "port", "system_user")
LOG = ("database", "tables", "guards", "log_schema", "owner_role", "writer_role", "reader_role")
SECRETS = ("password", "verifier")
POLICY = "/etc/bulwark/postgresql/proof.json"


def policy_of(arguments: t.Mapping[str, t.Any]) -> Wish:
    """Return what a host keeps of a module's arguments."""
    return {
        "place": {name: arguments[name] for name in PLACE},
        "roles": [
            {name: value for name, value in role.items() if name not in SECRETS and value is not None}
            for role in arguments["roles"]
        ],
        "databases": _given(arguments["databases"]),
        "transition_logs": [_log(log, index) for index, log in enumerate(arguments["transition_logs"])],
        "missing_objects": arguments["missing_objects"],
        "metrics_directory": arguments["metrics_directory"] or "",
    }


def _log(given: Wish, index: int) -> Wish:
    """Return what is kept of one log. Raises Refused for what the module of the log would not take."""
    unknown = sorted(set(given) - set(LOG))
    if unknown:
        raise Refused(f"transition_logs[{index}].{unknown[0]}: there is no such key; accepted are {', '.join(LOG)}")
    lists = [("tables", entry) for entry in given.get("tables") or ()]
    lists += [("guards", entry) for entry in given.get("guards") or ()]
    if not given.get("database") or any(not isinstance(entry, dict) or not entry.get("name") for _key, entry in lists):
        raise Refused(f"transition_logs[{index}]: a database, or the name of a table or guard, is missing")
    return {name: _given(given[name]) for name in LOG if given.get(name) is not None}


def _given(value: t.Any) -> t.Any:
    """Return a value without what was not given, which every reader of it fills in by itself."""
    if isinstance(value, dict):
        return {name: _given(entry) for name, entry in value.items() if entry is not None}
    return [_given(entry) for entry in value] if isinstance(value, list) else value


def dump(policy: Wish) -> bytes:
    """Return the content of the file."""
    return json.dumps(policy, indent=1, sort_keys=True).encode() + b"\n"


def load(content: bytes, path: str) -> Wish:
    """Return what the file says. Raises Refused."""
    try:
        policy = json.loads(content)
    except ValueError as error:
        raise Refused(f"{path} cannot be read: {error}; run the role postgresql again") from error
    if not isinstance(policy, dict) or not {"place", "roles", "databases", "transition_logs"} <= set(policy):
        raise Refused(f"{path} holds no policy; run the role postgresql again")
    return policy


def place_of(policy: t.Mapping[str, t.Any]) -> Place:
    """Return where the server is."""
    return Place.of(policy["place"])
