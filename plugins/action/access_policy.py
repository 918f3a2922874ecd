# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the access_policy module: policy check, a login and a sudo that live with the candidate, proof."""

from __future__ import annotations

import contextlib
import secrets

from ansible.errors import AnsibleError

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.access import problems
from ansible_collections.bulwark.hardening.plugins.plugin_utils.commit_confirmed import (
    CommitConfirmedAction,
    Refused,
    Result,
)
from ansible_collections.bulwark.hardening.plugins.plugin_utils.new_login import Elevation, new_login

# Written by the module, readable by root only.
PROOF_PATH = "/run/bulwark-access-proof"


class ActionModule(CommitConfirmedAction):
    """Run one access policy as a transaction whose logins have to become root."""

    module_name = "bulwark.hardening.access_policy"

    def prepare(self, arguments: Result, task_vars: Result) -> Result:  # noqa: ARG002 - the base class hands it over
        """Check the whole policy before the host is touched."""
        wrong = problems(arguments)
        if wrong:
            raise Refused("; ".join(wrong))
        if arguments.get("operation") == "validate":
            return arguments
        elevation = self.elevation() if self.proves_logins() else None
        return {**arguments, "has_become_password": elevation is not None and elevation.password is not None}

    def execute(self, arguments: Result) -> Result:
        """Stage the candidate, log in to it and become root there, then apply it."""
        staged = self.call(arguments, "stage")
        if staged.get("failed") or not staged.get("changed") or self._task.check_mode:
            return staged
        refusal = self.refusal_of_staged(staged)
        if refusal:
            with contextlib.suppress(AnsibleError):
                self.call(arguments, "discard")
            return {**staged, "failed": True, "changed": False, "msg": refusal}
        return self.transact(arguments)

    def elevation(self) -> Elevation | None:
        """Return how Ansible becomes root here; None when it logs in as root."""
        become = self._connection.become
        if become is None:
            return None
        if become.name.rpartition(".")[2] != "sudo":
            raise Refused(f"become_method {become.name!r} cannot be proven; use sudo, or log in as root")
        user = become.get_option("become_user", playcontext=self._play_context) or "root"
        if user != "root":
            raise Refused(f"become_user is {user!r}; what decides on logins can be changed by root only")
        password = become.get_option("become_pass", playcontext=self._play_context)
        executable = become.get_option("become_exe", playcontext=self._play_context)
        return Elevation(PROOF_PATH, str(executable or "sudo"), None if password is None else str(password))

    def refusal_of_staged(self, staged: Result) -> str:
        """Return why the rehearsed host did not let the administrator in and up, or nothing."""
        port = (staged.get("stage") or {}).get("port")
        if not port or not self.proves_logins():
            return ""
        target = self.target()
        python = str(self._vars.get("ansible_python_interpreter") or "python3")
        if python.startswith("auto"):
            python = "python3"
        login = new_login(
            target, secrets.token_hex(8), loopback_port=int(port), python=python, elevation=self.elevation()
        )
        if login.ok:
            return ""
        who = target.user or "the connecting user"
        return f"nothing was changed: with the new policy {who} could not log in and become root: {login.detail}"
