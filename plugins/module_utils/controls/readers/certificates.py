# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates in the store: how long they live, who issued them, and who can read their keys."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

from .. import conditions
from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from ..tls_client import Listener
from .tls import CERTIFICATE, STORE, accepted_item, announce, listeners, trusting, visit

NOTHING = "no certificate is declared for this host"
DAY = 86400
# A certificate is renewed when this much of its life is over, or earlier.
RENEWAL_SHARE = 2 / 3
CURRENT = "current/certificate.pem"
KEY, PRIVATE = "key.pem", "PRIVATE KEY"
STAGED = ".staged"


# Lives and issuers


def dates(host: Host, name: str) -> tuple[str, ...]:
    return ("openssl", "x509", "-noout", "-startdate", "-enddate", "-in", host.path(f"{STORE}/{name}/{CURRENT}"))


def chain(host: Host, name: str) -> tuple[str, ...]:
    """Return the question whether the CAs that consumers trust issued a certificate."""
    trust, full_chain = f"{STORE}/{name}/trust.pem", f"{STORE}/{name}/current/full_chain.pem"
    trusted = ("-no-CApath", "-no-CAstore", "-CAfile", host.path(trust)) if host.read(trust) else ()
    return ("openssl", "verify", *trusted, "-untrusted", host.path(full_chain), host.path(f"{STORE}/{name}/{CURRENT}"))


def deployed(host: Host, name: str) -> bool:
    return host.exists(f"{STORE}/{name}/{CURRENT}")


def announce_lives(host: Host, parameters: Parameters) -> None:
    names = [certificate["name"] for certificate in parameters["certificates"]]
    for name in (name for name in names if deployed(host, name)):
        host.start(*dates(host, name))
        host.start(*chain(host, name))
    announce(host, ((listener, trusting(host, name, listener)) for name, listener in listeners(parameters)))


def certificate_lives(host: Host, parameters: Parameters) -> Observation:
    """Check that certificates live ``life_days`` at most, are not overdue, and were issued by whom consumers trust.

    ``certificates``: those that are declared; each of their listeners must be accepted by a client with that trust.
    ``renewal_timers``: for each kind of issuer whose certificates the host renews by itself, the timer that does.
    """
    items: list[Item] = []
    for certificate in parameters["certificates"]:
        name = certificate["name"]
        if not deployed(host, name):
            items.append(item(name, False, "is deployed", "is not deployed"))
            continue
        items += [*life(host, name, parameters["life_days"]), issuer(host, name)]
        for entry in certificate["listeners"]:
            listener = Listener(**entry)
            items.append(accepted_item(listener, visit(host, listener, trusting(host, name, listener))))
        timer = (parameters["renewal_timers"] or {}).get(certificate["issuer_kind"])
        if timer:
            items.append(renewed_by(host, name, timer))
    return observation(items, "openssl, TLS client", NOTHING)


def life(host: Host, name: str, wished: Any) -> list[Item]:
    """Return whether a certificate is short-lived, valid now, and not overdue for renewal."""
    answer = host.run(*dates(host, name))
    said = dict(line.partition("=")[::2] for line in answer.output.splitlines())
    try:
        begin, end = (ssl.cert_time_to_seconds(said[key]) for key in ("notBefore", "notAfter"))
    except (KeyError, ValueError):
        return [Item(name, Verdict.UNKNOWN, "", "", f"its dates cannot be read: {answer.complaint()}")]
    now = time.time()
    days = f"{(end - begin) / DAY:.6g}"
    due = begin + RENEWAL_SHARE * (end - begin)
    ends = "expires" if now < end else "expired"
    return [
        item(f"{name} days of life:", conditions.met(wished, days), conditions.describe(wished), days),
        item(name, now >= begin, "is valid now", f"is valid from {moment(begin)} on only"),
        item(name, now < due, f"is renewed by {moment(due)}", f"is not renewed yet; it {ends} at {moment(end)}"),
    ]


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def issuer(host: Host, name: str) -> Item:
    """Return whether OpenSSL finds the way from a certificate to a CA that its consumers trust."""
    answer = host.run(*chain(host, name))
    lines = [line for line in f"{answer.output}\n{answer.error}".splitlines() if line.startswith("error ")]
    told = lines[0].partition(": ")[2] if lines else answer.complaint()
    wished = "is issued by a CA that its consumers trust"
    return item(name, answer.ok, wished, wished if answer.ok else f"is not: {told}")


def renewed_by(host: Host, name: str, timer: str) -> Item:
    """Return whether the timer that renews a certificate without the controller will elapse."""
    state = host.run("systemctl", "is-active", "--", timer).output.strip() or "not there"
    return item(f"{name} {timer}", state == "active", "active", state)


# Keys


def key_files(host: Host, parameters: Parameters) -> Observation:
    """Check that nobody but its consumer reads a key, old and staged versions included, and others change nothing.

    ``certificates``: those that are declared, with ``owner``, ``group`` and ``mode`` of their keys.
    """
    wishes = {certificate["name"]: certificate for certificate in parameters["certificates"]}
    if not wishes:
        return observation([], "stat", NOTHING)
    items = [entry for path in ("/etc/bulwark", STORE) for entry in directory_items(host, path)]
    for name in host.names(STORE):
        status = host.status(f"{STORE}/{name}", follow=False)
        if status and status.kind == "directory":
            items += certificate_items(host, name, wishes.get(name))
        else:
            items += file_items(host, f"{STORE}/{name}", None, False, False)
    for name in wishes:
        if not host.exists(f"{STORE}/{name}/current/{KEY}"):
            items.append(item(f"{STORE}/{name}/current/{KEY}", False, "there", "not there"))
    return observation(items, "stat")


def certificate_items(host: Host, name: str, wished: Parameters | None) -> Iterator[Item]:
    """Yield what is to be said of all versions of one certificate."""
    top = f"{STORE}/{name}"
    yield from directory_items(host, top)
    current = host.link(f"{top}/current")
    for entry in host.names(top):
        path = f"{top}/{entry}"
        status = host.status(path, follow=False)
        if status and status.kind == "directory":
            staged = entry.endswith(STAGED)
            yield from directory_items(host, path, 0o700 if staged else 0o755)
            for file in host.names(path):
                yield from file_items(host, f"{path}/{file}", None if staged else wished, entry == current, staged)
        elif status and not (entry == "current" and status.kind == "link"):
            yield from file_items(host, path, wished, False, False)


def directory_items(host: Host, path: str, most: int = 0o755) -> Iterator[Item]:
    """Yield whether only root changes what a directory holds."""
    status = host.status(path, follow=False)
    if status is None:
        yield item(path, False, "there", "not there")
        return
    right = status.kind == "directory" and (status.uid, status.gid) == (0, 0) and not status.mode & ~most
    seen = f"{status.kind} {host.user_name(status.uid)}:{host.group_name(status.gid)} {status.mode:04o}"
    yield item(path, right, f"directory root:root at most {most:04o}", seen)
    yield from access_list_items(host, path)


def access_list_items(host: Host, path: str) -> Iterator[Item]:
    if host.has_access_list(path):
        yield item(path, False, "no access list", "has an access list")


def file_items(host: Host, path: str, wished: Parameters | None, is_current: bool, staged: bool) -> Iterator[Item]:
    """Yield who can read or change a file."""
    status = host.status(path, follow=False)
    if status is None:
        return
    if status.kind != "file":
        yield item(path, False, "file", status.kind)
        return
    yield from access_list_items(host, path)
    owner, group = host.user_name(status.uid), host.group_name(status.gid)
    seen = f"{owner}:{group} {status.mode:04o}"
    if not is_key(host, path):
        yield item(path, status.uid == 0 and not status.mode & 0o022, "changed by root only", seen)
    elif is_current and wished and path.endswith(f"/{KEY}"):
        mode = int(wished["mode"], 8)
        expected = f"{wished['owner']}:{wished['group']} {mode:04o}"
        yield item(path, seen == expected, expected, seen)
    else:
        # An old version may still have the owner that was wished then, if that one is known here.
        most = 0o600 if staged else 0o640
        owners, groups = ({"root", wished[which]} if wished else None for which in ("owner", "group"))
        strangers = (owners is not None and owner not in owners) or (groups is not None and group not in groups)
        private = staged and (status.uid, status.gid) != (0, 0)
        yield item(path, not (status.mode & ~most or strangers or private), f"at most {most:04o}, its consumer's", seen)


def is_key(host: Host, path: str) -> bool:
    """Return whether a file holds a private key, whatever it is called."""
    if path.endswith(f"/{KEY}"):
        return True
    try:
        return PRIVATE in (host.read(path) or "")
    except Unreadable:
        return False


READERS: Mapping[str, Reader] = {
    "certificate_lives": Reader(
        certificate_lives,
        {
            "certificates": Parameter("entries", required=True, fields=CERTIFICATE),
            "life_days": Parameter("condition", required=True),
            "renewal_timers": Parameter("values"),
        },
        announce_lives,
    ),
    "key_files": Reader(key_files, {"certificates": Parameter("entries", required=True, fields=CERTIFICATE)}),
}
