# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys, authorized_keys lines and revocations."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd import algorithms, keys, revocation

from .sample_keys import (
    CERTIFICATE,
    ED25519,
    ED25519_FINGERPRINT,
    HOST_CERTIFICATE,
    RSA_2048,
    RSA_2048_FINGERPRINT,
    RSA_HOST_CERTIFICATE,
)


def test_a_key_has_type_size_and_fingerprint() -> None:
    ed25519, rsa = keys.parse_public_key(f"{ED25519} someone here"), keys.parse_public_key(RSA_2048)
    assert (ed25519.type, ed25519.bits, ed25519.fingerprint) == ("ssh-ed25519", 0, ED25519_FINGERPRINT)
    assert (rsa.type, rsa.bits, rsa.fingerprint) == ("ssh-rsa", 2048, RSA_2048_FINGERPRINT)
    assert ed25519.text == ED25519
    assert ed25519.comment == "someone here"
    assert keys.parse_public_key(CERTIFICATE).is_certificate


@given(st.text(max_size=60))
def test_text_that_is_no_key_is_refused_and_never_crashes(text: str) -> None:
    with pytest.raises(keys.InvalidKey):
        keys.parse_public_key(text)


@given(st.sampled_from([ED25519, RSA_2048]), st.data())
def test_a_key_that_is_cut_off_is_refused(key: str, data: st.DataObject) -> None:
    with pytest.raises(keys.InvalidKey):
        keys.parse_public_key(key[: data.draw(st.integers(0, len(key) - 1))])


def test_a_certificate_says_what_it_certifies_for_whom_and_when() -> None:
    host, rsa, user = map(keys.parse_certificate, (HOST_CERTIFICATE, RSA_HOST_CERTIFICATE, CERTIFICATE))
    assert (host.type, host.key.text, host.is_host) == ("ssh-ed25519-cert-v01@openssh.com", ED25519, True)
    assert host.principals == ("web.example.org", "192.0.2.7")
    assert (host.valid_after, host.valid_before) == (0, keys.FOREVER)
    assert (rsa.key.text, rsa.key.bits) == (RSA_2048, 2048)
    assert (rsa.valid_after, rsa.valid_before) == (1767225600, 1798761600)
    assert (user.is_host, user.principals) == (False, ("team",))


@given(st.sampled_from([HOST_CERTIFICATE, RSA_HOST_CERTIFICATE]), st.data())
def test_a_certificate_that_is_cut_off_is_refused(certificate: str, data: st.DataObject) -> None:
    kind, encoded = certificate.split()
    blob = base64.b64decode(encoded)
    for part in (blob[: data.draw(st.integers(0, len(blob) - 1))], blob + b"more"):
        with pytest.raises(keys.InvalidKey):
            keys.parse_certificate(f"{kind} {base64.b64encode(part).decode()}")


@pytest.mark.parametrize("key", [ED25519, RSA_2048])
def test_a_plain_key_is_no_certificate(key: str) -> None:
    with pytest.raises(keys.InvalidKey, match="is no certificate"):
        keys.parse_certificate(key)


def test_authorized_keys_are_read_with_their_options() -> None:
    text = f"""# a comment

{ED25519} plain
from="192.0.2.0/24,!192.0.2.9",no-pty {RSA_2048} bound
command="echo \\"a b\\"" {ED25519} forced
cert-authority,principals="x y" {ED25519}
this is no key
"""
    found = keys.parse_authorized_keys(text)
    assert [entry.key.type for entry in found] == ["ssh-ed25519", "ssh-rsa", "ssh-ed25519", "ssh-ed25519"]
    assert [dict(entry.options) for entry in found] == [
        {},
        {"from": ("192.0.2.0/24,!192.0.2.9",), "no-pty": ("",)},
        {"command": ('echo "a b"',)},
        {"cert-authority": ("",), "principals": ("x y",)},
    ]


@pytest.mark.parametrize(
    ("patterns", "address", "admitted"),
    [
        ("192.0.2.0/24", "192.0.2.7", True),
        ("192.0.2.0/24", "198.51.100.7", False),
        ("192.0.2.*", "192.0.2.7", True),
        ("192.0.2.?", "192.0.2.77", False),
        ("*,!192.0.2.7", "192.0.2.7", False),
        ("!192.0.2.7", "192.0.2.8", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "192.0.2.1", False),
        ("host.example", "192.0.2.1", False),
    ],
)
def test_from_patterns(patterns: str, address: str, admitted: bool) -> None:
    assert keys.address_matches(patterns, address) is admitted


REVOKED: list[dict[str, Any]] = [
    {"serial": 9, "ca": f"{ED25519} ca"},
    {"public_key": f"{RSA_2048} comment"},
    {"key_id": "bob x", "ca": ED25519},
    {"fingerprint": ED25519_FINGERPRINT},
]


def test_a_revocation_list_is_specified_by_ca() -> None:
    plain, by_ca = revocation.sections(REVOKED)
    assert plain == revocation.Section("", (f"hash: {ED25519_FINGERPRINT}", f"key: {RSA_2048}"))
    assert by_ca == revocation.Section(ED25519, ("id: bob x", "serial: 9"))


@given(st.permutations([*REVOKED, REVOKED[1]]))
def test_order_comments_and_doubles_make_no_other_list(revoked: list[dict[str, Any]]) -> None:
    assert revocation.sections(revoked) == revocation.sections(REVOKED)


def test_a_list_is_current_only_with_the_same_content_and_the_same_file() -> None:
    wanted = revocation.sections(REVOKED)
    kept = revocation.record(wanted, "digest")
    assert revocation.is_current(wanted, kept, "digest")
    assert not revocation.is_current(wanted, kept, "other")
    assert not revocation.is_current(revocation.sections(REVOKED[:2]), kept, "digest")
    assert not revocation.is_current(wanted, "", "")


def test_a_key_is_revoked_by_itself_or_by_its_fingerprint() -> None:
    assert revocation.revokes(REVOKED, RSA_2048)
    assert revocation.revokes(REVOKED, ED25519)
    assert not revocation.revokes(REVOKED[:1], ED25519)


NAMES = st.lists(st.sampled_from([f"a{number}" for number in range(9)]), max_size=9)


@given(NAMES, NAMES)
def test_an_intersection_keeps_the_policys_order_and_adds_nothing(wanted: list[str], known: list[str]) -> None:
    expected = [name for name in dict.fromkeys(wanted) if name in known]
    if not expected:
        with pytest.raises(algorithms.NoCommonAlgorithm, match="ssh_ciphers: this OpenSSH knows none of"):
            algorithms.intersect("ciphers", wanted, known)
        return
    assert list(algorithms.intersect("ciphers", wanted, known)) == expected


def test_rsa_keys_sign_with_either_digest() -> None:
    assert algorithms.key_types(["rsa-sha2-512", "ssh-ed25519"]) == {"ssh-rsa", "ssh-ed25519"}
    assert "ssh-rsa-cert-v01@openssh.com" in algorithms.key_types(["rsa-sha2-256-cert-v01@openssh.com"])


@pytest.mark.parametrize("option", ["key_exchange_algorithms", "ciphers", "macs", "host_key_algorithms"])
def test_the_policy_holds_nothing_outdated(option: str) -> None:
    for name in algorithms.DEFAULTS[option]:
        assert not any(mark in name for mark in ("sha1", "cbc", "md5", "ssh-rsa", "ssh-dss", "umac-64", "group14"))
