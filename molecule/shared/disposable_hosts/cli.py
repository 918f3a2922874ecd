# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import group as groups
from . import image, machine, network
from .common import HostsError
from .inventory import dynamic_inventory
from .model import (
    KINDS,
    RELEASES,
    Checkout,
    check_name,
    group_directory,
    load_hosts,
    open_checkout,
    parse_specifications,
    registered_checkouts,
)

CHECKOUT_PATH = Path(__file__).resolve().parents[3]
# The one list of Debian packages that disposable hosts need on the machine itself, with a command of each.
PACKAGES = {
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "e2fsprogs": "mke2fs",
    "iproute2": "ip",
    "mmdebstrap": "mmdebstrap",
    "nftables": "nft",
    "openssh-client": "ssh",
    "qemu-system-x86": "qemu-system-x86_64",
    "systemd-container": "systemd-nspawn",
}


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="hosts.py", description="Disposable hosts: containers and virtual machines.")
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="bring a group to exactly these hosts; running ones are kept")
    up.add_argument("--group", required=True, help="name of the group")
    up.add_argument(
        "--extra-addresses", action="append", default=[], metavar="HOST=N", help="N more IPv4 and IPv6 addresses"
    )
    up.add_argument(
        "--install", action="append", default=[], metavar="HOST=PACKAGE,…", help="install before the first start"
    )
    up.add_argument(
        "--file-systems",
        action="append",
        default=[],
        metavar="HOST=/PATH,…",
        help="give a virtual machine a disk of its own for each directory",
    )
    up.add_argument("--add", action="store_true", help="keep the group's other hosts")
    up.add_argument("hosts", nargs="+", metavar="HOST=RELEASE[:KIND]", help=f"{'|'.join(RELEASES)}, {'|'.join(KINDS)}")
    down = commands.add_parser("down", help="remove a group, or all hosts of this checkout")
    which = down.add_mutually_exclusive_group()
    which.add_argument("--group", help="name of the group")
    which.add_argument("--all", action="store_true", help="every group of this checkout (the default)")
    which.add_argument("--everywhere", action="store_true", help="every group of every checkout on this machine")
    commands.add_parser("list", help="all hosts of this checkout")
    ssh = commands.add_parser("ssh", help="log in to a host, or run a command there")
    ssh.add_argument("host", metavar="[GROUP/]HOST")
    ssh.add_argument("remote", nargs=argparse.REMAINDER, metavar="COMMAND")
    reboot = commands.add_parser("reboot", help="restart a host and wait until it is back")
    reboot.add_argument("--hard", action="store_true", help="the reset button: nothing is shut down")
    reboot.add_argument("host", metavar="[GROUP/]HOST")
    inventory = commands.add_parser("inventory", help="path of a group's Ansible inventory")
    inventory.add_argument("--group", required=True)
    inventory.add_argument("--json", action="store_true", help="print it, as an inventory script would")
    ssh_config = commands.add_parser("ssh-config", help="path of a group's ssh_config")
    ssh_config.add_argument("--group", required=True)
    images = commands.add_parser("images", help="build the images that are missing")
    images.add_argument("images", nargs="*", metavar="RELEASE[:KIND]", help="all of them unless some are named")
    commands.add_parser("packages", help="print the Debian packages that are missing on this machine")
    supervise = commands.add_parser("supervise")
    supervise.add_argument("directory", type=Path)
    return result


def missing_packages() -> list[str]:
    """Debian packages whose command (or file) is not there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [
        name for name, proof in PACKAGES.items() if not Path(proof).is_file() and not shutil.which(proof, path=path)
    ]


def checkout() -> Checkout:
    return open_checkout(CHECKOUT_PATH, network.known_routes())


def show_list() -> None:
    rows = [("HOST", "RELEASE", "KIND", "STATE", "ADDRESSES")]
    for host in load_hosts(checkout()):
        state = "running" if machine.is_running(host) else "stopped"
        addresses = " ".join([host.ipv4, host.ipv6, *host.extra_addresses])
        rows.append((host.label, host.release, host.kind, state, addresses))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]]))


def group_file(group: str, name: str) -> Path:
    path = group_directory(checkout(), group) / name
    if not path.exists():
        raise HostsError(f"group {group!r} is not up; start it with `hosts.py up --group {group} HOST=RELEASE …`.")
    return path


def wanted_images(texts: Sequence[str]) -> set[tuple[str, str]]:
    if not texts:
        return {(release, kind) for release in RELEASES for kind in KINDS}
    wishes = parse_specifications([f"image{index}={text}" for index, text in enumerate(texts)])
    return {(wish.release, wish.kind) for wish in wishes}


def dispatch(arguments: argparse.Namespace) -> int:
    """Run one command; returns the exit code."""
    command = arguments.command
    if command == "packages":
        print("\n".join(missing_packages()))
        return 0
    if os.geteuid() != 0:
        raise HostsError("disposable hosts need root: namespaces, a bridge and file owners; run this with sudo.")
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    if command == "supervise":
        return machine.supervise(arguments.directory)
    if missing := missing_packages():
        raise HostsError(f"these Debian packages are missing: {' '.join(missing)}; install them with apt-get install.")
    group: str = getattr(arguments, "group", None) or ""
    if group:
        check_name(group, "group")
    if command == "up":
        wishes = parse_specifications(
            arguments.hosts, arguments.extra_addresses, arguments.install, arguments.file_systems
        )
        groups.up(checkout(), group, wishes, keep_others=arguments.add)
        print(group_file(group, "inventory.yml"))
    elif command == "down":
        targets = registered_checkouts() if arguments.everywhere else [checkout()]
        print(f"{sum(groups.down(target, group or None) for target in targets)} hosts removed")
    elif command == "list":
        show_list()
    elif command == "ssh":
        remote = arguments.remote[1:] if arguments.remote[:1] == ["--"] else arguments.remote
        host = groups.find(checkout(), arguments.host)
        call = groups.ssh_arguments(host, shared=True)
        return subprocess.run([*call, *remote], check=False).returncode
    elif command == "reboot":
        groups.reboot(groups.find(checkout(), arguments.host), hard=arguments.hard)
    elif command == "inventory" and arguments.json:
        here = checkout()
        hosts = [host for host in load_hosts(here) if host.group == group]
        print(json.dumps(dynamic_inventory(here, group, hosts), indent=2))
    elif command in ("inventory", "ssh-config"):
        print(group_file(group, "inventory.yml" if command == "inventory" else "ssh_config"))
    elif command == "images":
        for path in image.ensure_all(wanted_images(arguments.images)).values():
            print(path)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        return dispatch(parser().parse_args(arguments))
    except HostsError as error:
        print(f"hosts.py: {error}", file=sys.stderr)
    except PermissionError as error:
        print(f"hosts.py: {error.filename}: permission denied; run this as root.", file=sys.stderr)
    except KeyboardInterrupt:
        print("hosts.py: interrupted; `hosts.py down` removes what was begun.", file=sys.stderr)
    return 1
