# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the sshd module: policy check, a login to the staged sshd, new-login proof, port change."""

from __future__ import annotations

import contextlib
import secrets
import typing as t

from ansible.errors import AnsibleConnectionFailure

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.validate import validate_policy
from ansible_collections.bulwark.hardening.plugins.plugin_utils.commit_confirmed import (
    CommitConfirmedAction,
    Refused,
    Result,
)
from ansible_collections.bulwark.hardening.plugins.plugin_utils.new_login import new_login


def port_steps(current: t.Sequence[int], wanted: t.Sequence[int]) -> list[list[int]]:
    """Return the lists of ports to listen on, one per transaction.

    A port that goes away is dropped only after a login through a port that stays was proven, hence two steps.
    """
    if not wanted or not current or set(wanted) & set(current):
        return [list(wanted)]
    return [list(dict.fromkeys([*current, *wanted])), list(wanted)]


class ActionModule(CommitConfirmedAction):
    """Run one sshd policy as one transaction, or two when every port changes."""

    module_name = "bulwark.hardening.sshd"
    # Whether the connection goes to another port than the one this task began with.
    moved = False
    # The name under which known_hosts has the host then, empty for ssh's own choice.
    alias = ""

    def prepare(self, arguments: Result, task_vars: Result) -> Result:  # noqa: ARG002 - the base class hands it over
        """Check the whole policy before the host is touched."""
        problems = validate_policy(arguments)
        if problems:
            raise Refused("; ".join(problems))
        return arguments

    def execute(self, arguments: Result) -> Result:
        """Stage the candidate, log in to it, then apply it."""
        if self.proves_logins():
            self.target()  # refuses a connection that cannot be proven, while there is nothing to clean up
        staged = self.call(arguments, "stage")
        if staged.get("failed") or not staged.get("changed") or self._task.check_mode:
            return staged
        current = [int(port) for port in staged.get("current_ports") or []]
        wanted = [int(port) for port in arguments.get("ports") or []]
        steps = port_steps(current, wanted)
        result: Result = {}
        for ports in steps:
            if result:
                staged = self.call({**arguments, "ports": ports}, "stage")
                if staged.get("failed"):
                    return staged
            refusal = self.refusal_of_staged(staged)
            if refusal:
                self.unstage(arguments)
                return {**staged, "failed": True, "changed": bool(result), "msg": refusal}
            result = self.transact({**arguments, "ports": ports})
            if result.get("failed"):
                return result
            if self.follow(wanted):
                result["connection_port"] = wanted[0]
                result["connection_host_key_alias"] = self.alias
        return result

    def refusal_of_staged(self, staged: Result) -> str:
        """Return why the staged sshd did not let the administrator in, or nothing."""
        port = (staged.get("stage") or {}).get("port")
        if not port or not self.proves_logins():
            return ""
        target = self.target()
        python = str(self._vars.get("ansible_python_interpreter") or "python3")
        if python.startswith("auto"):
            python = "python3"
        login = new_login(target, secrets.token_hex(8), loopback_port=int(port), python=python)
        if login.ok:
            return ""
        return (
            f"nothing was changed: the rehearsed sshd refused a login as {target.user or 'the connecting user'} "
            f"on loopback: {login.detail}"
        )

    def unstage(self, arguments: Result) -> None:
        """End the staged sshd; out of reach, it ends by itself within a minute."""
        with contextlib.suppress(AnsibleConnectionFailure):
            self.call(arguments, "unstage")

    def follow(self, ports: list[int]) -> bool:
        """Use a wanted port, which listens by now, for everything that comes after; returns whether it differs."""
        if not ports or not self.proves_logins():
            return False
        target = self.target()
        if target.port in ports:
            return self.moved
        self.moved = True
        self.known_port = target.known_port or target.port
        self._connection.set_option("port", ports[0])
        self.alias = new_login(self.target(), secrets.token_hex(8)).host_key_alias
        if self.alias:
            # Ansible's own ssh looks the new port up in known_hosts, where only the old one is.
            extra = self._connection.get_option("ssh_extra_args") or ""
            self._connection.set_option("ssh_extra_args", f"{extra} -o HostKeyAlias={self.alias}")
        else:
            self.known_port = 0
        self._connection.reset()
        return True
