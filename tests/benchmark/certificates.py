# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many certificates on one host, each served by nginx under its own name, of which none is due."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration_hosts.test_certificates import STORE, Controller

from .recording import Recording, record

FEW = 2
SECONDS = 5.0
PLAY = [{"hosts": "all", "gather_facts": False, "roles": ["bulwark.hardening.tls"]}]


def certificates(
    inventory: Path, host: str, ssh: Sequence[str], count: int, timed: bool
) -> tuple[list[str], list[str]]:
    """Return what runs with few and with many cost, one line each, and the lines over the budget."""
    # The keys of CAs lie in memory only.
    with tempfile.TemporaryDirectory(prefix="bulwark-certificates-", dir="/dev/shm") as directory:
        controller = Controller(Path(directory))
        playbook = Path(controller.file("tls.yml", json.dumps(PLAY).encode()))
        options = ("--vault-password-file", str(controller.password))

        def run(number: int, served: bool = True) -> Recording:
            return record(inventory, playbook, host, variables(controller, number, served), *options)

        run(count, served=False)
        serve = "cat > /etc/nginx/conf.d/many.conf && systemctl reload nginx.service"
        subprocess.run([*ssh, serve], input=nginx(count), text=True, check=True, timeout=60)
        runs = {}
        for number in (FEW, count):
            run(number)
            runs[number] = run(number)
    lines = [
        f"{number} certificates, none due: {len(done.calls)} calls, {done.changed} changed, {done.seconds:.1f} s with "
        f"Ansible's own start{f' (limit {SECONDS:.0f})' if number == count and timed else ''}"
        for number, done in runs.items()
    ]
    problems = [f"{line}, expected 0 changed" for line, done in zip(lines, runs.values()) if done.changed]
    if len({len(done.calls) for done in runs.values()}) > 1:
        problems.append("calls grow with the number of certificates")
    if timed and runs[count].seconds > SECONDS:
        problems.append(f"{lines[-1]} is too slow")
    return lines, problems


def variables(controller: Controller, count: int, served: bool) -> dict[str, Any]:
    service = {"unit": "nginx.service", "check": ["/usr/sbin/nginx", "-t"], "listeners": [{"port": 443}]}
    return {
        "tls_issuers": [
            {
                "name": "internal",
                "kind": "private_ca",
                "generations": [{"certificate_file": controller.chain, "key_file": controller.key}],
            }
        ],
        "tls_certificates": [
            {
                "name": f"many{number}",
                "issuer": "internal",
                "names": [f"many{number}.example.org"],
                "services": [service] if served else [],
            }
            for number in range(count)
        ],
    }


def nginx(count: int) -> str:
    """Return the configuration that serves each certificate under its name."""
    # The default of nginx has no room for so many names.
    servers = "".join(
        f"server {{ listen 443 ssl; server_name many{number}.example.org;"
        f" ssl_certificate {STORE}/many{number}/current/full_chain.pem;"
        f" ssl_certificate_key {STORE}/many{number}/current/key.pem; }}\n"
        for number in range(count)
    )
    return f"server_names_hash_max_size 4096;\n{servers}"
