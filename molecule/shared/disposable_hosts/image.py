# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images: a root directory per release and kind, built once and kept in the user's cache by the hash of its recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from . import apt
from .common import HostsError, locked, progress, run, tail_of, write_file
from .model import BASE_DIRECTORY

# Changes whenever build() does something else with the same recipe.
RECIPE_VERSION = 2
PACKAGES = [
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "udev", "kmod"),
    *("openssh-server", "openssh-client", "sudo", "procps", "python3", "python3-apt", "ca-certificates"),
    *("iproute2", "iptables", "nftables", "iputils-ping", "netbase", "netcat-openbsd", "curl"),
]
# Debian 13 lets users ping by a sysctl, in a package of its own.
RELEASE_PACKAGES = {"debian13": ["linux-sysctl-defaults"]}
VM_PACKAGES = ["apparmor", "auditd", "initramfs-tools", "linux-image-cloud-amd64"]
# Only downloaded: a stock host has none of them, and a test installs one in seconds without the network.
CACHED_PACKAGES = ("ufw", "firewalld python3-firewall")
BUILD_TIMEOUT = 900
ADMINISTRATOR = "admin"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides what an image contains."""

    release: str
    kind: str
    sources: tuple[str, ...]
    apt_options: str
    certificates: tuple[tuple[str, str], ...]

    @property
    def packages(self) -> list[str]:
        return [*PACKAGES, *RELEASE_PACKAGES.get(self.release, []), *(VM_PACKAGES if self.kind == "vm" else [])]

    @property
    def key(self) -> str:
        content = [RECIPE_VERSION, self.packages, CACHED_PACKAGES, dataclasses.asdict(self)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        return f"{self.release}-{self.kind}-{self.key}"


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "bulwark-hardening" / "images"


def recipe(release: str, kind: str) -> Recipe:
    """The recipe as this machine's configuration makes it."""
    archive, security = apt.archives(apt.read_sources(Path("/etc/apt")))
    return Recipe(
        release,
        kind,
        tuple(apt.source_lines(release, archive, security)),
        apt.wanted_options(apt.dump_options(), os.environ),
        tuple((path.name, path.read_text(encoding="utf-8")) for path in apt.local_certificates()),
    )


def ensure(release: str, kind: str) -> Path:
    """The image's root directory, built when the cache does not have it."""
    wanted = recipe(release, kind)
    root = cache_directory() / wanted.name
    if root.is_dir():
        os.utime(root)
        return root
    waiting = f"{release} {kind}: waiting for another build of the same image"
    with locked(cache_directory() / f"{wanted.name}.lock", waiting=waiting):
        if not root.is_dir():
            _build(wanted, root)
    return root


def _build(wanted: Recipe, root: Path) -> None:
    if not apt.KEYRING.exists():
        raise HostsError("the Debian archive's keys are missing; install the package debian-archive-keyring.")
    unfinished = root.with_name(f"{root.name}.unfinished")
    log = root.with_name(f"{root.name}.log")
    _remove(unfinished)
    started = time.monotonic()
    progress(f"{wanted.release} {wanted.kind}: building the image (half a minute to two; log: {log})")
    # A build whose caller was killed must end too: the next one starts from nothing in the same place.
    arguments = [
        "setpriv",
        "--pdeathsig",
        "TERM",
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
    ]
    arguments += ["--skip=cleanup/apt", f"--include={','.join(wanted.packages)}"]
    arguments += ['--aptopt=Acquire::Languages "none"', "--aptopt=Acquire::Retries 3"]
    arguments += [f"--aptopt={line}" for line in wanted.apt_options.splitlines()]
    arguments += [
        # Each on its own: what one of them needs must not be left out because the other brings it.
        '--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" '
        f"apt-get -qy --download-only -o APT::Install-Recommends=true install {names}"
        for names in CACHED_PACKAGES
    ]
    arguments += [apt.CODENAMES[wanted.release], str(unfinished), *wanted.sources]
    _run_logged(arguments, log, f"{wanted.release} {wanted.kind}")
    _finish(wanted, unfinished)
    unfinished.rename(root)
    _remove_outdated(wanted)
    progress(f"{wanted.release} {wanted.kind}: image built in {time.monotonic() - started:.0f} s")


def _run_logged(arguments: list[str], log: Path, label: str) -> None:
    """Run a long command into a log file, with a progress line now and then."""
    try:
        with log.open("w", encoding="utf-8") as stream:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            )
    except FileNotFoundError as error:
        raise HostsError("mmdebstrap is not installed; `hosts.py packages` prints the missing packages.") from error
    started = time.monotonic()
    try:
        while True:
            try:
                code = process.wait(timeout=20)
                break
            except subprocess.TimeoutExpired:
                if time.monotonic() - started > BUILD_TIMEOUT:
                    raise HostsError(
                        f"{label}: the image was not ready after {BUILD_TIMEOUT} seconds:\n{tail_of(log)}"
                    ) from None
                progress(f"{label}: still building")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=30)
    if code != 0:
        raise HostsError(f"{label}: the image could not be built (whole log: {log}):\n{tail_of(log)}")


def _finish(wanted: Recipe, root: Path) -> None:
    """What every host of this image shares; what is a host's own comes when it is made."""
    for name, content in wanted.certificates:
        write_file(root / "usr/local/share/ca-certificates" / name, content)
    if wanted.apt_options:
        write_file(root / "etc/apt/apt.conf.d/90disposable", wanted.apt_options)
    write_file(root / f"etc/sudoers.d/{ADMINISTRATOR}", f"{ADMINISTRATOR} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)
    if wanted.kind == "vm":
        write_file(root / "etc/fstab", "/dev/vda / ext4 defaults 0 1\n")
    chroot = ["chroot", str(root)]
    run([*chroot, "update-ca-certificates"])
    run([*chroot, "useradd", "--create-home", "--shell", "/bin/bash", "--groups", "sudo", ADMINISTRATOR])
    run([*chroot, "systemctl", "enable", "systemd-networkd.service"])
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for name in ("etc/hostname", "etc/resolv.conf", "var/lib/dbus/machine-id"):
        (root / name).unlink(missing_ok=True)
    write_file(root / "etc/machine-id", "")


def _remove(root: Path) -> None:
    """Remove an image or what an interrupted build left, its mounts first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    for mount in sorted((name for name in mounts if name.startswith(f"{root}/")), reverse=True):
        run(["umount", "--lazy", mount])
    if root.exists():
        shutil.rmtree(root)


def _remove_outdated(wanted: Recipe) -> None:
    """Drop older images of the same release and kind that no host stands on and that have not been used for a week."""
    in_use = {file.read_text(encoding="utf-8") for file in BASE_DIRECTORY.glob("*/hosts/*/image")}
    for other in cache_directory().glob(f"{wanted.release}-{wanted.kind}-????????????????"):
        week_old = time.time() - other.stat().st_mtime > 7 * 86400
        if other.name != wanted.name and week_old and str(other) not in in_use:
            for part in [*other.parent.glob(f"{other.name}.with-*[0-9a-f]"), other]:
                _remove(part)
                part.with_name(f"{part.name}.lock").unlink(missing_ok=True)
            other.with_name(f"{other.name}.log").unlink(missing_ok=True)


def ensure_all(wanted: set[tuple[str, str]]) -> dict[tuple[str, str], Path]:
    """Several images side by side."""
    results: dict[tuple[str, str], Path] = {}
    errors: list[HostsError] = []

    def one(release: str, kind: str) -> None:
        try:
            results[release, kind] = ensure(release, kind)
        except HostsError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=pair) for pair in sorted(wanted)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise HostsError("\n".join(str(error) for error in errors))
    return results
