# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts and controllers on which certificates cannot be deployed: one sentence, and everything as it was.

Each case spoils one thing, runs the action, and looks at what is deployed and served. What was spoiled on the host is
mended then, and the action run again. The releases take turns, since a case says little of Debian and takes two runs.
Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509 as cryptography_x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from tests.integration_hosts.test_certificates import (
    NGINX,
    PACKAGES,
    POSTGRESQL,
    RELEASES,
    STORE,
    WEB,
    Controller,
    Host,
    assert_no_secret,
    disposable,
)
from tests.unit.plugins.module_utils.certificates import pki

WEB_STORE = f"{STORE}/web"
CASES_AT_LEAST = 30
LATE, EARLY = "/usr/local/bin/python-late", "/usr/local/bin/python-early"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")

Policy = dict[str, Any]
# A policy, and the controller whose files it may name.
Change = Callable[[Policy, Controller], None]


@dataclass(frozen=True)
class Case:
    """What is spoiled on the host, or changed in the policy, and words of the sentence that must come of it."""

    name: str
    words: str
    spoil: str = ""
    mend: str = ""
    change: Change | None = None
    options: tuple[str, ...] = ()
    # Nothing answers as it should while it is spoiled, whatever the run does.
    blind: bool = False


def certificate(**changes: Any) -> Change:
    return lambda policy, _controller: policy["certificates"][0].update(changes)


def service(**changes: Any) -> Change:
    return lambda policy, _controller: policy["certificates"][0]["services"][0].update(changes)


def generation(make: Callable[[Controller], dict[str, Any]]) -> Change:
    def change(policy: Policy, controller: Controller) -> None:
        policy["issuers"][0]["generations"][0].update(make(controller))

    return change


def brought(make: Callable[[pki.TestCA, bytes], bytes]) -> Change:
    """Bring a certificate of one's own, made for a key."""

    def change(policy: Policy, controller: Controller) -> None:
        key = x509.make_key("ecdsa_p256")
        chain = controller.ca.generation.chain
        policy.pop("renew", None)
        policy["issuers"].append({"name": "bought", "kind": "files", "trust_file": str(controller.trust)})
        policy["certificates"][0].update(
            issuer="bought",
            certificate_file=controller.file("bought.pem", make(controller.ca, key) + chain),
            key_file=controller.vaulted("bought.key", key),
        )

    return change


def authority(controller: Controller, is_authority: bool = True, start: int = -400, days: int = 800) -> dict[str, Any]:
    """Return the files of a CA of its own that may be wrong."""
    key = x509.load_key(x509.make_key("ecdsa_p256"))
    name = cryptography_x509.Name([cryptography_x509.NameAttribute(NameOID.COMMON_NAME, "Doubtful CA")])
    begin = datetime.now(timezone.utc) + timedelta(days=start)
    made = (
        cryptography_x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(cryptography_x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
        .add_extension(cryptography_x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(cryptography_x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return {
        "certificate_file": controller.file("doubtful.pem", x509.pem_of(made)),
        "key_file": controller.vaulted("doubtful.key", x509.plain_key(key)),
    }


def with_passphrase(controller: Controller) -> dict[str, Any]:
    plain = controller.file("plain.key", controller.ca.key)
    path = str(Path(plain).with_name("passphrase.key"))
    pki.openssl("pkcs8", "-topk8", "-in", plain, "-out", path, "-passout", "pass:right", "-v2", "aes256")
    Path(plain).unlink()
    return {"key_file": path, "key_passphrase": "wrong"}


def with_other_password(controller: Controller) -> dict[str, Any]:
    right = controller.password.read_text()
    controller.password.write_text("another-word")
    try:
        return {"key_file": controller.vaulted("other_password.key", controller.ca.key)}
    finally:
        controller.password.write_text(right)


def small_disk(options: str, fill: str) -> tuple[str, str]:
    """Return what puts the store on a disk of its own that is full, and what takes it from there."""
    copy = f"mkdir -p /root/disk && mount -t tmpfs -o {options} tmpfs /root/disk && cp -a {STORE}/. /root/disk/"
    return f"{copy} && mount --bind /root/disk {STORE} && umount /root/disk && {{ {fill}; true; }}", f"umount {STORE}"


FULL = small_disk("size=512k", f"cat /dev/zero > {STORE}/.fill 2>/dev/null")
# Room for the key and the request; the certificate, and what comes after it, is too much.
NEARLY_FULL = small_disk("size=512k", f"cat /dev/zero > {STORE}/.fill 2>/dev/null; truncate -s -12288 {STORE}/.fill")
NO_NAMES = small_disk("nr_inodes=64", f"for n in $(seq 64); do touch {STORE}/.n$n 2>/dev/null; done")
LINKED = "part of the path may be a link"

CASES = (
    # The host
    Case("a full disk", "No space left on device", *FULL),
    Case("a disk that is full when the certificate comes", "No space left on device", *NEARLY_FULL),
    Case("no room for one more name", "No space left on device", *NO_NAMES),
    Case(
        "a store that is read-only",
        "Read-only file system",
        f"mount --bind {STORE} {STORE} && mount -o remount,bind,ro {STORE}",
        f"umount {STORE}",
    ),
    Case(
        "a file that nobody can change",
        "Operation not permitted",
        f"chattr +i {WEB_STORE}",
        f"chattr -i {WEB_STORE}",
    ),
    Case(
        "a link instead of /etc/bulwark",
        LINKED,
        "mv /etc/bulwark /srv/b && ln -s /srv/b /etc/bulwark",
        "rm /etc/bulwark && mv /srv/b /etc/bulwark",
    ),
    Case(
        "a link instead of the store",
        LINKED,
        f"mv {STORE} /srv/t && ln -s /srv/t {STORE}",
        f"rm {STORE} && mv /srv/t {STORE}",
    ),
    Case(
        "a link instead of a certificate's directory",
        LINKED,
        f"mv {WEB_STORE} /srv/w && ln -s /srv/w {WEB_STORE}",
        f"rm {WEB_STORE} && mv /srv/w {WEB_STORE}",
    ),
    Case(
        "a link instead of a version",
        LINKED,
        f"v=$(readlink -f {WEB_STORE}/current) && mv $v /srv/v && ln -s /srv/v $v",
        f"v={WEB_STORE}/$(readlink {WEB_STORE}/current) && rm $v && mv /srv/v $v",
    ),
    Case(
        "a link instead of a staged version",
        LINKED,
        f"mkdir /srv/staged && ln -s /srv/staged {WEB_STORE}/v9000.staged",
        f"rm {WEB_STORE}/v9000.staged && rmdir /srv/staged",
    ),
    Case(
        "a link to somewhere else as the current version",
        "must lead to a version beside it",
        f"readlink {WEB_STORE}/current > /root/was && ln -sfn /srv {WEB_STORE}/current",
        f"ln -sfn $(cat /root/was) {WEB_STORE}/current",
    ),
    Case(
        "a link instead of the trust",
        LINKED,
        f"mv {WEB_STORE}/trust.pem /srv/trust && ln -s /srv/trust {WEB_STORE}/trust.pem",
        f"rm {WEB_STORE}/trust.pem && mv /srv/trust {WEB_STORE}/trust.pem",
    ),
    Case(
        "a link instead of the note of what was proven",
        LINKED,
        f"mv {WEB_STORE}/proven /srv/proven && ln -s /srv/proven {WEB_STORE}/proven",
        f"rm {WEB_STORE}/proven && mv /srv/proven {WEB_STORE}/proven",
    ),
    Case(
        "a link instead of the lock",
        LINKED,
        f"rm -f {STORE}/.lock && ln -s /srv/lock {STORE}/.lock",
        f"rm {STORE}/.lock",
    ),
    Case(
        "another run that does not end",
        "has been working on /etc/bulwark/tls for 60 seconds; wait for its end and repeat",
        f"systemd-run --quiet --unit holder flock {STORE}/.lock sleep 600; sleep 1",
        "systemctl stop holder",
    ),
    Case(
        "no python3-cryptography",
        "python3-cryptography is not installed; install it",
        "mv /usr/lib/python3/dist-packages/cryptography /srv/cryptography",
        "mv /srv/cryptography /usr/lib/python3/dist-packages/cryptography",
    ),
    Case("no such group", "there is no group nosuch on this host", change=certificate(group="nosuch")),
    Case("no such owner", "there is no user nosuch on this host", change=certificate(owner="nosuch")),
    Case(
        "a clock that is a month late",
        "see that the clocks of this host and of the CA are right",
        options=("-e", f"ansible_python_interpreter={EARLY}"),
    ),
    Case(
        "a clock that is a month early",
        "see that the clocks of this host and of the CA are right",
        options=("-e", f"ansible_python_interpreter={LATE}"),
    ),
    # The services
    Case("a unit that is masked", "is masked", "systemctl mask nginx.service", "systemctl unmask nginx.service"),
    Case(
        "a configuration that is refused",
        "/usr/sbin/nginx -t fails",
        "echo 'nonsense;' > /etc/nginx/conf.d/x.conf",
        "rm /etc/nginx/conf.d/x.conf",
    ),
    Case("a check that fails", "/bin/false fails: it says nothing", change=service(check=["/bin/false"])),
    Case("a check that is not there", "/usr/sbin/nosuch cannot be run", change=service(check=["/usr/sbin/nosuch"])),
    Case(
        "a port that another program has taken",
        "does not speak TLS as it should",
        "sed -i 's/listen 443/listen 4443/' /etc/nginx/conf.d/tls.conf && systemctl restart nginx.service && "
        "systemd-run --quiet --unit taker python3 -m http.server 443; sleep 2",
        "systemctl stop taker; sed -i 's/listen 4443/listen 443/' /etc/nginx/conf.d/tls.conf; "
        "systemctl restart nginx.service",
        blind=True,
    ),
    # The controller
    Case(
        "a key of another CA",
        "the key belongs to another CA",
        change=generation(lambda controller: {"key_file": controller.vaulted("other.key", controller.stranger.key)}),
    ),
    Case(
        "a key in clear",
        "lies there in clear; run ansible-vault encrypt",
        change=generation(lambda controller: {"key_file": controller.file("clear.key", controller.ca.key)}),
    ),
    Case(
        "no such file",
        "there is no file nosuch.key on the controller",
        change=generation(lambda _controller: {"key_file": "nosuch.key"}),
    ),
    Case("a wrong passphrase", "the passphrase is wrong", change=generation(with_passphrase)),
    Case("a wrong vault password", "give the vault password that encrypted it", change=generation(with_other_password)),
    Case(
        "a CA that has expired",
        "the CA CN=Doubtful CA expired at",
        change=generation(lambda controller: authority(controller, days=300)),
    ),
    Case(
        "a CA from tomorrow",
        "the CA CN=Doubtful CA is not valid before",
        change=generation(lambda controller: authority(controller, start=1)),
    ),
    Case(
        "a CA that ends today",
        "add a new one as the last of generations",
        change=generation(lambda controller: authority(controller, start=-400, days=401)),
    ),
    Case(
        "a CA that is none",
        "that it is a CA",
        change=generation(lambda controller: authority(controller, is_authority=False)),
    ),
    Case(
        "a chain in the wrong order",
        "put each CA behind the one it signed",
        change=generation(
            lambda controller: {
                "certificate_file": controller.file(
                    "turned.pem", controller.ca.generation.root + controller.ca.generation.chain
                )
            }
        ),
    ),
    Case(
        "a key of another certificate",
        "the private key belongs to another certificate",
        change=brought(lambda ca, _key: pki.leaf(ca, x509.make_key("ecdsa_p256"))),
    ),
    Case(
        "a certificate that has expired",
        "it expired at",
        change=brought(lambda ca, key: pki.leaf(ca, key, life=timedelta(minutes=30))),
    ),
    Case(
        "a certificate from later on",
        "it is not valid before",
        change=brought(lambda ca, key: pki.leaf(ca, key, start=timedelta(hours=1))),
    ),
    Case(
        "a certificate for another name",
        f"it does not stand for {WEB}",
        change=brought(lambda ca, key: pki.leaf(ca, key, names=("www.example.com",))),
    ),
)


def test_there_are_enough_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(CASES) >= CASES_AT_LEAST


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    packages = f"{PACKAGES},python3-cryptography,faketime,e2fsprogs"
    with disposable(f"tls-failures-{os.getpid()}", tmp_path_factory.mktemp("controller"), packages, set_up) as hosts:
        yield hosts


def set_up(host: Host) -> None:
    """Let both services serve what the role deploys, and make a Python that has another time."""
    assert host.run(host.policy())["failed"] is False
    host.shell("cat > /etc/nginx/conf.d/tls.conf", NGINX)
    host.shell(f"cat > /etc/postgresql/{RELEASES[host.name]}/main/conf.d/tls.conf", POSTGRESQL)
    host.shell(f"systemctl restart nginx.service {host.postgresql}")
    for path, days in ((LATE, "+31d"), (EARLY, "-31d")):
        program = f'#!/bin/sh\nexec /usr/bin/faketime -f {days} /usr/bin/python3 "$@"\n'
        host.shell(f"cat > {path} && chmod 0755 {path}", program)
    assert host.run(host.policy())["failed"] is False
    assert host.run(host.policy())["changed"] is False


def in_turn(names: Iterable[str]) -> list[Any]:
    """Return a parameter for each name, with one release after the other."""
    return [
        pytest.param(release, name, id=f"{release}-{name}") for release, name in zip(itertools.cycle(RELEASES), names)
    ]


def deployed(host: Host) -> str:
    """Return what consumers read, and whom they trust."""
    return host.shell(
        f"cd {STORE} && readlink web/current database/current && sha256sum */current/* */trust.pem && "
        "stat -c '%n %a %U:%G' */current/*"
    ).stdout


def served(host: Host) -> tuple[str, str]:
    return host.served("tls"), host.served("postgresql")


@pytest.mark.parametrize(("release", "name"), in_turn(case.name for case in CASES))
def test_nothing_is_half_applied(hosts: dict[str, Host], release: str, name: str) -> None:
    host = hosts[release]
    case = next(case for case in CASES if case.name == name)
    before = deployed(host), served(host)
    policy = host.policy(renew=["web"])
    if case.change:
        case.change(policy, host.controller)
    host.shell(case.spoil)
    try:
        done = host.run(policy, *case.options)
        while_spoiled = None if case.blind else served(host)
    finally:
        host.shell(case.mend)
    assert done["failed"] is True, done
    assert case.words in done["msg"], done["msg"]
    assert "\n" not in done["msg"].strip()
    assert "Traceback" not in done["words"]
    assert_no_secret(done["words"])
    assert while_spoiled in (None, before[1])
    assert (deployed(host), served(host)) == before
    assert host.shell(f"find {STORE} -name '.bulwark-*'").stdout == ""
    # What only the policy got wrong has left nothing that a run would have to get over.
    if case.spoil:
        again = host.run(host.policy())
        assert again["failed"] is False, again
        host.proves()


# What a run mends by itself.
HEALED = {
    "garbage that was staged": f"mkdir {WEB_STORE}/v9000.staged && echo garbage > {WEB_STORE}/v9000.staged/key.pem",
    "a note of what was proven that is none": f"echo garbage > {WEB_STORE}/proven",
    "no trust": f"rm {WEB_STORE}/trust.pem",
    "a key that was cut off": f"truncate -s 20 {WEB_STORE}/current/key.pem",
    "a directory instead of a key": f"cd {WEB_STORE}/current && rm key.pem && mkdir key.pem",
    "a certificate that is gone": f"rm {WEB_STORE}/current/certificate.pem",
    "a current version that is gone": f"ln -sfn v8000 {WEB_STORE}/current",
    "no current version": f"rm {WEB_STORE}/current",
    "a key that everybody reads": f"chmod 0644 {WEB_STORE}/current/key.pem",
    "a directory of somebody else": f"chown games {WEB_STORE}/$(readlink {WEB_STORE}/current)",
    "half-written files": f"touch {WEB_STORE}/.bulwark-0123456789abcdef",
}


@pytest.mark.parametrize(("release", "name"), in_turn(HEALED))
def test_the_next_run_mends_it(hosts: dict[str, Host], release: str, name: str) -> None:
    host = hosts[release]
    host.shell(HEALED[name])
    done = host.run(host.policy())
    assert done["failed"] is False, done
    assert "Traceback" not in done["words"]
    host.proves()


def test_nothing_is_left_to_do(hosts: dict[str, Host]) -> None:
    for host in hosts.values():
        assert host.run(host.policy())["reasons"] == []


def test_a_check_that_hangs_ends(hosts: dict[str, Host]) -> None:
    host = hosts["debian13"]
    before = deployed(host), served(host)
    policy = host.policy(renew=["web"])
    policy["certificates"][0]["services"][0]["check"] = ["/bin/sleep", "1000"]
    done = host.run(policy)
    assert done["failed"] is True
    assert "/bin/sleep cannot be run" in done["msg"]
    assert "timed out" in done["msg"]
    assert (deployed(host), served(host)) == before
