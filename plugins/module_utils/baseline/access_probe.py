# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the real PAM and the real sudo about a candidate, by a child process that alone sees it in the place of /etc."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..transaction import files as safe_files
from ..transaction.commands import ENVIRONMENT, telling_line
from . import access, host
from .host import Refused

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PAM_TTY, PAM_RHOST = 3, 4
PAM_CONV_ERR = 19
PROBE_SECONDS = 120.0
SUDO_SECONDS = 20.0
# sudo is asked for a shell that starts another program, as a module of Ansible does.
SHELL = ("/bin/sh", "-c", "/bin/true && exit 0; exit 1")
SALT = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def look(
    binds: Sequence[tuple[str, str]], names: Sequence[str], connecting: str, address: str, scratch: str
) -> list[access.Sight]:
    """Return what the candidate means for each user; binds are the copies and the paths that they stand for.

    scratch is where a file may be made that nobody else reads. Raises Refused where this host allows no mounts of a
    process's own.
    """
    answer = in_private(binds, lambda: [_sight(name, name == connecting, address, scratch) for name in names])
    return [access.Sight(**{**entry, "shells": tuple(entry["shells"])}) for entry in answer]


def in_private(binds: Sequence[tuple[str, str]], action: Callable[[], Any]) -> Any:
    """Run action in a child process with these directories or files bound over others, and return what it returns."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(writing, binds, action)
    os.close(writing)
    try:
        text = _read(reading, child)
    finally:
        os.close(reading)
        os.waitpid(child, 0)
    answer: Mapping[str, Any] = json.loads(text or '{"error": "the rehearsal ended early"}')
    if "error" in answer:
        raise Refused(f"the policy cannot be tried on this host, so nothing was changed: {answer['error']}")
    return answer["value"]


def _child(writing: int, binds: Sequence[tuple[str, str]], action: Callable[[], Any]) -> None:
    try:
        os.setsid()
        _unshare(binds)
        answer = {"value": action()}
    except BaseException as error:  # the child must never run on into the parent's code
        answer = {"error": f"{type(error).__name__}: {error}"}
    try:
        data = json.dumps(answer).encode()
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(0)


def _read(reading: int, child: int) -> str:
    chunks: list[bytes] = []
    until = time.monotonic() + PROBE_SECONDS
    while True:
        ready, _write, _error = select.select([reading], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            os.killpg(child, signal.SIGKILL)
            return json.dumps({"error": f"no end within {PROBE_SECONDS:g} seconds"})
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            return b"".join(chunks).decode()
        chunks.append(chunk)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _unshare(binds: Sequence[tuple[str, str]]) -> None:
    library = _library()
    if library.unshare(CLONE_NEWNS) != 0:
        raise OSError(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    _mount(b"none", b"/", MS_REC | MS_PRIVATE)
    for source, target in binds:
        _mount(os.fsencode(source), os.fsencode(target), MS_BIND)
    # sudo writes its log where the candidate says, and nothing of a rehearsal stays.
    _mount(b"tmpfs", b"/var/log", 0, b"tmpfs")


def _mount(source: bytes, target: bytes, flags: int, kind: bytes | None = None) -> None:
    if _library().mount(source, target, kind, ctypes.c_ulong(flags), None) != 0:
        raise OSError(f"{target.decode()} cannot be covered: {os.strerror(ctypes.get_errno())}")


# What runs in the child.


def _sight(name: str, connecting: bool, address: str, scratch: str) -> dict[str, Any]:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return {"name": name, "exists": False, "shells": []}
    shells = [line.strip() for line in host.read_text("/etc/shells").splitlines()]
    found: dict[str, Any] = {
        "name": name,
        "uid": entry.pw_uid,
        "shell": entry.pw_shell,
        "shells": [line for line in shells if line.startswith("/")],
        "login_refusal": account_refusal("sshd", name, address),
        "is_connecting": connecting,
    }
    if found["login_refusal"] and access.has_ended(host.read_text(access.SHADOW), name, int(time.time() // 86400)):
        found["login_refusal"] += ", because the password has ended; change it before"
    if entry.pw_uid == 0:
        return found
    allowed = _run(["sudo", "-n", "-l", "-U", name, SHELL[0]])
    found["sudo_rule_refusal"] = "" if allowed[0] else allowed[1]
    found["sudo_account_refusal"] = account_refusal("sudo", name, "")
    if connecting and allowed[0]:
        done = _run(["sudo", "-n", "-k", "--", *SHELL], entry)
        found["sudo_refusal"] = "" if done[0] else done[1]
        if not done[0]:
            found.update(_with_password(entry, scratch))
    return found


def _with_password(entry: pwd.struct_passwd, scratch: str) -> dict[str, Any]:
    """Give the user a password that we know, in a copy of shadow that only this process sees, and ask sudo with it."""
    text = host.read_text(access.SHADOW)
    field = next((line.split(":")[1] for line in text.split("\n") if line.startswith(f"{entry.pw_name}:")), "")
    if not access.has_password(field):
        return {"has_password": False}
    password = secrets.token_urlsafe(24)
    hashed = crypt(password)
    if not hashed:
        return {"has_password": True}
    content = access.with_hash(text, entry.pw_name, hashed).encode("utf-8", "surrogateescape")
    safe_files.write_file(scratch, content, 0o600)
    _mount(os.fsencode(scratch), os.fsencode(access.SHADOW), MS_BIND)
    done = _run(["sudo", "-S", "-k", "-p", "", "--", *SHELL], entry, f"{password}\n")
    return {"has_password": True, "password_refusal": "" if done[0] else done[1]}


def crypt(password: str) -> str:
    """Return a hash of a password by the C library, "" where that cannot be asked; Python's own is gone since 3.13."""
    for name in ("libcrypt.so.1", "libcrypt.so.2"):
        try:
            function = ctypes.CDLL(name).crypt
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        salt = "".join(secrets.choice(SALT) for _position in range(16))
        made: bytes | None = function(password.encode(), f"$6${salt}$".encode())
        return made.decode() if made and made.startswith(b"$6$") else ""
    return ""


def _run(argv: Sequence[str], user: pwd.struct_passwd | None = None, text: str = "") -> tuple[bool, str]:
    """Run a program, as a user if one is given, and return whether it succeeded and what it said last."""
    options: dict[str, Any] = {}
    if user is not None:
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": groups}
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            list(argv),
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SUDO_SECONDS,
            env={**ENVIRONMENT, "LOGNAME": user.pw_name if user else "root"},
            cwd="/",
            check=False,
            **options,
        )
    except subprocess.TimeoutExpired:
        return False, f"{argv[0]} did not end within {SUDO_SECONDS:g} seconds"
    except OSError as error:
        return False, f"{argv[0]} cannot be run: {error.strerror or error}"
    return done.returncode == 0, telling_line(f"{done.stdout}\n{done.stderr}")


class _Conversation(ctypes.Structure):
    _fields_ = [("function", ctypes.c_void_p), ("data", ctypes.c_void_p)]


_ANSWER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


def account_refusal(service: str, user: str, address: str) -> str:
    """Return what the account stack of a service says against a user, empty if nothing. Source: pam_acct_mgmt(3)."""
    try:
        library = ctypes.CDLL("libpam.so.0")
    except OSError:
        return ""
    library.pam_strerror.restype = ctypes.c_char_p
    # Nobody is here to answer a question.
    silent = _ANSWER(lambda _count, _messages, _answers, _data: PAM_CONV_ERR)
    conversation = _Conversation(ctypes.cast(silent, ctypes.c_void_p), None)
    handle = ctypes.c_void_p()
    code = library.pam_start(service.encode(), user.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    if code != 0:
        return f"PAM does not start for {service} (code {code})"
    library.pam_set_item(handle, PAM_TTY, b"ssh")
    if address:
        library.pam_set_item(handle, PAM_RHOST, address.encode())
    code = library.pam_acct_mgmt(handle, 0)
    said = library.pam_strerror(handle, code)
    library.pam_end(handle, code)
    return "" if code == 0 else f"{said.decode(errors='replace').lower()} (account stack of {service})"
