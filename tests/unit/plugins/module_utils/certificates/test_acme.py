# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What certbot is told and what is made of its words; whether a server can be asked, and a webroot written to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import acme, x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.acme import Orders, Places
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError, Directory

from . import pki
from .listener import TLSServer

ME = (os.getuid(), os.getgid())
PLACES = Places("/c", "/w", "/l").of("public")
REQUEST = "/etc/bulwark/tls/web/v0001.staged/request.pem"
WEBROOT = Directory("https://acme.example.org/dir", "ops@example.org", webroot="/var/www/acme")
ALONE = Directory("https://acme.example.org/dir", port=8080)


def test_certbot_is_told_of_the_request_and_not_of_the_key() -> None:
    words = acme.words(WEBROOT, PLACES, REQUEST)
    assert words == (
        "certonly", "--non-interactive", "--csr", REQUEST,
        "--cert-path", "/w/public/answer/certificate.pem", "--chain-path", "/w/public/answer/chain.pem",
        "--fullchain-path", "/w/public/answer/full_chain.pem",
        "--server", "https://acme.example.org/dir", "--agree-tos", "--email", "ops@example.org", "--no-eff-email",
        "--preferred-challenges", "http", "--webroot", "--webroot-path", "/var/www/acme",
        "--config-dir", "/c/public", "--work-dir", "/w/public", "--logs-dir", "/l/public", "--max-log-backups", "10",
    )  # fmt: skip


def test_without_a_webroot_certbot_listens_and_without_an_address_nobody_is_written_to() -> None:
    text = " ".join(acme.words(ALONE, PLACES, REQUEST))
    assert "--standalone --http-01-port 8080 " in text
    assert " --register-unsafely-without-email " in text
    assert "--webroot" not in text
    assert "--email" not in text


REFUSED = """Saving debug log to /var/log/bulwark/acme/public/letsencrypt.log
Requesting a certificate for a.example.org and b.example.org

Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: a.example.org
  Type:   unauthorized
  Detail: Non-200 status code from HTTP: http://a.example.org/.well-known/acme-challenge/x returned 404

  Domain: b.example.org
  Type:   connection
  Detail: Get "http://b.example.org/": connection refused

Hint: The Certificate Authority failed to download the temporary challenge files created by Certbot.

Some challenges have failed.
Ask for help or search for solutions at https://community.letsencrypt.org. See the logfile /l or re-run Certbot with -v.
"""
LIMITED = """Saving debug log to /var/log/bulwark/acme/public/letsencrypt.log
Requesting a certificate for a.example.org
An unexpected error occurred:
There were too many requests of a given type :: Error creating new order :: too many certificates already issued
Ask for help or search for solutions at https://community.letsencrypt.org.
"""


def test_the_words_of_the_server_are_handed_on() -> None:
    assert acme.said(REFUSED) == (
        "a.example.org: Non-200 status code from HTTP: http://a.example.org/.well-known/acme-challenge/x returned 404 "
        '(unauthorized); b.example.org: Get "http://b.example.org/": connection refused (connection)'
    )
    assert acme.said(LIMITED).startswith("There were too many requests of a given type :: Error creating new order")
    assert acme.said("certbot cannot be run: No such file") == "certbot cannot be run: No such file"
    assert acme.said("") == acme.said("Saving debug log to /l\n") == "it says nothing"
    assert len(acme.said("x" * 5000)) == acme.SAID_AT_MOST


STUMBLED = """Saving debug log to /l/letsencrypt.log
Requesting a certificate for a.example.org
An unexpected error occurred:
AttributeError: can't set attribute
"""
STUMBLED_LOG = """2026-11-27 07:59:23,283:DEBUG:certbot._internal.log:Exiting abnormally:
Traceback (most recent call last):
acme.messages.Error: urn:ietf:params:acme:error:accountDoesNotExist :: The request specified no account :: not found.

During handling of the above exception, another exception occurred:
AttributeError: can't set attribute
"""


def test_the_words_that_certbot_stumbles_over_come_from_its_log() -> None:
    words = acme.said(STUMBLED, STUMBLED_LOG)
    assert words == "urn:ietf:params:acme:error:accountDoesNotExist :: The request specified no account :: not found."
    assert "remove /c/public/accounts" in acme.advice(words, PLACES)
    assert acme.said(STUMBLED, "") == "AttributeError: can't set attribute"
    assert acme.said(REFUSED, STUMBLED_LOG).startswith("a.example.org: Non-200")


def test_a_server_that_forgot_its_accounts_has_a_way_out() -> None:
    assert "remove /c/public/accounts" in acme.advice("urn:ietf:params:acme:error:accountDoesNotExist", PLACES)
    assert acme.advice(LIMITED, PLACES) == ""


# A webroot


@pytest.fixture
def webroot(tmp_path: Path) -> Path:
    path = tmp_path / "www"
    path.mkdir(mode=0o755)
    return path


def test_a_webroot_of_roots_own_is_accepted(webroot: Path) -> None:
    assert acme.webroot_fault(str(webroot), ME[0]) == ""
    (webroot / ".well-known/acme-challenge").mkdir(parents=True)
    assert acme.webroot_fault(str(webroot), ME[0]) == ""


def test_a_webroot_that_is_not_there_is_refused(webroot: Path) -> None:
    assert acme.webroot_fault(f"{webroot}/none", ME[0]) == (
        f"the webroot {webroot}/none is not there; make it, root's own, and serve it"
    )


@pytest.mark.parametrize("place", ["", ".well-known", ".well-known/acme-challenge"])
def test_a_webroot_that_others_may_write_to_or_lead_elsewhere_is_refused(webroot: Path, place: str) -> None:
    (webroot / ".well-known/acme-challenge").mkdir(parents=True)
    found = webroot / place
    for mode in (0o775, 0o757, 0o1777):
        found.chmod(mode)
        assert f"{found} can be written by others" in acme.webroot_fault(str(webroot), ME[0])
    found.chmod(0o755)
    found.rename(webroot.parent / "elsewhere")
    found.symlink_to(webroot.parent / "elsewhere")
    assert f"{found} is a link or no directory" in acme.webroot_fault(str(webroot), ME[0])
    found.unlink()
    found.write_text("")
    assert f"{found} is a link or no directory" in acme.webroot_fault(str(webroot), ME[0])


@pytest.mark.skipif(ME[0] != 0, reason="gives files away")
def test_a_webroot_of_somebody_elses_is_refused(webroot: Path) -> None:
    os.chown(webroot, 33, 33)
    assert "can be written by others" in acme.webroot_fault(str(webroot))
    os.chown(webroot, 0, 0)
    os.chown(webroot.parent, 33, 33)
    assert f"{webroot.parent} can be written by others" in acme.webroot_fault(str(webroot))


# A server


@pytest.fixture
def server(tmp_path: Path, ca: pki.TestCA) -> Iterator[TLSServer]:
    key = tmp_path / "server.key"
    key.write_bytes(x509.make_key("ecdsa_p256"))
    (tmp_path / "server.pem").write_bytes(pki.leaf(ca, key.read_bytes(), ("localhost",)) + ca.generation.chain)
    with TLSServer(str(tmp_path / "server.pem"), str(key)) as server:
        yield server


def directory(server: TLSServer, trust: str) -> Directory:
    return Directory(f"https://localhost:{server.port}/dir", server_trust=trust, port=80)


def answer(server: TLSServer, body: str, status: str = "200 OK") -> None:
    server.says[False] = f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def test_a_server_with_a_directory_can_be_asked(server: TLSServer, ca: pki.TestCA) -> None:
    answer(server, '{"newOrder": "https://localhost/order"}')
    assert acme.unreachable(directory(server, ca.trust)) == ""


def test_a_server_that_cannot_be_asked_is_told_about(server: TLSServer, ca: pki.TestCA, stranger: pki.TestCA) -> None:
    answer(server, '{"newOrder": "https://localhost/order"}')
    assert (
        "has a certificate that server_trust_file does not vouch for: unable to get local issuer certificate"
        in acme.unreachable(directory(server, stranger.trust))
    )
    assert "that the trust store of the system does not vouch for" in acme.unreachable(directory(server, ""))
    for body in ("[]", "<html>", "{}"):
        answer(server, body)
        assert acme.unreachable(directory(server, ca.trust)) == "answers, but is no ACME directory"
    answer(server, "", "503 Service Unavailable")
    assert acme.unreachable(directory(server, ca.trust)) == "answers 503 Service Unavailable"
    server.says[False] = b"nonsense"
    assert "cannot be reached: " in acme.unreachable(directory(server, ca.trust))
    closed = Directory("https://localhost:1/dir")
    assert acme.unreachable(closed) == "cannot be reached: connection refused"
    assert "cannot be reached: " in acme.unreachable(Directory("https://nobody.invalid/dir"))


# certbot, or what is in its place


def orders(path: Path, script: str) -> Orders:
    program = path / "certbot"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Orders(Places(str(path / "c"), str(path / "w"), str(path / "l")), ME, str(program))


LOGS = "log=${0%/*}/l/public/letsencrypt.log; echo 'acme.messages.Error: urn:limited :: slow down'"


def test_an_order_leaves_the_certificate_and_nothing_else(tmp_path: Path, server: TLSServer, ca: pki.TestCA) -> None:
    answer(server, '{"newOrder": ""}')
    work = tmp_path / "w/public/answer"
    made = orders(tmp_path, f"cd {work} && echo one > certificate.pem && echo two > chain.pem")
    for _run in range(2):
        assert made.order("public", directory(server, ca.trust), REQUEST) == (b"one\n", b"two\n")
    assert not work.exists()
    for place in "cwl":
        assert (tmp_path / place / "public").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "c/public/server_trust.pem").read_text() == ca.trust


def test_a_server_that_does_not_answer_is_not_asked_twice(tmp_path: Path) -> None:
    made = orders(tmp_path, f"echo >> {tmp_path}/called")
    closed = Directory("https://localhost:1/dir", port=80)
    for _certificate in range(2):
        with pytest.raises(CertificateError, match="https://localhost:1/dir cannot be reached: connection refused"):
            made.order("public", closed, REQUEST)
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo too many certificates >&2; exit 1", "/dir did not issue it: too many certificates"),
        (
            f"echo Saving debug log; echo broken; {LOGS} > $log; exit 1",
            "/dir did not issue it: urn:limited :: slow down",
        ),
        (f"{LOGS} > $log; echo wrong argument; exit 1", "/dir did not issue it: wrong argument"),
        ("echo Account registered.", "certbot ended well and left no certificate: it says nothing; see /"),
    ],
)
def test_an_order_that_fails_is_one_sentence(
    tmp_path: Path, server: TLSServer, ca: pki.TestCA, script: str, words: str
) -> None:
    answer(server, '{"newOrder": ""}')
    with pytest.raises(CertificateError) as raised:
        orders(tmp_path, script).order("public", directory(server, ca.trust), REQUEST)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_host_without_certbot_is_told_what_to_do(tmp_path: Path, server: TLSServer, ca: pki.TestCA) -> None:
    answer(server, '{"newOrder": ""}')
    made = Orders(Places(str(tmp_path / "c"), str(tmp_path / "w"), str(tmp_path / "l")), ME, f"{tmp_path}/none")
    with pytest.raises(CertificateError, match="cannot be run: No such file or directory; install the package certbot"):
        made.order("public", directory(server, ca.trust), REQUEST)


def test_a_link_in_the_way_of_the_account_is_not_followed(tmp_path: Path, server: TLSServer, ca: pki.TestCA) -> None:
    answer(server, '{"newOrder": ""}')
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "c").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CertificateError, match="no part of the path may be a link"):
        orders(tmp_path, "exit 0").order("public", directory(server, ca.trust), REQUEST)
    assert list((tmp_path / "elsewhere").iterdir()) == []
