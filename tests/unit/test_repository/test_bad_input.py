# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml with a bad value: the message names path, value and what is accepted, and no host is touched.

One real run of ansible-playbook has one host for each bad value. Their ssh is a program that refuses, so that nothing
leaves this machine; whether it was called at all is what is counted.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest

from .repository import ROOT

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEG9XOwL4/N0jZ0R82x9W8JoReDQHQbOjz6rt2vR5qOF someone"
Variables = dict[str, t.Any]


def rule(**values: t.Any) -> Variables:
    return {"name": "web", "ports": [443], **values}


def waiver(**values: t.Any) -> Variables:
    return {"control": "OS-17", "owner": "network team", "reason": "noise", "expires": "2999-12-31", **values}


def certificate(**values: t.Any) -> Variables:
    files = {"certificate_file": "a.pem", "key_file": "a.key"}
    return {"name": "web", "issuer": "brought", "names": ["www.example.org"], **files, **values}


def acme(**values: t.Any) -> Variables:
    challenge = {"kind": "http", "webroot": "/var/www/acme"}
    return {"name": "public", "kind": "acme", "directory": "https://a.example.org/", "challenge": challenge, **values}


def login_rule(**values: t.Any) -> Variables:
    return {"databases": ["a"], "users": ["a"], "addresses": ["192.0.2.1"], **values}


def pool(**values: t.Any) -> Variables:
    return {"databases": [{"name": "a"}], "users": ["a"], "client_tls_certificate": "a", **values}


BROUGHT: Variables = {"tls_issuers": [{"name": "brought", "kind": "files"}]}


# (variables, the path that the message begins with, the value as it is shown, what is accepted)
BAD: list[tuple[Variables, str, str, str]] = [
    ({"firewall_backend": "iptables"}, "firewall_backend", "'iptables'", "accepted are ufw, firewalld"),
    ({"firewall_rules": "none"}, "firewall_rules", "'none'", "is not a list"),
    ({"firewall_rules": {"name": "web"}}, "firewall_rules", "{'name': 'web'}", "is not a list"),
    ({"firewall_rules": ["https"]}, "firewall_rules[0]", "'https'", "accepted is a dictionary with the keys name"),
    ({"firewall_group_rules": [{"ports": [1]}]}, "firewall_group_rules[0].name", "None", "accepted are 1 to 64 of"),
    ({"firewall_host_rules": [rule(name="a/b")]}, "firewall_host_rules[0].name", "'a/b'", "accepted are 1 to 64 of"),
    ({"firewall_rules": [rule(name="management")]}, "firewall_rules[0].name", '"management"', "choose another"),
    ({"firewall_rules": [rule(port=1)]}, "firewall_rules[0].port", "unknown key", "accepted are name, direction"),
    ({"firewall_rules": [rule(direction="up")]}, "firewall_rules[0].direction", "'up'", "accepted are in, out"),
    ({"firewall_rules": [rule(action="accept")]}, "firewall_rules[0].action", "'accept'", "accepted are allow, deny"),
    ({"firewall_rules": [rule(protocol="icmp")]}, "firewall_rules[0].protocol", "'icmp'", "accepted are tcp, udp"),
    ({"firewall_rules": [rule(ports=443)]}, "firewall_rules[0].ports", "443", "write [443]"),
    ({"firewall_rules": [rule(ports=[1, 70000])]}, "firewall_rules[0].ports[1]", "70000", "accepted are 1 to 65535"),
    ({"firewall_rules": [rule(ports=["https"])]}, "firewall_rules[0].ports[0]", "https", "accepted are 1 to 65535"),
    ({"firewall_rules": [rule(ports=["9-8"])]}, "firewall_rules[0].ports[0]", "9-8", 'write "8-9"'),
    ({"firewall_rules": [rule(protocol="esp")]}, "firewall_rules[0].ports", "'esp'", "set protocol to tcp or udp"),
    (
        {"firewall_group_rules": [{"name": "a"}, {"name": "b"}, rule(sources=["10.0.0.300"])]},
        "firewall_group_rules[2].sources[0]",
        "10.0.0.300",
        'accepted are "192.0.2.1"',
    ),
    (
        {"firewall_rules": [rule()], "firewall_host_rules": [rule(name="x", sources=["10.0.0.1/8"])]},
        "firewall_host_rules[0].sources[0]",
        "10.0.0.1/8",
        "write 10.0.0.0/8",
    ),
    (
        {"firewall_dependent_rules": [rule(sources=["group:nobody"])]},
        "firewall_dependent_rules[0].sources",
        "'nobody'",
        "known are all",
    ),
    (
        {"firewall_group_rules": [rule(), rule(name="x", destinations=["group:empty"])]},
        "firewall_group_rules[1].destinations",
        "'empty'",
        "has no host",
    ),
    (
        {"firewall_rules": [rule()], "firewall_group_rules": [rule()]},
        "firewall_group_rules[0].name",
        '"web"',
        "also the name of firewall_rules[0]",
    ),
    ({"firewall_rules": [rule(interface="eth0;")]}, "firewall_rules[0].interface", "'eth0;'", "at most 15 characters"),
    ({"firewall_rules": [rule(comment="it's")]}, "firewall_rules[0].comment", "it's", "without an apostrophe"),
    ({"firewall_rules": [rule(log="si")]}, "firewall_rules[0].log", "'si'", "accepted are true and false"),
    (
        {"firewall_backend": "firewalld", "firewall_rules": [rule(action="limit")]},
        "firewall_rules[0].action",
        "limit",
        "accepted are allow, deny, reject",
    ),
    ({"firewall_default_inbound": "drop"}, "firewall_default_inbound", "'drop'", "accepted are allow, deny, reject"),
    ({"firewall_default_outbound": []}, "firewall_default_outbound", "[]", "accepted are allow, deny, reject"),
    ({"firewall_logging": "full"}, "firewall_logging", "'full'", "accepted are off, low, medium, high"),
    ({"firewall_management_sources": ["::1/200"]}, "firewall_management_sources[0]", "::1/200", "accepted are"),
    ({"firewall_management_sources": "10.0.0.0/8"}, "firewall_management_sources", "'10.0.0.0/8'", "is not a list"),
    ({"firewall_management_ports": [0]}, "firewall_management_ports[0]", "0", "accepted are 1 to 65535"),
    ({"firewall_allow_cut": ["ssh"]}, "firewall_allow_cut[0]", "'ssh'", "accepted are dns, mirrors, ntp"),
    ({"firewall_rehearse": "maybe"}, "firewall_rehearse", "'maybe'", "accepted are true and false"),
    ({"firewall_window_seconds": 5}, "firewall_window_seconds", "5", "accepted are 30 to 600 seconds"),
    ({"firewall_confirm_seconds": 80}, "firewall_confirm_seconds", "80", "set firewall_window_seconds to 160 or more"),
    ({"ssh_ports": 22}, "ssh_ports", "22", "is not a list"),
    ({"ssh_ports": [22, 70000]}, "ssh_ports[1]", "70000", "accepted are 1 to 65535"),
    ({"ssh_ports": ["ssh"]}, "ssh_ports[0]", "'ssh'", "is not a whole number"),
    ({"ssh_listen_addresses": ["192.0.2.1:22"]}, "ssh_listen_addresses[0]", "'192.0.2.1:22'", "IPv4 or IPv6 address"),
    ({"ssh_socket_activation": "maybe"}, "ssh_socket_activation", "'maybe'", "one of keep, enabled, disabled"),
    ({"ssh_administrators": ["a b"]}, "ssh_administrators[0]", "'a b'", "is not a user name"),
    ({"ssh_permit_root_login": "yes"}, "ssh_permit_root_login", "'yes'", "one of auto, no, prohibit-password"),
    ({"ssh_allow_users": ["a, b"]}, "ssh_allow_users[0]", "'a, b'", "a name pattern such as admin"),
    ({"ssh_password_authentication": "si"}, "ssh_password_authentication", "'si'", "is not true or false"),
    ({"ssh_authentication_methods": ["pin"]}, "ssh_authentication_methods[0]", "'pin'", "list of publickey, password"),
    ({"ssh_max_auth_tries": 0}, "ssh_max_auth_tries", "0", "outside 1 to 20 tries"),
    ({"ssh_max_startups": "10"}, "ssh_max_startups", "'10'", "START:PERCENT:FULL, such as 10:30:60"),
    ({"ssh_login_grace_seconds": 0}, "ssh_login_grace_seconds", "0", "outside 10 to 600 seconds"),
    (
        {"ssh_per_source_penalties": {"crash": 1}},
        "ssh_per_source_penalties.crash",
        "there is no such option",
        "accepted are authentication_failure_seconds",
    ),
    ({"ssh_log_level": "QUIET"}, "ssh_log_level", "'QUIET'", "one of INFO, VERBOSE, DEBUG"),
    ({"ssh_ciphers": ["+aes128-cbc"]}, "ssh_ciphers[0]", "'+aes128-cbc'", "the name of an algorithm"),
    ({"ssh_host_key_types": ["dsa"]}, "ssh_host_key_types[0]", "'dsa'", "one of ed25519, rsa, ecdsa"),
    (
        {"ssh_trusted_user_ca_keys": ["nonsense"]},
        "ssh_trusted_user_ca_keys[0]",
        "not a public key",
        "expected one line",
    ),
    ({"ssh_host_certificates": [KEY]}, "ssh_host_certificates[0]", "ssh-ed25519", "is no certificate"),
    (
        {"ssh_authorized_principals": [{"user": "a", "principals": ["p"]}]},
        "ssh_authorized_principals",
        "principals",
        "need a CA in ssh_trusted_user_ca_keys",
    ),
    ({"ssh_revoked_keys": [{"serial": 1}]}, "ssh_revoked_keys[0]", "serial", "needs ca"),
    ({"ssh_window_seconds": "soon"}, "ssh_window_seconds", "'soon'", "is not a whole number"),
    ({"baseline_router": "maybe"}, "baseline_router", "'maybe'", "accepted are true and false"),
    ({"baseline_serves": ["ngnix"]}, "baseline_serves[0]", "'ngnix'", "accepted are apache"),
    ({"baseline_opt_in": ["OS-20", "OS-14"]}, "baseline_opt_in[1]", "OS-14", "is no choice"),
    ({"baseline_faillock_attempts": 11}, "baseline_faillock_attempts", "11", "accepted are 1 to 10"),
    ({"baseline_banner": "Willkommen \\n"}, "baseline_banner", "\\n", "printable ASCII"),
    (
        {"baseline_reboot_window": {"days": ["Sunday"], "start": "03:30", "minutes": 60}},
        "baseline_reboot_window.days[0]",
        "'Sunday'",
        "accepted are Mon, Tue",
    ),
    (
        {"baseline_reboot_window": {"days": ["Sun"], "start": "3 am", "minutes": 60}},
        "baseline_reboot_window.start",
        "'3 am'",
        "03:30",
    ),
    ({"baseline_grub_superuser": "boot"}, "baseline_grub_superuser", "baseline_grub_password_hash", "set both or none"),
    ({"baseline_tmp_size": "lots"}, "baseline_tmp_size", "'lots'", "a size such as 2g"),
    ({"baseline_crontab_users": ["a b"]}, "baseline_crontab_users[0]", "'a b'", "names of users"),
    ({"controls_waivers": {"control": "OS-17"}}, "controls_waivers", "{'control': 'OS-17'}", "takes a list of waivers"),
    ({"controls_waivers": [waiver(expires="2020-01-31")]}, "controls_waivers[0].expires", "2020-01-31", "expired"),
    (
        {"controls_group_waivers": [waiver(control="OS-999")]},
        "controls_group_waivers[0].control",
        "'OS-999'",
        "ids look like",
    ),
    (
        {"controls_host_waivers": [waiver(), waiver(owner="")]},
        "controls_host_waivers[1].owner",
        "is missing",
        "a waiver needs",
    ),
    (
        {"controls_waivers": [waiver()], "controls_host_waivers": [waiver()]},
        "controls_host_waivers[0].control",
        "OS-17",
        "waived already by controls_waivers[0]",
    ),
    ({"fail2ban_maximum_attempts": 0}, "fail2ban_maximum_attempts", "0", "accepted are"),
    ({"fail2ban_ban_seconds": "long"}, "fail2ban_ban_seconds", "'long'", ""),
    ({"fail2ban_ignored_addresses": ["10.0.0.300"]}, "fail2ban_ignored_addresses[0]", "10.0.0.300", "accepted"),
    ({"fail2ban_jails": [{"name": "a/b"}]}, "fail2ban_jails[0].name", "'a/b'", "accepted"),
    (
        {"fail2ban_filters": [{"name": "a", "fail_patterns": ["("]}]},
        "fail2ban_filters[0].fail_patterns[0]",
        "'('",
        "begin it with ^",
    ),
    ({"tls_certificates": "web"}, "tls_certificates", "'web'", "is not a list"),
    ({"tls_alarm_days": 100}, "tls_alarm_days", "100", "accepted are 1 to 90 days"),
    ({"tls_alarm_units": ["mail"]}, "tls_alarm_units[0]", "'mail'", "mail-alarm@%n.service"),
    ({"tls_metrics_directory": "metrics"}, "tls_metrics_directory", "'metrics'", "accepted is an absolute path"),
    (
        {**BROUGHT, "tls_certificates": [certificate(life_days=365)]},
        "tls_certificates[0].life_days",
        "365",
        "1 to 90 days",
    ),
    (
        {**BROUGHT, "tls_certificates": [certificate(names=["a b"])]},
        "tls_certificates[0].names[0]",
        "'a b'",
        "accepted are",
    ),
    ({"tls_certificates": [certificate()]}, "tls_certificates[0].issuer", "'brought'", "tls_issuers has none"),
    ({"tls_issuers": [acme(directory="http://a.example.org/")]}, "tls_issuers[0].directory", "'http://a", "https://"),
    (
        {"tls_issuers": [acme(challenge={"kind": "http"}, terms_of_service_agreed=True)]},
        "tls_issuers[0].challenge",
        "webroot",
        "not both",
    ),
    ({"tls_issuers": [acme()]}, "tls_issuers[0].terms_of_service_agreed", "must be true", "read the terms"),
    (
        {
            **BROUGHT,
            "tls_certificates": [certificate(certificate_file="none.pem")],
        },
        "tls_certificates[0].certificate_file",
        "none.pem",
        "there is no file",
    ),
    ({"postgresql_listen_addresses": "*"}, "postgresql_listen_addresses", "'*'", "is not a list"),
    ({"postgresql_listen_addresses": ["*"]}, "listen_addresses", "'*'", "addresses and names of this host"),
    ({"postgresql_extra_settings": {"ssl": False}}, "ssl", "'off'", "postgresql_accepted_risks"),
    ({"postgresql_extra_settings": {"fsync": "off"}}, "fsync", "'off'", "accepted is on"),
    ({"postgresql_extra_settings": {"port": 1}}, "postgresql_extra_settings", "port", "is not changed here"),
    ({"postgresql_pgaudit_log": ["read"]}, "pgaudit.log", "'read'", "names ddl and role"),
    ({"postgresql_log_statement": "all"}, "postgresql_log_statement", "'all'", "none, ddl"),
    ({"postgresql_services": ["jitsudo"]}, "postgresql_services[0]", "'jitsudo'", "the key profile"),
    ({"postgresql_services": [{"profile": "mysql"}]}, "postgresql_services[0].profile", "'mysql'", "jitsudo_strict"),
    ({"postgresql_services": [{"profile": "no.yml"}]}, "postgresql_services[0].profile", "'no.yml'", "cannot be read"),
    ({"postgresql_services": [{"profile": "service"}]}, "postgresql_services[0].database", "is missing", ""),
    (
        {"postgresql_services": [{"profile": "zitadel", "roles": {"admin": {}}}]},
        "postgresql_services[0].roles.admin",
        "no such role",
        "owner, runtime",
    ),
    (
        {"postgresql_hba_rules": [login_rule(method="trust")]},
        "postgresql_hba_rules[0].method",
        "trust",
        "accepted_risk",
    ),
    ({"postgresql_hba_rules": [login_rule(method="md5")]}, "postgresql_hba_rules[0].method", "md5", "accepted_risk"),
    ({"postgresql_hba_rules": [login_rule(type="host")]}, "postgresql_hba_rules[0].type", "TLS", "accepted_risk"),
    (
        {"postgresql_hba_rules": [login_rule(), login_rule(addresses=["10.0.0.1/8"])]},
        "postgresql_hba_rules[1].addresses[0]",
        "10.0.0.1/8",
        "",
    ),
    ({"postgresql_hba_rules": [login_rule(user="a")]}, "postgresql_hba_rules[0].user", "no such key", "users"),
    (
        {"postgresql_hba_rules": [login_rule()], "postgresql_hba_probes": [{"name": "x", "user": "a"}]},
        "postgresql_hba_probes[0].expect",
        "is missing",
        "",
    ),
    (
        {"postgresql_pgbouncer": pool(listen_addresses=["*"])},
        "postgresql_pgbouncer.listen_addresses[0]",
        "'*'",
        "name those that clients use",
    ),
    ({"postgresql_pgbouncer": pool(users=[])}, "postgresql_pgbouncer.users", "there is none", "name at least one"),
    ({"postgresql_pgbouncer": pool(databases=["a"])}, "postgresql_pgbouncer.databases[0]", "'a'", "dictionary"),
    (
        {"postgresql_pgbouncer": pool(extra_settings={"auth_type": "any"})},
        "postgresql_pgbouncer.extra_settings",
        "'auth_type'",
        "accepted are other settings",
    ),
    (
        {"postgresql_transition_logs": [{"database": "a", "profile": "mysql"}]},
        "postgresql_transition_logs[0].profile",
        "'mysql'",
        "jitsudo",
    ),
    (
        {"postgresql_transition_logs": [{"database": "a", "tables": [{"name": "t"}]}]},
        "postgresql_transition_logs[0]",
        "has no key",
        "append_only",
    ),
]
BAD_BY_HOST = {f"bad{index:02}": case for index, case in enumerate(BAD)}


@dataclass(frozen=True)
class Run:
    """What one run of the playbook showed: exit code, message by host, remote calls."""

    code: int
    messages: dict[str, str]
    calls: list[dict[str, t.Any]]
    output: str


def run_site(folder: Path, hosts: t.Mapping[str, Variables], *options: str) -> Run:
    """Run site.yml against hosts that are not there."""
    refuses = folder / "ssh"
    refuses.write_text("#!/bin/sh\necho no host is meant to be reached >&2\nexit 255\n", encoding="utf-8")
    refuses.chmod(0o755)
    reach = {"ansible_host": "192.0.2.1", "ansible_ssh_executable": str(refuses), "ansible_ssh_retries": 0}
    inventory = folder / "inventory.json"
    inventory.write_text(
        json.dumps({"all": {"hosts": hosts, "vars": reach, "children": {"empty": {}}}}), encoding="utf-8"
    )
    record = folder / "calls"
    record.touch()
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", inventory, ROOT / "playbooks" / "site.yml", *options],
        cwd=folder,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "benchmark" / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "remote_calls",
            "REMOTE_CALLS_FILE": str(record),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    results = re.findall(r"^fatal: \[(\S+)\]: [A-Z]+! => (\{.*\})$", done.stdout, re.MULTILINE)
    calls = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    messages = {host: str(json.loads(result)["msg"]) for host, result in results}
    return Run(done.returncode, messages, calls, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run with every bad value, and with one host that has none."""
    hosts = {host: variables for host, (variables, *_message) in BAD_BY_HOST.items()}
    return run_site(tmp_path_factory.mktemp("refused"), {**hosts, "good": {}})


def test_there_are_enough_bad_values() -> None:
    firewall = [path for _variables, path, *_rest in BAD if path.startswith("firewall_")]
    assert len(firewall) >= 20
    assert len([path for _variables, path, *_rest in BAD if path.startswith("ssh_")]) >= 20
    assert len([path for _variables, path, *_rest in BAD if not path.startswith(("firewall_", "ssh_"))]) >= 20


def test_no_host_was_touched(refused: Run) -> None:
    assert refused.calls == []
    assert refused.code != 0, refused.output


def test_every_host_says_what_is_wrong_with_its_own_value(refused: Run) -> None:
    assert set(refused.messages) == {*BAD_BY_HOST, "good"}, refused.output
    wrong = {}
    for host, (_variables, path, value, accepted) in BAD_BY_HOST.items():
        message = refused.messages[host]
        start, _colon, rest = message.partition(": ")
        if start != path or value not in rest or accepted not in rest or "\n" in message:
            wrong[host] = (message, path, value, accepted)
    assert wrong == {}


def test_nobody_has_to_look_for_it_among_warnings(refused: Run) -> None:
    assert "WARNING" not in refused.output


def test_a_good_host_is_not_touched_for_the_bad_ones(refused: Run) -> None:
    message = refused.messages["good"]
    assert message.startswith("this host was not touched, because a policy was refused, that of bad00, bad01")


def test_a_bad_value_is_refused_whatever_the_tags(tmp_path: Path) -> None:
    run = run_site(tmp_path, {"bad": {"firewall_logging": "full"}, "good": {}}, "--tags", "ssh")
    assert run.calls == []
    assert run.code != 0
    assert run.messages["bad"].startswith("firewall_logging: 'full' is not accepted")


def test_with_good_values_only_the_hosts_would_be_touched(tmp_path: Path) -> None:
    """Calls are really counted, and nothing but the bad values kept the others from being made."""
    run = run_site(tmp_path, {"good": {"firewall_rules": [rule()], "ssh_ports": [22]}})
    assert [call["task"] for call in run.calls] == ["Gather the facts that the roles need"], run.output
