# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual machines: QEMU, emulated where the machine has no KVM."""

from __future__ import annotations

import os
import re
import shutil
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .common import HostsError, run
from .model import Host

DISK_BYTES = 6 * 1024**3
MEMORY_MIB = 2048
PARAMETERS = "root=/dev/vda rw console=ttyS0 apparmor=1 security=apparmor audit=1"
CONSOLE_TAIL = 4096
# After the system's own disk, as the guest's kernel names them.
DEVICES = tuple(f"/dev/vd{letter}" for letter in string.ascii_lowercase[1:])


def make_disks(host: Host, tree: Path, file_systems: Sequence[str]) -> None:
    """File systems made straight from the root directory: no mount, no loop device, no partition.

    The first disk is the whole system; each of ``file_systems`` gets one more, in this order.
    """
    boot = tree / "boot"
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        files = sorted(boot.glob(pattern))
        if not files:
            raise HostsError(f"{host.label}: the image has no {pattern} in /boot.")
        shutil.copyfile(files[-1], host.directory / name)
    with (tree / "etc/fstab").open("a", encoding="utf-8") as table:
        table.writelines(
            f"{name} {path} ext4 defaults 0 2\n" for name, path in zip(DEVICES, file_systems, strict=False)
        )
    for image, path in zip(disks(host, len(file_systems)), ("/", *file_systems), strict=True):
        content = tree / path.removeprefix("/")
        content.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as stream:
            os.truncate(stream.fileno(), DISK_BYTES)
        run(["mke2fs", "-q", "-t", "ext4", "-d", str(content), str(image)], timeout=300)
        # mke2fs takes over everything but what the directory itself is.
        status = content.stat()
        for field, value in (("mode", f"0{status.st_mode:o}"), ("uid", status.st_uid), ("gid", status.st_gid)):
            debugfs(image, f"set_inode_field <2> {field} {value}", write=True)


def disks(host: Host, more: int) -> list[Path]:
    """Return where the images of a machine's disks lie, the system's first."""
    return [host.directory / "disk.img", *(host.directory / f"disk{number}.img" for number in range(1, more + 1))]


@dataclass(frozen=True)
class BootEntry:
    """What the boot loader would start: paths inside the guest, and the kernel's parameters."""

    kernel: str
    initrd: str
    parameters: str


def boot_entry(grub_configuration: str) -> BootEntry | None:
    """Return the default entry of a grub.cfg, which is its first; None where there is none."""
    kernel = re.search(r"^\s*linux\s+(\S+)[ \t]*(.*)$", grub_configuration, re.MULTILINE)
    initrd = re.search(r"^\s*initrd\s+(\S+)", grub_configuration, re.MULTILINE)
    if kernel is None or initrd is None:
        return None
    # The disk is found by its place here, whatever the guest calls it.
    parameters = [word for word in kernel[2].split() if not word.startswith("root=")]
    return BootEntry(kernel[1], initrd[1], " ".join(parameters))


def load(host: Host) -> str:
    """Do what the guest's boot loader would: take kernel, initrd and parameters from its disk. Returns the parameters.

    Without a boot loader's configuration in the guest, the image's own kernel starts with the usual parameters.
    """
    disk = host.directory / "disk.img"
    entry = boot_entry(debugfs(disk, "cat /boot/grub/grub.cfg"))
    if entry is None:
        return PARAMETERS
    for path, name in ((entry.kernel, "vmlinuz"), (entry.initrd, "initrd")):
        fresh = host.directory / f"{name}.new"
        debugfs(disk, f"dump {path} {fresh}")
        if fresh.exists() and fresh.stat().st_size:
            fresh.replace(host.directory / name)
    return f"root=/dev/vda rw console=ttyS0 {entry.parameters}"


def debugfs(disk: Path, request: str, *, write: bool = False) -> str:
    """Read from an ext4 file system without mounting it, or write to it; what is not there is empty."""
    return run(["debugfs", *(["-w"] if write else []), "-R", request, str(disk)], timeout=60).stdout


def restarted(host: Host) -> bool:
    """Whether the guest ended in order to start again; the kernel's last words tell it from a power-off."""
    text = host.console.read_bytes()[-CONSOLE_TAIL:] if host.console.exists() else b""
    return text.rfind(b"reboot: Restarting system") > text.rfind(b"reboot: Power down")


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
    """The arguments of QEMU. The kernel is started directly; ``load`` stands in for the boot loader."""
    number = host.numbers[0]
    mac = f"52:54:00:00:{host.checkout.number:02x}:{number:02x}"
    directory = host.directory
    more = len(list(directory.glob("disk[0-9]*.img")))
    drives = [
        word for image in disks(host, more) for word in ("-drive", f"file={image},format=raw,if=virtio,cache=unsafe")
    ]
    return [
        "qemu-system-x86_64",
        *("-machine", "pc", *accelerators(host), "-cpu", "max"),
        *("-smp", "2", "-m", str(MEMORY_MIB)),
        *("-kernel", f"{directory}/vmlinuz", "-initrd", f"{directory}/initrd"),
        *("-append", load(host)),
        "-no-reboot",
        *drives,
        *("-netdev", f"tap,id=net0,ifname={host.interface},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=net0,mac={mac}"),
        *("-device", "virtio-rng-pci"),
        *("-display", "none", "-monitor", "none", "-serial", "stdio"),
    ]
