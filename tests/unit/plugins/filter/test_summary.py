# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person reads at the end of a run."""

from __future__ import annotations

from ansible_collections.bulwark.hardening.plugins.filter.summary import summary

NARROW = {
    "management": {"sources": ["192.0.2.0/24"], "ports": [22], "controller": "192.0.2.9"},
    "changed": True,
    "logins": [{}],
}


def test_an_open_administration_is_said_with_the_way_to_narrow_it() -> None:
    lines = summary({"firewall": {"management": {"sources": ["anywhere"], "ports": [22, 2222]}, "changed": False}})
    assert lines[0] == "Nothing had to be changed."
    assert "Administration on tcp 22, 2222 stays open to every source; firewall_management_sources narrows it." in lines


def test_what_changed_and_who_may_come_in() -> None:
    ssh = {
        "administrators": [{"user": "admin", "able": True}, {"user": "eve", "able": False}],
        "changed": True,
        "logins": [{}],
    }
    lines = summary({"firewall": NARROW, "ssh": ssh})
    assert lines[0] == "Changed, and proven by new logins: firewall, ssh."
    assert "Administration on tcp 22 is open to 192.0.2.0/24." in lines
    assert lines[-1] == "SSH: keys and certificates only; administrators who can log in: admin."


def test_rules_of_the_host_that_admit_more_are_counted() -> None:
    lines = summary({"firewall": {**NARROW, "foreign_rules": [{"widens": True}, {"widens": False}]}})
    assert "1 of the host's own rules admit more than the policy; they stay as they are." in lines


def test_a_role_that_did_not_run_is_not_mentioned() -> None:
    assert summary({"firewall": {}, "ssh": {}}) == ["Nothing had to be changed."]


def test_check_mode_claims_no_change_and_no_proof() -> None:
    assert (
        summary({"firewall": {"changed": True}, "ssh": {"changed": True}}, check_mode=True)[0]
        == "Would be changed: firewall, ssh."
    )


def test_a_change_without_a_login_is_not_called_proven() -> None:
    assert (
        summary({"firewall": {"changed": True, "transaction": {"id": "T1"}}})[0]
        == "Changed, not proven by a login: firewall."
    )


def test_a_policy_that_allows_is_not_called_closed() -> None:
    lines = summary({"firewall": NARROW, "ssh": {"administrators": []}}, inbound="allow", passwords=True)
    assert (
        "Firewall: everything inbound is open, since the policy allows it by default, but for the rules of the policy."
        in lines
    )
    assert lines[-1].startswith("SSH: keys, certificates and passwords;")


def test_what_the_baseline_leaves_open_is_told() -> None:
    overridden = {"key": "net.ipv4.conf.all.log_martians", "wished": "1", "value": "0", "file": "/etc/ufw/sysctl.conf"}
    baseline = {
        "changed": True,
        "reboot_needed": True,
        "refused": ["kernel.sysrq"],
        "overridden": [overridden],
        "missing": ["dev.tty.legacy_tiocsti"],
        "not_applicable": ["there is no boot loader that this module knows"],
        "pending": ["/tmp is mounted at the next start of the host"],
        "kept": ["account deploy keeps its shell: it is the connecting user"],
    }
    assert summary({"baseline": baseline}) == [
        "Changed: baseline.",
        "Restart the host: some of the baseline takes effect only then.",
        "This kernel refuses kernel.sysrq.",
        "This kernel does not know dev.tty.legacy_tiocsti.",
        "there is no boot loader that this module knows.",
        "/tmp is mounted at the next start of the host.",
        "account deploy keeps its shell: it is the connecting user.",
        "After a restart net.ipv4.conf.all.log_martians would be 0 instead of 1 by /etc/ufw/sysctl.conf.",
    ]


def test_jails_that_are_alive_are_named_with_whom_they_hold() -> None:
    jails = [
        {"name": "sshd", "live": True, "banned": ["192.0.2.1", "2001:db8::1"]},
        {"name": "application", "live": True, "banned": ["192.0.2.1"]},
        {"name": "dead", "live": False, "banned": []},
    ]
    assert summary({"fail2ban": {"jails": jails}})[1:] == ["fail2ban: jails sshd, application; 2 addresses banned now."]


def test_the_certificate_that_is_renewed_next_is_told() -> None:
    web = {"name": "web", "renewal": "2026-12-15T00:00:00Z", "not_after": "2026-12-27T00:00:00Z"}
    end = "2026-12-26T00:00:00Z"
    mail = {"name": "mail", "renewal": "2026-12-14T00:00:00Z", "not_after": end}
    missing = {"name": "shop", "version": 0}
    assert summary({"tls": {"certificates": [web, mail, missing]}})[1:] == [
        "TLS: there is no certificate for shop yet.",
        f"TLS: certificates deployed: 2; next is mail, to be renewed after {mail['renewal']}, and expiring at {end}.",
    ]
    assert summary({"tls": {}})[1:] == []


def test_a_ca_that_is_being_replaced_is_told() -> None:
    begun = {"issuer": "internal", "signs": "CN=Example CA 1", "waits": ["client is late"]}
    ended = {**begun, "signs": "CN=Example CA 2", "waits": []}
    assert summary({"tls": {"replacements": [begun, ended]}})[1:] == [
        "TLS: the CA of internal is being replaced; CN=Example CA 1 signs here now; the new one waits: client is late.",
        "TLS: the CA of internal is being replaced; CN=Example CA 2 signs here now.",
    ]


def control(identifier: str, verdict: str, **more: object) -> dict[str, object]:
    seen = {"expected": "x 0", "observed": "x 1", "reason": "", "reported": False}
    return {"id": identifier, "title": "Nothing is sent", "verdict": verdict, **seen, **more}


def test_controls_are_counted_and_what_needs_a_person_is_told() -> None:
    waiver = {"owner": "ops", "reason": "router", "expires": "2030-12-31"}
    controls = [
        control("OS-01", "pass"),
        control("OS-02", "pass"),
        control("OS-13", "waived", waiver=waiver, verdict_without_waiver="fail"),
        control("OS-14", "fail"),
        control("OS-26", "pending", reason="it takes effect at the next boot"),
        control("OS-36", "fail", reported=True),
        control("OS-65", "unknown", reason="there is no program auditctl on this host"),
        control("OS-70", "not_applicable", reason="a container"),
    ]
    assert summary({"controls": {"controls": controls}})[1:] == [
        "Controls: 2 pass, 1 fail, 1 waived, 1 pending, 1 unknown, 1 not applicable, 1 left to you.",
        "OS-14 (Nothing is sent) fails: expected x 0, observed x 1.",
        "OS-36 (Nothing is sent) is left to you: expected x 0, observed x 1.",
        "OS-65 (Nothing is sent) is unknown: there is no program auditctl on this host.",
        "OS-26 (Nothing is sent) is pending: it takes effect at the next boot.",
        "OS-13 (Nothing is sent) is waived until 2030-12-31 by ops: router (without the waiver: fail, x 1).",
    ]


def test_a_waiver_of_what_cannot_be_seen_says_why() -> None:
    waiver = {"owner": "ops", "reason": "router", "expires": "2030-12-31"}
    entry = control("OS-01", "waived", waiver=waiver, verdict_without_waiver="unknown", observed="", reason="no kernel")
    lines = summary({"controls": {"controls": [entry]}})
    assert lines[-1].endswith("by ops: router (without the waiver: unknown, no kernel).")


def test_without_controls_nothing_is_said_about_them() -> None:
    assert summary({"controls": {}}) == ["Nothing had to be changed."]


def test_a_long_observation_is_cut() -> None:
    lines = summary({"controls": {"controls": [control("OS-69", "fail", observed="/var/log/x " * 99)]}})
    assert lines[-1].endswith("….")
    assert len(lines[-1]) < 300
