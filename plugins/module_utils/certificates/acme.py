# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders at an ACME server, by certbot on the host itself, for a request that was made before.

certbot is told of the request only, never of its key; and with --csr it keeps nothing that it would renew by itself.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import stat
import urllib.error
import urllib.request
from dataclasses import dataclass

from ..transaction import files
from ..transaction.commands import run_to_end
from ..transaction.state import Command
from .model import CertificateError, Directory
from .probe import client_context, reason

CERTBOT = "certbot"
# What certbot grants each of its own steps is far less, together.
SECONDS = 600.0
REACH_SECONDS = 20.0
DIRECTORY_AT_MOST = 1 << 20
SAID_AT_MOST = 600
LOGS_KEPT = 10
ANSWER, SERVER_TRUST = "answer", "server_trust.pem"
CERTIFICATE, CHAIN, FULL_CHAIN = "certificate.pem", "chain.pem", "full_chain.pem"
# What certbot makes below the webroot.
CHALLENGES = (".well-known", "acme-challenge")
# Where it says how it is, and not what is wrong.
CHATTER = re.compile(
    r"Saving debug log|Requesting a certificate|Account registered|Some challenges have failed|"
    r"Ask for help|An unexpected error occurred|Certbot failed to authenticate|Hint:"
)
PROBLEM = re.compile(r"^ *Domain: *(.+)\n *Type: *(.+)\n *Detail: *(.+)$", re.MULTILINE)
# certbot 2.1 on Python 3.11 stumbles over the server's words when it prints them; its log has them.
LOGGED = re.compile(r"^acme\.messages\.Error: (.+)$", re.MULTILINE)
LOG, LOG_BEGUN = "letsencrypt.log", "Saving debug log"
LOST_ACCOUNT = "accountDoesNotExist"


@dataclass(frozen=True)
class Places:
    """Where certbot keeps what it must remember (the account's key), what it does not, and its logs."""

    config: str = "/etc/bulwark/acme"
    work: str = "/var/lib/bulwark/acme"
    logs: str = "/var/log/bulwark/acme"

    def of(self, issuer: str) -> Places:
        return Places(*(f"{path}/{issuer}" for path in (self.config, self.work, self.logs)))


class Orders:
    """The orders of one run. An issuer whose server does not answer is not asked again in the same run."""

    def __init__(self, places: Places | None = None, owner: tuple[int, int] = (0, 0), program: str = CERTBOT) -> None:
        self.places = places or Places()
        self.uid, self.gid = owner
        self.program = program
        self._unreachable: dict[str, str] = {}

    def order(self, issuer: str, directory: Directory, request: str) -> tuple[bytes, bytes]:
        """Return the certificate for a request, a file, and the chain. Raises CertificateError."""
        places = self.places.of(issuer)
        wrong = webroot_fault(directory.webroot, self.uid) if directory.webroot else ""
        if wrong:
            raise CertificateError(wrong)
        if directory.url not in self._unreachable:
            self._unreachable[directory.url] = unreachable(directory)
        if self._unreachable[directory.url]:
            raise CertificateError(f"{directory.url} {self._unreachable[directory.url]}")
        try:
            self._prepare(places, directory)
            return self._ask(places, directory, request)
        except OSError as error:
            raise CertificateError(
                f"{error.filename or places.config}: {error.strerror or error}; "
                "no part of the path may be a link, and there must be room"
            ) from error

    def _prepare(self, places: Places, directory: Directory) -> None:
        """Make the directories that only root sees, without what an earlier run left."""
        for path in (places.config, places.work, places.logs):
            files.make_directories(path)
            with files.directory(path) as descriptor:
                os.fchown(descriptor, self.uid, self.gid)
                os.fchmod(descriptor, 0o700)
        with files.directory(places.work) as descriptor:
            files.remove_at(descriptor, ANSWER)
            os.mkdir(ANSWER, 0o700, dir_fd=descriptor)
        with files.directory(places.config) as descriptor:
            if directory.server_trust:
                files.replace_at(descriptor, SERVER_TRUST, directory.server_trust.encode(), 0o600, self.uid, self.gid)
            else:
                files.remove_at(descriptor, SERVER_TRUST)

    def _ask(self, places: Places, directory: Directory, request: str) -> tuple[bytes, bytes]:
        trust = (("REQUESTS_CA_BUNDLE", f"{places.config}/{SERVER_TRUST}"),) if directory.server_trust else ()
        command = Command((self.program, *words(directory, places, request)), SECONDS, environment=trust)
        done, output = run_to_end(command)
        if output.startswith(f"{self.program} cannot be run"):
            raise CertificateError(f"{output}; install the package certbot, which the role tls does")
        if not done:
            words_said = said(output, _log(places) if LOG_BEGUN in output else "")
            raise CertificateError(f"{directory.url} did not issue it: {words_said}{advice(words_said, places)}")
        try:
            answer = tuple(files.read_file(f"{places.work}/{ANSWER}/{file}") for file in (CERTIFICATE, CHAIN))
        except FileNotFoundError as error:
            raise CertificateError(
                f"certbot ended well and left no certificate: {said(output)}; see {places.logs}, and whether "
                "/etc/letsencrypt/cli.ini tells it to do something else"
            ) from error
        with files.directory(places.work) as descriptor:
            files.remove_at(descriptor, ANSWER)
        return answer[0], answer[1]


def words(directory: Directory, places: Places, request: str) -> tuple[str, ...]:
    """Return what certbot is told; none of it is a secret."""
    answer = f"{places.work}/{ANSWER}"
    contact = ("--email", directory.email) if directory.email else ("--register-unsafely-without-email",)
    challenge = (
        ("--webroot", "--webroot-path", directory.webroot)
        if directory.webroot
        else ("--standalone", "--http-01-port", str(directory.port))
    )
    return (
        "certonly", "--non-interactive", "--csr", request,
        "--cert-path", f"{answer}/{CERTIFICATE}", "--chain-path", f"{answer}/{CHAIN}",
        "--fullchain-path", f"{answer}/{FULL_CHAIN}",
        "--server", directory.url, "--agree-tos", *contact, "--no-eff-email",
        "--preferred-challenges", "http", *challenge,
        "--config-dir", places.config, "--work-dir", places.work, "--logs-dir", places.logs,
        "--max-log-backups", str(LOGS_KEPT),
    )  # fmt: skip


def _log(places: Places) -> str:
    """Return the log of this very call; certbot begins another file each time."""
    try:
        return files.read_file(f"{places.logs}/{LOG}").decode(errors="replace")
    except OSError:
        return ""


def said(output: str, log: str = "") -> str:
    """Return the reason in the server's own words, for each name if it says so, or else the last line of certbot."""
    problems = [f"{name.strip()}: {detail.strip()} ({kind.strip()})" for name, kind, detail in PROBLEM.findall(output)]
    lines = [line.strip() for line in output.splitlines() if line.strip() and not CHATTER.search(line)]
    last = (LOGGED.findall(log) or lines or ["it says nothing"])[-1]
    return ("; ".join(problems) or last)[:SAID_AT_MOST]


def advice(words_said: str, places: Places) -> str:
    """Return what to do about a server that forgot whom it knew, which one does whose database is lost."""
    return f"; if it lost its accounts, remove {places.config}/accounts" if LOST_ACCOUNT in words_said else ""


def unreachable(directory: Directory) -> str:
    """Return why the server cannot be asked, empty if it can; without its word certbot would wait, and say less."""
    try:
        context = client_context(directory.server_trust)
        # certbot knows nothing of a proxy either.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(directory.url, timeout=REACH_SECONDS) as answer:
            found = json.loads(answer.read(DIRECTORY_AT_MOST))
    except urllib.error.HTTPError as error:
        return f"answers {error.code} {error.reason}"
    except (OSError, http.client.HTTPException) as error:
        return _network_fault(error, directory)
    except ValueError:
        found = None
    return "" if isinstance(found, dict) and "newOrder" in found else "answers, but is no ACME directory"


def _network_fault(error: Exception, directory: Directory) -> str:
    cause = getattr(error, "reason", None)
    cause = cause if isinstance(cause, Exception) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        whom = "server_trust_file" if directory.server_trust else "the trust store of the system"
        return (
            f"has a certificate that {whom} does not vouch for: {cause.verify_message}; "
            "let server_trust_file hold the CA that does"
        )
    return f"cannot be reached: {reason(cause) if isinstance(cause, OSError) else cause}"


def webroot_fault(path: str, uid: int = 0) -> str:
    """Return why root must not write below a directory, empty if it may: somebody else could lead it elsewhere."""
    wished = [part for part in path.split("/") if part]
    descriptor = os.open("/", files.DIRECTORY)
    walked = ""
    try:
        for index, part in enumerate((*wished, *CHALLENGES)):
            walked += f"/{part}"
            try:
                below = os.open(part, files.DIRECTORY, dir_fd=descriptor)
            except FileNotFoundError:
                made_by_certbot = index >= len(wished)
                return "" if made_by_certbot else f"the webroot {path} is not there; make it, root's own, and serve it"
            except OSError:
                return f"{walked} is a link or no directory; a webroot must be a directory that no link leads to"
            os.close(descriptor)
            descriptor = below
            if _others_may_write(os.fstat(below), above=index < len(wished) - 1, uid=uid):
                return f"{walked} can be written by others; a webroot must be root's own, and writable by root only"
    finally:
        os.close(descriptor)
    return ""


def _others_may_write(found: os.stat_result, above: bool, uid: int) -> bool:
    """Return whether others may exchange what is in a directory; above the webroot, the sticky bit keeps them off."""
    writable = stat.S_IMODE(found.st_mode) & 0o022 and not (above and found.st_mode & stat.S_ISVTX)
    return found.st_uid not in (0, uid) or bool(writable)
