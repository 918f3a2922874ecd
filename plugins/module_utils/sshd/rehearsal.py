# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try a candidate where it can do no harm: a copy of /etc/ssh that only the trying commands see."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..transaction import files as safe_files
from . import administrators, effective, grammar, host, revocation
from . import policy as model
from .planner import HOST_KEY_PATHS, Plan, Refused
from .policy import CONFIG, Policy

STAGING_PREFIX = "/run/bulwark-sshd-"
UNIT_PREFIX = "bulwark-sshd-rehearsal-"
LIFETIME_SECONDS = 60
START_SECONDS = 8.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Candidate:
    """A staged copy of /etc/ssh with the plan carried out in it."""

    directory: str

    def path(self, path: str) -> str:
        """Return where the copy of a file below /etc/ssh is."""
        return f"{self.directory}{path[len('/etc/ssh') :]}"


@contextlib.contextmanager
def staged(plan: Plan) -> Iterator[Candidate]:
    """Make a candidate that is gone when the block ends."""
    outer = tempfile.mkdtemp(prefix=STAGING_PREFIX.rsplit("/", 1)[1], dir="/run")
    try:
        yield build(plan, outer)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def build(plan: Plan, outer: str) -> Candidate:
    """Copy /etc/ssh below outer, which is closed to others, and carry the plan out in the copy."""
    candidate = Candidate(f"{outer}/ssh")
    shutil.copytree("/etc/ssh", candidate.directory, symlinks=True)
    for path in plan.removals:
        if path.startswith("/etc/ssh/"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(candidate.path(path))
    for path, file in plan.writes.items():
        if path.startswith("/etc/ssh/"):
            target = candidate.path(path)
            safe_files.make_directories(os.path.dirname(target))
            safe_files.write_file(target, file.content.encode("utf-8", "surrogateescape"), file.mode)
    for kind in plan.generate:
        bits = ["-b", "4096"] if kind == "rsa" else []
        target = candidate.path(HOST_KEY_PATHS[kind])
        made = host.run(["ssh-keygen", "-q", "-t", kind, *bits, "-N", "", "-C", "", "-f", target])
        if not made.ok:
            raise Refused(f"no {kind} host key could be made: {made.telling_line()}")
    if plan.make_krl:
        make_krl(plan.krl, candidate)
    return candidate


def make_krl(sections: Sequence[revocation.Section], candidate: Candidate) -> None:
    """Make the revocation list with ssh-keygen and prove it on a revoked and on a good key.

    A list that sshd cannot read refuses every key, so it is never trusted unread.
    """
    target = candidate.path(model.KRL_FILE)
    safe_files.make_directories(os.path.dirname(target))
    with tempfile.TemporaryDirectory(dir=os.path.dirname(candidate.directory)) as work:
        krl = f"{work}/krl"
        for section in sections:
            _write(f"{work}/specification", "".join(f"{line}\n" for line in section.lines))
            argv = ["ssh-keygen", "-q", "-k", "-f", krl]
            if os.path.exists(krl):
                argv.append("-u")
            if section.ca:
                _write(f"{work}/ca.pub", f"{section.ca}\n")
                argv += ["-s", f"{work}/ca.pub"]
            made = host.run([*argv, f"{work}/specification"])
            if not made.ok:
                raise Refused(f"ssh_revoked_keys: ssh-keygen cannot make a revocation list: {made.telling_line()}")
        _prove_krl(krl, sections, work)
        content = safe_files.read_file(krl)
    safe_files.write_file(target, content, 0o644)
    record = revocation.record(sections, host.digest(target))
    safe_files.write_file(candidate.path(model.KRL_RECORD), record.encode(), 0o644)


def _write(path: str, text: str) -> None:
    safe_files.write_file(path, text.encode(), 0o600)


def _prove_krl(krl: str, sections: Sequence[revocation.Section], work: str) -> None:
    good = f"{work}/good"
    made = host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", good])
    if not made.ok or not host.run(["ssh-keygen", "-Q", "-f", krl, f"{good}.pub"]).ok:
        raise Refused("ssh_revoked_keys: the revocation list made on this host refuses a key that it does not name")
    for section in sections:
        for line in section.lines:
            if not line.startswith("key: "):
                continue
            _write(f"{work}/revoked.pub", line[len("key: ") :] + "\n")
            asked = host.run(["ssh-keygen", "-Q", "-f", krl, f"{work}/revoked.pub"])
            if asked.ok or "REVOKED" not in asked.output + asked.error:
                raise Refused("ssh_revoked_keys: the revocation list made on this host does not refuse a key it names")


@dataclass(frozen=True)
class Findings:
    """What the candidate would mean for those who log in."""

    verdicts: tuple[administrators.Verdict, ...]
    warnings: tuple[str, ...]


def examine(
    directory: str, policy: Policy, plan: Plan, connecting: str, addresses: tuple[str, str, int], by_socket: bool
) -> Findings:
    """Let sshd read the candidate in place; raises Refused if it is not what the policy says or locks people out.

    addresses: client address, server address and server port of the running login; empty and 0 without one.
    """
    parsed = host.run_with(directory, [host.sshd_program(), "-t"])
    if not parsed.ok:
        raise Refused(f"nothing was changed: sshd refuses the configuration: {parsed.telling_line()}")
    names = list(policy.texts("administrators") or ((connecting,) if connecting else ()))
    if connecting and connecting not in names:
        names.append(connecting)
    if not names:
        raise Refused(
            "ssh_administrators: this connection is no SSH login, so name the users who must be able to log in"
        )
    client, server, port = addresses
    verdicts, warnings = [], []
    for name in names:
        config = _effective(directory, name, client, server, port or plan.ports[0])
        problems = effective.differences(plan.lines, config, listening=not by_socket)
        if problems:
            text = _explain(directory, name, problems)
            if not policy.flag("allow_match_overrides") or "(Match " not in text:
                raise Refused(f"nothing was changed: {text}")
            warnings.append(text)
        where = host.circumstances(client, name == connecting)
        verdicts.append(_verdict(policy, name, config, where))
    refusal = administrators.refusal(verdicts, connecting)
    if refusal:
        raise Refused(refusal)
    warnings += [f"{verdict.user} could not log in: {verdict.reason}" for verdict in verdicts if not verdict.able]
    return Findings(tuple(verdicts), tuple(warnings))


def _verdict(
    policy: Policy, user: str, config: effective.Effective, where: administrators.Circumstances
) -> administrators.Verdict:
    trust = administrators.Trust(policy.texts("trusted_user_ca_keys"), policy.entries("revoked_keys"))
    principals = {str(e["user"]): tuple(map(str, e["principals"])) for e in policy.entries("authorized_principals")}
    return administrators.judge(host.account(user, config, principals), config, trust, where)


def _effective(directory: str, user: str, client: str, server: str, port: int) -> dict[str, list[str]]:
    """Return ``sshd -T`` for a login of this user; Match blocks on addresses see those of the running login."""
    address = client or LOOPBACK
    specification = f"user={user},host={address},addr={address},laddr={server or LOOPBACK},lport={port}"
    shown = host.run_with(directory, [host.sshd_program(), "-T", "-C", specification])
    if not shown.ok:
        raise Refused(f"nothing was changed: sshd refuses the configuration: {shown.telling_line()}")
    return effective.parse(shown.output)


def _explain(directory: str, user: str, problems: Sequence[tuple[str, str, str]]) -> str:
    """Say where a keyword gets its unwanted value from."""
    keyword, wanted, actual = problems[0]
    texts: dict[str, str] = {}

    def resolve(argument: str) -> list[str]:
        found = []
        for path in host.resolve_include(argument.replace("/etc/ssh/", f"{directory}/", 1)):
            texts[path] = host.read_text(path) or ""
            found.append(path)
        return found

    main = f"{directory}/{os.path.basename(CONFIG)}"
    texts[main] = host.read_text(main) or ""
    places = [
        setting.where().replace(directory, "/etc/ssh", 1)
        for setting in grammar.in_reading_order(main, texts, resolve)
        if setting.line.keyword == keyword and not setting.path.endswith("/00-bulwark.conf")
    ]
    matched = [place for place in places if "(Match " in place]
    where = (matched or places)[0] if places else "this sshd's own default"
    advice = "let it come after 00-bulwark.conf"
    if matched:
        advice = "accept it for this user with ssh_allow_match_overrides"
    return f"for {user} {keyword} would be {actual}, not {wanted}, because of {where}; remove that line, or {advice}"


def stage(policy: Policy, plan: Plan, connecting: str) -> dict[str, Any]:
    """Start the candidate as a second sshd on loopback and return its port.

    The unit ends by itself, and takes its copy of /etc/ssh along. A connecting user whom key or policy admit from other
    addresses only cannot try it: port is 0 and reason says why.
    """
    if _is_enforcing():
        return {"port": 0, "reason": "SELinux lets sshd listen on its own ports only"}
    clear()
    outer = tempfile.mkdtemp(prefix=STAGING_PREFIX.rsplit("/", 1)[1], dir="/run")
    try:
        candidate = build(plan, outer)
        port = _free_port()
        reason = _closed_to_loopback(candidate.directory, policy, connecting, port) if connecting else ""
        if reason:
            shutil.rmtree(outer, ignore_errors=True)
            return {"port": 0, "reason": f"not rehearsed, since {connecting} may not come from loopback: {reason}"}
        _listen_on(candidate, port)
        unit = f"{UNIT_PREFIX}{secrets.token_hex(4)}.service"
        started = host.run(_start_command(unit, candidate, outer))
        if not started.ok or not _answers(port):
            raise Refused(f"nothing was changed: the candidate does not start as a second sshd: {_why(unit, started)}")
    except BaseException:
        clear()
        shutil.rmtree(outer, ignore_errors=True)
        raise
    return {"port": port, "reason": "", "unit": unit}


def _closed_to_loopback(directory: str, policy: Policy, user: str, port: int) -> str:
    """Return why the candidate would refuse a user who comes from loopback, empty if it would not."""
    config = _effective(directory, user, LOOPBACK, LOOPBACK, port)
    verdict = _verdict(policy, user, config, host.circumstances(LOOPBACK, connecting=True))
    return "" if verdict.able else verdict.reason


def _is_enforcing() -> bool:
    return (host.read_text("/sys/fs/selinux/enforce") or "0").strip() == "1"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _listen_on(candidate: Candidate, port: int) -> None:
    """Make the copy listen on loopback and nowhere else."""
    own = {"port", "listenaddress", "addressfamily", "pidfile"}
    for path in [CONFIG, *host.drop_ins(), model.DROP_IN]:
        copy = candidate.path(path)
        text = host.read_text(copy)
        if text is None:
            continue
        head = [f"Port {port}", f"ListenAddress {LOOPBACK}", "PidFile none"] if path == CONFIG else []
        changed = grammar.manage(_without_markers(text), head, lambda line: line.is_global and line.keyword in own)
        safe_files.write_file(copy, changed.encode("utf-8", "surrogateescape"), 0o600)


def _without_markers(text: str) -> str:
    """Return text without the markers of our blocks, so that another block can be put around it."""
    return "".join(
        line
        for line in grammar.split_lines(text)
        if not line.startswith((grammar.BEGIN, grammar.END, grammar.REPLACED))
    )


def _start_command(unit: str, candidate: Candidate, outer: str) -> list[str]:
    properties: Mapping[str, str] = {
        "RuntimeMaxSec": str(LIFETIME_SECONDS),
        "BindPaths": f"{candidate.directory}:/etc/ssh",
        "RuntimeDirectory": "sshd",
        "RuntimeDirectoryMode": "0755",
        "RuntimeDirectoryPreserve": "yes",
        "TimeoutStopSec": "5",
        # Runs outside the unit's own mounts, where the copy is busy.
        "ExecStopPost": f"+/bin/rm -rf --one-file-system {outer}",
    }
    flags = [word for name, value in properties.items() for word in ("--property", f"{name}={value}")]
    program = [host.sshd_program(), "-D", "-e", "-f", CONFIG]
    return ["systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=exec", *flags, *program]


def _answers(port: int) -> bool:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if speaks_ssh(LOOPBACK, port):
            return True
        time.sleep(0.1)
    return False


def speaks_ssh(address: str, port: int) -> bool:
    """Return whether an SSH server greets on this address and port."""
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _why(unit: str, started: host.Done) -> str:
    if not started.ok:
        return started.telling_line()
    log = host.run(["journalctl", "--quiet", "--no-pager", "--output=cat", "--lines=5", f"--unit={unit}"])
    lines = [line for line in log.output.splitlines() if "sshd" in line or "rror" in line or "ad " in line]
    return lines[0].strip() if lines else log.telling_line()


def clear() -> None:
    """End rehearsals and remove their copies."""
    if not glob.glob(f"{STAGING_PREFIX}*"):
        return
    host.run(["systemctl", "stop", f"{UNIT_PREFIX}*.service"])
    for path in glob.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
