# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The supervisor: one detached process per host, in a mount namespace of its own, which ends with the host."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from . import container, layer, network, root, virtual_machine
from .common import HostsError, is_locked, locked, read_json, run, tail_of, write_json
from .model import Checkout, Host, Specification

# What systemd-nspawn ends with when the inside asked for a reboot.
REBOOT_EXIT_CODE = 133
KVM_FAILED = -1000
PROGRAM = Path(__file__).resolve().parent.parent / "hosts.py"


def start(host: Host, members: list[Host], image: Path, public_key: str, wish: Specification) -> None:
    """Start a fresh host; returns when its supervisor has made the root directory."""
    host.directory.mkdir(mode=0o700, parents=True)
    record = {
        "host": {"name": host.name, "group": host.group, "release": host.release, "kind": host.kind},
        "numbers": list(host.numbers),
        "checkout": [str(host.checkout.path), host.checkout.number],
        "image": str(image),
        "public_key": public_key,
        "packages": wish.packages,
        "file_systems": wish.file_systems,
        "members": [[member.name, list(member.numbers)] for member in members],
    }
    write_json(host.directory / "supervisor.json", record)
    (host.directory / "image").write_text(str(image), encoding="utf-8")
    # The overlay lives in the supervisor's own mount namespace and vanishes with it, however that ends.
    command = ["unshare", "--mount", "--propagation", "slave", sys.executable, str(PROGRAM)]
    with host.console.open("ab") as console:
        subprocess.Popen(
            [*command, "supervise", str(host.directory)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            start_new_session=True,
            cwd="/",
        )
    wait_until_prepared(host)


def wait_until_prepared(host: Host) -> None:
    """Wait until the supervisor has made the root directory and started the host for the first time."""
    deadline = time.monotonic() + 300
    while not (host.directory / "ready").exists():
        if (host.directory / "failed").exists() or time.monotonic() > deadline:
            raise HostsError(f"{host.label} could not be prepared:\n{tail_of(host.console)}")
        time.sleep(0.05)


def supervise(directory: Path) -> int:
    """Body of the supervisor process."""
    record = read_json(directory / "supervisor.json", None)
    checkout = Checkout(Path(record["checkout"][0]), int(record["checkout"][1]))
    host = Host(**record["host"], numbers=tuple(record["numbers"]), checkout=checkout)
    members = [
        Host(name, host.group, host.release, host.kind, tuple(numbers), checkout) for name, numbers in record["members"]
    ]
    image = Path(record["image"])
    try:
        with locked(host.lock, timeout=5):
            enter_cgroup(host)
            tree = prepare_root(host, image, record["packages"])
            root.personalise(tree, host, members, record["public_key"])
            write_json(directory / "host_keys.json", root.host_public_keys(tree))
            if host.kind == "vm":
                virtual_machine.make_disks(host, tree, record["file_systems"])
            (directory / "supervisor.pid").write_text(f"{os.getpid()}\n", encoding="ascii")
            return _loop(host, tree)
    except BaseException:
        (directory / "failed").touch()
        raise


def prepare_root(host: Host, image: Path, packages: Sequence[str]) -> Path:
    """The image's copy with the packages: laid over each other where the file system allows it, else real files."""
    tree = host.directory / "root"
    with_packages = layer.ensure(host, image, packages) if packages else None
    lower = [image] if with_packages is None else [with_packages, image]
    if layer.mount(tree, lower, host.directory):
        return tree
    run(["cp", "--archive", "--reflink=auto", f"{image}/.", str(tree)], timeout=300)
    if packages:
        container.install(host, tree, packages)
    return tree


def _loop(host: Host, tree: Path) -> int:
    """Run the host until it powers off; SIGHUP is the reset button, SIGTERM the plug."""
    process: subprocess.Popen[bytes] | None = None
    wish = ""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal wish
        wish = "reset" if number == signal.SIGHUP else "end"
        if process is not None:
            process.kill()

    signal.signal(signal.SIGHUP, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    while wish != "end":
        wish = ""
        end_payload(host)
        network.delete_link(host.interface)
        if host.kind == "vm":
            network.add_tap(host.interface, host.checkout.bridge)
        command = container.command(host, tree) if host.kind == "container" else virtual_machine.command(host)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, **container.ENVIRONMENT})
        (host.directory / "ready").touch()
        code = _wait(host, process)
        print(f"supervisor: {command[0]} ended with {code}", flush=True)
        if not (wish == "reset" or code in (REBOOT_EXIT_CODE, KVM_FAILED) or _restarts(host, code)):
            break
    network.delete_link(host.interface)
    return 0


def _restarts(host: Host, code: int) -> bool:
    return host.kind == "vm" and code == 0 and virtual_machine.restarted(host)


def _wait(host: Host, process: subprocess.Popen[bytes]) -> int:
    """Wait for the end; a virtual machine that KVM gave up on is ended, to be started again without."""
    with_kvm = "kvm" in process.args if isinstance(process.args, list) else False
    while True:
        try:
            return process.wait(timeout=2 if with_kvm else None)
        except subprocess.TimeoutExpired:
            if virtual_machine.kvm_failed(host):
                process.kill()
                process.wait()
                return KVM_FAILED


def enter_cgroup(host: Host) -> None:
    """Move to a cgroup of the host's own, where no systemd outside gives containers theirs.

    Without it all containers would share one cgroup named `payload` and stop each other's services.
    """
    path = cgroup_path(host)
    if path is not None and not container.systemd_outside():
        path.mkdir(parents=True, exist_ok=True)
        (path / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def end_payload(host: Host) -> None:
    """End what runs inside a container; it outlives a systemd-nspawn that was killed."""
    if container.systemd_outside():
        scope = f"{host.machine}.scope"
        run(["systemctl", "kill", "--signal=KILL", scope], check=False)
        run(["systemctl", "stop", scope], check=False)
        run(["systemctl", "reset-failed", scope], check=False)
        return
    path = cgroup_path(host)
    if path is not None and path.exists():
        empty_cgroup(path, keep=os.getpid())


def cgroup_path(host: Host) -> Path | None:
    """The host's cgroup in the version 2 hierarchy, wherever that is mounted."""
    for base in (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")):
        if (base / "cgroup.procs").exists():
            return base / "bulwark-disposable" / host.machine
    return None


def empty_cgroup(path: Path, keep: int = 0) -> None:
    """Kill what is left in a cgroup and remove its children."""
    for directory, _folders, _files in os.walk(path, topdown=False):
        procs = Path(directory) / "cgroup.procs"
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            # A cgroup that goes away while it is read says ENOENT or ENODEV.
            with contextlib.suppress(OSError):
                left = [int(pid) for pid in procs.read_text(encoding="ascii").split() if int(pid) != keep]
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if left:
                    time.sleep(0.02)
                    continue
            break
        if Path(directory) != path:
            with contextlib.suppress(OSError):
                Path(directory).rmdir()


def is_running(host: Host) -> bool:
    return is_locked(host.lock)


def processes(host: Host) -> list[int]:
    """The host's supervisor, systemd-nspawn and QEMU, found by the directory in their arguments."""
    result = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if belongs(arguments, host):
            result.append(int(entry.name))
    return result


def belongs(arguments: list[str], host: Host) -> bool:
    """Whether a command line is one of ours for this host, and not an editor that looks at its log."""
    program = Path(arguments[0]).name
    if "supervise" in arguments:
        return str(host.directory) in arguments
    if program == "systemd-nspawn" or program.startswith("qemu-system-"):
        return any(f"{host.directory}/" in argument for argument in arguments)
    return False


def destroy(host: Host) -> None:
    """End a host and remove all that it left, whatever state it is in."""
    deadline = time.monotonic() + 20
    while pids := processes(host):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise HostsError(f"processes {pids} of {host.label} do not end; see `ps`.")
        time.sleep(0.05)
    end_payload(host)
    path = cgroup_path(host)
    if path is not None and path.exists():
        with contextlib.suppress(OSError):
            path.rmdir()
    network.delete_link(host.interface)
    if host.directory.exists():
        # rmtree would stop at what systemd marked immutable (/var/empty) or at a mount that a copy of us left.
        run(["chattr", "-R", "-i", str(host.directory)], check=False)
        run(["rm", "--recursive", "--force", "--one-file-system", str(host.directory)], timeout=300)
