# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All readers by name. A file of readers is named here once; readers/__init__.py lists what they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .parameters import Parameters, complete
from .reader import Reader
from .readers import (
    aide,
    boot,
    certificates,
    clock,
    fail2ban,
    files,
    kernel,
    kernel_audit,
    local_accounts,
    logins,
    mounts,
    network,
    packages,
    pam,
    postgresql,
    postgresql_databases,
    resolver,
    security_modules,
    sudo,
    systemd,
    tls,
    wireless,
)

READERS: Mapping[str, Reader] = {
    name: reader
    for module in (
        aide,
        boot,
        certificates,
        clock,
        fail2ban,
        files,
        kernel,
        kernel_audit,
        local_accounts,
        logins,
        mounts,
        network,
        packages,
        pam,
        postgresql,
        postgresql_databases,
        resolver,
        security_modules,
        sudo,
        systemd,
        tls,
        wireless,
    )
    for name, reader in module.READERS.items()
}


def prepared(check: Any, path: str = "check") -> tuple[str, Parameters, list[str]]:
    """Return reader and complete parameters of ``{reader, parameters}``, and what is wrong with them."""
    if not isinstance(check, Mapping):
        return "", {}, [f"{path}: takes a dictionary of reader and parameters, not {check!r}"]
    unknown = [f"{path}.{name}: there is no such key" for name in check if name not in ("reader", "parameters")]
    name = str(check.get("reader"))
    if name not in READERS:
        accepted = ", ".join(sorted(READERS))
        return "", {}, [*unknown, f"{path}.reader: there is no reader {name!r}; accepted are {accepted}"]
    values, problems = complete(READERS[name].parameters, check.get("parameters") or {}, f"{path}.parameters")
    return name, values, unknown + problems
