# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who could log in under a candidate configuration: one table, a line for each reason."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.administrators import (
    Account,
    Circumstances,
    FileFact,
    Trust,
    Verdict,
    judge,
    refusal,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.effective import parse

from .sample_keys import ED25519, ED25519_FINGERPRINT, RSA_2048

CONFIG = """usepam yes
pubkeyauthentication yes
permitrootlogin without-password
authenticationmethods any
strictmodes yes
requiredrsasize 3072
forcecommand none
authorizedkeyscommand none
authorizedkeysfile .ssh/authorized_keys
trustedusercakeys none
authorizedprincipalsfile none
pubkeyacceptedalgorithms ssh-ed25519,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512
"""
WHERE = Circumstances(client_address="192.0.2.7", today=20000, shells=("/bin/sh", "/bin/bash"))
FILE = FileFact("/home/admin/.ssh/authorized_keys", f"{ED25519}\n")
ADMIN = Account("admin", home="/home/admin", shell="/bin/bash", groups=("admin", "sudo"), authorized_keys=(FILE,))  # noqa: S604 - the shell of an account, none that runs


def account(**changes: Any) -> Account:
    return dataclasses.replace(ADMIN, **changes)


def with_keys(text: str, insecure: str = "") -> Account:
    return account(authorized_keys=(FileFact(FILE.path, text, insecure),))


CASES: list[tuple[str, Account, str, Trust, str]] = [
    ("a key", ADMIN, "", Trust(), ""),
    ("no such user", Account("ghost", exists=False), "", Trust(), "there is no such user"),
    ("nologin", account(shell="/usr/sbin/nologin"), "", Trust(), "lets nobody in"),  # noqa: S604 - the shell of an account, none that runs
    ("odd shell", account(shell="/opt/sh"), "", Trust(), "not listed in /etc/shells"),  # noqa: S604 - the shell of an account, none that runs
    ("expired account", account(expires_day=20000), "", Trust(), "the account has expired"),
    ("expires tomorrow", account(expires_day=20001), "", Trust(), ""),
    ("locked, PAM", account(password="!"), "", Trust(), ""),
    ("locked, no PAM", account(password="!"), "usepam no", Trust(), "locked and sshd runs without PAM"),
    ("no password, no PAM", account(password="*"), "usepam no", Trust(), ""),
    ("password to be changed", account(last_change_day=0), "", Trust(), "must be changed at the next login"),
    ("password expired", account(last_change_day=19000, maximum_days=90), "", Trust(), "the password has expired"),
    ("password fresh", account(last_change_day=19990, maximum_days=90), "", Trust(), ""),
    ("root by key", account(name="root", uid=0), "", Trust(), ""),
    ("root refused", account(name="root", uid=0), "permitrootlogin no", Trust(), "PermitRootLogin is no"),
    ("root forced", account(uid=0), "permitrootlogin forced-commands-only", Trust(), "forced commands only"),
    ("allowed", ADMIN, "allowusers bob\nallowusers adm*", Trust(), ""),
    ("not allowed", ADMIN, "allowusers bob alice", Trust(), r"AllowUsers \(bob alice\) leaves the user out"),
    ("allowed from here", ADMIN, "allowusers admin@192.0.2.0/24", Trust(), ""),
    ("allowed from elsewhere", ADMIN, "allowusers admin@198.51.100.*", Trust(), "leaves the user out"),
    ("denied", ADMIN, "denyusers adm?n", Trust(), "DenyUsers names the user"),
    ("group allowed", ADMIN, "allowgroups sudo", Trust(), ""),
    ("group not allowed", ADMIN, "allowgroups ops", Trust(), r"AllowGroups \(ops\) names none of .* \(admin sudo\)"),
    ("group denied", ADMIN, "denygroups su*", Trust(), "DenyGroups names a group"),
    ("keys switched off", ADMIN, "pubkeyauthentication no", Trust(), "PubkeyAuthentication is no"),
    ("forced command", ADMIN, "forcecommand internal-sftp", Trust(), "ForceCommand internal-sftp replaces"),
    ("second factor", ADMIN, "authenticationmethods publickey,password", Trust(), "wants more than a public key"),
    ("key is one way", ADMIN, "authenticationmethods publickey publickey,password", Trust(), ""),
    ("no key", account(authorized_keys=()), "", Trust(), "no usable key"),
    ("comments only", with_keys("# nothing\n"), "", Trust(), "no usable key"),
    ("small key", with_keys(RSA_2048), "", Trust(), "has 2048 bits, less than ssh_required_rsa_bits"),
    ("small key beside a good one", with_keys(f"{RSA_2048}\n{ED25519}"), "", Trust(), ""),
    ("type left out", ADMIN, "pubkeyacceptedalgorithms rsa-sha2-512", Trust(), "of type ssh-ed25519, which"),
    ("bound to a command", with_keys(f'command="x" {ED25519}'), "", Trust(), "is bound to a command"),
    ("from elsewhere", with_keys(f'from="198.51.100.1" {ED25519}'), "", Trust(), "not accepted from 192.0.2.7"),
    ("from here", with_keys(f'from="192.0.2.0/24" {ED25519}'), "", Trust(), ""),
    ("loose file", with_keys(ED25519, "/home/admin is writable by everyone"), "", Trust(), "is ignored: /home/admin"),
    ("loose file, not strict", with_keys(ED25519, "loose"), "strictmodes no", Trust(), ""),
    ("revoked key", ADMIN, "", Trust(revoked=({"public_key": ED25519},)), "is revoked by ssh_revoked_keys"),
    ("revoked hash", ADMIN, "", Trust(revoked=({"fingerprint": ED25519_FINGERPRINT},)), "is revoked"),
    ("key command", account(authorized_keys=()), "authorizedkeyscommand /bin/keys", Trust(), ""),
    ("own CA", with_keys(f"cert-authority {ED25519}"), "", Trust(), ""),
    ("CA, own name", account(authorized_keys=()), "trustedusercakeys /ca", Trust((ED25519,)), ""),
    (
        "CA, listed",
        account(authorized_keys=(), principals=("team",)),
        "trustedusercakeys /ca\nauthorizedprincipalsfile /p/%u",
        Trust((ED25519,)),
        "",
    ),
    (
        "CA, not listed",
        account(authorized_keys=()),
        "trustedusercakeys /ca\nauthorizedprincipalsfile /p/%u",
        Trust((ED25519,)),
        "no principal admits the user",
    ),
    (
        "CA, certificates not accepted",
        account(authorized_keys=()),
        "trustedusercakeys /ca\npubkeyacceptedalgorithms ssh-ed25519",
        Trust((ED25519,)),
        "no principal admits the user",
    ),
]


@pytest.mark.parametrize(("who", "changes", "trust", "reason"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_the_verdict_and_its_reason(who: Account, changes: str, trust: Trust, reason: str) -> None:
    changed = {line.split()[0] for line in changes.splitlines()}
    kept = [line for line in CONFIG.splitlines() if line.split()[0] not in changed]
    verdict = judge(who, parse("\n".join([*kept, changes])), trust, WHERE)
    assert verdict.able is (not reason), verdict.reason
    if reason:
        assert re.search(reason, verdict.reason), verdict.reason


def test_nologin_stops_everybody_but_root() -> None:
    where = dataclasses.replace(WHERE, nologin=True)
    config = parse(CONFIG)
    assert "/etc/nologin" in judge(ADMIN, config, Trust(), where).reason
    assert judge(account(name="root", uid=0), config, Trust(), where).able


GOOD, BAD, WORSE = Verdict("a", True, "yes"), Verdict("b", False, "no key"), Verdict("c", False, "expired")


def test_one_able_administrator_is_enough_unless_the_connecting_user_is_cut_off() -> None:
    assert refusal([GOOD, BAD], "a") == ""
    assert refusal([GOOD, BAD], "") == ""
    assert "b, who is connected now, could not log in any more: no key" in refusal([GOOD, BAD], "b")


def test_a_refusal_names_each_administrator_with_the_reason() -> None:
    text = refusal([BAD, WORSE], "b")
    assert "no administrator could log in any more: b: no key; c: expired" in text
    assert text.startswith("nothing was changed")
