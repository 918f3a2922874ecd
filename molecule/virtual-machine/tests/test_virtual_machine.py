# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be true of a hardened machine, before and after each restart."""

from __future__ import annotations

from typing import Any

import pytest

TARGETS = ["ufw12", "firewalld13"]
FAMILIES = [4, 6]
# source, port, what a connection meets
INBOUND = [
    ("client", 8080, "open"),
    ("stranger", 8080, "closed"),
    ("stranger", 9000, "open"),
    ("client", 7777, "closed"),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("source", "port", "expected"), INBOUND)
@pytest.mark.parametrize("target", TARGETS)
def test_a_port_is_open_to_its_sources_only(
    scenario: Any, target: str, source: str, port: int, expected: str, family: int
) -> None:
    answer = scenario.tries(source, target, port, family)
    assert (answer == "open") == (expected == "open"), f"{answer} from {source}"


@pytest.mark.parametrize("target", TARGETS)
def test_it_is_a_machine_with_a_kernel_of_its_own(scenario: Any, target: str) -> None:
    assert scenario.host(target).run("systemd-detect-virt --container").stdout.strip() == "none"


@pytest.mark.parametrize("target", TARGETS)
def test_sshd_keeps_the_policy(scenario: Any, target: str) -> None:
    effective = scenario.host(target).check_output("sshd -T").lower().splitlines()
    assert {"passwordauthentication no", "kbdinteractiveauthentication no", "maxauthtries 3"} <= set(effective)


@pytest.mark.parametrize("target", TARGETS)
def test_a_password_is_not_asked_for(scenario: Any, target: str) -> None:
    # Testinfra takes ssh's own exit code for a lost connection.
    command = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null nobody@%s true; true"
    answer = scenario.host("client").run(command, scenario.address(target)).stderr
    assert "Permission denied (publickey)" in answer


@pytest.mark.parametrize("target", TARGETS)
def test_no_transaction_is_left_pending(scenario: Any, target: str) -> None:
    host = scenario.host(target)
    assert not host.file("/var/lib/bulwark/transactions/pending").exists
    assert host.run("systemctl is-failed bulwark-transaction-guard.service").stdout.strip() != "failed"
