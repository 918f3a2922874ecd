# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs and files of a host that runs fail2ban; all input and output is here."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import pkgutil
import shutil
import stat
import subprocess
import tempfile
import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ..transaction import files
from ..transaction.commands import ENVIRONMENT, telling_line
from . import engine_program
from .model import FILES, JOURNAL, Fail2banError, Jail
from .render import DIRECTORY, FILTERS, HEADER, SANDBOX, TABLE, Log

SERVICE = "fail2ban.service"
CLIENT = "fail2ban-client"
PYTHONS = ("/usr/bin/fail2ban-python", "/usr/bin/python3")
SERVER_LOG = "/var/log/fail2ban.log"
PROGRAM_SECONDS = 120
SHARED_WRITE = stat.S_IWOTH


class Answer(t.NamedTuple):
    """How a program ended, and what it wrote."""

    code: int
    output: str
    error: str

    def complaint(self) -> str:
        return telling_line(f"{self.output}\n{self.error}")


def run(*argv: str, text: str = "") -> Answer:
    """Run a program to its end. Raises Fail2banError if it cannot be run or hangs."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # there is no AnsibleModule here
            list(argv),
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_SECONDS,
            env=ENVIRONMENT,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Fail2banError(f"{argv[0]} did not end within {PROGRAM_SECONDS} seconds") from error
    except OSError as error:
        raise Fail2banError(f"{argv[0]} cannot be run: {error.strerror or error}") from error
    return Answer(done.returncode, done.stdout, done.stderr)


def installed() -> bool:
    """Return whether fail2ban is on this host."""
    return shutil.which(CLIENT, path=ENVIRONMENT["PATH"]) is not None


def ask(*operations: str, **request: t.Any) -> dict[str, t.Any]:
    """Return what engine_program.py answers in fail2ban's own Python."""
    # Imported above only so that Ansible packs it; it runs in a Python that knows nothing of this collection.
    source = pkgutil.get_data(engine_program.__package__ or "", "engine_program.py") or b""
    python = next((path for path in PYTHONS if os.path.exists(path)), PYTHONS[-1])
    answer = run(python, "-I", "-c", source.decode(), text=json.dumps({"operations": operations, **request}))
    if answer.code:
        raise Fail2banError(f"fail2ban's Python does not work: {answer.complaint()}")
    result: dict[str, t.Any] = json.loads(answer.output)
    return result


def kernel_table() -> dict[str, t.Any]:
    """Return nft's listing of the table with the bans; empty if there is none."""
    answer = run("nft", "--json", "list", "table", "inet", TABLE)
    if answer.code:
        return {}
    listing: dict[str, t.Any] = json.loads(answer.output)
    return listing


def find_log(jail: Jail, journal: bool) -> Log:
    """Return where a jail finds its log: in the journal if it may and can, else in the files that exist.

    Raises Fail2banError if there is neither, or if any user may write such a file.
    """
    if jail.journal_matches and jail.backend in ("auto", JOURNAL) and journal:
        return Log(JOURNAL)
    if jail.backend == JOURNAL:
        raise Fail2banError(
            f"jail {jail.name}: fail2ban cannot read a journal on this host; install python3-systemd, or set backend "
            "to files"
        )
    paths = tuple(sorted({path for pattern in jail.log_paths for path in glob.glob(pattern)}))
    if not paths:
        instead = " or the journal" if jail.journal_matches else ""
        looked = ", ".join(jail.log_paths) or "no file"
        raise Fail2banError(
            f"jail {jail.name}: there is no log to watch: none of {looked}{instead} is there; start the service that "
            "writes it first, or set enabled to false"
        )
    for path in paths:
        if os.stat(path).st_mode & SHARED_WRITE:
            raise Fail2banError(
                f"jail {jail.name}: any user of the host can write {path}, and so ban whom he likes; take that right "
                "away first"
            )
    return Log(FILES, paths)


def read(path: str) -> bytes | None:
    """Return a file's content, None if it is not there. Raises Fail2banError for anything but a plain file."""
    try:
        return files.read_file(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Fail2banError(f"{path} cannot be used: {error.strerror or error}") from error


def own_files() -> list[str]:
    """Return the files that this role may have made and not every policy has."""
    return [path for path in [*sorted(glob.glob(f"{FILTERS}/bulwark-*.conf")), SANDBOX] if _is_ours(path)]


def _is_ours(path: str) -> bool:
    return (read(path) or b"").startswith(HEADER.encode())


def write(contents: Mapping[str, bytes | None]) -> None:
    """Replace all files, or none: what was replaced is put back if one of them fails. None removes a file."""
    before: dict[str, bytes | None] = {}
    try:
        for path, content in contents.items():
            before[path] = read(path)
            _write_one(path, content)
    except (OSError, Fail2banError) as error:
        for path, content in before.items():
            with contextlib.suppress(OSError):
                _write_one(path, content)
        reason = error if isinstance(error, Fail2banError) else f"{path} cannot be written: {error.strerror or error}"
        raise Fail2banError(f"{reason}; nothing is changed") from error


def _write_one(path: str, content: bytes | None) -> None:
    parent, name = files.split(path)
    if content is None:
        with contextlib.suppress(FileNotFoundError), files.directory(parent) as descriptor:
            files.remove_at(descriptor, name)
        return
    files.make_directories(parent)
    files.write_file(path, content, mode=0o644)


@contextlib.contextmanager
def staged(contents: Mapping[str, bytes | None]) -> Iterator[str]:
    """Yield a copy of fail2ban's configuration directory in which the files are replaced."""
    above = tempfile.mkdtemp(prefix="bulwark-fail2ban-", dir="/run")
    try:
        copy = f"{above}/fail2ban"
        shutil.copytree(DIRECTORY, copy, symlinks=True)
        for path, content in contents.items():
            if not path.startswith(f"{DIRECTORY}/"):
                continue
            target = copy + path[len(DIRECTORY) :]
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(target)
            if content is not None:
                with open(target, "wb") as stream:
                    stream.write(content)
        yield copy
    except OSError as error:
        raise Fail2banError(f"the configuration cannot be staged in {above}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(above, ignore_errors=True)


def systemctl(*words: str) -> Answer:
    return run("systemctl", *words)


def is_active() -> bool:
    return systemctl("is-active", "--quiet", SERVICE).code == 0


def is_enabled() -> bool:
    return systemctl("is-enabled", "--quiet", SERVICE).code == 0


def last_error() -> str:
    """Return the last error that the server logged, empty if none can be read."""
    try:
        with open(SERVER_LOG, encoding="utf-8", errors="replace") as stream:
            lines: Sequence[str] = stream.read()[-20000:].splitlines()
    except OSError:
        return ""
    errors = [line for line in lines if " ERROR " in line or " CRITICAL " in line]
    return errors[-1].split("]: ", 1)[-1].strip()[:300] if errors else ""
