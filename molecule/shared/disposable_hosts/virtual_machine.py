# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines: QEMU, emulated where the machine has no KVM."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .common import HostsError, run
from .model import Host

DISK_BYTES = 6 * 1024**3
MEMORY_MIB = 2048


def make_disk(host: Host, tree: Path) -> None:
    """A file system made straight from the root directory: no mount, no loop device, no partition."""
    boot = tree / "boot"
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        files = sorted(boot.glob(pattern))
        if not files:
            raise HostsError(f"{host.label}: the image has no {pattern} in /boot.")
        shutil.copyfile(files[-1], host.directory / name)
    disk = host.directory / "disk.img"
    with disk.open("wb") as stream:
        os.truncate(stream.fileno(), DISK_BYTES)
    run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(disk)], timeout=300)


def has_kvm(cpuinfo: str) -> bool:
    """Whether to trust /dev/kvm: without the processor's own help it exists in some clouds and fails under Linux."""
    return re.search(r"^flags\b.*\b(?:vmx|svm)\b", cpuinfo, re.MULTILINE) is not None


def accelerators(host: Host) -> list[str]:
    """QEMU takes the first one that works."""
    if has_kvm(Path("/proc/cpuinfo").read_text(encoding="utf-8")) and not kvm_failed(host):
        return ["-accel", "kvm", "-accel", "tcg,thread=multi"]
    return ["-accel", "tcg,thread=multi"]


def kvm_failed(host: Host) -> bool:
    """Whether KVM has given up on this machine: QEMU then stops the guest and keeps running."""
    return host.console.exists() and b"KVM internal error" in host.console.read_bytes()


def command(host: Host) -> list[str]:
    """The arguments of QEMU; the kernel is started directly, so no boot loader is needed."""
    number = host.numbers[0]
    mac = f"52:54:00:00:{host.checkout.number:02x}:{number:02x}"
    directory = host.directory
    return [
        "qemu-system-x86_64",
        *("-machine", "pc", *accelerators(host), "-cpu", "max"),
        *("-smp", "2", "-m", str(MEMORY_MIB)),
        *("-kernel", f"{directory}/vmlinuz", "-initrd", f"{directory}/initrd"),
        *("-append", "root=/dev/vda rw console=ttyS0 apparmor=1 security=apparmor audit=1"),
        *("-drive", f"file={directory}/disk.img,format=raw,if=virtio,cache=unsafe"),
        *("-netdev", f"tap,id=net0,ifname={host.interface},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=net0,mac={mac}"),
        *("-device", "virtio-rng-pci"),
        *("-display", "none", "-monitor", "none", "-serial", "stdio"),
    ]
