# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of a transaction: apply, prove new logins, commit or roll back."""

from __future__ import annotations

import secrets
import shlex
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase

from .new_login import Elevation, Login, SshTarget, new_login, prove_logins

Result = dict[str, t.Any]
# The host's timer is accurate to a tenth of a second; the rest is for the restore itself on a slow host.
GRACE_SECONDS = 45
POLL_SECONDS = 3


class Refused(Exception):
    """The task ends here; the text is the sentence for the user."""


def describe(login: Login, target: SshTarget) -> str:
    """Return one clause that says which login failed and why."""
    user = f"{target.user}@" if target.user else ""
    return f"a new login to {user}{target.host} port {login.port} failed: {login.detail}"


def failure(applied: Result, message: str, **facts: t.Any) -> Result:
    """Return the failed result of a transaction that was applied: nothing of it stays, so nothing is changed."""
    return {**applied, "failed": True, "changed": False, "msg": message, **facts}


class CommitConfirmedAction(ActionBase):  # type: ignore[misc]  # ansible-core is not annotated
    """Base of the action plugins whose module works through the transaction engine."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False
    module_name = ""
    # The port under which known_hosts has the host, once a port change moved the connection away from it.
    known_port = 0

    def prepare(self, arguments: Result, task_vars: Result) -> Result:
        """Return the module's arguments, checked and with inventory groups resolved; raise Refused otherwise."""
        raise Refused(
            f"{self.module_name} cannot prepare {sorted(arguments)} for {task_vars.get('inventory_hostname')}"
        )

    def execute(self, arguments: Result) -> Result:
        """Run the prepared task on the managed host."""
        return self.transact(arguments)

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> Result:
        """Check the policy on the controller, then run the transaction."""
        result: Result = super().run(tmp, task_vars)
        self._vars: Result = task_vars or {}
        arguments = dict(self._task.args)
        try:
            arguments = self.prepare(arguments, self._vars)
            if arguments.get("operation") == "validate":
                return {**result, "changed": False, "msg": "the policy is valid"}
            return {**result, **self.execute(arguments)}
        except Refused as refusal:
            return {**result, "failed": True, "changed": False, "msg": str(refusal)}

    def call(self, arguments: Result, operation: str, **more: t.Any) -> Result:
        """Run the module once; raises AnsibleConnectionFailure when the host is out of reach."""
        result: Result = self._execute_module(
            module_name=self.module_name,
            module_args={**arguments, "operation": operation, **more},
            task_vars=self._vars,
        )
        return result

    def proves_logins(self) -> bool:
        """Return whether the connection is a login that can be lost; only OpenSSH's can be proven."""
        transport = self._connection.transport
        if transport == "ssh":
            return True
        if transport in ("local", "nspawn", "docker", "podman", "chroot"):
            return False
        raise Refused(f"connection {transport!r} cannot prove a new login; use ansible_connection=ssh")

    def elevation(self) -> Elevation | None:
        """Return how each login has to become root, None where the login alone is the proof."""
        return None

    def target(self) -> SshTarget:
        """Return how Ansible logs in to this host."""
        option = self._connection.get_option
        if option("password"):
            raise Refused(
                "this connection logs in with a password, which the hardened sshd refuses; "
                "put a public key on the host and unset ansible_password"
            )
        arguments: list[str] = []
        if not option("host_key_checking"):
            arguments += ["-o", "StrictHostKeyChecking=no"]
        for name in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            arguments += shlex.split(option(name) or "")
        return SshTarget(
            host=str(option("host")),
            port=int(option("port") or 22),
            user=option("remote_user") or "",
            executable=option("ssh_executable") or "ssh",
            identity_file=option("private_key_file") or "",
            arguments=tuple(arguments),
            timeout_seconds=int(option("timeout") or 10),
            known_port=self.known_port,
        )

    def transact(self, arguments: Result) -> Result:
        """Apply, prove and commit; on any doubt the host goes back and the task fails."""
        target = self.target() if self.proves_logins() else None
        if target is None:
            arguments = {**arguments, "confirm_logins": 0}
        try:
            applied = self.call(arguments, "apply")
        except AnsibleConnectionFailure as error:
            if target is None or self._task.check_mode:
                raise
            return self.wait_for_timer(
                {}, target, arguments, f"the connection broke while the change was applied: {error}"
            )
        transaction = applied.get("transaction") or {}
        if applied.get("failed") or not transaction.get("pending"):
            return applied
        logins: list[Login] = []
        if target is not None:
            ports = [int(port) for port in transaction.get("ports") or [target.port]]
            count, seconds = int(arguments.get("confirm_logins", 3)), float(arguments.get("confirm_seconds", 10))
            logins = prove_logins(target, transaction["nonce"], ports, count, seconds, self.elevation())
            if not logins or not logins[-1].ok:
                return self.roll_back(applied, target, arguments, describe(logins[-1], target))
        return self.commit(applied, target, arguments, logins)

    def commit(self, applied: Result, target: SshTarget | None, arguments: Result, logins: list[Login]) -> Result:
        """Hand the proof to the host, then log in once more."""
        transaction = applied["transaction"]
        proof = {
            "id": transaction["id"],
            "nonce": transaction["nonce"],
            "logins": [login.to_dict() for login in logins],
        }
        try:
            committed = self.call(arguments, "commit", transaction=proof)
        except AnsibleError as error:
            if target is None:
                raise
            return self.wait_for_timer(applied, target, arguments, f"the connection broke during the commit: {error}")
        if committed.get("failed"):
            if target is None:
                return failure(
                    applied, committed.get("msg", "the commit failed"), transaction=committed.get("transaction")
                )
            return self.roll_back(applied, target, arguments, committed.get("msg", "the commit failed"))
        result = {**applied, **{key: value for key, value in committed.items() if key not in ("changed", "diff")}}
        result["changed"] = True
        result["logins"] = [login.to_dict() for login in logins]
        if target is None:
            result["confirmation"] = f"not proven by a login: the connection is {self._connection.transport}"
            return result
        result["confirmation"] = f"{len(logins)} new logins"
        for port in transaction.get("ports") or [target.port]:
            after = new_login(target, transaction["nonce"], int(port), elevation=self.elevation())
            if not after.ok:
                return failure(result, f"the change is committed, but {describe(after, target)}", changed=True)
        return result

    def roll_back(self, applied: Result, target: SshTarget, arguments: Result, reason: str) -> Result:
        """Ask the host to go back now; the timer does it when the host cannot be asked."""
        transaction = applied["transaction"]
        try:
            status = self.call(arguments, "rollback", transaction={"id": transaction["id"], "reason": reason})
        except AnsibleError:
            return self.wait_for_timer(applied, target, arguments, reason)
        if status.get("failed") and not status.get("transaction"):
            # Logged in, but not able to become root: the host can only go back by itself.
            return self.wait_for_timer(applied, target, arguments, reason)
        return self.report_rollback(applied, target, status, reason)

    def wait_for_timer(self, applied: Result, target: SshTarget, arguments: Result, reason: str) -> Result:
        """Wait until the host lets new logins in again, then read what happened."""
        window = int(arguments.get("window_seconds") or 90)
        until = time.monotonic() + window + GRACE_SECONDS
        status: Result = {}
        while time.monotonic() < until:
            if new_login(target, secrets.token_hex(8)).ok:
                try:
                    self._connection.reset()
                    status = self.call(
                        arguments, "status", transaction={"id": (applied.get("transaction") or {}).get("id")}
                    )
                except AnsibleError:
                    status = {}
                if status.get("failed"):
                    status = {}
                if status and not (status.get("transaction") or {}).get("pending"):
                    break
            time.sleep(POLL_SECONDS)
        return self.report_rollback(applied, target, status, reason)

    def report_rollback(self, applied: Result, target: SshTarget, status: Result, reason: str) -> Result:
        """Return the failed result; says whether the old state and the access to it were seen."""
        transaction = {**(applied.get("transaction") or {}), **(status.get("transaction") or {})}
        phase = transaction.get("phase", "unknown")
        restored = new_login(target, secrets.token_hex(8), elevation=self.elevation())
        if phase == "COMMITTED":
            return failure(applied, f"the change is committed, but {reason}", changed=True, transaction=transaction)
        if phase != "ROLLED_BACK":
            message = (
                f"{reason}; the rollback could not be seen to finish (phase {phase}): log in at the console and read "
                "/var/lib/bulwark/transactions"
            )
            return failure(applied, message, rolled_back=False, access_restored=restored.ok, transaction=transaction)
        message = f"the change was rolled back: {reason}"
        if not restored.ok:
            message += f"; and even so {describe(restored, target)}"
        return failure(applied, message, rolled_back=True, access_restored=restored.ok, transaction=transaction)
