# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From policy and observation to plan, and what sshd shows against what was asked for."""

from __future__ import annotations

import dataclasses
import posixpath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd import (
    algorithms,
    effective,
    grammar,
    keys,
    planner,
    revocation,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd import policy as model
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.planner import Observation, Plan, Refused, plan
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.policy import CONFIG, DROP_IN, FileContent, Policy
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.units import Units, drop_in_path
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.validate import validate_policy

from .sample_keys import ED25519, HOST_CERTIFICATE, RSA_2048, RSA_HOST_CERTIFICATE

STOCK = """# stock
Include /etc/ssh/sshd_config.d/*.conf
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
Subsystem sftp /usr/lib/openssh/sftp-server
"""
KNOWN = model.Capabilities(
    {name: (*names, "something-older") for name, names in algorithms.DEFAULTS.items()},
    frozenset({"usepam", "requiredrsasize", "gssapiauthentication", "persourcemaxstartups", "casignaturealgorithms"}),
)
SERVICE = Units("ssh.service", "ssh.socket", True, False, True, False, main_pid=7, listen=("[::]:22",))
SOCKET = dataclasses.replace(SERVICE, socket_active=True, service_enabled=False, socket_enabled=True)
HOST = Observation(
    files={CONFIG: FileContent(STOCK, 0o644)},
    capabilities=KNOWN,
    units=SERVICE,
    current_ports=(22,),
    host_key_bits={"ed25519": 256, "rsa": 3072, "ecdsa": 256},
    host_public_keys={"ed25519": keys.parse_public_key(ED25519), "rsa": keys.parse_public_key(RSA_2048)},
    connecting_user="admin",
    server_port=22,
)


def policy(**values: Any) -> Policy:
    assert validate_policy(values) == []
    return Policy.of(values)


def carried_out(changes: Plan, seen: Observation) -> Observation:
    """Return the host as it is once the plan is in force."""
    files = {**seen.files, **{path: file for path, file in changes.writes.items() if path.startswith("/etc/ssh")}}
    digest = seen.krl_digest
    if changes.make_krl:
        digest = "digest of the new list"
        files[model.KRL_FILE] = FileContent("", 0o644)
        files[model.KRL_RECORD] = FileContent(revocation.record(changes.krl, digest), 0o644)
    for path in changes.removals:
        files.pop(path, None)
    drop_in = seen.socket_drop_in
    path = drop_in_path(seen.units.socket)
    if path in changes.writes:
        drop_in = changes.writes[path].content
    elif path in changes.removals:
        drop_in = None
    held = changes.switch.to_socket
    return dataclasses.replace(
        seen,
        files=files,
        krl_digest=digest,
        host_key_bits={**seen.host_key_bits, **dict.fromkeys(changes.generate, 4096)},
        units=dataclasses.replace(
            seen.units,
            socket_active=held,
            socket_enabled=held,
            service_enabled=not held,
            listen=tuple(f"[::]:{port}" for port in changes.ports) if held else seen.units.listen,
        ),
        current_ports=changes.ports,
        socket_drop_in=drop_in,
        loaded_at=seen.newest_config,
    )


def drop_in(changes: Plan) -> dict[str, list[str]]:
    """Return the drop-in as a parser sees it."""
    found: dict[str, list[str]] = {}
    for line in grammar.parse(changes.writes[DROP_IN].content):
        if line.keyword:
            found.setdefault(line.keyword, []).extend(line.arguments)
    return found


FOREIGN = st.lists(
    st.sampled_from(
        [
            "Port 22",
            "Port 2222",
            "ListenAddress 192.0.2.1",
            "PermitRootLogin yes",
            "AllowUsers bob",
            "AllowGroups ops",
            "AuthenticationMethods publickey,password",
            "HostKey /etc/ssh/own",
            "X11Forwarding yes",
            "Include /etc/ssh/sshd_config.d/*.conf",
            "Match User bob",
            "# words",
            "",
        ]
    ),
    max_size=8,
).map(lambda lines: "".join(f"{line}\n" for line in lines))
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "ports": st.lists(st.integers(1, 65535), unique=True, min_size=1, max_size=3),
        "listen_addresses": st.lists(st.sampled_from(["192.0.2.1", "2001:db8::1"]), unique=True, max_size=2),
        "socket_activation": st.sampled_from(["keep", "enabled", "disabled"]),
        "permit_root_login": st.sampled_from(["auto", "no", "prohibit-password"]),
        "allow_users": st.lists(st.sampled_from(["admin", "ops*"]), unique=True, max_size=2),
        "allow_groups": st.lists(st.sampled_from(["sudo", "ssh-*"]), unique=True, max_size=2),
        "banner": st.sampled_from(["", "hello", "two\nlines\n"]),
        "main_file": st.booleans(),
        "host_key_types": st.lists(st.sampled_from(["ed25519", "rsa", "ecdsa"]), unique=True, min_size=1, max_size=3),
        "trusted_user_ca_keys": st.just([ED25519]),
        "revoked_keys": st.lists(st.sampled_from([{"public_key": RSA_2048}, {"serial": 3, "ca": ED25519}]), max_size=2),
        "host_certificates": st.just([HOST_CERTIFICATE]),
        "allow_tcp_forwarding": st.booleans(),
        "per_source_penalties": st.just({"crash_seconds": 5}),
    },
)


@given(POLICIES, FOREIGN, FOREIGN, st.sampled_from([SERVICE, SOCKET]), st.sampled_from([256, 0]))
def test_a_plan_that_is_carried_out_leaves_nothing_to_do(
    raw: dict[str, Any], main: str, other: str, units: Units, ed25519: int
) -> None:
    files = {CONFIG: FileContent(main, 0o644), "/etc/ssh/sshd_config.d/50-cloud.conf": FileContent(other, 0o600)}
    bits = {"ed25519": ed25519, "rsa": 2048}
    public = HOST.host_public_keys if ed25519 else {}
    seen = dataclasses.replace(HOST, files=files, units=units, host_key_bits=bits, host_public_keys=public)
    offered = set(raw.get("host_key_types", ["ed25519", "rsa"])) - {"rsa"}
    refusal = "" if offered else "ssh_host_key_types"
    if offered and "host_certificates" in raw and not (ed25519 and "ed25519" in offered):
        refusal = "ssh_host_certificates"
    if refusal:
        with pytest.raises(Refused, match=refusal):
            plan(policy(**raw), seen)
        return
    changes = plan(policy(**raw), seen)
    after = carried_out(changes, seen)
    again = plan(policy(**raw), after)
    assert again.is_empty, (again.writes, again.removals, again.switch)
    assert again.ports == changes.ports


@given(POLICIES, FOREIGN, FOREIGN)
def test_a_policy_that_asks_for_nothing_of_the_kind_gives_foreign_files_back(
    raw: dict[str, Any], main: str, other: str
) -> None:
    """After a policy of any kind, one without lists and main_file leaves no trace in files of others but ports."""
    path = "/etc/ssh/sshd_config.d/50-cloud.conf"
    files = {CONFIG: FileContent(main, 0o644), path: FileContent(other, 0o600)}
    left_out = ("ports", "socket_activation", "host_key_types")
    raw = {name: value for name, value in raw.items() if name not in left_out}
    first = plan(policy(**raw), dataclasses.replace(HOST, files=files))
    after = carried_out(first, dataclasses.replace(HOST, files=files))
    second = plan(policy(), after)
    plain = plan(policy(), dataclasses.replace(HOST, files=files))
    final, expected = carried_out(second, after), carried_out(plain, dataclasses.replace(HOST, files=files))
    assert final.files[CONFIG] == expected.files[CONFIG]
    assert final.files[path] == expected.files[path]
    assert grammar.restore(final.files[CONFIG].content) == main


def test_a_fresh_host_gets_a_drop_in_and_a_banner_and_keeps_its_main_file() -> None:
    changes = plan(policy(), HOST)
    assert set(changes.writes) == {DROP_IN, model.BANNER_FILE}
    assert changes.removals == ()
    assert (changes.ports, changes.ports_to_prove) == ((22,), ())
    found = drop_in(changes)
    assert found["passwordauthentication"] == ["no"]
    assert found["disableforwarding"] == ["yes"]
    assert "port" not in found
    assert "something-older" not in str(found)


def test_keywords_that_this_sshd_does_not_know_are_left_out_and_reported() -> None:
    old = dataclasses.replace(KNOWN, keywords=frozenset({"usepam"}))
    changes = plan(policy(per_source_penalties={"crash_seconds": 9}), dataclasses.replace(HOST, capabilities=old))
    assert not {"requiredrsasize", "persourcepenalties"} & set(drop_in(changes))
    assert any("does not know persourcepenalties" in note for note in changes.notes)


def test_an_unknown_algorithm_is_left_out_and_an_empty_rest_is_refused() -> None:
    changes = plan(policy(ciphers=["aes256-ctr", "future-cipher"]), HOST)
    assert drop_in(changes)["ciphers"] == ["aes256-ctr"]
    with pytest.raises(algorithms.NoCommonAlgorithm, match="ssh_ciphers"):
        plan(policy(ciphers=["future-cipher"]), HOST)


@pytest.mark.parametrize(
    ("changes", "wish", "expected"),
    [
        ({}, {}, "no"),
        ({"root_has_key": True}, {}, "prohibit-password"),
        ({"root_has_key": True, "root_login": "yes"}, {}, "prohibit-password"),
        ({"root_has_key": True, "root_login": "no"}, {}, "no"),
        ({"root_login": "forced-commands-only"}, {}, "forced-commands-only"),
        ({"connecting_user": "root"}, {}, "prohibit-password"),
        ({"root_login": "no"}, {"administrators": ["root"]}, "prohibit-password"),
        ({"connecting_user": "root"}, {"permit_root_login": "no"}, "no"),
    ],
)
def test_root_keeps_an_access_that_works_and_gets_none_that_does_not(
    changes: dict[str, Any], wish: dict[str, Any], expected: str
) -> None:
    made = plan(policy(**wish), dataclasses.replace(HOST, **changes))
    assert drop_in(made)["permitrootlogin"] == [expected]


def test_foreign_lines_that_sshd_would_add_up_are_replaced_only_where_the_policy_speaks() -> None:
    main = FileContent(STOCK + "Port 2222\nAllowUsers bob\nMatch User eve\nAllowUsers eve\n", 0o644)
    seen = dataclasses.replace(HOST, files={CONFIG: main})
    silent = plan(policy(), seen)
    assert CONFIG not in silent.writes
    spoken = plan(policy(ports=[22], allow_users=["admin"]), seen).writes[CONFIG].content
    assert f"{grammar.REPLACED}Port 2222\n" in spoken
    assert f"{grammar.REPLACED}AllowUsers bob\n" in spoken
    assert spoken.endswith("Match User eve\nAllowUsers eve\n")


def test_an_operators_second_factor_is_not_taken_away() -> None:
    main = FileContent(STOCK + "AuthenticationMethods publickey,password\n", 0o644)
    changes = plan(policy(), dataclasses.replace(HOST, files={CONFIG: main}))
    assert CONFIG not in changes.writes
    assert "authenticationmethods" not in drop_in(changes)


def test_a_main_file_that_reads_the_drop_ins_too_late_reads_them_first() -> None:
    main = FileContent("PermitRootLogin yes\nInclude /etc/ssh/sshd_config.d/*.conf\n", 0o600)
    written = plan(policy(), dataclasses.replace(HOST, files={CONFIG: main})).writes[CONFIG]
    settings = [(line.keyword, line.arguments) for line in grammar.parse(written.content) if line.keyword]
    assert settings == [("include", (grammar.DROP_IN_GLOB,)), ("permitrootlogin", ("yes",))]
    assert written.mode == 0o600


def test_the_main_file_repeats_the_keywords_before_any_match_block() -> None:
    main = FileContent(STOCK + "Match User eve\nX11Forwarding yes\n", 0o644)
    written = plan(policy(main_file=True), dataclasses.replace(HOST, files={CONFIG: main})).writes[CONFIG].content
    lines = [line for line in grammar.parse(written) if line.keyword]
    assert lines[0].keyword == "include"
    by_keyword = {line.keyword: line for line in lines if line.is_global}
    assert by_keyword["x11forwarding"].arguments == ("no",)
    assert by_keyword["subsystem"].arguments == ("sftp", "/usr/lib/openssh/sftp-server")
    assert "hostkey" not in by_keyword
    assert len([line for line in lines if line.keyword == "x11forwarding" and line.is_global]) == 1


def test_ports_to_prove_are_new_ones_or_all_when_the_present_one_goes() -> None:
    assert plan(policy(ports=[22, 2222]), HOST).ports_to_prove == (2222,)
    assert plan(policy(ports=[2222]), HOST).ports_to_prove == (2222,)
    two = dataclasses.replace(HOST, current_ports=(22, 2222), server_port=2222)
    assert plan(policy(ports=[2222]), two).ports_to_prove == ()
    assert plan(policy(ports=[22]), two).ports_to_prove == (22,)


def test_ports_that_the_policy_no_longer_names_stay_as_they_are() -> None:
    after = carried_out(plan(policy(ports=[2222]), HOST), HOST)
    assert plan(policy(), after).is_empty
    assert plan(policy(), after).ports == (2222,)


def test_a_port_of_another_program_is_refused() -> None:
    seen = dataclasses.replace(HOST, taken_ports=frozenset({22, 8080}))
    with pytest.raises(Refused, match="ssh_ports: another program listens on port 8080 already"):
        plan(policy(ports=[22, 8080]), seen)
    plan(policy(ports=[22]), seen)


def test_a_foreign_address_with_a_port_of_its_own_is_refused() -> None:
    main = FileContent(STOCK + "ListenAddress 192.0.2.1:2200\n", 0o644)
    seen = dataclasses.replace(HOST, files={CONFIG: main})
    with pytest.raises(Refused, match=r"sshd_config line 7 gives ListenAddress 192\.0\.2\.1:2200 a port of its own"):
        plan(policy(ports=[22]), seen)
    plan(policy(ports=[22], listen_addresses=["192.0.2.1"]), seen)
    plan(policy(), seen)


@pytest.mark.parametrize("text", ['Banner "open\n', "Port 22\n-- what\n", f"{grammar.BEGIN}\nPort 22\n"])
def test_a_file_that_cannot_be_read_is_named(text: str) -> None:
    path = "/etc/ssh/sshd_config.d/50-by-hand.conf"
    seen = dataclasses.replace(HOST, files={**HOST.files, path: FileContent(text, 0o600)})
    with pytest.raises(Refused, match=r"50-by-hand\.conf: sshd could not read this file"):
        plan(policy(), seen)


def test_our_own_drop_in_may_be_broken_and_is_repaired() -> None:
    seen = dataclasses.replace(HOST, files={**HOST.files, DROP_IN: FileContent('Banner "open', 0o644)})
    assert plan(policy(), seen).writes[DROP_IN].mode == 0o600


def test_host_keys_are_generated_when_missing_and_dropped_when_weak() -> None:
    changes = plan(policy(), dataclasses.replace(HOST, host_key_bits={"rsa": 2048}))
    assert changes.generate == ("ed25519",)
    assert drop_in(changes)["hostkey"] == ["/etc/ssh/ssh_host_ed25519_key"]
    assert any("ssh_host_rsa_key has 2048 bits" in note for note in changes.notes)
    with pytest.raises(Refused, match="no host key is left to offer"):
        plan(policy(host_key_types=["rsa"]), dataclasses.replace(HOST, host_key_bits={"rsa": 2048}))


def test_files_of_ours_that_nothing_asks_for_are_removed() -> None:
    stale = f"{model.PRINCIPALS_DIRECTORY}/bob"
    files = {**HOST.files, stale: FileContent("team\n", 0o644), model.KRL_FILE: FileContent("", 0o644)}
    assert plan(policy(), dataclasses.replace(HOST, files=files)).removals == (stale, model.KRL_FILE)


def test_a_running_sshd_that_is_older_than_its_files_is_reloaded() -> None:
    after = carried_out(plan(policy(), HOST), HOST)
    edited = dataclasses.replace(after, newest_config=100, loaded_at=99)
    assert plan(policy(), edited).stale
    assert not plan(policy(), dataclasses.replace(edited, loaded_at=100)).stale
    assert not plan(policy(), dataclasses.replace(edited, loaded_at=0)).stale


def test_socket_activation_needs_a_socket_unit() -> None:
    seen = dataclasses.replace(HOST, units=dataclasses.replace(SERVICE, socket=""))
    with pytest.raises(Refused, match=r"has no ssh\.socket"):
        plan(policy(socket_activation="enabled"), seen)


def test_a_change_of_mode_carries_the_ports_along() -> None:
    moved = dataclasses.replace(HOST, current_ports=(2222,))
    to_socket = plan(policy(socket_activation="enabled"), moved)
    assert "ListenStream=2222\n" in to_socket.writes[drop_in_path("ssh.socket")].content
    held = carried_out(to_socket, moved)
    back = plan(policy(socket_activation="disabled"), held)
    assert drop_in(back)["port"] == ["2222"]
    assert drop_in_path("ssh.socket") in back.removals


def test_the_difference_shows_files_actions_and_no_host_key() -> None:
    seen = dataclasses.replace(HOST, host_key_bits={})
    raw = {"revoked_keys": [{"public_key": RSA_2048}], "socket_activation": "enabled"}
    entries = planner.differences(plan(policy(**raw), seen), seen)
    shown = {posixpath.basename(entry["after_header"]): entry["after"] for entry in entries}
    assert "00-bulwark.conf" in shown
    for action in ("generate /etc/ssh/ssh_host_ed25519_key", "enable ssh.socket", "revoke key: ssh-rsa"):
        assert action in shown["sshd"]
    assert "PRIVATE" not in str(entries)


def shown(changes: Plan) -> dict[str, list[str]]:
    """Return what ``sshd -T`` prints for the plan's own settings."""
    output = "".join(f"{line.name} {' '.join(line.expected())}\n" for line in changes.lines)
    return effective.parse(output)


def test_a_policy_in_force_shows_no_difference_and_each_loss_is_found() -> None:
    changes = plan(policy(allow_groups=["sudo", "ops"], deny_users=["eve"]), HOST)
    config = shown(changes)
    assert effective.differences(changes.lines, config) == []
    for keyword in config:
        weakened = {**config, keyword: ["something-else"]}
        assert keyword in [found[0] for found in effective.differences(changes.lines, weakened)]
    more = {**config, "denyusers": ["eve", "mallory"]}
    assert effective.differences(changes.lines, more) == []
    wider = {**config, "allowgroups": ["sudo", "ops", "users"]}
    assert [found[0] for found in effective.differences(changes.lines, wider)] == ["allowgroups"]


def test_ports_and_addresses_count_only_where_sshd_listens_itself() -> None:
    changes = plan(policy(ports=[22], listen_addresses=["2001:db8::1", "192.0.2.1"]), HOST)
    config = {**shown(changes), "listenaddress": ["[2001:db8::1]:22", "192.0.2.1:22"]}
    assert effective.differences(changes.lines, config) == []
    other = {**config, "listenaddress": ["[::]:2222"]}
    assert [found[0] for found in effective.differences(changes.lines, other)] == ["port", "listenaddress"]
    assert effective.differences(changes.lines, other, listening=False) == []


NEW_YEAR = 1798761600


@pytest.mark.parametrize(
    ("values", "seen", "message"),
    [
        (
            {"host_key_types": ["rsa"]},
            HOST,
            r"ssh_host_certificates\[0\]: it is for the key SHA256:Buqr.*CA sign /etc/ssh/ssh_host_rsa_key.pub",
        ),
        (
            {},
            dataclasses.replace(HOST, host_public_keys={"ed25519": keys.PublicKey("ssh-ed25519", b"another")}),
            r"which this host does not offer; have the CA sign /etc/ssh/ssh_host_ed25519_key.pub of this host",
        ),
        (
            {"host_key_types": ["ed25519"]},
            dataclasses.replace(HOST, host_key_bits={}, host_public_keys={}),
            r"which this host does not offer; have the CA sign /etc/ssh/ssh_host_ed25519_key.pub of this host",
        ),
        ({"host_key_algorithms": ["ssh-ed25519"]}, HOST, "ssh_host_key_algorithms has nothing for ssh-ed25519-cert"),
        (
            {"host_certificates": [RSA_HOST_CERTIFICATE]},
            dataclasses.replace(HOST, now=NEW_YEAR),
            "it expired at 2027-01-01T00:00:00Z, so clients refuse it; have the CA sign a new one",
        ),
        (
            {"host_certificates": [RSA_HOST_CERTIFICATE]},
            HOST,
            "it is not valid before 2026-01-01T00:00:00Z, and this host's clock says 1970-01-01T00:00:00Z",
        ),
    ],
)
def test_a_host_certificate_that_would_do_nothing_is_refused(
    values: dict[str, Any], seen: Observation, message: str
) -> None:
    with pytest.raises(Refused, match=message):
        plan(policy(**{"host_certificates": [HOST_CERTIFICATE], **values}), seen)


def test_a_host_certificate_that_expired_in_place_is_warned_about_and_keeps_the_policy_working() -> None:
    wished = policy(host_certificates=[RSA_HOST_CERTIFICATE, HOST_CERTIFICATE])
    valid = dataclasses.replace(HOST, now=NEW_YEAR - 1)
    changes = plan(wished, valid)
    assert changes.warnings == ()
    assert drop_in(changes)["hostcertificate"] == [
        "/etc/ssh/bulwark/host_rsa-cert.pub",
        "/etc/ssh/bulwark/host_ed25519-cert.pub",
    ]
    later = plan(wished, dataclasses.replace(carried_out(changes, valid), now=NEW_YEAR))
    assert later.is_empty
    (warning,) = later.warnings
    assert warning.startswith("ssh_host_certificates[0]: it expired at 2027-01-01")


@pytest.mark.parametrize("wish", ["keep", "enabled", "disabled"])
def test_limits_that_a_process_for_each_connection_cannot_keep_are_warned_about(wish: str) -> None:
    each = dataclasses.replace(HOST, units=dataclasses.replace(SOCKET, accept=True))
    warned = any("Accept=yes" in warning for warning in plan(policy(socket_activation=wish), each).warnings)
    assert warned == (wish != "disabled")
    shared = plan(policy(socket_activation=wish), dataclasses.replace(HOST, units=SOCKET))
    assert shared.warnings == ()
