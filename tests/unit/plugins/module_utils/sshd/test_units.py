# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units: what systemctl shows, and the commands from one state to another."""

from __future__ import annotations

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd import units as systemd
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.units import Switch, Units

SHOWN = """MainPID=48
ExecMainStartTimestamp=Thu 2026-11-26 11:45:51 UTC
ExecReload={ path=/usr/sbin/sshd ; argv[]=/usr/sbin/sshd -t ; start_time=[Thu 2026-11-26 11:59:00 UTC] ; pid=0 }
ExecReload={ path=/bin/kill ; argv[]=/bin/kill -HUP $MAINPID ; start_time=[Thu 2026-11-26 11:50:51 UTC] ; pid=0 }
Id=ssh.service
Names=ssh.service sshd.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled

MainPID=48
ExecMainStartTimestamp=Thu 2026-11-26 11:45:51 UTC
Id=ssh.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Accept=no
Listen=[::]:22 (Stream)
Listen=192.0.2.1:2222 (Stream)
Id=ssh.socket
LoadState=loaded
ActiveState=inactive
UnitFileState=disabled

Id=sshd.socket
LoadState=not-found
ActiveState=inactive
UnitFileState=
"""
UNITS = Units("ssh.service", "ssh.socket", True, False, True, False)


def test_what_systemctl_shows_is_read() -> None:
    units = systemd.observe(SHOWN)
    assert units is not None
    assert (units.service, units.socket, units.main_pid) == ("ssh.service", "ssh.socket", 48)
    assert (units.service_active, units.service_enabled) == (True, True)
    assert (units.socket_active, units.socket_enabled, units.by_socket, units.accept) == (False, False, False, False)
    assert systemd.listen_ports(units.listen) == (22, 2222)


def test_a_reload_counts_from_the_signal_and_not_from_the_check_before_it() -> None:
    units = systemd.observe(SHOWN)
    assert units is not None
    assert units.loaded_at == 1795693851


def test_a_service_that_never_ran_was_never_loaded() -> None:
    units = systemd.observe(SHOWN.replace("Thu 2026-11-26 11:45:51 UTC", "n/a").replace("Thu 2026", "not 2026"))
    assert units is not None
    assert units.loaded_at == 0


def test_without_a_service_there_is_nothing_to_work_on() -> None:
    assert systemd.observe(SHOWN.replace("LoadState=loaded", "LoadState=not-found")) is None


def test_the_sockets_drop_in_replaces_what_the_unit_lists() -> None:
    text = systemd.render_drop_in([22, 2222], [])
    assert text.splitlines()[1:] == ["[Socket]", "ListenStream=", "ListenStream=22", "ListenStream=2222"]
    bound = systemd.render_drop_in([22], ["192.0.2.1", "2001:db8::1"])
    assert "ListenStream=192.0.2.1:22\n" in bound
    assert "ListenStream=[2001:db8::1]:22\n" in bound
    assert "FreeBind=yes" in bound


def told(commands: list[list[str]]) -> list[str]:
    return [" ".join(command[1:]) for command in commands]


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        (Switch(False, False), ["reload-or-restart ssh.service"]),
        (Switch(True, True), ["try-restart ssh.service"]),
        (Switch(False, False, True), ["daemon-reload", "reload-or-restart ssh.service"]),
        (Switch(True, True, True), ["stop ssh.socket ssh.service", "daemon-reload", "start ssh.socket"]),
        (
            Switch(False, True),
            [
                "stop ssh.socket ssh.service",
                "disable ssh.service",
                "enable ssh.socket",
                "daemon-reload",
                "start ssh.socket",
            ],
        ),
        (
            Switch(True, False),
            [
                "stop ssh.socket ssh.service",
                "disable ssh.socket",
                "enable ssh.service",
                "daemon-reload",
                "start ssh.service",
            ],
        ),
    ],
)
def test_how_a_candidate_comes_into_force(switch: Switch, expected: list[str]) -> None:
    assert told(systemd.apply_commands(UNITS, switch)) == expected


@pytest.mark.parametrize(
    ("switch", "last"),
    [
        (Switch(False, False), "restart ssh.service"),
        (Switch(False, True), "start ssh.service"),
        (Switch(True, False), "start ssh.socket"),
        (Switch(True, True, True), "start ssh.socket"),
        (Switch(True, True), "start ssh.socket"),
    ],
)
def test_a_rollback_ends_with_what_was_before(switch: Switch, last: str) -> None:
    commands = told(systemd.rollback_commands(UNITS, switch))
    assert commands[-1] == last
    if switch.touches_units:
        assert commands.index("daemon-reload") < len(commands) - 1


@pytest.mark.parametrize("switch", [Switch(False, True), Switch(True, False), Switch(True, True, True)])
def test_a_rollback_at_boot_never_waits_for_units_that_wait_for_it(switch: Switch) -> None:
    commands = systemd.boot_commands(UNITS, switch)
    assert commands[0] == ["systemctl", "daemon-reload"]
    assert all("--no-block" in command for command in commands[1:])
    assert commands[-1][-1] == ("ssh.socket" if switch.from_socket else "ssh.service")


def test_a_rollback_at_boot_has_nothing_to_do_when_only_files_changed() -> None:
    assert systemd.boot_commands(UNITS, Switch(False, False)) == []


def test_what_a_change_of_mode_touches_is_in_the_snapshot() -> None:
    paths = systemd.snapshot_paths(UNITS)
    for name in (
        "multi-user.target.wants/ssh.service",
        "sockets.target.wants/ssh.socket",
        "sshd.service",
        "ssh.socket.d",
        "ssh.service.requires/ssh.socket",
    ):
        assert f"/etc/systemd/system/{name}" in paths
