# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The policy of a host: what platform, switches, opt-ins and waivers make of the catalogue."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.filter.baseline_policy import baseline_policy, typed
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import files, mounts, pam, permissions, units
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.registry import prepared
from ansible_collections.bulwark.hardening.plugins.plugin_utils import baseline_policy as policy
from ansible_collections.bulwark.hardening.plugins.plugin_utils import catalogue, declared_certificates

ROWS = catalogue.load()
MINE = [row for row in ROWS if row.role == "baseline"]
DEBIAN = policy.Platform("Debian", "Debian", "12")
CONTAINER = policy.Platform("Debian", "Debian", "12", own_kernel=False)
RELEASES = [policy.Platform(*release) for release in policy.RELEASES]
OPT_IN = sorted(row.id for row in ROWS if row.default == "opt_in")
SERVICES = policy.known_services(ROWS)
FLAGS = sorted(name for name, option in catalogue.specification().items() if option["type"] == "bool")
WINDOW = {"days": ["Sat", "Sun"], "start": "03:30", "minutes": 60}
GRUB_HASH = f"grub.pbkdf2.sha512.10000.{'AB' * 64}.{'CD' * 64}"
EVERY_CHOICE: dict[str, Any] = {
    "opt_in": OPT_IN,
    "name_servers": ["192.0.2.53"],
    "reboot_window": WINDOW,
    "grub_superuser": "boot",
    "grub_password_hash": GRUB_HASH,
}
WAIVER = {"owner": "somebody", "reason": "it has to be", "expires": "2999-01-01"}


def variables(**changes: Any) -> dict[str, Any]:
    """Return the role's variables with these changes, as the filter hands them to the builder."""
    values, problems = typed({f"baseline_{name}": value for name, value in changes.items()})
    assert problems == []
    return values


def build(
    platform: policy.Platform = DEBIAN,
    waivers: Sequence[Mapping[str, Any]] = (),
    running: Collection[str] = (),
    rows: Sequence[catalogue.Row] = ROWS,
    **changes: Any,
) -> policy.Policy:
    return policy.build(rows, variables(**changes), platform, waivers, running)


def switched(switch: str) -> policy.Policy:
    changes: dict[str, Any] = {switch: True}
    return build(**changes)


def control(built: policy.Policy, identifier: str) -> Mapping[str, Any]:
    return next(entry for entry in built["controls"] if entry["id"] == identifier)


def paths(built: policy.Policy, section: str = "files") -> list[str]:
    return [entry["path"] for entry in built[section]]


def rows_of(*entries: tuple[str, Mapping[str, Any], Mapping[str, Any]]) -> list[catalogue.Row]:
    """Return rows of a small catalogue; each entry is id, enforce and further parts."""
    return [
        catalogue.parse(
            {"id": identifier, "title": "T", "kind": "file", "check": {"reader": "unit"}, "enforce": enforce, **parts},
            "test",
        )
        for identifier, enforce, parts in entries
    ]


# Every release


@pytest.mark.parametrize("platform", RELEASES, ids=[platform.name for platform in RELEASES])
def test_the_modules_accept_what_the_policy_asks_of_them(platform: policy.Platform) -> None:
    built = build(platform, **EVERY_CHOICE)
    assert mounts.parse(built["mounts"])
    assert files.parse(built["files"])
    assert files.parse(built["access_files"])
    assert files.parse_commands(built["commands_after"])
    assert units.parse(built["units"])
    assert permissions.parse(built["permissions"])
    pam.parse(built["pam_profiles"])


@pytest.mark.parametrize("platform", RELEASES, ids=[platform.name for platform in RELEASES])
def test_every_release_has_a_policy(platform: policy.Platform) -> None:
    built = build(platform)
    assert built["platform"] == platform.name
    assert built["sysctls"]["net.ipv4.conf.*.accept_redirects"] == 0
    assert {"/etc/issue", policy.MODULES_FILE} <= set(paths(built))
    assert len(built["controls"]) == len({entry["id"] for entry in built["controls"]})


@pytest.mark.parametrize("platform", RELEASES, ids=[platform.name for platform in RELEASES])
def test_every_choice_at_once_contradicts_itself_nowhere(platform: policy.Platform) -> None:
    built = build(platform, **EVERY_CHOICE)
    assert {entry["id"] for entry in built["controls"]} >= set(OPT_IN)
    assert "$" + "baseline" not in yaml.safe_dump(built)
    assert "${" + "baseline" not in yaml.safe_dump(built)


@given(
    flags=st.dictionaries(st.sampled_from(FLAGS), st.booleans()),
    opt_in=st.lists(st.sampled_from(OPT_IN), unique=True),
    serves=st.lists(st.sampled_from(SERVICES), unique=True),
    waived=st.lists(st.sampled_from([row.id for row in ROWS]), unique=True),
    platform=st.sampled_from([*RELEASES, CONTAINER]),
    daemon=st.sampled_from(["timesyncd", "chrony"]),
    shipper=st.sampled_from(["rsyslog", "journal_upload", "none"]),
)
def test_any_combination_has_a_policy(
    flags: dict[str, bool],
    opt_in: list[str],
    serves: list[str],
    waived: list[str],
    platform: policy.Platform,
    daemon: str,
    shipper: str,
) -> None:
    values = variables(
        **{name.removeprefix("baseline_"): value for name, value in flags.items()},
        opt_in=opt_in,
        serves=serves,
        time_daemon=daemon,
        log_shipper=shipper,
        name_servers=["192.0.2.53"],
        grub_superuser="boot",
        grub_password_hash=GRUB_HASH,
    )
    assert policy.problems(values, ROWS) == []
    waivers = [{"control": identifier, **WAIVER} for identifier in waived]
    built = policy.build(ROWS, values, platform, waivers)
    assert not set(built["packages_present"]) & set(built["packages_absent"])
    masked = {unit["name"] for unit in built["units"] if unit.get("masked")}
    assert not masked & {unit["name"] for unit in built["units"] if unit.get("enabled")}
    assert not set(paths(built)) & set(paths(built, "access_files"))
    for entry in built["controls"]:
        assert (entry["waiver"] is not None) is (entry["id"] in waived)


# Platforms


def test_the_most_special_overlay_wins() -> None:
    rows = rows_of(
        (
            "OS-01",
            {"sysctls": {"a": 1}},
            {
                "platforms": {
                    "debian": {"enforce": {"sysctls": {"a": 2}}},
                    "ubuntu": {"enforce": {"sysctls": {"a": 3}}},
                    "ubuntu-24.04": {"enforce": {"sysctls": {"a": 4}}},
                    "redhat-9": {"enforce": {"sysctls": {"a": 5}}},
                }
            },
        )
    )
    values = [build(platform, rows=rows)["sysctls"]["a"] for platform in RELEASES]
    assert values == [2, 2, 3, 4, 5, 1]


def test_members_of_the_redhat_family_have_its_data() -> None:
    rocky = policy.Platform("RedHat", "Rocky", "9.5")
    assert rocky.supported
    assert rocky.name == "redhat-9"
    assert build(rocky)["packages_present"] == build(policy.Platform("RedHat", "RedHat", "9"))["packages_present"]


@pytest.mark.parametrize(
    "release",
    [
        ("Debian", "Debian", "11"),
        ("Debian", "Ubuntu", "20.04"),
        ("RedHat", "Fedora", "43"),
        ("Alpine", "Alpine", "3.22"),
    ],
)
def test_an_unknown_release_is_refused_with_what_is_known(release: tuple[str, str, str]) -> None:
    (problem,) = policy.host_problems(policy.Platform(*release), variables())
    assert f"no data for {release[1]} {release[2]}" in problem
    assert policy.KNOWN_RELEASES in problem


def test_what_needs_a_kernel_is_left_out_of_a_container() -> None:
    built = build(CONTAINER)
    assert built["kernel_modules_denied"] == []
    assert policy.MODULES_FILE not in paths(built)
    assert "kernel.kptr_restrict" not in built["sysctls"]
    assert "net.ipv4.conf.*.rp_filter" in built["sysctls"]
    assert control(built, "OS-02")["not_applicable"] == policy.NO_OWN_KERNEL
    assert control(built, "OS-16")["not_applicable"] == ""


@pytest.mark.parametrize(
    ("guest", "own"),
    [([], True), (["kvm"], True), (["container"], False), (["kvm", "docker"], False), (["systemd-nspawn"], False)],
)
def test_a_container_is_known_by_ansibles_facts(guest: list[str], own: bool) -> None:
    facts = {
        "os_family": "Debian",
        "distribution": "Debian",
        "distribution_version": "12",
        "virtualization_tech_guest": guest,
    }
    assert policy.platform_of(facts) == policy.Platform("Debian", "Debian", "12", own)


# Switches


@pytest.mark.parametrize(
    ("switch", "identifier"),
    [
        ("containers", "OS-13"),
        ("containers", "OS-22.overlay"),
        ("router", "OS-13"),
        ("rootless", "OS-10"),
        ("kdump", "OS-08"),
        ("snaps", "OS-22.squashfs"),
        ("debug_users", "OS-03"),
        ("ipv6_ra", "OS-19"),
        ("console_recovery", "OS-07.keys"),
    ],
)
def test_a_switch_leaves_what_it_names_alone(switch: str, identifier: str) -> None:
    row = next(row for row in ROWS if row.id == identifier)
    before, after = build(), switched(switch)
    assert control(before, identifier)["not_applicable"] == ""
    assert control(after, identifier)["not_applicable"] == f"relaxed by baseline_{switch}"
    for key in row.enforce.get("sysctls", {}):
        assert key in before["sysctls"]
        assert key not in after["sysctls"]
    for module in row.enforce.get("kernel_modules_denied", []):
        assert f"install {module} /bin/false" in modules_file(before)
        assert f"install {module} /bin/false" not in modules_file(after)


def modules_file(built: policy.Policy) -> list[str]:
    content: str = next(entry["content"] for entry in built["files"] if entry["path"] == policy.MODULES_FILE)
    return content.splitlines()


@pytest.mark.parametrize("switch", ["router", "multihomed"])
def test_a_switch_may_ask_for_less(switch: str) -> None:
    assert build()["sysctls"]["net.ipv4.conf.*.rp_filter"] == 1
    built = switched(switch)
    assert built["sysctls"]["net.ipv4.conf.*.rp_filter"] == 2
    assert control(built, "OS-16")["not_applicable"] == ""
    assert control(built, "OS-16")["readers"][0]["parameters"]["keys"] == {"net.ipv4.conf.*.rp_filter": {"at_least": 1}}


def test_usb_storage_keeps_the_other_buses_denied() -> None:
    assert "install usb-storage /bin/false" in modules_file(build())
    built = modules_file(build(usb_storage=True))
    assert "install usb-storage /bin/false" not in built
    assert {"install thunderbolt /bin/false", "blacklist thunderbolt"} <= set(built)


def test_every_switch_changes_something() -> None:
    plain = build()
    for switch in FLAGS:
        assert switched(switch.removeprefix("baseline_")) != plain, switch


def test_what_is_served_is_not_masked() -> None:
    assert {"nginx.service", "rpcbind.socket"} <= {unit["name"] for unit in build()["units"] if unit.get("masked")}
    built = build(serves=["nginx", "nfs"])
    assert not {"nginx.service", "nfs-server.service", "rpcbind.socket"} & {unit["name"] for unit in built["units"]}
    assert control(built, "OS-58.nginx")["not_applicable"] == "relaxed by baseline_serves: nginx"


def test_a_server_that_runs_undeclared_is_left_alone_and_judged() -> None:
    built = build(running={"dovecot.socket", "nginx.service", "avahi-daemon.service"})
    units = {unit["name"] for unit in built["units"]}
    assert not {"nginx.service", "dovecot.socket", "dovecot.service"} & units
    # What announces the host to its neighbours is no server that others depend on.
    assert "avahi-daemon.service" in units
    assert control(built, "OS-58.nginx")["not_applicable"] == ""
    assert not any("spare_running" in unit for unit in built["units"])


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ("router", True, True),
        ("router", False, False),
        ("!router", False, True),
        ("!router", True, False),
        ("serves=nginx", ["nginx"], True),
        ("serves=nginx", ["nginxx"], False),
        ("log_shipper=none", "none", True),
        ("log_shipper=none", "rsyslog", False),
        ("reboot_window", {}, False),
    ],
)
def test_conditions(condition: str, value: object, holds: bool) -> None:
    name = condition.lstrip("!").partition("=")[0]
    assert policy.applies(condition, {f"baseline_{name}": value}) is holds


def test_chrony_takes_the_place_of_timesyncd() -> None:
    built = build(time_daemon="chrony", time_servers=["ntp1.example.com", "192.0.2.1"])
    assert "chrony" in built["packages_present"]
    assert "systemd-timesyncd" not in built["packages_present"]
    (sources,) = [entry for entry in built["files"] if entry["path"].startswith("/etc/chrony/")]
    assert sources["content"] == "server ntp1.example.com iburst\nserver 192.0.2.1 iburst\n"


def test_the_redhat_family_has_chrony_whatever_is_chosen() -> None:
    for daemon in ("timesyncd", "chrony"):
        built = build(policy.Platform("RedHat", "RedHat", "9"), time_daemon=daemon)
        assert "chronyd.service" in [unit["name"] for unit in built["units"]]


@pytest.mark.parametrize(("shipper", "forward"), [("rsyslog", "yes"), ("journal_upload", "no"), ("none", "no")])
def test_the_journal_is_forwarded_to_rsyslog_only(shipper: str, forward: str) -> None:
    built = build(log_shipper=shipper)
    (journald,) = [entry for entry in built["files"] if entry["path"] == "/etc/systemd/journald.conf"]
    assert journald["settings"]["values"]["ForwardToSyslog"] == forward
    assert journald["settings"]["values"]["Storage"] == "persistent"
    assert ("rsyslog" in built["packages_present"]) is (shipper == "rsyslog")


# Opt-ins and waivers


def test_an_opt_in_is_not_there_without_being_chosen() -> None:
    plain = {entry["id"] for entry in build()["controls"]}
    assert not plain & set(OPT_IN)
    chosen = build(opt_in=["OS-12"])
    assert chosen["sysctls"]["kernel.modules_disabled"] == 1
    assert {entry["id"] for entry in chosen["controls"]} - plain == {"OS-12"}


def test_a_waived_row_is_observed_and_not_enforced() -> None:
    waiver = {"control": "OS-17", **WAIVER}
    built = build(waivers=[waiver])
    assert "net.ipv4.conf.*.log_martians" not in built["sysctls"]
    assert control(built, "OS-17")["waiver"] == waiver
    assert control(built, "OS-17")["readers"] == control(build(), "OS-17")["readers"]


def test_a_reported_row_is_told_as_such() -> None:
    assert control(build(), "OS-80")["reported"] is True
    assert control(build(), "OS-17")["reported"] is False


# Values


def test_values_are_put_where_the_catalogue_names_them() -> None:
    built = build(banner="Keep out", tmp_size="1g")
    assert {entry["content"] for entry in built["files"] if entry["path"].startswith("/etc/issue")} == {"Keep out\n"}
    assert next(entry for entry in built["mounts"] if entry["path"] == "/tmp")["size"] == "1g"
    banner = control(built, "OS-81")["readers"][0]["parameters"]
    assert banner["text"] == "Keep out"


def test_substitution_keeps_types_and_leaves_other_dollars_alone() -> None:
    values = {"baseline_a": 4, "baseline_b": "x"}
    given_value = {"k": ["$baseline_a", "-${baseline_a}-${baseline_b}-", "${distro_codename}", "$nrconf{restart}", 7]}
    assert policy.substitute(given_value, values) == {"k": [4, "-4-x-", "${distro_codename}", "$nrconf{restart}", 7]}


def test_a_value_that_the_role_does_not_have_is_an_error_of_the_catalogue() -> None:
    with pytest.raises(policy.PolicyError, match="baseline_nothing"):
        build(rows=rows_of(("OS-01", {"sysctls": {"a": "$baseline_nothing"}}, {})))


def test_the_window_for_restarts_is_systemds_calendar() -> None:
    built = build(reboot_window=WINDOW)
    (timer,) = [entry for entry in built["files"] if entry["path"].endswith("bulwark-reboot.timer")]
    assert "OnCalendar=Sat,Sun 03:30\n" in timer["content"]
    assert "RandomizedDelaySec=60min\n" in timer["content"]
    assert not [path for path in paths(build()) if "bulwark-reboot" in path]


def test_held_packages_are_matched_whole() -> None:
    built = build(updates_held=["postgresql*", "libstdc++6", "a.b"])
    (updates,) = [entry for entry in built["files"] if entry["path"].endswith("52bulwark-unattended-upgrades")]
    assert '{ "^postgresql.*$"; "^libstdc[+][+]6$"; "^a[.]b$"; };' in updates["content"]


# Merging


def test_two_rows_may_edit_one_file() -> None:
    def values(**pairs: str) -> dict[str, Any]:
        return {"files": [{"path": "/etc/x", "settings": {"format": "ini", "section": "S", "values": pairs}}]}

    built = build(rows=rows_of(("OS-01", values(a="1"), {}), ("OS-02", values(b="2"), {})))
    assert built["files"][0]["settings"]["values"] == {"a": "1", "b": "2"}


def test_sections_of_one_file_stay_apart() -> None:
    def values(section: str) -> dict[str, Any]:
        settings = {"format": "ini", "section": section, "values": {"a": "1"}}
        return {"files": [{"path": "/etc/x", "settings": settings}]}

    built = build(rows=rows_of(("OS-01", values("S"), {}), ("OS-02", values("T"), {})))
    assert [entry["settings"]["section"] for entry in built["files"]] == ["S", "T"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"sysctls": {"a": 1}}, {"sysctls": {"a": 2}}),
        ({"files": [{"path": "/x", "content": "a"}]}, {"files": [{"path": "/x", "content": "b"}]}),
        (
            {"files": [{"path": "/x", "content": "a"}]},
            {"files": [{"path": "/x", "settings": {"format": "space", "values": {"a": "1"}}}]},
        ),
        ({"units": [{"name": "a", "masked": True}]}, {"units": [{"name": "a", "masked": False}]}),
        ({"mounts": [{"path": "/x", "type": "tmpfs"}]}, {"mounts": [{"path": "/x", "type": "ext4"}]}),
        ({"accounts": {"homes": {"mode": "0700"}}}, {"accounts": {"homes": {"mode": "0750"}}}),
    ],
)
def test_rows_that_contradict_each_other_are_named(first: dict[str, Any], second: dict[str, Any]) -> None:
    with pytest.raises(policy.PolicyError, match="OS-02: another row wants something else of "):
        build(rows=rows_of(("OS-01", first, {}), ("OS-02", second, {})))


def test_the_same_thing_said_twice_is_said_once() -> None:
    enforce = {
        "packages_present": ["a"],
        "units": [{"name": "a"}],
        "commands_after": [{"argv": ["x"], "when_changed": ["y"]}],
    }
    built = build(rows=rows_of(("OS-01", enforce, {}), ("OS-02", enforce, {})))
    assert [len(built[section]) for section in enforce] == [1, 1, 1]


def test_denied_modules_reach_the_initial_file_system() -> None:
    argv = {platform.family: build(platform)["commands_after"][-1]["argv"] for platform in RELEASES}
    assert argv == {"Debian": ["update-initramfs", "-u", "-k", "all"], "RedHat": ["dracut", "--regenerate-all", "-f"]}


def test_a_default_route_by_advertisement_is_not_thrown_away() -> None:
    route = "default via fe80::1 dev eth0 proto ra metric 100 expires 1798sec"
    (problem,) = policy.host_problems(DEBIAN, variables(), [route])
    assert problem.startswith("baseline_ipv6_ra: ")
    assert route in problem
    assert policy.host_problems(DEBIAN, variables(ipv6_ra=True), [route]) == []
    assert policy.host_problems(DEBIAN, variables(), []) == []


def test_the_role_hands_every_section_to_a_module() -> None:
    tasks = (catalogue.ROLES / "baseline" / "tasks" / "main.yml").read_text(encoding="utf-8")
    # The builder makes a file of the denied modules.
    sections = set(catalogue.SECTIONS) - {"kernel_modules_denied"}
    assert sorted(section for section in sections if f"baseline_policy.{section}" not in tasks) == []


def test_the_filter_knows_every_variable_of_the_role() -> None:
    given = yaml.safe_load((catalogue.ROLES / "baseline" / "vars" / "main.yml").read_text(encoding="utf-8"))
    assert set(given["__baseline_variables"]) == {*catalogue.specification(), *declared_certificates.VARIABLES}


CA = {"name": "internal", "kind": "private_ca", "generations": [{"certificate_file": "a", "key_file": "b"}]}
CERTIFICATE = {
    "name": "web",
    "issuer": "internal",
    "names": ["www.example.org"],
    "group": "www-data",
    "services": [{"unit": "nginx.service", "listeners": [{"port": 443, "protocol": "https"}]}],
}
FACTS = {"os_family": "Debian", "distribution": "Debian", "distribution_version": "13"}


def declared(policy_of_host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the readers of the TLS controls are told, which is the same for all of them."""
    told = [entry["readers"][0]["parameters"]["certificates"] for entry in tls_controls(policy_of_host)]
    assert len(told) == 5
    assert all(entry == told[0] for entry in told)
    return list(told[0])


def tls_controls(policy_of_host: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in policy_of_host["controls"] if entry["id"].startswith("TLS-")]


def test_the_controls_of_tls_are_told_what_is_declared_and_no_secret() -> None:
    issuers = [{**CA, "generations": [{**CA["generations"][0], "key_passphrase": "a-word"}]}]  # type: ignore[dict-item]
    built = baseline_policy({"tls_certificates": [CERTIFICATE], "tls_issuers": issuers}, FACTS)
    assert built["problems"] == []
    listener = {
        "address": "127.0.0.1",
        "port": 443,
        "server_name": "www.example.org",
        "protocol": "https",
        "require_client_certificate": False,
    }
    assert declared(built) == [
        {
            "name": "web",
            "issuer_kind": "private_ca",
            "owner": "root",
            "group": "www-data",
            "mode": "0640",
            "listeners": [listener],
        }
    ]
    assert "a-word" not in str(built)
    for entry in tls_controls(built):
        assert prepared(entry["readers"][0])[2] == []


def test_without_certificates_the_controls_of_tls_have_nothing_to_look_at() -> None:
    assert declared(baseline_policy({}, FACTS)) == []


def test_wrong_certificates_stop_no_check_before_the_role_says_so_and_no_host_is_called_sound() -> None:
    wrong = {"tls_certificates": [{**CERTIFICATE, "issuer": "nobody"}], "tls_issuers": [CA]}
    assert baseline_policy(wrong)["problems"] == []
    (problem,) = baseline_policy(wrong, FACTS)["problems"]
    assert problem.startswith("tls_certificates[0].issuer: 'nobody' is not accepted")
