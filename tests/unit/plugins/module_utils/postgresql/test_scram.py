# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.postgresql import scram

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
# The exchange that RFC 7677, section 3, prints for the password "pencil".
SAID = (
    "n=user,r=rOprNGfwEbeRWgbNEkqO",
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
)
PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_verifier_accepts_the_proof_of_the_standard_and_answers_as_it_does() -> None:
    keys = scram.verifier("pencil", SALT, 4096).rpartition("$")[2]
    stored_key, server_key = (base64.b64decode(key) for key in keys.split(":"))
    message = ",".join(SAID).encode()
    assert base64.b64encode(hmac.digest(server_key, message, "sha256")).decode() == SERVER_SIGNATURE
    signature = hmac.digest(stored_key, message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(base64.b64decode(PROOF), signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key


def test_each_verifier_has_a_salt_of_its_own() -> None:
    assert scram.verifier("word") != scram.verifier("word")


@given(st.text(max_size=30))
def test_a_verifier_matches_its_password_only(password: str) -> None:
    made = scram.verifier(password, SALT, 1)
    assert scram.is_verifier(made)
    assert scram.matches(made, password)
    assert not scram.matches(made, password + "x")


@pytest.mark.parametrize(
    ("one", "other"),
    [("\u00aa", "a"), ("I\u00adX", "IX"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
    ids=["compatibility", "soft-hyphen", "roman", "no-break-space"],
)
def test_passwords_that_look_alike_are_the_same_one(one: str, other: str) -> None:
    # RFC 4013, section 3, and table C.1.2 of RFC 3454.
    assert scram.prepared(one) == scram.prepared(other)


@pytest.mark.parametrize("password", ["\u0627\u0031", "a\u0627", "\u0221x", "\u00ad", "\u00e9\u0007", "\ue000"])
def test_what_the_standard_prohibits_is_hashed_as_it_is(password: str) -> None:
    assert scram.prepared(password) == password.encode()


@pytest.mark.parametrize(
    "text",
    ["", "word", "md5" + 32 * "0", "SCRAM-SHA-256$4096:x", "SCRAM-SHA-256$0:!!!!$" + 43 * "A" + "=:" + 43 * "A" + "="],
)
def test_a_text_that_is_no_verifier_matches_nothing(text: str) -> None:
    assert not scram.is_verifier(text)
    assert not scram.matches(text, "word")
