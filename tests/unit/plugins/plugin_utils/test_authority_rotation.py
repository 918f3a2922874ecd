# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which CA signs and which may be dropped, for every state in which a replacement can stand."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.plugin_utils.authority_rotation import (
    Candidate,
    Decision,
    decide,
    foreign_roots,
    outage,
    under_way,
    unsafe_replacement,
    uses,
)

ISSUER = "internal"


def fingerprint(root: str) -> str:
    return (root * 64)[:64]


def candidate(root: str, key: str = "") -> Candidate:
    return Candidate(fingerprint(root), key or f"key of {root}", f"CN={root}")


A, B, C = candidate("a"), candidate("b"), candidate("c")


def certificate(signer: str, trusted: str, *faults: str, issuer: str = ISSUER, name: str = "web") -> dict[str, Any]:
    return {
        "name": name,
        "issuer": issuer,
        "signer": f"key of {signer}",
        "root": fingerprint(signer[0]),
        "trusted": [{"fingerprint": fingerprint(root), "subject": f"CN={root}"} for root in trusted],
        "faults": list(faults),
    }


def shows(*certificates: dict[str, Any], system: str = "", bundle: str = "") -> dict[str, Any]:
    files = [f"bulwark-{ISSUER}-{fingerprint(root)[:16]}.crt" for root in system]
    bundles = {ISSUER: [{"fingerprint": fingerprint(root), "subject": f"CN={root}"} for root in bundle]}
    return {"certificates": list(certificates), "system_trust": files, "bundles": bundles if bundle else {}}


def decided(candidates: list[Candidate], *hosts: dict[str, Any] | None, system_trust: bool = False) -> Decision:
    """Return the decision for the first host."""
    named = {f"host{number}": host for number, host in enumerate(hosts, 1)}
    return decide(candidates, ISSUER, system_trust, hosts[0], named)


def test_one_root_everywhere_leaves_nothing_to_decide() -> None:
    assert not under_way([A], ISSUER, shows(certificate("a", "a"), system="a"))
    assert not under_way([A], ISSUER, None)
    # A new CA below the same root is trusted already.
    assert not under_way([A, candidate("a", "another key")], ISSUER, shows(certificate("a", "a")))
    assert under_way([A, B], ISSUER, None)
    assert under_way([A], ISSUER, shows(certificate("a", "ab")))
    assert under_way([A], ISSUER, shows(system="ab"))
    assert not under_way([A], ISSUER, shows(certificate("b", "b", issuer="other")))


def test_a_new_ca_signs_once_everybody_trusts_it() -> None:
    both = shows(certificate("a", "ab"))
    assert decided([A, B], both, both) == Decision(1)
    waiting = decided([A, B], both, shows(certificate("a", "a")))
    assert waiting.signer == 0
    assert waiting.waits == ("host2 does not trust it for web",)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (None, "host2 was not observed in this run"),
        (shows(certificate("a", "ab", "web: nginx.service was not shown to use it")), "was not shown to use it"),
        (shows(certificate("a", "ab"), certificate("a", "a", name="client")), "host2 does not trust it for client"),
    ],
)
def test_it_does_not_sign_while_anybody_may_refuse_it(other: Any, words: str) -> None:
    found = decided([A, B], shows(certificate("a", "ab")), other)
    assert found.signer == 0
    assert words in found.waits[0]


def test_the_store_of_the_system_counts_where_it_is_wished() -> None:
    host = shows(certificate("a", "ab"), system="a")
    assert decided([A, B], host, system_trust=True).waits == ("host1 does not trust it in the store of the system",)
    assert decided([A, B], host).signer == 1


def test_hosts_without_certificates_trust_before_they_get_the_first() -> None:
    assert decided([A, B], shows(), shows(certificate("a", "ab"))).signer == 1


def test_a_run_on_some_hosts_does_not_take_back_what_was_signed() -> None:
    assert decided([A, B], shows(certificate("b", "ab")), None).signer == 1


def test_the_order_says_who_shall_sign_so_a_replacement_can_go_back() -> None:
    host = shows(certificate("b", "ab"))
    assert decided([B, A], host, host) == Decision(1)


def test_an_old_ca_is_dropped_once_nothing_chains_to_it() -> None:
    ready = shows(certificate("b", "ab"))
    assert decided([B], ready, ready) == Decision(0)
    # Others may have dropped it already.
    assert decided([B], ready, shows(certificate("b", "b"))) == Decision(0)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (shows(certificate("a", "ab")), "host2 presents what it signed: web"),
        (None, "host2 was not observed"),
        (shows(certificate("b", "ab", "web: [::1]:443 serves another one")), "serves another one"),
        (
            shows(*(certificate("a", "ab", name=f"web{number}") for number in range(7))),
            "host2 presents what it signed: web0, web1, web2, web3, web4 and 2 more)",
        ),
    ],
)
def test_it_is_not_dropped_while_anything_may_chain_to_it(other: Any, words: str) -> None:
    refusals = decided([B], shows(certificate("b", "ab")), other).refusals
    assert len(refusals) == 1
    assert "CN=a cannot be dropped yet (" in refusals[0]
    assert words in refusals[0]


def test_a_client_that_trusts_by_the_system_only_does_not_drop_it_either() -> None:
    client = shows(system="ab")
    assert decided([B], client, shows(certificate("a", "ab")), system_trust=True).refusals
    assert not decided([B], client, shows(certificate("b", "ab"), system="ab"), system_trust=True).refusals


def test_one_step_from_old_to_new_is_refused() -> None:
    host = shows(certificate("a", "a"))
    assert decided([B], host).refusals


def test_who_has_a_bundle_only_counts_too() -> None:
    server = shows(certificate("a", "ab"), bundle="ab")
    assert decided([A, B], server, shows(bundle="a")).waits == ("host2 does not trust it in its bundle",)
    assert decided([A, B], server, shows(bundle="ab")).signer == 1
    assert decided([B], shows(bundle="ab"), server).refusals
    assert foreign_roots([B], ISSUER, shows(bundle="ab")) == {fingerprint("a"): "CN=a"}


def test_long_lists_are_shortened() -> None:
    hosts = [shows(certificate("a", "ab")), *[shows(certificate("a", "a"))] * 40]
    waits = decided([A, B], *hosts).waits[0]
    assert waits.endswith("and 35 more")
    assert waits.count("host") == 5


def test_foreign_roots_have_the_names_that_a_person_knows() -> None:
    assert foreign_roots([B], ISSUER, shows(certificate("b", "ab"), system="a")) == {fingerprint("a"): "CN=a"}


def test_every_host_reaches_the_end_in_every_order_and_nobody_is_refused_on_the_way() -> None:
    """Replay a replacement with hosts that have their turns in any order: peers must trust what each presents."""
    for order in itertools.permutations(range(3)):
        hosts = [{"signer": "a", "trusted": "a"} for _host in range(3)]
        for generations in ([A, B], [A, B], [B]):
            seen = [shows(certificate(host["signer"], host["trusted"])) for host in hosts]
            for turn in order:
                named = {f"host{number}": host for number, host in enumerate(seen)}
                found = decide(generations, ISSUER, False, seen[turn], named)
                assert found.refusals == ()
                hosts[turn] = {
                    "trusted": "".join(entry.subject[-1] for entry in generations),
                    "signer": generations[found.signer].subject[-1],
                }
                for one, other in itertools.product(hosts, hosts):
                    assert one["signer"] in other["trusted"], (order, generations, hosts)
        assert hosts == [{"signer": "b", "trusted": "b"}] * 3


def test_a_stolen_ca_does_not_stay_trusted() -> None:
    assert unsafe_replacement([B], ISSUER, shows(certificate("a", "a"))) == []
    assert unsafe_replacement([B], ISSUER, shows(certificate("b", "b"))) == []
    assert "alone" in unsafe_replacement([A, B], ISSUER, None)[0]
    same_root = unsafe_replacement([candidate("a", "another key")], ISSUER, shows(certificate("a", "a")))
    assert "below another root" in same_root[0]


def test_who_is_interrupted_is_named() -> None:
    wished = {"host1": [{"name": "web", "issuer": ISSUER, "services": [{"unit": "nginx.service"}]}], "host2": []}
    found = outage(ISSUER, {"host1": shows(), "host2": None}, wished)
    assert [line.split(":")[0] for line in found] == ["host1", "host2 was not observed in this run"]
    assert "web (nginx.service)" in found[0]


def test_users_of_an_issuer_are_known_by_their_variables() -> None:
    assert uses([{"issuer": ISSUER}], None, ISSUER)
    assert uses(None, [{"name": ISSUER, "system_trust": True}], ISSUER)
    assert uses(None, [{"name": ISSUER}], ISSUER)
    assert not uses([{"issuer": "other"}], [{"name": "other"}], ISSUER)
