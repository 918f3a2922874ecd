# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of hosts: up, down, reboot, and the files that their users read."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from . import image, inventory, machine, network, root
from .common import HostsError, locked, progress, read_json, run, tail_of, write_file
from .model import (
    Checkout,
    Host,
    Specification,
    allocate,
    forget_checkout,
    group_directory,
    load_hosts,
    registered_checkouts,
    save_hosts,
)

# An emulated machine on a busy computer needs a minute; this is for the unlucky one.
BOOT_TIMEOUT = 240
BOOT_COMMAND = "systemctl is-system-running --wait"


def up(checkout: Checkout, group: str, wishes: Sequence[Specification], *, keep_others: bool = False) -> list[Host]:
    """Bring a group to exactly the wished hosts; running hosts that match are kept."""
    remove_vanished_checkouts()
    directory = group_directory(checkout, group)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(directory / "lock", waiting=f"waiting for another command on group {group}"):
        names = {wish.name for wish in wishes}
        others = [
            host for host in load_hosts(checkout) if keep_others and host.group == group and host.name not in names
        ]
        pairs = {(wish.release, wish.kind) for wish in wishes} | {(host.release, host.kind) for host in others}
        images = image.ensure_all(pairs)
        with locked(checkout.directory / "lock"):
            remove_leftovers(checkout)
            existing = load_hosts(checkout)
            members = [*allocate(checkout, existing, group, wishes), *others]
            unwanted = [host for host in existing if host.group == group and host not in members]
            each(unwanted, machine.destroy)
            save_hosts(checkout, [*(host for host in existing if host.group != group), *members])
            network.ensure(checkout)
        public_key = ensure_key(directory)
        for host in members:
            host.control_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = [host for host in members if not machine.is_running(host)]

        wished = {wish.name: wish for wish in wishes}

        def create(host: Host) -> None:
            machine.destroy(host)
            close_shared_connections(host)
            wish = wished.get(host.name, Specification(host.name, host.release, host.kind))
            machine.start(host, members, images[host.release, host.kind], public_key, wish)
            progress(f"{host.label}: started ({host.release} {host.kind}, {host.ipv4}, {host.ipv6})")

        kept = [host for host in members if host not in new]
        each(new, create)
        each(kept, machine.wait_until_prepared)
        write_group_files(checkout, group, members)
        each([host for host in members if not booted(host).exists()], wait_until_ready)
        each(kept, lambda host: tell_members(host, members))
    return members


def down(checkout: Checkout, group: str | None) -> int:
    """Remove a group, or everything of the checkout; returns the number of hosts removed."""
    with contextlib.ExitStack() as stack:
        if group is not None and group_directory(checkout, group).exists():
            lock = group_directory(checkout, group) / "lock"
            stack.enter_context(locked(lock, waiting=f"waiting for another command on group {group}"))
        with locked(checkout.directory / "lock"):
            hosts = load_hosts(checkout)
            gone = [host for host in hosts if group is None or host.group == group]
            left = [host for host in hosts if host not in gone]
            for host in gone:
                close_shared_connections(host)
            each(gone, machine.destroy)
            save_hosts(checkout, left)
            remove_leftovers(checkout)
            if not left:
                network.remove(checkout)
                shutil.rmtree(checkout.control_directory, ignore_errors=True)
            directories = [group_directory(checkout, group)] if group else [checkout.directory / "groups"]
            for directory in directories:
                shutil.rmtree(directory, ignore_errors=True)
    return len(gone)


def remove_leftovers(checkout: Checkout) -> None:
    """Directories and links of hosts that are in no list any more: a command was killed in the middle."""
    hosts = load_hosts(checkout)
    known = {host.numbers[0] for host in hosts}
    base = checkout.directory / "hosts"
    for directory in base.iterdir() if base.is_dir() else ():
        if directory.name.isdecimal() and int(directory.name) not in known:
            machine.destroy(Host("leftover", "leftover", "", "container", (int(directory.name),), checkout))
    for link in network.leftover_links(checkout, {host.interface for host in hosts}):
        network.delete_link(link)


def each(hosts: Iterable[Host], action: Callable[[Host], None]) -> None:
    """Do something to several hosts side by side; all errors are reported together."""
    errors: list[str] = []

    def one(host: Host) -> None:
        try:
            action(host)
        except (HostsError, OSError) as error:
            errors.append(str(error))

    threads = [threading.Thread(target=one, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise HostsError("\n".join(errors))


def ensure_key(directory: Path) -> str:
    """The group's login key; returns the public half."""
    key = directory / "id_ed25519"
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"disposable-{directory.name}", "-f", str(key)])
    return key.with_suffix(".pub").read_text(encoding="ascii")


def write_group_files(checkout: Checkout, group: str, members: Sequence[Host]) -> None:
    directory = group_directory(checkout, group)
    lines = [
        line
        for host in members
        for line in root.known_hosts_lines(host, read_json(host.directory / "host_keys.json", []))
    ]
    write_file(directory / "known_hosts", "".join(f"{line}\n" for line in lines), 0o600)
    write_file(directory / "ssh_config", inventory.ssh_config(checkout, group, members), 0o600)
    content = "---\n" + inventory.render_yaml(inventory.inventory(checkout, group, members))
    write_file(directory / "inventory.yml", content, 0o600)


def tell_members(host: Host, members: Sequence[Host]) -> None:
    """Give a running host the names of those that came or went; a host that is locked down stays as it is."""
    text = root.hosts_file(host, members)
    result = ssh(host, "cat /etc/hosts", timeout=20)
    if result.returncode != 0 or result.stdout == text:
        return
    result = ssh(host, "sudo tee /etc/hosts", text=text, timeout=20)
    if result.returncode != 0:
        progress(f"{host.label}: its /etc/hosts was left as it is ({result.stderr.strip()})")


def ssh_arguments(host: Host, *, shared: bool = False) -> list[str]:
    options = [] if shared else ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
    return ["ssh", "-F", str(host.group_directory / "ssh_config"), *options, host.name]


def ssh(host: Host, command: str, *, text: str = "", timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a command on a host over a connection of its own."""
    try:
        return run([*ssh_arguments(host), command], text=text, timeout=timeout, check=False)
    except HostsError as error:
        return subprocess.CompletedProcess([], 255, "", str(error))


def close_shared_connections(host: Host) -> None:
    """A shared connection to a host that is gone would hang the next command, Ansible's as well as ours."""
    for socket in host.control_directory.iterdir() if host.control_directory.is_dir() else ():
        run(["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", host.name], check=False, timeout=10)
        socket.unlink(missing_ok=True)


def booted(host: Host) -> Path:
    """Exists when the host has been seen ready; a host that was started by a command that was killed has not."""
    return host.directory / "booted"


def wait_until_ready(host: Host) -> None:
    """Wait for SSH, then for systemd to have started everything."""
    started = time.monotonic()
    said = started
    while True:
        result = ssh(host, BOOT_COMMAND, timeout=BOOT_TIMEOUT)
        state = result.stdout.strip()
        if state in ("running", "degraded"):
            break
        now = time.monotonic()
        if not machine.is_running(host):
            raise HostsError(f"{host.label} ended while it started:\n{tail_of(host.console)}")
        if now - started > BOOT_TIMEOUT:
            reason = state or result.stderr.strip()
            raise HostsError(f"{host.label} did not answer for {BOOT_TIMEOUT} s ({reason}):\n{tail_of(host.console)}")
        if now - said > 20:
            progress(f"{host.label}: still starting")
            said = now
        time.sleep(0.2)
    booted(host).touch()
    note = ""
    if state == "degraded":
        failed = ssh(host, "systemctl --failed --plain --no-legend").stdout.split()
        note = f" (failed units: {' '.join(word for word in failed if '.' in word)})"
    progress(f"{host.label}: ready after {time.monotonic() - started:.0f} s{note}")


def boot_identity(host: Host) -> str:
    """Differs after every boot; empty when the host cannot be asked."""
    return ssh(host, "cat /proc/sys/kernel/random/boot_id", timeout=20).stdout.strip()


def reboot(host: Host, *, hard: bool = False) -> None:
    """Restart a host and wait for it: from the inside, or by the reset button."""
    if not machine.is_running(host):
        raise HostsError(f"{host.label} does not run; start it with `hosts.py up`.")
    before = boot_identity(host)
    close_shared_connections(host)
    if hard:
        os.kill(int((host.directory / "supervisor.pid").read_text(encoding="ascii")), signal.SIGHUP)
    else:
        if not before:
            raise HostsError(f"{host.label} does not answer over SSH; `hosts.py reboot --hard` does not need it to.")
        ssh(host, "sudo systemctl reboot", timeout=20)
    deadline = time.monotonic() + BOOT_TIMEOUT
    while (now := boot_identity(host)) in ("", before):
        if time.monotonic() > deadline or not machine.is_running(host):
            reason = "did not come back" if now == "" else "did not reboot"
            raise HostsError(f"{host.label} {reason}:\n{tail_of(host.console)}")
        time.sleep(0.3)
    wait_until_ready(host)


def find(checkout: Checkout, name: str) -> Host:
    """A host by NAME, or GROUP/NAME where several groups have one."""
    group, separator, short = name.rpartition("/")
    hosts = [host for host in load_hosts(checkout) if host.name == short and (not separator or host.group == group)]
    if not hosts:
        known = ", ".join(host.label for host in load_hosts(checkout)) or "none; start some with `hosts.py up`"
        raise HostsError(f"there is no host {name!r}; known: {known}.")
    if len(hosts) > 1:
        raise HostsError(f"{name!r} is ambiguous; say one of {', '.join(host.label for host in hosts)}.")
    return hosts[0]


def remove_vanished_checkouts() -> None:
    """Take down what belongs to checkouts whose folder is gone, and give their subnets back."""
    for checkout in registered_checkouts():
        if not checkout.path.exists():
            down(checkout, None)
            shutil.rmtree(checkout.directory, ignore_errors=True)
            forget_checkout(checkout)
