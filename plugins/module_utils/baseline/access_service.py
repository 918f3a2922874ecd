# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The operations of the module access_policy: stage, apply, commit, rollback, status."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..transaction import files as safe_files
from ..transaction.engine import Engine, Transaction, TransactionError
from ..transaction.session import connecting_user, ssh_session
from ..transaction.state import Command
from . import access, access_host, access_probe, access_stage, files, files_host, host, mounts, pam
from .access import Piece, Policy
from .access_host import Candidate
from .host import Refused

Result = dict[str, Any]

DOMAIN = "access"
# Read through sudo by the login that proves the change; whoever knows the token was root after it.
PROOF = "/run/bulwark-access-proof"
# Kept whole for the rollback: what a hook, or a program beside us, breaks in there comes back as well.
SNAPSHOT = ("/etc/pam.d", "/etc/security", "/etc/sudoers", "/etc/sudoers.d")
PASSWORD_LOCK = "/etc/.pwd.lock"  # noqa: S105 - the lock of lckpwdf(3)
USER_ERRORS = (Refused, TransactionError)


class RolledBack(TransactionError):
    """The change was taken back at once; transaction is how that ended."""

    def __init__(self, message: str, transaction: Result) -> None:
        super().__init__(message)
        self.transaction = transaction


def stage(raw: Mapping[str, Any], check_mode: bool) -> Result:
    """Plan and examine; with a difference, outside check mode, start a second sshd that lives with the candidate."""
    policy = Policy.of(raw)
    if check_mode:
        return _foreseen(raw, policy)
    Engine().settle()
    with access_host.candidate(policy) as made:
        result = _examined(raw, policy, made)
    if made.is_empty:
        return result
    result["stage"] = {"port": 0, "reason": "this connection is no SSH login"}
    if connecting_user():
        _write_proof()
        result["stage"] = access_stage.start(policy)
    return result


def discard() -> Result:
    """End the second sshd and remove its copies at once; without this they end by themselves."""
    access_stage.clear()
    _remove_proof()
    return {"changed": False}


def apply(raw: Mapping[str, Any], check_mode: bool) -> Result:
    """Plan again, arm the rollback, put the candidate in force and leave the transaction pending."""
    policy = Policy.of(raw)
    engine = Engine()
    if check_mode:
        return _foreseen(raw, policy)
    engine.settle()
    access_stage.clear()
    with access_host.candidate(policy) as made:
        result = _examined(raw, policy, made)
        if made.is_empty:
            return result
        token = _write_proof()
        transaction = _begin(engine, raw, made, token)
        transaction.arm()
        with access_host.payload_kept():
            try:
                transaction.applying()
                _install(policy, made)
                _put_in_force(made.mount_plan)
                transaction.applied()
            except (OSError, *USER_ERRORS) as error:
                transaction.rollback(str(error))
                raise _rolled_back(transaction, error) from error
    result["transaction"] = transaction.to_result()
    return result


def _rolled_back(transaction: Transaction, error: Exception) -> RolledBack:
    state = transaction.to_result()
    if state["phase"] == "ROLLED_BACK":
        return RolledBack(f"the change was rolled back: {error}", state)
    return RolledBack(f"{error}; the rollback did not finish (phase {state['phase']}): {state['reason']}", state)


def commit(raw: Mapping[str, Any]) -> Result:
    """Confirm the pending transaction with the logins that the controller made, each of which became root by sudo."""
    given = raw.get("transaction") or {}
    transaction = Engine().resume(str(given.get("id") or ""))
    data = transaction.journal.data
    logins: Sequence[Mapping[str, Any]] = given.get("logins") or ()
    minimum = int(raw.get("confirm_logins", 3) if raw.get("confirm_logins") is not None else 3)
    if minimum > 0 and data.get("needs_elevation"):
        for login in logins:
            if not hmac.compare_digest(_digest(str(login.get("elevation_proof") or "").encode()), str(data["proof"])):
                raise Refused("a new login did not become root by sudo; the transaction stays unconfirmed")

    def unchanged() -> None:
        for path, digest in data.get("files", {}).items():
            if _state_digest(path) != digest:
                raise TransactionError(f"{path} was changed by someone else meanwhile")

    transaction.commit(str(given.get("nonce") or ""), logins, unchanged, minimum)
    _remove_proof()
    return {"changed": True, "transaction": transaction.to_result()}


def rollback(raw: Mapping[str, Any]) -> Result:
    """Go back now."""
    asked = raw.get("transaction") or {}
    transaction = Engine().resume(str(asked.get("id") or ""))
    with access_host.payload_kept():
        transaction.rollback(str(asked.get("reason") or "the controller asked for it"))
    _remove_proof()
    return {"changed": False, "transaction": transaction.to_result()}


def status(raw: Mapping[str, Any]) -> Result:
    """Report a transaction, the pending or newest one without an id."""
    asked = raw.get("transaction") or {}
    return {"changed": False, "transaction": Engine().status(asked.get("id") or None)}


def _foreseen(raw: Mapping[str, Any], policy: Policy) -> Result:
    """Return what a run would change, also on a host where the packages that bring PAM profiles would come first."""
    missing = access_host.missing_profiles(policy)
    profiles = tuple(profile for profile in policy.profiles if profile.name not in missing)
    policy = dataclasses.replace(policy, profiles=profiles)
    with access_host.candidate(policy, check_mode=True) as made:
        result = _examined(raw, policy, made)
    notes = [f"the PAM profile {name} is not there yet; its package would bring it" for name in missing]
    return {**result, "changed": bool(result["changed"] or missing), "notes": [*result["notes"], *notes]}


def _examined(raw: Mapping[str, Any], policy: Policy, made: Candidate) -> Result:
    """Let the programs that it is for read the candidate, and return the common result.

    Raises Refused for one that they do not take, or that leaves no administrator a way in and up.
    """
    verdicts: list[access.Verdict] = []
    warnings: list[str] = []
    if made.trees:
        _read_by_programs(policy, made)
        verdicts, warnings = _administrators(raw, policy, made)
    return {
        "changed": not made.is_empty,
        "diff": access.differences(made.pieces, made.aging, made.mount_plan),
        "administrators": [verdict.to_dict() for verdict in verdicts],
        "files": [{"path": piece.path, "action": piece.to_change().action} for piece in made.pieces],
        "pending": list(made.mount_plan.pending),
        "reboot_needed": bool(made.mount_plan.pending),
        "notes": list(made.mount_plan.notes),
        "warnings": warnings,
    }


def _read_by_programs(policy: Policy, made: Candidate) -> None:
    before, after = access_host.texts(pam.SERVICES), access_host.texts(made.at(pam.SERVICES))
    problems = pam.problems(before, after, access_host.has_module)
    if problems:
        raise Refused(f"nothing was changed: {'; '.join(problems)}")
    for entry in policy.files:
        if entry.validate and entry.path in [piece.path for piece in made.pieces if piece.after is not None]:
            argv = [word.replace("%s", entry.path) for word in entry.validate]
            done = access_host.run_inside(made, argv)
            if not done.ok:
                raise Refused(f"nothing was changed: {entry.path}: {argv[0]} does not accept it: {done.said}")
    if any(piece.path.startswith("/etc/sudoers") for piece in made.pieces):
        _read_by_visudo(made)


def _read_by_visudo(made: Candidate) -> None:
    """Let visudo read all of sudo's files; complaints that it had before about owners and modes are not ours."""
    done = access_host.run_inside(made, ["visudo", "-c"])
    if done.ok:
        return
    if not host.run(["visudo", "-c"]).ok:
        changed = [piece.path for piece in made.pieces if piece.path.startswith("/etc/sudoers") and piece.after]
        results = [access_host.run_inside(made, ["visudo", "-c", "-f", path]) for path in changed]
        done = next((result for result in results if not result.ok), host.Done(True, "", ""))
    if not done.ok:
        said = next(
            (line.strip() for line in done.output.splitlines() if ":" in line and "parsed OK" not in line), done.said
        )
        raise Refused(f"nothing was changed: visudo does not accept the rules of sudo: {said}")


def _administrators(raw: Mapping[str, Any], policy: Policy, made: Candidate) -> tuple[list[access.Verdict], list[str]]:
    connecting = connecting_user()
    names = access_host.administrators(policy, connecting)
    if not names:
        raise Refused(
            "administrators: this connection is no SSH login, and no member of the groups "
            f"{' and '.join(access_host.ADMINISTRATOR_GROUPS)} has a key; name the users who must keep access"
        )
    session = ssh_session()
    address = session.client_address if session else ""
    binds = [(made.at(tree), tree) for tree in made.trees]
    knows = bool(raw.get("has_become_password"))
    sights = access_probe.look(binds, names, connecting, address, f"{made.folder}/shadow")
    verdicts = [access.judge(dataclasses.replace(sight, knows_password=knows)) for sight in sights]
    refusal = access.refusal(verdicts, connecting)
    if refusal:
        raise Refused(refusal)
    unable = [
        f"{verdict.user} could not log in and become root: {verdict.reason}" for verdict in verdicts if not verdict.able
    ]
    return verdicts, unable


def _begin(engine: Engine, raw: Mapping[str, Any], made: Candidate, token: str) -> Transaction:
    paths = list(SNAPSHOT)
    inside = tuple(f"{path}/" for path in SNAPSHOT)
    paths += [_topmost(piece.path) for piece in made.pieces if not piece.path.startswith(inside)]
    undo = [Command(argv, required=argv[0] != "umount") for argv in made.mount_plan.undo]
    session = ssh_session()
    connecting = connecting_user()
    return engine.begin(
        DOMAIN,
        list(dict.fromkeys(paths)),
        undo,
        # At that time of a start, what the candidate asked for is mounted, or nothing is.
        [dataclasses.replace(command, required=False) for command in undo],
        window_seconds=int(raw.get("window_seconds") or 90),
        ports=(session.server_port,) if session else (),
        data={
            "files": {piece.path: _piece_digest(piece) for piece in made.pieces if piece.path != access.SHADOW},
            "proof": _digest(token.encode()),
            "needs_elevation": connecting not in ("", "root"),
        },
    )


def _topmost(path: str) -> str:
    """Return the path, or the highest directory above it that has to be made for it."""
    while not os.path.lexists(os.path.dirname(path)):
        path = os.path.dirname(path)
    return path


def _install(policy: Policy, made: Candidate) -> None:
    """Bring what was examined, byte for byte, to the host."""
    for piece in made.pieces:
        if piece.path == access.SHADOW:
            _age_passwords(policy)
        elif piece.link_after:
            parent, name = safe_files.split(piece.path)
            safe_files.make_directories(parent)
            with safe_files.directory(parent) as descriptor:
                safe_files.replace_link(descriptor, name, piece.link_after)
        elif piece.after is None:
            parent, name = safe_files.split(piece.path)
            with safe_files.directory(parent) as descriptor:
                safe_files.remove_at(descriptor, name)
                os.fsync(descriptor)
        else:
            _write(piece.path, piece.after)


def _write(path: str, found: files.Found) -> None:
    safe_files.make_directories(os.path.dirname(path))
    safe_files.write_file(path, found.content, found.mode, found.uid, found.gid)


def _age_passwords(policy: Policy) -> None:
    """Change shadow as it is now, while nobody else does: a password may have been changed since it was read."""
    with _password_lock():
        found = files_host.read(access.SHADOW)
        if found is None:
            raise Refused(f"{access.SHADOW} is gone")
        text, _told = access.aged(found.content.decode("utf-8", "surrogateescape"), policy.aging)
        _write(access.SHADOW, dataclasses.replace(found, content=text.encode("utf-8", "surrogateescape")))


@contextlib.contextmanager
def _password_lock() -> Iterator[None]:
    descriptor = os.open(PASSWORD_LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _put_in_force(plan: mounts.Plan) -> None:
    for argv in plan.apply:
        done = host.run(argv)
        if not done.ok:
            raise TransactionError(f"{' '.join(argv)} failed: {done.said}")


# Proof


def _write_proof() -> str:
    token = secrets.token_hex(16)
    safe_files.write_file(PROOF, f"{token}\n".encode(), 0o600)
    return token


def _remove_proof() -> None:
    with contextlib.suppress(OSError):
        os.unlink(PROOF)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _piece_digest(piece: Piece) -> str:
    return _state(piece.after, piece.link_after)


def _state_digest(path: str) -> str:
    try:
        return _state(*access_host.look(path))
    except Refused:
        return ""


def _state(found: files.Found | None, link: str) -> str:
    if link:
        return f"link {link}"
    return f"{_digest(found.content)} {found.mode:04o} {found.uid} {found.gid}" if found else "absent"
