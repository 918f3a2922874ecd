# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try to lock the administrator out of real hosts: harmful changes, new logins all the while, the old policy after.

    python tests/lockout/run.py --seed 1 --cases 60
    python tests/lockout/run.py --unprotected

One line per case, resumable with --resume: finished cases are read from the log under .cache/lockout/.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import unprotected
from cases import KINDS, SABOTEUR, WINDOW_SECONDS, Case, make_cases

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOSTS = [sys.executable, str(ROOT / "molecule/shared/hosts.py")]
GROUP = "lockout"
# host: (release, domain)
TARGETS = {
    "ufw12": ("debian12", "ufw"),
    "ufw13": ("debian13", "ufw"),
    "firewalld12": ("debian12", "firewalld"),
    "firewalld13": ("debian13", "firewalld"),
    "sshd12": ("debian12", "sshd"),
    "sshd13": ("debian13", "sshd"),
    "access12": ("debian12", "access"),
    "access13": ("debian13", "access"),
}
# After the window the host may need this long until the restore is through and a new login gets an answer.
RESTORE_SECONDS = 15
# So great a share of the cases has to lock the administrator out where nothing prevents it.
LEAST_HARM = 0.75
# A journal is a folder of generations, named so that they sort.
NEWEST_JOURNAL = "cd /var/lib/bulwark/transactions/{}/journal && cat $(ls | grep json$ | tail -n 1)"
# Neither manager may start by itself; the good policy starts the one it is for.
INSTALL = (
    "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d;"
    " apt-get install -y ufw firewalld; rm /usr/sbin/policy-rc.d; systemctl disable firewalld"
)
# Logins that fail while a case lasts would keep the prober out for a while after the host let everybody in again.
NO_PENALTIES = (
    "sshd -T | grep -q ^persourcepenalties || exit 0;"
    " echo 'PerSourcePenalties no' > /etc/ssh/sshd_config.d/90-lockout.conf; systemctl reload ssh"
)
FIREWALL_STATE = (
    "systemctl reset-failed;"
    " cat /etc/ufw/user.rules /etc/ufw/user6.rules /etc/ufw/ufw.conf /etc/default/ufw 2>/dev/null; ufw status verbose;"
    " systemctl is-enabled ufw firewalld; systemctl is-active firewalld;"
    " iptables -S | grep -E 'ufw|^-P' | grep -v -e LOG; ip6tables -S | grep -E 'ufw6|^-P' | grep -v -e LOG;"
    " for scope in '' --permanent; do"
    " firewall-cmd $scope --list-all-zones; firewall-cmd $scope --list-all-policies; done"
)
STATE = {
    "ufw": FIREWALL_STATE,
    "firewalld": FIREWALL_STATE,
    "access": "find /etc/pam.d /etc/security /etc/sudoers /etc/sudoers.d /etc/profile.d /etc/bash.bashrc /etc/shells"
    " /etc/environment /etc/passwd /etc/shadow /etc/group /etc/fstab /var/lib/pam /usr/share/pam-configs -type f"
    " ! -name '*-' -exec stat -c '%n %a %U %G' {} + -exec sha256sum {} + | sort;"
    " find /etc/systemd/system /etc/nologin | sort | grep -v bulwark-transaction-guard;"
    " findmnt -rn -o TARGET,FSTYPE,OPTIONS /tmp; findmnt -rn -o TARGET,FSTYPE,OPTIONS /dev/shm; sudo -l -U admin",
    "sshd": "sshd -T; find /etc/ssh /etc/systemd/system/ssh* -type f | sort | xargs sha256sum;"
    " ss -Hltn | awk '{print $4}' | sort;"
    " systemctl is-active ssh.service ssh.socket; systemctl is-enabled ssh.service ssh.socket",
}


@dataclass
class Outcome:
    """What happened to one case."""

    case: Case
    host: str
    ending: str
    outage_seconds: float
    faults: list[str]

    def line(self) -> str:
        verdict = "ok" if not self.faults else "FAILED: " + "; ".join(self.faults)
        return (
            f"{self.host:<12} {self.case.number:>3} {self.case.kind:<24} {self.ending:<12}"
            f" {self.outage_seconds:>5.1f} s  {verdict}"
        )


class Host:
    """One disposable host, seen from the controller."""

    def __init__(self, name: str, ssh_config: Path, inventory: Path) -> None:
        self.name, self.ssh_config, self.inventory = name, ssh_config, inventory
        self.domain = TARGETS[name][1]
        variables = json.loads(run(["ansible-inventory", "-i", str(inventory), "--host", name]).stdout)
        self.addresses: list[str] = variables["bulwark_addresses"]

    def ssh(self, command: str, *options: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command; without options over the shared connection."""
        return run(["ssh", "-F", str(self.ssh_config), *options, self.name, command], timeout=timeout)

    def root(self, command: str, timeout: float = 60) -> str:
        """Run a command as root over a connection of its own; only for moments when access is expected."""
        done = self.ssh(f"sudo -n sh -c {quote(command)} 2>&1", "-o", "ControlPath=none", timeout=timeout)
        if done.returncode == 255:
            raise RuntimeError(f"{self.name} is out of reach: {done.stderr.strip()}")
        return done.stdout

    def lets_in(self, address: str, user: str = "", password: str = "") -> bool:
        """Return whether a new login to the address works now, and becomes root where that is what counts."""
        options = [
            "-o",
            "ControlMaster=no",
            "-o",
            "ControlPath=none",
            "-o",
            "ConnectTimeout=3",
            "-o",
            f"HostName={address}",
            *(("-o", f"User={user}") if user else ()),
        ]
        command = "sudo -k -n true" if self.domain == "access" else "true"
        if password:
            command = f"echo {quote(password)} | sudo -k -S -p '' true"
        return self.ssh(command, *options, "-o", f"HostKeyAlias={self.addresses[0]}", timeout=20).returncode == 0

    def state(self) -> str:
        """Return the policy in force, as the programs themselves describe it."""
        return "\n".join(line.rstrip() for line in self.root(STATE[self.domain]).splitlines() if line.strip())

    def transactions(self) -> set[str]:
        """Return the names in the journal's folder; the oldest are pruned while a run goes on."""
        return set(self.root("ls /var/lib/bulwark/transactions").split())

    def transaction(self) -> dict[str, Any]:
        """Return the journal of the pending transaction, or nothing."""
        done = self.ssh(f"sudo -n sh -c {quote(NEWEST_JOURNAL.format('pending'))}", timeout=20)
        try:
            journal: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return {}
        return journal


class Prober(threading.Thread):
    """New logins, one after the other, for as long as a case lasts; knows the longest time without one."""

    def __init__(self, host: Host, case: Case) -> None:
        super().__init__(daemon=True)
        self.host, self.case, self.ended = host, case, threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        last = time.monotonic()
        while not self.ended.wait(1.5):
            if self.host.lets_in(self.host.addresses[0], self.case.user, self.case.password):
                last = time.monotonic()
            self.longest = max(self.longest, time.monotonic() - last)


def quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def run(command: list[str], timeout: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; running out of time is a failure like any other."""
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            **options,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 255, "", f"no end within {timeout:.0f} seconds")


def playbook(
    host: Host, variables: dict[str, Any], log: Path, collections: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start the change in a PID namespace of its own, so that killing it kills every process of the controller."""
    role = "ssh" if host.domain == "sshd" else "firewall"
    change = "access.yml" if host.domain == "access" else "change.yml"
    everything = {"lockout_host": host.name, "lockout_role": role, **variables}
    command = [
        *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("ansible-playbook", "-i", str(host.inventory), str(HERE / change), "-e", json.dumps(everything)),
    ]
    environment = {**os.environ, **({"ANSIBLE_COLLECTIONS_PATH": str(collections)} if collections else {})}
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
        )


def baseline(host: Host) -> dict[str, Any]:
    """Return the variables of the good policy that every case starts from."""
    if host.domain in ("sshd", "access"):
        return {}
    return {"firewall_backend": host.domain, "firewall_rules": [{"name": "web", "ports": [80, 443]}]}


def converge(host: Host, log: Path) -> None:
    """Put the good policy on the host."""
    if playbook(host, baseline(host), log).wait(timeout=300) != 0:
        raise SystemExit(f"{host.name}: the good policy does not converge; see {log}")


def interrupt(host: Host, process: subprocess.Popen[bytes], how: str) -> str:
    """Wait until the change is live but not confirmed, then kill the controller, and reboot the host if asked to."""
    until = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < until:
        if host.transaction().get("phase") == "APPLIED":
            break
        time.sleep(0.2)
    else:
        return "the change never became live"
    process.send_signal(signal.SIGKILL)
    process.wait()
    if how == "reboot":
        done = run([*HOSTS, "reboot", "--hard", f"{GROUP}/{host.name}"])
        if done.returncode != 0:
            return f"the reboot failed: {done.stderr.strip()}"
    return ""


def settle(host: Host) -> str:
    """Wait until no transaction is pending; returns a fault when that takes longer than the window allows."""
    until = time.monotonic() + WINDOW_SECONDS + RESTORE_SECONDS
    while time.monotonic() < until:
        if host.ssh("sudo -n test ! -e /var/lib/bulwark/transactions/pending", timeout=20).returncode == 0:
            return ""
        time.sleep(1)
    return "a transaction is still pending after the window"


def last_phase(host: Host) -> str:
    """Return the phase in the newest journal."""
    text = host.root(NEWEST_JOURNAL.format("$(ls /var/lib/bulwark/transactions | grep ^20 | tail -n 1)"))
    try:
        return str(json.loads(text)["phase"])
    except (ValueError, KeyError):
        return "none"


def try_case(host: Host, case: Case, log: Path) -> Outcome:
    """Run one case and compare the host with what it was."""
    faults: list[str] = []
    for command in case.setup:
        host.root(command)
    before, journals = host.state(), host.transactions()
    prober = Prober(host, case)
    prober.start()
    variables = {**baseline(host), **case.variables, "controller_public_key": public_key(host)}
    if case.interruption:
        variables |= {f"{name}_confirm_seconds": 15 for name in ("firewall", "ssh", "access")}
    process = playbook(host, variables, log)
    if case.interruption:
        fault = interrupt(host, process, case.interruption)
        faults += [fault] if fault else []
        ending = "restored"
    else:
        try:
            code = process.wait(timeout=240)
        except subprocess.TimeoutExpired:
            process.kill()
            code = 0
            faults.append("the run did not end")
        output = log.read_text(errors="replace")
        ending = "rolled_back" if re.search(r"rolled_back['\"]?: true", output, re.I) else "refused"
        if code == 0 and case.ending == "kept":
            ending = "kept"
        elif code == 0:
            faults.append("the run did not report failure")
            ending = "succeeded"
        if not re.search(case.reason, re.sub(r"\s+", " ", output), re.S):
            faults.append(f"the output does not name the reason /{case.reason}/")
    pending = settle(host)
    faults += [pending] if pending else []
    prober.ended.set()
    prober.join()
    if ending not in case.ending.split(" or "):
        faults.append(f"ended as {ending}, expected {case.ending}")
    if ending in ("refused", "kept") and host.transactions() - journals and "rolled_back" not in case.ending:
        faults.append("a refused change left a transaction behind")
    if ending in ("rolled_back", "restored") and not faults and last_phase(host) != "ROLLED_BACK":
        faults.append(f"the journal ends in {last_phase(host)}")
    faults += [
        f"no new login to {address}"
        for address in host.addresses
        if not host.lets_in(address, case.user, case.password)
    ]
    if prober.longest > WINDOW_SECONDS + RESTORE_SECONDS + (15 if case.interruption == "reboot" else 0):
        faults.append(f"no new login for {prober.longest:.0f} s")
    after = host.state()
    if after != before:
        changed = sorted(set(before.splitlines()) ^ set(after.splitlines()))
        faults.append(f"the old policy is not back: {changed[:4]}")
    for command in case.teardown:
        host.root(command)
    return Outcome(case, host.name, ending, prober.longest, faults)


def public_key(host: Host) -> str:
    return (host.ssh_config.parent / "id_ed25519.pub").read_text(encoding="ascii").strip()


def worker(host: Host, cases: queue.Queue[Case], report: Any, logs: Path) -> None:
    """Work through the cases of one host."""
    while True:
        try:
            case = cases.get_nowait()
        except queue.Empty:
            return
        try:
            outcome = try_case(host, case, logs / f"{host.name}-{case.number}.log")
        except (RuntimeError, OSError) as error:
            outcome = Outcome(case, host.name, "lost", 999, [str(error)])
        report(outcome)
        if outcome.faults:
            # The next case needs the good policy; what is wrong with the host stays in the log.
            for command in case.teardown:
                host.ssh(f"sudo -n sh -c {quote(command)}")
            playbook(host, baseline(host), logs / f"{host.name}-repair.log").wait()


def start_hosts(names: list[str], *options: str) -> dict[str, Host]:
    """Start the hosts and give each the good policy."""
    wishes = [f"{name}={TARGETS[name][0]}" for name in names]
    started = run([*HOSTS, "up", "--group", GROUP, *options, *wishes], timeout=600)
    if started.returncode != 0:
        raise SystemExit(started.stderr)
    inventory = Path(started.stdout.strip().splitlines()[-1])
    hosts = {name: Host(name, inventory.parent / "ssh_config", inventory) for name in names}
    for host in hosts.values():
        prepare(host)
    return hosts


def prepare(host: Host) -> None:
    """Bring what the cases need to a host that has just started."""
    host.ssh(f"sudo tee {SABOTEUR} >/dev/null <<'END'\n{(HERE / 'saboteur.py').read_text()}\nEND")
    if host.domain in ("ufw", "firewalld"):
        host.root(INSTALL, timeout=240)
    if host.domain == "access":
        host.root(NO_PENALTIES)


def renew(host: Host, others: list[str], log: Path) -> Host:
    """Put a new host in the place of one that lets nobody in any more."""
    run([*HOSTS, "up", "--group", GROUP, *(f"{name}={TARGETS[name][0]}" for name in others)], timeout=600)
    new = start_hosts([host.name], "--add")[host.name]
    converge(new, log)
    return new


def do_harm(host: Host, case: Case, log: Path, collections: Path) -> Outcome:
    """Run one case where nothing prevents harm; its outage is endless when nobody gets in and up any more."""
    for command in case.setup:
        host.root(command)
    process = playbook(host, {**baseline(host), **case.variables}, log, collections)
    try:
        process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
    # What a saboteur does follows a moment later.
    time.sleep(2)
    if not lets_somebody_in(host, case):
        return Outcome(case, host.name, "locked out", math.inf, [])
    # A daemon may read it, or a unit mount it, with the next start only.
    done = run([*HOSTS, "reboot", f"{GROUP}/{host.name}"], timeout=90)
    if done.returncode != 0 or not lets_somebody_in(host, case):
        return Outcome(case, host.name, "locked later", math.inf, [])
    return Outcome(case, host.name, "harmless", 0.0, [])


def lets_somebody_in(host: Host, case: Case) -> bool:
    return any(host.lets_in(host.addresses[0], case.user, case.password) for _attempt in range(2))


def prove_harm(hosts: dict[str, Host], cases: list[Case], logs: Path) -> int:
    """Run the cases on hosts that nothing protects, each on a host that is as new; returns the exit code."""
    collections = unprotected.collection(ROOT, logs / "unprotected")
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def work(name: str, own: list[Case]) -> None:
        host = hosts[name]
        converge(host, logs / f"{name}-baseline.log")
        before = host.state()
        for case in own:
            outcome = do_harm(host, case, logs / f"{name}-{case.number}-unprotected.log", collections)
            outcomes.append(outcome)
            print(outcome.line(), flush=True)
            is_new = False
            if outcome.ending == "harmless":
                for command in case.teardown:
                    host.root(command)
                is_new = host.state() == before
            if not is_new:
                with lock:
                    host = renew(host, [other for other in hosts if other != name], logs / f"{name}-baseline.log")
                before = host.state()

    names = list(hosts)
    threads = [
        threading.Thread(target=work, args=(name, cases[place :: len(names)])) for place, name in enumerate(names)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    locked = [outcome for outcome in outcomes if outcome.ending != "harmless"]
    later = len([outcome for outcome in locked if outcome.ending == "locked later"])
    print(
        f"{len(locked)} of {len(cases)} changes lock the administrator out where nothing prevents it,"
        f" {later} of these with the next start"
    )
    return 0 if len(outcomes) == len(cases) and len(locked) >= LEAST_HARM * len(cases) else 1


def main() -> int:
    """Run the cases, side by side over the hosts; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--domain", action="append", choices=sorted(KINDS), help="only this one; may be repeated")
    parser.add_argument("--kind", help="only cases of this kind")
    parser.add_argument("--resume", action="store_true", help="leave out what passed in the log of the same seed")
    parser.add_argument(
        "--unprotected", action="store_true", help="show that the cases about access do harm where nothing prevents it"
    )
    parser.add_argument("--keep", action="store_true", help="leave the hosts running")
    arguments = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.environ.setdefault("ANSIBLE_CONFIG", str(ROOT / "ansible.cfg"))
    domains = ("access",) if arguments.unprotected else tuple(arguments.domain or KINDS)
    cases = [
        case for case in make_cases(arguments.seed, arguments.cases, domains) if arguments.kind in (None, case.kind)
    ]
    logs = ROOT / ".cache/lockout" / f"seed-{arguments.seed}"
    logs.mkdir(parents=True, exist_ok=True)
    record = logs / "outcomes.jsonl"
    if not (arguments.resume or arguments.unprotected):
        record.unlink(missing_ok=True)
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    passed = {(entry["domain"], entry["number"]) for entry in done if not entry["faults"]}
    names = [name for name, (_release, domain) in TARGETS.items() if domain in domains]
    hosts = start_hosts(names)
    if arguments.unprotected:
        code = prove_harm(hosts, [case for case in cases if not case.interruption], logs)
        if not arguments.keep:
            run([*HOSTS, "down", "--group", GROUP])
        return code
    print(f"{len(cases)} harmful changes, seed {arguments.seed}, on {', '.join(names)}; logs in {logs}", flush=True)
    queues: dict[str, queue.Queue[Case]] = {name: queue.Queue() for name in names}
    for case in cases:
        if (case.domain, case.number) not in passed:
            candidates = [name for name in names if TARGETS[name][1] == case.domain]
            queues[candidates[case.number % len(candidates)]].put(case)
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def report(outcome: Outcome) -> None:
        with lock:
            outcomes.append(outcome)
            print(outcome.line(), flush=True)
            entry = {**outcome.case.to_dict(), "host": outcome.host, "ended": outcome.ending, "faults": outcome.faults}
            with record.open("a") as stream:
                stream.write(json.dumps({**entry, "outage_seconds": outcome.outage_seconds}) + "\n")

    def whole(host: Host) -> None:
        converge(host, logs / f"{host.name}-baseline.log")
        worker(host, queues[host.name], report, logs)

    threads = [threading.Thread(target=whole, args=(host,)) for host in hosts.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if not arguments.keep:
        run([*HOSTS, "down", "--group", GROUP])
    failed = [outcome for outcome in outcomes if outcome.faults]
    not_run = len(cases) - len(passed & {(case.domain, case.number) for case in cases}) - len(outcomes)
    kinds = len({(outcome.case.domain, outcome.case.kind) for outcome in outcomes})
    longest = max((outcome.outage_seconds for outcome in outcomes), default=0.0)
    print(f"{kinds} kinds of change; longest time without a new login {longest:.0f} s; {not_run} cases did not run")
    print(f"{len(outcomes) - len(failed) + len(passed)} passed, {len(failed) + not_run} failed")
    return 1 if failed or not_run else 0


if __name__ == "__main__":
    sys.exit(main())
