# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a named administrator could log in under a candidate configuration. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import algorithms, effective, keys, revocation

_NO_SHELL = ("/nologin", "/false", "/sync", "/halt", "/shutdown")


@dataclass(frozen=True)
class FileFact:
    """A file that sshd would read for a login; insecure names what StrictModes objects to, empty if nothing."""

    path: str
    content: str
    insecure: str = ""


@dataclass(frozen=True)
class Account:
    """What the host knows about one user; days are counted from 1970, negative where unset."""

    name: str
    exists: bool = True
    uid: int = 1000
    home: str = ""
    shell: str = "/bin/sh"
    groups: tuple[str, ...] = ()
    password: str = "*"  # noqa: S105 - the shadow field, of which only a leading mark is looked at
    expires_day: int = -1
    last_change_day: int = -1
    maximum_days: int = -1
    authorized_keys: tuple[FileFact, ...] = ()
    principals: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Trust:
    """User CAs and revocations of the candidate, as the policy lists them."""

    authorities: tuple[str, ...] = ()
    revoked: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Circumstances:
    """Where the administrator comes from and what the host accepts as a login shell."""

    client_address: str = ""
    today: int = 0
    shells: tuple[str, ...] = ()
    is_connecting: bool = False
    nologin: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether the user could log in, by what, and if not why and what to change."""

    user: str
    able: bool
    reason: str
    ways: tuple[str, ...] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict for the module's result."""
        return {"user": self.user, "able": self.able, "reason": self.reason, "ways": list(self.ways)}


def judge(account: Account, config: effective.Effective, trust: Trust, where: Circumstances) -> Verdict:
    """Return the verdict for one user; config is ``sshd -T -C user=…`` of the candidate for this very user."""
    refusal = _account(account, config, where) or _admission(account, config, where) or _methods(config)
    if refusal:
        return Verdict(account.name, False, refusal)
    ways, obstacles = _ways(account, config, trust, where)
    if ways:
        return Verdict(account.name, True, f"can log in by {ways[0]}", tuple(ways))
    return Verdict(account.name, False, "; ".join(obstacles))


def _account(account: Account, config: effective.Effective, where: Circumstances) -> str:
    if not account.exists:
        return "there is no such user on this host; create the user first"
    if account.shell.endswith(_NO_SHELL):
        return f"the login shell {account.shell} lets nobody in; give the user a real shell"
    if where.shells and account.shell and account.shell not in where.shells:
        return f"the login shell {account.shell} is not listed in /etc/shells; add it there or change the shell"
    if where.nologin and account.uid != 0:
        return "/etc/nologin exists, so only root may log in; remove it"
    if 0 <= account.expires_day <= where.today:
        return "the account has expired; extend it with chage -E"
    if not effective.is_yes(config, "usepam"):
        if account.password.startswith("!"):
            return "the account is locked and sshd runs without PAM; unlock it with usermod -p '*'"
        return ""
    if account.last_change_day == 0:
        return "the password must be changed at the next login, which stops logins without a terminal; change it now"
    overdue = account.last_change_day + account.maximum_days
    if account.last_change_day > 0 and account.maximum_days >= 0 and overdue < where.today:
        return "the password has expired, which stops key logins as well; change it, or run chage -M -1"
    return ""


def _admission(account: Account, config: effective.Effective, where: Circumstances) -> str:
    """Apply PermitRootLogin and the Deny and Allow lists in sshd's own order."""
    root = effective.first(config, "permitrootlogin", "without-password")
    if account.uid == 0 and root == "no":
        return "PermitRootLogin is no; set ssh_permit_root_login to prohibit-password or name another administrator"
    if account.uid == 0 and root == "forced-commands-only":
        return "PermitRootLogin allows forced commands only"
    users = {name: _listed(config, name) for name in ("denyusers", "allowusers")}
    groups = {name: _listed(config, name) for name in ("denygroups", "allowgroups")}
    if any(_user_matches(pattern, account.name, where.client_address) for pattern in users["denyusers"]):
        return "DenyUsers names the user; take the pattern out of ssh_deny_users"
    if users["allowusers"] and not any(
        _user_matches(pattern, account.name, where.client_address) for pattern in users["allowusers"]
    ):
        return f"AllowUsers ({' '.join(users['allowusers'])}) leaves the user out; add the user to ssh_allow_users"
    if _group_matches(groups["denygroups"], account.groups):
        return "DenyGroups names a group of the user; take the pattern out of ssh_deny_groups"
    if groups["allowgroups"] and not _group_matches(groups["allowgroups"], account.groups):
        return (
            f"AllowGroups ({' '.join(groups['allowgroups'])}) names none of the user's groups "
            f"({' '.join(account.groups) or 'none'}); add the user to one, or change ssh_allow_groups"
        )
    return ""


def _listed(config: effective.Effective, keyword: str) -> list[str]:
    return [word for value in config.get(keyword, []) for word in value.split()]


def _user_matches(pattern: str, name: str, address: str) -> bool:
    """Return whether USER or USER@HOST matches; a host pattern cannot match an unknown address."""
    user, has_host, host = pattern.partition("@")
    if not keys.wildcard_matches(user, name):
        return False
    return not has_host or (bool(address) and keys.address_matches(host, address))


def _group_matches(patterns: Sequence[str], groups: Sequence[str]) -> bool:
    return any(keys.wildcard_matches(pattern, group) for pattern in patterns for group in groups)


def _methods(config: effective.Effective) -> str:
    if not effective.is_yes(config, "pubkeyauthentication"):
        return "PubkeyAuthentication is no, and only a key is counted as a way in"
    forced = effective.first(config, "forcecommand", "none")
    if forced != "none":
        return f"ForceCommand {forced} replaces every command; exempt the user from that Match block"
    chains = [word for value in config.get("authenticationmethods", []) for word in value.split()]
    if chains and chains != ["any"] and "publickey" not in chains:
        return (
            f"AuthenticationMethods ({' '.join(chains)}) wants more than a public key, which an unattended login "
            "cannot give; add publickey to ssh_authentication_methods, or exempt the user in a Match block"
        )
    return ""


def _ways(
    account: Account, config: effective.Effective, trust: Trust, where: Circumstances
) -> tuple[list[str], list[str]]:
    """Return the ways in, and what stands in the way of the others."""
    ways: list[str] = []
    obstacles: list[str] = []
    accepted = algorithms.key_types(effective.first(config, "pubkeyacceptedalgorithms").split(","))
    minimum = int(effective.first(config, "requiredrsasize", "0") or 0)
    strict = effective.is_yes(config, "strictmodes")
    for file in account.authorized_keys:
        if strict and file.insecure:
            obstacles.append(f"{file.path} is ignored: {file.insecure}")
            continue
        for entry in keys.parse_authorized_keys(file.content):
            obstacle = _obstacle(entry, accepted, minimum, trust, where)
            if obstacle:
                obstacles.append(f"key {entry.key.fingerprint} in {file.path} {obstacle}")
            else:
                ways.append(f"key {entry.key.fingerprint}")
    if effective.first(config, "authorizedkeyscommand", "none") != "none":
        ways.append("a key from AuthorizedKeysCommand, which only the login itself can show")
    if trust.authorities and effective.first(config, "trustedusercakeys", "none") != "none":
        # Without a principals file sshd wants the user's own name in the certificate.
        names = (account.name,) if effective.first(config, "authorizedprincipalsfile", "none") == "none" else None
        principals = names or account.principals or ()
        if principals and any(kind.endswith("-cert-v01@openssh.com") for kind in accepted):
            ways.append(f"a certificate for {' or '.join(principals)}")
        else:
            obstacles.append("no principal admits the user; add one to ssh_authorized_principals")
    if not obstacles:
        places = effective.first(config, "authorizedkeysfile", ".ssh/authorized_keys")
        obstacles.append(f"there is no usable key in {places} and no certificate authority; install a public key")
    return ways, obstacles


def _obstacle(
    entry: keys.AuthorizedKey, accepted: frozenset[str], minimum: int, trust: Trust, where: Circumstances
) -> str:
    """Return why this key would not open a full session, empty if it would."""
    key = entry.key
    if "cert-authority" in entry.options:
        return "" if f"{key.type}-cert-v01@openssh.com" in accepted else "is a CA whose certificates are not accepted"
    if key.type not in accepted:
        return f"is of type {key.type}, which ssh_public_key_algorithms leaves out"
    if key.bits and key.bits < minimum:
        return f"has {key.bits} bits, less than ssh_required_rsa_bits ({minimum})"
    if "command" in entry.options:
        return "is bound to a command"
    if where.client_address and any(
        not keys.address_matches(patterns, where.client_address) for patterns in entry.options.get("from", ())
    ):
        return f"is not accepted from {where.client_address}"
    if revocation.revokes(trust.revoked, key.text):
        return "is revoked by ssh_revoked_keys"
    return ""


def refusal(verdicts: Sequence[Verdict], connecting: str) -> str:
    """Return why the policy must be refused, empty if at least one administrator and the connecting user get in."""
    unable = [verdict for verdict in verdicts if not verdict.able]
    details = "; ".join(f"{verdict.user}: {verdict.reason}" for verdict in unable)
    if not any(verdict.able for verdict in verdicts):
        return f"nothing was changed: no administrator could log in any more: {details or 'none is named'}"
    own = [verdict for verdict in unable if verdict.user == connecting]
    if own:
        return f"nothing was changed: {connecting}, who is connected now, could not log in any more: {own[0].reason}"
    return ""
