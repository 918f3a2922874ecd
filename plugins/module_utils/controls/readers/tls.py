# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What listeners say to a TLS client: versions and suites, whom they let in, and which certificate they serve."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Mapping, Sequence

from .. import tls_client
from ..host import Host
from ..model import Item, Observation, Unreadable, Verdict, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader
from ..tls_client import ABSENT, DISTRUSTED, REFUSED, SPOKE, UNSURE, Listener, Offer, Visit

STORE = "/etc/bulwark/tls"
SOURCE = "TLS client"
NOTHING = "no certificate with a listener is declared for this host"
NOBODY_ASKS = "no listener is declared to require a certificate of its clients"
SHOWN_DIGITS = 16
OLD_VERSIONS = {"TLS 1.0": ssl.TLSVersion.TLSv1, "TLS 1.1": ssl.TLSVersion.TLSv1_1}
LISTENER = {
    "address": Parameter("text", required=True),
    "port": Parameter("port", required=True),
    "server_name": Parameter("text", required=True),
    "protocol": Parameter("text", default="tls", choices=("tls", "https", "postgresql")),
    "require_client_certificate": Parameter("boolean", default=False),
}
# One certificate as it is declared; the readers of the store take the same.
CERTIFICATE = {
    "name": Parameter("text", required=True),
    "issuer_kind": Parameter("text", default=""),
    "owner": Parameter("text", default="root"),
    "group": Parameter("text", default="root"),
    "mode": Parameter("mode", default="0600"),
    "listeners": Parameter("entries", default=(), fields=LISTENER),
}


def listeners(parameters: Parameters) -> Iterator[tuple[str, Listener]]:
    """Yield each listener with the name of the certificate that it serves."""
    for certificate in parameters["certificates"]:
        for entry in certificate["listeners"]:
            yield certificate["name"], Listener(**entry)


def visit(host: Host, listener: Listener, offer: Offer) -> Visit:
    seen: Visit = host.finish((listener, offer), lambda: tls_client.visit(listener, offer))
    return seen


def announce(host: Host, visits: Iterator[tuple[Listener, Offer]]) -> None:
    """Visit listeners beside each other."""
    for listener, offer in visits:

        def job(listener: Listener = listener, offer: Offer = offer) -> Visit:
            return tls_client.visit(listener, offer)

        host.begin((listener, offer), job)


def own(host: Host, name: str, listener: Listener) -> tls_client.Pair | None:
    """Return what the host presents to a listener that would refuse it otherwise."""
    if not listener.require_client_certificate:
        return None
    directory = host.path(f"{STORE}/{name}/current")
    return f"{directory}/full_chain.pem", f"{directory}/key.pem"


# Versions and suites


def current_offers(pair: tls_client.Pair | None, suites: Sequence[str]) -> dict[str, Offer]:
    """Return what should be spoken."""
    return {
        "TLS 1.3": Offer(ssl.TLSVersion.TLSv1_3, own=pair),
        "TLS 1.2": Offer(ssl.TLSVersion.TLSv1_2, tuple(suites), own=pair),
    }


def forbidden_offers(pair: tls_client.Pair | None, suites: Sequence[str]) -> dict[str, Offer]:
    """Return what should be refused."""
    others = Offer(ssl.TLSVersion.TLSv1_2, tls_client.suites_but(suites), own=pair)
    old = {name: Offer(version, tls_client.EVERY_SUITE, own=pair) for name, version in OLD_VERSIONS.items()}
    return {"TLS 1.2 with another suite": others, **old}


def announce_versions(host: Host, parameters: Parameters) -> None:
    suites = parameters["suites"]
    announce(
        host,
        (
            (listener, offer)
            for name, listener in listeners(parameters)
            for pair in (own(host, name, listener),)
            for offer in (*current_offers(pair, suites).values(), *forbidden_offers(pair, suites).values())
        ),
    )


def tls_versions(host: Host, parameters: Parameters) -> Observation:
    """Check that each listener speaks TLS 1.3, of TLS 1.2 only ``suites``, and nothing older.

    ``certificates``: those that are declared, with their listeners. A listener without TLS 1.2 passes.
    """
    items: list[Item] = []
    for name, listener in listeners(parameters):
        pair = own(host, name, listener)
        newest = visit(host, listener, current_offers(pair, parameters["suites"])["TLS 1.3"])
        if newest.outcome in (ABSENT, UNSURE):
            items.append(unseen(str(listener), newest))
            continue
        said = "speaks it" if newest.outcome == SPOKE else f"refuses it: {newest.words}"
        items.append(item(f"{listener} TLS 1.3:", newest.outcome == SPOKE, "spoken", said))
        for offered, offer in forbidden_offers(pair, parameters["suites"]).items():
            seen = visit(host, listener, offer)
            if seen.outcome in (ABSENT, UNSURE):
                items.append(unseen(f"{listener} {offered}", seen))
            else:
                said = f"spoken, {seen.suite or seen.words}" if seen.outcome != REFUSED else "refused"
                items.append(item(f"{listener} {offered}:", seen.outcome == REFUSED, "refused", said))
    return observation(items, SOURCE, NOTHING)


def unseen(name: str, seen: Visit) -> Item:
    return Item(name, Verdict.UNKNOWN, "", "", seen.words)


# What is served


def announce_served(host: Host, parameters: Parameters) -> None:
    announce(
        host,
        (
            (listener, offer)
            for name, listener in listeners(parameters)
            for offer in current_offers(own(host, name, listener), parameters["suites"]).values()
        ),
    )


def tls_served(host: Host, parameters: Parameters) -> Observation:
    """Check that each listener serves what is deployed, over each version of TLS that it speaks.

    ``certificates`` as above; ``suites``: what is offered with TLS 1.2.
    """
    items: list[Item] = []
    for name, listener in listeners(parameters):
        deployed = deployed_certificate(host, name)
        wished = f"serves {name}, {shown(deployed)}" if deployed else f"serves {name}"
        if not deployed:
            items.append(item(str(listener), False, wished, "cannot serve it: nothing is deployed"))
            continue
        offers = current_offers(own(host, name, listener), parameters["suites"])
        visits = {version: visit(host, listener, offer) for version, offer in offers.items()}
        spoken = {version: seen for version, seen in visits.items() if seen.outcome == SPOKE}
        others = {version: seen for version, seen in spoken.items() if seen.certificate != deployed}
        if not spoken:
            first = visits["TLS 1.3"]
            vague = first.outcome in (ABSENT, UNSURE)
            items.append(
                unseen(str(listener), first)
                if vague
                else item(str(listener), False, wished, f"serves nothing: {first.words}")
            )
        for version, seen in others.items():
            items.append(item(str(listener), False, wished, f"serves {shown(seen.certificate)} over {version}"))
        if spoken and not others:
            items.append(item(str(listener), True, wished, "serves it"))
    return observation(items, SOURCE, NOTHING)


def deployed_certificate(host: Host, name: str) -> bytes | None:
    """Return the deployed certificate in DER, None if there is none."""
    text = host.read(f"{STORE}/{name}/current/certificate.pem")
    if text is None:
        return None
    try:
        return ssl.PEM_cert_to_DER_cert(text.strip())
    except ValueError as error:
        raise Unreadable(f"{STORE}/{name}/current/certificate.pem cannot be read: {error}") from error


def shown(certificate: bytes | None) -> str:
    """Return the beginning of a certificate's SHA-256."""
    return hashlib.sha256(certificate or b"").hexdigest()[:SHOWN_DIGITS]


# Who is let in


def tls_client_certificates(host: Host, parameters: Parameters) -> Observation:
    """Check that listeners which require a certificate of clients refuse whoever has none, or one of nobody.

    ``certificates`` as above. The certificate of the host itself must be let in, so that it is no listener that
    refuses everybody.
    """
    guarded = [(name, listener) for name, listener in listeners(parameters) if listener.require_client_certificate]
    if not guarded:
        return observation([], SOURCE, NOBODY_ASKS)
    items: list[Item] = []
    with tls_client.stranger(host) as nobody:
        offers = {
            (listener, who): Offer(own=pair, converse=True)
            for name, listener in guarded
            for who, pair in (
                ("its own certificate", own(host, name, listener)),
                ("no certificate", None),
                ("a certificate of nobody", nobody),
            )
        }
        announce(host, ((listener, offer) for (listener, _who), offer in offers.items()))
        for (listener, who), offer in offers.items():
            seen = visit(host, listener, offer)
            items.append(admission(listener, who, seen, offer.own not in (None, nobody)))
    return observation(items, SOURCE)


def admission(listener: Listener, who: str, seen: Visit, welcome: bool) -> Item:
    """Return whether one client was let in or kept out as it should be."""
    name = f"{listener} a client with {who}"
    if seen.let_in is None:
        told = seen.words or "it refuses the client for another reason, so nobody can see whether it looks at this"
        return Item(name, Verdict.UNKNOWN, "", "", told)
    return item(
        name,
        seen.let_in is welcome,
        "is let in" if welcome else "is refused",
        "is let in" if seen.let_in else "is refused",
    )


# Whom its clients trust


def trusting(host: Host, name: str, listener: Listener) -> Offer:
    """Return the offer of a client that trusts the CAs of a certificate's consumers, and checks the name."""
    return Offer(trust=host.read(f"{STORE}/{name}/trust.pem") or "", own=own(host, name, listener))


def accepted_item(listener: Listener, seen: Visit) -> Item:
    wished = "is accepted by clients"
    if seen.outcome in (ABSENT, UNSURE):
        return unseen(str(listener), seen)
    words = f"is not accepted: {seen.words}" if seen.outcome == DISTRUSTED else f"refuses clients: {seen.words}"
    return item(str(listener), seen.outcome == SPOKE, wished, wished if seen.outcome == SPOKE else words)


WITH_SUITES = {
    "certificates": Parameter("entries", required=True, fields=CERTIFICATE),
    "suites": Parameter("texts", required=True),
}
READERS: Mapping[str, Reader] = {
    "tls_versions": Reader(tls_versions, WITH_SUITES, announce_versions),
    "tls_served": Reader(tls_served, WITH_SUITES, announce_served),
    "tls_client_certificates": Reader(
        tls_client_certificates, {"certificates": Parameter("entries", required=True, fields=CERTIFICATE)}
    ),
}
