# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw policies that must be refused on the controller, each with a path and what is accepted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd import grammar
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.options import POLICY
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.policy import (
    Capabilities,
    Policy,
    own_files,
    settings,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.validate import validate_policy

from .sample_keys import CERTIFICATE, HOST_CERTIFICATE

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEG9XOwL4/N0jZ0R82x9W8JoReDQHQbOjz6rt2vR5qOF someone"
KNOWN = Capabilities(
    {
        name: tuple(spec["default"])
        for name, spec in POLICY.items()
        if name.endswith("algorithms") or name in ("ciphers", "macs")
    },
    frozenset({"usepam", "requiredrsasize", "persourcepenalties", "persourcepenaltyexemptlist"}),
)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"prots": [22]}, r"ssh_prots: there is no such option; accepted are"),
    ({"ports": [70000]}, r"ssh_ports\[0\]: 70000 is not a port; accepted are 1 to 65535"),
    ({"ports": [22, 0]}, r"ssh_ports\[1\]: 0 is not a port"),
    ({"ports": [22, 22]}, r"ssh_ports\[1\]: port 22 is listed twice"),
    ({"ports": 22}, r"ssh_ports: 22 is not a list"),
    ({"ports": ["ssh"]}, r"ssh_ports\[0\]: 'ssh' is not a whole number"),
    ({"ports": [True]}, r"ssh_ports\[0\]: True is not a whole number"),
    ({"listen_addresses": ["192.0.2.1:22"]}, r"ssh_listen_addresses\[0\]: .* is not an IPv4 or IPv6 address"),
    ({"listen_addresses": ["host"]}, r"ssh_listen_addresses\[0\]: 'host' is not an IPv4"),
    ({"socket_activation": "maybe"}, r"ssh_socket_activation: 'maybe' is not one of keep, enabled, disabled"),
    ({"administrators": ["a b"]}, r"ssh_administrators\[0\]: 'a b' is not a user name"),
    ({"administrators": ["admin\nPermitRootLogin yes"]}, r"ssh_administrators\[0\]: .* is not a user name"),
    ({"permit_root_login": "yes"}, r"ssh_permit_root_login: 'yes' is not one of auto, no, prohibit-password"),
    ({"permit_root_login": True}, r"ssh_permit_root_login: True is not text"),
    ({"allow_users": ["a, b"]}, r"ssh_allow_users\[0\]: 'a, b' is not a name pattern such as admin"),
    ({"allow_groups": ["ops@192.0.2.1"]}, r"ssh_allow_groups\[0\]: .* is not a name pattern such as ssh-users"),
    ({"deny_users": ["#all"]}, r"ssh_deny_users\[0\]: '#all' is not a name pattern"),
    ({"deny_groups": [""]}, r"ssh_deny_groups\[0\]: '' is not a name pattern"),
    ({"password_authentication": "perhaps"}, r"ssh_password_authentication: 'perhaps' is not true or false"),
    ({"authentication_methods": ["publickey,pin"]}, r"ssh_authentication_methods\[0\]: .* is not a comma-separated"),
    (
        {"authentication_methods": ["publickey,password"]},
        r"ssh_authentication_methods\[0\]: password is demanded but ssh_password_authentication is false",
    ),
    ({"max_auth_tries": 0}, r"ssh_max_auth_tries: 0 is outside 1 to 20 tries"),
    ({"max_sessions": "many"}, r"ssh_max_sessions: 'many' is not a whole number"),
    ({"max_startups": "10"}, r"ssh_max_startups: '10' is not START:PERCENT:FULL"),
    ({"max_startups": "50:30:10"}, r"ssh_max_startups: 50:30:10 needs START from 1 to FULL"),
    ({"login_grace_seconds": 0}, r"ssh_login_grace_seconds: 0 is outside 10 to 600 seconds"),
    ({"client_alive_count_max": -1}, r"ssh_client_alive_count_max: -1 is outside 0 to 100"),
    ({"required_rsa_bits": 1024}, r"ssh_required_rsa_bits: 1024 is outside 2048 to 16384 bits"),
    ({"window_seconds": 5}, r"ssh_window_seconds: 5 is outside 30 to 600 seconds"),
    ({"window_seconds": 60, "confirm_seconds": 40}, r"ssh_confirm_seconds: 40 .* set ssh_window_seconds to 80 or more"),
    ({"confirm_logins": 99}, r"ssh_confirm_logins: 99 is outside 0 to 20"),
    ({"per_source_penalties": {"crash": 1}}, r"ssh_per_source_penalties\.crash: there is no such option"),
    ({"per_source_penalties": {"crash_seconds": -1}}, r"ssh_per_source_penalties\.crash_seconds: -1 is outside"),
    (
        {"per_source_penalties": {"exempt_sources": ["here"]}},
        r"ssh_per_source_penalties\.exempt_sources\[0\]: 'here' is not an address or CIDR",
    ),
    ({"log_level": "QUIET"}, r"ssh_log_level: 'QUIET' is not one of INFO, VERBOSE, DEBUG"),
    ({"banner": "a\x1b[2Jb"}, r"ssh_banner: the text holds a control character"),
    ({"banner": "x" * 5000}, r"ssh_banner: the text has 5000 characters; at most 4096"),
    ({"ciphers": []}, r"ssh_ciphers: the list is empty"),
    ({"ciphers": ["+aes128-cbc"]}, r"ssh_ciphers\[0\]: '\+aes128-cbc' is not the name of an algorithm"),
    ({"macs": ["a,b"]}, r"ssh_macs\[0\]: 'a,b' is not the name of an algorithm"),
    ({"host_key_types": []}, r"ssh_host_key_types: sshd needs at least one of"),
    ({"host_key_types": ["dsa"]}, r"ssh_host_key_types\[0\]: 'dsa' is not one of ed25519, rsa, ecdsa"),
    ({"trusted_user_ca_keys": ["ssh-ed25519 AAAA"]}, r"ssh_trusted_user_ca_keys\[0\]: not a public key: .* cut off"),
    ({"trusted_user_ca_keys": ["nonsense"]}, r"ssh_trusted_user_ca_keys\[0\]: not a public key: expected one line"),
    ({"trusted_user_ca_keys": [f"{KEY}\n{KEY}"]}, r"ssh_trusted_user_ca_keys\[0\]: not a public key: expected one"),
    ({"trusted_user_ca_keys": ["ssh-rsa " + KEY.split()[1]]}, r"does not say ssh-rsa inside"),
    (
        {"host_certificates": [KEY]},
        r"ssh_host_certificates\[0\]: not a host certificate: ssh-ed25519 is no",
    ),
    ({"host_certificates": [CERTIFICATE]}, r"ssh_host_certificates\[0\]: this is the certificate of a user"),
    (
        {"host_certificates": [HOST_CERTIFICATE, HOST_CERTIFICATE]},
        r"ssh_host_certificates\[1\]: a second ssh-ed25519-cert-v01@openssh.com",
    ),
    ({"trusted_user_ca_keys": [CERTIFICATE]}, r"ssh_trusted_user_ca_keys\[0\]: .* is a certificate"),
    (
        {"authorized_principals": [{"user": "a", "principals": ["p"]}]},
        r"ssh_authorized_principals: principals need a CA in ssh_trusted_user_ca_keys",
    ),
    (
        {"trusted_user_ca_keys": [KEY], "authorized_principals": [{"user": "../a", "principals": ["p"]}]},
        r"ssh_authorized_principals\[0\]\.user: '\.\./a' is not a user name",
    ),
    (
        {"trusted_user_ca_keys": [KEY], "authorized_principals": [{"user": "a", "principals": ['from="x" p']}]},
        r"ssh_authorized_principals\[0\]\.principals\[0\]: .* is not a principal",
    ),
    ({"authorized_principals": [{"principals": ["p"]}]}, r"ssh_authorized_principals\[0\]: user is missing"),
    ({"revoked_keys": [{}]}, r"ssh_revoked_keys\[0\]: give exactly one of"),
    ({"revoked_keys": [{"serial": 1}]}, r"ssh_revoked_keys\[0\]: serial needs ca"),
    ({"revoked_keys": [{"serial": 0, "ca": KEY}]}, r"ssh_revoked_keys\[0\]\.serial: 0 is not the serial number"),
    ({"revoked_keys": [{"public_key": KEY, "ca": KEY}]}, r"ssh_revoked_keys\[0\]\.ca: only serial and key_id"),
    ({"revoked_keys": [{"fingerprint": "MD5:00"}]}, r"ssh_revoked_keys\[0\]\.fingerprint: 'MD5:00' is not SHA256:"),
    ({"revoked_keys": [{"key_id": "a\nid: b", "ca": KEY}]}, r"ssh_revoked_keys\[0\]\.key_id: .* is not the key id"),
    ({"revoked_keys": [KEY]}, r"ssh_revoked_keys\[0\]: .* is not a dict"),
]


@pytest.mark.parametrize(("policy", "message"), BAD)
def test_a_bad_policy_is_refused_with_its_path(policy: dict[str, Any], message: str) -> None:
    problems = validate_policy(policy)
    assert len(problems) == 1, problems
    assert re.search(message, problems[0]), problems[0]


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"ports": ["22", 2222], "listen_addresses": ["::1", "192.0.2.1"]},
        {"allow_users": ["admin", "ops*@192.0.2.0/24", "svc_?"], "allow_groups": ["ssh-*"]},
        {"password_authentication": "yes", "authentication_methods": ["publickey,password", "publickey"]},
        {"trusted_user_ca_keys": [KEY], "authorized_principals": [{"user": "a", "principals": ["team:ops", "x@y"]}]},
        {"revoked_keys": [{"public_key": KEY}, {"serial": 7, "ca": KEY}, {"key_id": "bob smith", "ca": KEY}]},
        {"ports": None, "transaction": None, "operation": "apply"},
    ],
)
def test_a_good_policy_is_accepted(policy: dict[str, Any]) -> None:
    assert validate_policy(policy) == []


def test_every_problem_is_named_at_once() -> None:
    assert len(validate_policy({"ports": [0], "max_sessions": 0, "banner": 3})) == 3


TEXT = st.text(max_size=30)
HOSTILE = st.fixed_dictionaries(
    {},
    optional={
        "allow_users": st.lists(TEXT, max_size=2),
        "allow_groups": st.lists(TEXT, max_size=2),
        "deny_users": st.lists(TEXT, max_size=2),
        "listen_addresses": st.lists(TEXT, max_size=2),
        "authentication_methods": st.lists(TEXT, max_size=2),
        "max_startups": TEXT,
        "banner": TEXT,
        "ciphers": st.lists(TEXT, max_size=2),
        "ports": st.lists(st.one_of(TEXT, st.integers()), max_size=2),
        "per_source_penalties": st.dictionaries(TEXT, TEXT, max_size=2),
    },
)


@given(st.one_of(HOSTILE, st.dictionaries(st.sampled_from(sorted(POLICY)), st.one_of(TEXT, st.none(), st.integers()))))
def test_what_is_accepted_cannot_add_a_line_to_the_configuration(raw: dict[str, Any]) -> None:
    """Whatever validation lets through becomes exactly the keywords that the policy has."""
    if validate_policy(raw):
        return
    policy = Policy.of({**raw, "ciphers": None})
    lines = settings(policy, KNOWN, "no", ["/etc/ssh/ssh_host_ed25519_key"], policy.ports)
    (text,) = (file.content for path, file in own_files(policy, lines).items() if path.endswith("00-bulwark.conf"))
    parsed = [line for line in grammar.parse(text) if line.keyword]
    assert [(line.keyword, line.arguments) for line in parsed] == [(line.name, line.arguments) for line in lines]
