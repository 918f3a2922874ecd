# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for a group's users: Ansible inventory and ssh_config."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .image import ADMINISTRATOR
from .model import Checkout, Host, group_directory

Data = dict[str, Any]


def render_yaml(data: Mapping[str, Any], indent: int = 0) -> str:
    """Nested mappings as YAML; every other value as JSON, which is YAML as well."""
    lines = ""
    for key, value in data.items():
        lines += " " * indent + key + ":"
        if isinstance(value, Mapping) and value:
            lines += "\n" + render_yaml(value, indent + 2)
        else:
            lines += f" {json.dumps(value)}\n"
    return lines


def host_variables(host: Host) -> Data:
    return {
        "ansible_host": host.ipv4,
        "ansible_control_path_dir": str(host.control_directory),
        "bulwark_addresses": [host.ipv4, host.ipv6],
        "disposable_extra_addresses": host.extra_addresses,
        "disposable_kind": host.kind,
        "disposable_release": host.release,
    }


def group_variables(checkout: Checkout, group: str) -> Data:
    """Host keys are checked, against the group's own file."""
    directory = group_directory(checkout, group)
    options = [
        f"-o UserKnownHostsFile={directory / 'known_hosts'}",
        "-o GlobalKnownHostsFile=/dev/null",
        "-o StrictHostKeyChecking=yes",
        "-o IdentitiesOnly=yes",
    ]
    return {
        "ansible_user": ADMINISTRATOR,
        "ansible_become": True,
        "ansible_ssh_private_key_file": str(directory / "id_ed25519"),
        "ansible_ssh_common_args": " ".join(options),
        "ansible_python_interpreter": "/usr/bin/python3",
        "disposable_controller_addresses": list(checkout.controller_addresses),
    }


def inventory(checkout: Checkout, group: str, hosts: Iterable[Host]) -> Data:
    """Ansible's YAML structure."""
    return {
        "all": {
            "vars": group_variables(checkout, group),
            "hosts": {host.name: host_variables(host) for host in hosts},
        }
    }


def dynamic_inventory(checkout: Checkout, group: str, hosts: Iterable[Host]) -> Data:
    """What an inventory script prints for --list.

    The connection variables are each host's, so that several groups can be read into one inventory.
    """
    shared = group_variables(checkout, group)
    variables = {host.name: {**shared, **host_variables(host)} for host in hosts}
    return {"_meta": {"hostvars": variables}, "all": {"hosts": list(variables)}}


def _ssh_config_block(host: Host) -> str:
    return f"Host {host.name}\n  HostName {host.ipv4}\n  ControlPath {host.control_directory / '%C'}\n\n"


def ssh_config(checkout: Checkout, group: str, hosts: Iterable[Host]) -> str:
    """For `ssh -F`, and for Testinfra, which is slow without a shared connection."""
    directory = group_directory(checkout, group)
    blocks = "".join(_ssh_config_block(host) for host in hosts)
    return (
        f"{blocks}Host *\n"
        f"  User {ADMINISTRATOR}\n"
        f"  IdentityFile {directory / 'id_ed25519'}\n"
        "  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {directory / 'known_hosts'}\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
        "  ConnectTimeout 10\n"
        "  ControlMaster auto\n"
        "  ControlPersist 60s\n"
    )
