# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host as the access policy sees it, and a private copy of its configuration in which a candidate is made."""

from __future__ import annotations

import contextlib
import glob
import grp
import os
import pwd
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..transaction import files as safe_files
from . import access, files, files_host, host, mounts, pam
from .access import Piece, Policy
from .host import Refused

STAGING_PREFIX = "/run/bulwark-access-"
COPY_SECONDS = 120.0
MODULE_FOLDERS = ("/lib/*/security", "/usr/lib/*/security", "/lib/security", "/lib64/security", "/usr/lib64/security")
ADMINISTRATOR_GROUPS = ("sudo", "wheel")
# What pam-auth-update works on beside /etc, and what it writes.
PAM_TREES = (pam.PROFILES, pam.SAVED, "/var/cache/debconf")
AUTHSELECT_TREES = ("/var/lib/authselect",)
AUTHSELECT_FILES = ("/etc/authselect", "/etc/pam.d")


@dataclass(frozen=True)
class Candidate:
    """Copies of whole trees, each below folder at its own path, with the policy carried out in them."""

    folder: str
    trees: tuple[str, ...]
    pieces: tuple[Piece, ...] = ()
    aging: tuple[str, ...] = ()
    mount_plan: mounts.Plan = field(default_factory=mounts.Plan)
    temporary: tuple[mounts.Wish, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.pieces or self.mount_plan.apply)

    def at(self, path: str) -> str:
        """Return where the copy of a path is."""
        return f"{self.folder}{path}"


@contextlib.contextmanager
def payload_kept() -> Iterator[None]:
    """Keep Ansible's own archive, from which this process still loads code, where it finds it.

    With pipelining it lies below /tmp, where a file system that is mounted meanwhile hides it.
    """
    with contextlib.ExitStack() as kept:
        for path in sys.path:
            if path.startswith("/") and os.path.isfile(path):
                kept.enter_context(_kept(path))
        yield


@contextlib.contextmanager
def _kept(path: str) -> Iterator[None]:
    content, was = Path(path).read_bytes(), os.stat(path)
    above = [(str(parent), os.stat(parent)) for parent in reversed(Path(path).parents)]
    folder = os.open(above[-1][0], os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
    finally:
        if not os.path.exists(path):
            for parent, facts in above:
                if not os.path.exists(parent):
                    os.mkdir(parent)
                    os.chown(parent, facts.st_uid, facts.st_gid)
                    os.chmod(parent, stat.S_IMODE(facts.st_mode))
            safe_files.write_file(path, content, 0o600)
        if os.stat(path).st_ino != was.st_ino or os.stat(path).st_dev != was.st_dev:
            # Nobody would ever remove what lies hidden below a mount.
            os.unlink(os.path.basename(path), dir_fd=folder)
        os.close(folder)


def has_pam_auth_update() -> bool:
    return shutil.which("pam-auth-update", path="/usr/sbin:/sbin") is not None


def administrators(policy: Policy, connecting: str) -> list[str]:
    """Return who is asked about: those named, else the administrators' group as far as its members have keys."""
    names = list(policy.administrators) or [name for name in _members() if _has_key(name)]
    if connecting:
        names.insert(0, connecting)
    return list(dict.fromkeys(names))


def _members() -> list[str]:
    found: list[str] = []
    for group in ADMINISTRATOR_GROUPS:
        with contextlib.suppress(KeyError):
            found += grp.getgrnam(group).gr_mem
    return found


def _has_key(name: str) -> bool:
    try:
        home = pwd.getpwnam(name).pw_dir
        return any(os.path.getsize(path) > 0 for path in glob.glob(f"{home}/.ssh/authorized_keys*"))
    except (KeyError, OSError):
        return False


def has_module(name: str) -> bool:
    """Return whether libpam would find a module."""
    if name.startswith("/"):
        return os.path.isfile(name)
    return any(os.path.isfile(f"{folder}/{name}") for pattern in MODULE_FOLDERS for folder in glob.glob(pattern))


def texts(folder: str) -> dict[str, str]:
    """Return the regular files of a directory by name; what a package manager or an editor left there is left out."""
    found = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not name.endswith((".pam-old", ".pam-new", ".dpkg-old", ".dpkg-dist", "~")):
                found[name] = Path(path).read_bytes().decode("utf-8", "surrogateescape")
    return found


def see_mounts(wishes: Sequence[mounts.Wish]) -> mounts.Seen:
    """Return what the planner of mounts needs."""
    mounted = mounts.parse_mountinfo(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    units, links, in_use = {}, {}, {}
    for wish in wishes:
        name, service = mounts.unit_name(wish.path), mounts.service_name(wish.path)
        for path in (f"{mounts.UNITS}/{name}", f"{mounts.UNITS}/{name}.d/50-bulwark.conf", f"{mounts.UNITS}/{service}"):
            found = files_host.read(path) if not os.path.islink(path) else None
            if found is not None:
                units[path] = found.content.decode("utf-8", "surrogateescape")
        for path in (f"{mounts.WANTS}/{name}", f"{mounts.WANTS}/{service}"):
            with contextlib.suppress(OSError):
                links[path] = os.readlink(path)
        if wish.path not in mounted:
            user = user_of(wish.path)
            if user:
                in_use[wish.path] = user
    # Written by systemd in every container that it is the init of.
    in_container = os.path.exists("/run/systemd/container")
    return mounts.Seen(host.read_text(mounts.FSTAB), units, links, mounted, in_use, in_container)


def user_of(path: str) -> str:
    """Return who uses files below a path, as a sentence without its subject; empty if nobody does.

    A file system that is mounted over them would hide sockets and files from whoever still needs their names.
    """
    start = f"{path}/"
    for line in Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]:
        words = line.split(maxsplit=7)
        if len(words) == 8 and words[7].startswith(start):
            return f"the socket {words[7]} is in use"
    own = str(os.getpid())
    for process in (name for name in os.listdir("/proc") if name.isdigit() and name != own):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{process}/fd"):
                target = os.readlink(f"/proc/{process}/fd/{descriptor}")
                # A service with a /tmp of its own shows the name that it has there.
                if target.startswith(start) and not target.endswith(" (deleted)") and os.path.exists(target):
                    command = Path(f"/proc/{process}/comm").read_text(encoding="utf-8", errors="replace").strip()
                    return f"{target} is in use by {command}"
    return ""


@contextlib.contextmanager
def candidate(policy: Policy, check_mode: bool = False) -> Iterator[Candidate]:
    """Make a candidate that is gone when the block ends. Raises Refused for a policy that this host cannot have.

    In check mode, users and groups that are not there are those that an earlier task of the run would have made.
    """
    folder = tempfile.mkdtemp(prefix=STAGING_PREFIX.rsplit("/", 1)[1], dir="/run")
    try:
        yield build(policy, folder, check_mode)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def build(policy: Policy, folder: str, check_mode: bool = False) -> Candidate:
    """Plan the policy against the host; with a difference, copy the host's configuration below folder and change it."""
    ids = (host.foreseen_user_id, host.foreseen_group_id) if check_mode else (host.user_id, host.group_id)
    changes = files.plan(policy.files, files_host.read, *ids)
    seen = see_mounts(policy.mounts)
    plan = mounts.plan(policy.mounts, seen)
    aging = () if policy.aging.is_empty else tuple(access.aged(host.read_text(access.SHADOW), policy.aging)[1])
    profiles = not profiles_in_force(policy)
    temporary = tuple(wish for wish in policy.mounts if wish.type == "tmpfs" and wish.path not in mounts.KERNEL_PATHS)
    if not (changes or aging or profiles or not plan.is_empty):
        return Candidate(folder, (), mount_plan=plan)
    trees = ("/etc", *(_pam_trees() if profiles else ()))
    for tree in trees:
        copy_tree(tree, folder)
    made = Candidate(folder, trees, (), aging, plan, temporary)
    for change in changes:
        _write(made, change.path, change.after)
    for path, text in plan.files.items():
        _write(made, path, _like(path, text.encode("utf-8", "surrogateescape")))
    for path, target in plan.links.items():
        _link(made, path, target)
    if aging:
        text, _told = access.aged(host.read_text(access.SHADOW), policy.aging)
        _write(made, access.SHADOW, _like(access.SHADOW, text.encode("utf-8", "surrogateescape")))
    if profiles:
        make_stacks(policy, made)
    paths = [*(change.path for change in changes), *plan.files, *plan.links, *([access.SHADOW] if aging else [])]
    paths += _pam_files(made) if profiles else []
    pieces = tuple(piece for path in dict.fromkeys(paths) for piece in [_piece(made, path)] if piece.is_different)
    return Candidate(folder, trees, pieces, aging, plan, temporary)


def _like(path: str, content: bytes) -> files.Found:
    """Return content with the owner and mode of what is at the path now."""
    found = files_host.read(path)
    return files.Found(content, found.mode, found.uid, found.gid) if found else files.Found(content, 0o644, 0, 0)


def copy_tree(tree: str, folder: str) -> None:
    """Copy a directory with owners, modes, links and attributes."""
    target = f"{folder}{tree}"
    os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
    done = host.run(["cp", "--archive", "--", tree, target], COPY_SECONDS)
    if not done.ok:
        raise Refused(f"nothing was changed: {tree} cannot be copied for a rehearsal: {done.said}")


def _write(made: Candidate, path: str, found: files.Found | None) -> None:
    target = made.at(path)
    if found is None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        return
    safe_files.make_directories(os.path.dirname(target))
    safe_files.write_file(target, found.content, found.mode, found.uid, found.gid)


def _link(made: Candidate, path: str, target: str) -> None:
    parent, name = safe_files.split(made.at(path))
    safe_files.make_directories(parent)
    with safe_files.directory(parent) as descriptor:
        safe_files.replace_link(descriptor, name, target)


def _piece(made: Candidate, path: str) -> Piece:
    now, then = look(path), look(made.at(path))
    return Piece(path, now[0], then[0], now[1], then[1])


def look(path: str) -> tuple[files.Found | None, str]:
    """Return the file at a path, or the target of the link."""
    if os.path.islink(path):
        return None, os.readlink(path)
    return files_host.read(path), ""


# PAM


def _pam_trees() -> tuple[str, ...]:
    trees = PAM_TREES if has_pam_auth_update() else AUTHSELECT_TREES
    return tuple(tree for tree in trees if os.path.isdir(tree))


def own_profiles() -> dict[str, str]:
    return {name: text for name, text in texts(pam.PROFILES).items() if name.startswith(pam.OWN_PREFIX)}


def wanted_profiles(policy: Policy) -> dict[str, str]:
    """Return the files of our profiles, by name."""
    there = texts(pam.PROFILES)
    return {
        profile.name: pam.render(profile, pam.conflicts(profile, there))
        for profile in policy.profiles
        if profile.is_own
    }


def saved_stacks(root: str = "") -> dict[str, str]:
    return {name: text for name, text in texts(f"{root}{pam.SAVED}").items() if name in pam.COMMON}


def current_stacks(root: str = "") -> dict[str, str]:
    found = texts(f"{root}{pam.SERVICES}")
    return {name: found[f"common-{name}"] for name in pam.COMMON if f"common-{name}" in found}


def profiles_in_force(policy: Policy) -> bool:
    """Return whether the stacks are what the profiles ask for."""
    own = own_profiles()
    if not policy.profiles and not own:
        return True
    if not has_pam_auth_update():
        return set(_features(policy)) <= set(host.run(["authselect", "current", "--raw"]).output.split()[1:])
    return pam.in_force(policy.profiles, own, wanted_profiles(policy), saved_stacks(), current_stacks())


def _features(policy: Policy) -> list[str]:
    return [profile.name for profile in policy.profiles if not profile.is_own]


def missing_profiles(policy: Policy) -> list[str]:
    """Return the profiles of packages that are not on this host."""
    if not has_pam_auth_update():
        return []
    there = texts(pam.PROFILES)
    return [name for name in _features(policy) if name not in there]


def make_stacks(policy: Policy, made: Candidate) -> None:
    """Let the host's own program build the stacks in the copy. Raises Refused when they are not what they should be."""
    if not has_pam_auth_update():
        _make_by_authselect(policy, made)
        return
    there = texts(pam.PROFILES)
    wanted = wanted_profiles(policy)
    missing = missing_profiles(policy)
    if missing:
        raise Refused(f"nothing was changed: there is no PAM profile {missing[0]}; install the package that brings it")
    old = own_profiles()
    back: list[str] = []
    for name in old:
        if name not in wanted:
            # What it took the place of comes back.
            values = pam.fields(old[name]).get("Conflicts", "").split(", ")
            back += [other for other in values if other in there]
            os.unlink(made.at(f"{pam.PROFILES}/{name}"))
    taken = [other for text in wanted.values() for other in pam.fields(text).get("Conflicts", "").split(", ")]
    for name, text in wanted.items():
        safe_files.write_file(made.at(f"{pam.PROFILES}/{name}"), text.encode(), 0o644)
    names = [*wanted, *_features(policy), *(name for name in back if name not in taken)]
    argv = ["env", "DEBIAN_FRONTEND=noninteractive", "pam-auth-update", "--package"]
    done = run_inside(made, [*argv, *(["--enable", *names] if names else [])])
    if not done.ok:
        raise Refused(f"nothing was changed: pam-auth-update failed on a copy: {done.said}")
    lost = pam.left_out(policy.profiles, current_stacks(made.folder))
    lost += sorted({profile.name for profile in policy.profiles} - pam.enabled(saved_stacks(made.folder)))
    if lost:
        raise Refused(
            f"nothing was changed: pam-auth-update leaves {lost[0]} out, since the files {pam.SERVICES}/common-* were "
            "changed by hand; move those changes into a profile, then run pam-auth-update --force"
        )


def _make_by_authselect(policy: Policy, made: Candidate) -> None:
    own = [profile.name for profile in policy.profiles if profile.is_own]
    if own:
        raise Refused(f"nothing was changed: there is no pam-auth-update on this host, which {own[0]} needs")
    if shutil.which("authselect") is None:
        raise Refused("nothing was changed: neither pam-auth-update nor authselect is on this host")
    for feature in _features(policy):
        done = run_inside(made, ["authselect", "enable-feature", feature])
        if not done.ok:
            raise Refused(f"nothing was changed: authselect does not enable {feature} on a copy: {done.said}")


def run_inside(made: Candidate, argv: Sequence[str]) -> host.Done:
    """Run a program that sees the copies in the place of the host's files, in a mount namespace of its own."""
    binds = "; ".join(f'mount --bind "$0{tree}" {tree} || exit 125' for tree in made.trees)
    script = f'{binds}; exec "$@"'
    return host.run(["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", script, made.folder, *argv])


def _pam_files(made: Candidate) -> list[str]:
    """Return what building the stacks may have changed, present before or after."""
    if not has_pam_auth_update():
        return sorted(
            path
            for tree in AUTHSELECT_FILES
            for root in ("", made.folder)
            for path in (f"{tree}/{name}" for name in _names(f"{root}{tree}"))
        )
    names = {*own_profiles(), *(name for name in texts(made.at(pam.PROFILES)) if name.startswith(pam.OWN_PREFIX))}
    return [
        *(f"{pam.PROFILES}/{name}" for name in sorted(names)),
        *(f"{pam.SAVED}/{name}" for name in (*pam.COMMON, "seen")),
        *(f"{pam.SERVICES}/common-{name}" for name in pam.COMMON),
    ]


def _names(folder: str) -> list[str]:
    with contextlib.suppress(OSError):
        return [name for name in os.listdir(folder) if not stat.S_ISDIR(os.lstat(f"{folder}/{name}").st_mode)]
    return []
