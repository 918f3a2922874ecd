# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units: what is done for which state, in which order, and what is told when it does not work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import units, units_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Done, Refused
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.units import Unit


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "cron"}], "give it with its type"),
        ([{"name": "x@.service"}], "give it with its type"),
        ([{"name": "--now.service x"}], "give it with its type"),
        ([{"name": "a.service", "state": "restarted"}], "accepted are started and stopped"),
        ([{"name": "a.service", "masked": True, "enabled": True}], "is to be masked, which keeps it from starting"),
        ([{"name": "a.service", "masked": True, "state": "started"}], "is to be masked"),
        ([{"name": "a.service"}, {"name": "a.service"}], "stands twice"),
    ],
)
def test_what_is_wrong_is_named(entries: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(Refused, match=message):
        units.parse(entries)


class Systemd:
    """As much of systemd as the module asks for."""

    def __init__(self, **found: Unit) -> None:
        self.units = {f"{name}.service": unit for name, unit in found.items()}
        self.ran: list[tuple[str, ...]] = []
        self.failing: set[tuple[str, str]] = set()
        self.dying: set[str] = set()
        self.without_hardware: set[str] = set()

    def __call__(self, argv: Sequence[str]) -> Done:
        names = argv[argv.index("--") + 1 :]
        if argv[1] == "show":
            return Done(True, "\n".join(map(self._block, names)), "")
        self.ran.append((argv[1], *names))
        if any((argv[1], name) in self.failing for name in names):
            return Done(False, "", "Unit is broken")
        for name in names:
            self._do(argv[1], name)
        return Done(True, "", "")

    def _block(self, name: str) -> str:
        unit = self.units.get(name, Unit())
        values = (unit.load, unit.file, unit.active, unit.condition, unit.condition_checked)
        return "".join(f"{key}={value}\n" for key, value in zip(units.PROPERTIES, values))

    def _do(self, verb: str, name: str) -> None:
        unit = self.units[name]
        changes = {
            "enable": {"file": "enabled"}, "disable": {"file": "disabled"},
            "mask": {"file": "masked", "load": "masked"}, "unmask": {"file": "disabled", "load": "loaded"},
            "start": {"active": "failed" if name in self.dying else "active"}, "stop": {"active": "inactive"},
        }[verb]  # fmt: skip
        if verb == "start" and name in self.without_hardware:
            changes = {"condition": "no", "condition_checked": "1234"}
        self.units[name] = Unit(**{"load": unit.load, "file": unit.file, "active": unit.active, **changes})


def converge(systemd: Systemd, *entries: dict[str, Any], check_mode: bool = False) -> units_host.Outcome:
    return units_host.converge(entries, check_mode, systemd, "/")


def test_one_call_for_each_verb_and_none_the_second_time() -> None:
    systemd = Systemd(
        a=Unit("loaded", "enabled", "active"), b=Unit("loaded", "enabled", "active"), c=Unit("masked", "masked")
    )
    wish: list[dict[str, Any]] = [
        {"name": "a.service", "masked": True, "enabled": False, "state": "stopped"},
        {"name": "b.service", "masked": True, "enabled": False, "state": "stopped"},
        {"name": "c.service", "masked": False, "enabled": True, "state": "started"},
        {"name": "gone.service", "enabled": True},
    ]
    assert len(converge(systemd, *wish, check_mode=True).steps) == 9
    assert systemd.ran == []
    outcome = converge(systemd, *wish)
    assert [call[0] for call in systemd.ran] == ["unmask", "enable", "disable", "stop", "mask", "start"]
    assert outcome.problems == ()
    assert outcome.left_out == ("gone.service does not exist",)
    assert converge(systemd, *wish).steps == ()


def test_a_unit_that_dies_at_once_is_told() -> None:
    systemd = Systemd(a=Unit("loaded", "enabled", "inactive"), b=Unit("loaded", "enabled", "inactive"))
    systemd.dying = {"a.service"}
    outcome = converge(systemd, {"name": "a.service", "state": "started"}, {"name": "b.service", "state": "started"})
    assert outcome.problems == ("a.service is failed and enabled after systemctl start",)


def test_a_unit_that_its_own_conditions_keep_from_starting_is_left_out() -> None:
    systemd = Systemd(a=Unit("loaded", "enabled", "inactive", "no", "0"))
    systemd.without_hardware = {"a.service"}
    wish = {"name": "a.service", "enabled": True, "state": "started"}
    assert [step.verb for step in converge(systemd, wish, check_mode=True).steps] == ["start"]
    outcome = converge(systemd, wish)
    assert ([step.verb for step in outcome.steps], outcome.problems) == (["start"], ())
    again = converge(systemd, wish)
    assert again.steps == ()
    assert again.left_out == ("a.service does not run, since this host does not meet the unit's own conditions",)


def test_a_failing_verb_is_tried_for_each_unit_alone() -> None:
    systemd = Systemd(a=Unit("loaded", "disabled"), b=Unit("loaded", "disabled"))
    systemd.failing = {("enable", "a.service")}
    outcome = converge(systemd, {"name": "a.service", "enabled": True}, {"name": "b.service", "enabled": True})
    (problem,) = outcome.problems
    assert problem.startswith("a.service cannot be changed by systemctl enable: Unit is broken")
    assert systemd.units["b.service"].enabled


def test_a_unit_that_has_to_exist() -> None:
    wish = {"name": "gone.service", "enabled": True, "only_if_exists": False}
    with pytest.raises(Refused, match=r"there is no unit gone.service on this host"):
        converge(Systemd(), wish)
    assert converge(Systemd(), wish, check_mode=True).left_out == ("gone.service does not exist",)


def test_a_masked_unit_is_not_started_behind_the_administrators_back() -> None:
    with pytest.raises(Refused, match=r"a\.service is masked and cannot start; set masked to false as well"):
        converge(Systemd(a=Unit("masked", "masked")), {"name": "a.service", "state": "started"})


def test_a_unit_that_others_start_counts_as_enabled_and_cannot_be_disabled() -> None:
    systemd = Systemd(a=Unit("loaded", "static", "active"))
    assert converge(systemd, {"name": "a.service", "enabled": True}).steps == ()
    assert "mask it instead" in converge(systemd, {"name": "a.service", "enabled": False}).left_out[0]


@pytest.mark.parametrize("check_mode", [False, True])
def test_what_people_log_in_by_is_not_stopped_and_nothing_else_is_then(check_mode: bool) -> None:
    systemd = Systemd(a=Unit("loaded", "enabled", "active"), ssh=Unit("loaded", "enabled", "active"))
    wishes = {"name": "a.service", "state": "stopped"}, {"name": "ssh.service", "masked": True, "state": "stopped"}
    with pytest.raises(Refused, match=r"ssh\.service: people log in by it.*nothing was changed"):
        converge(systemd, *wishes, check_mode=check_mode)
    assert systemd.units["a.service"].running


def test_what_nobody_logs_in_by_any_more_is_no_reason() -> None:
    systemd = Systemd(ssh=Unit("loaded", "disabled", "inactive"))
    assert converge(systemd, {"name": "ssh.service", "enabled": False, "state": "stopped"}).steps == ()


def test_a_host_without_systemd() -> None:
    outcome = units_host.converge([{"name": "a.service"}], False, Systemd(), "/no/such/directory")
    assert outcome.left_out == ("systemd does not run on this host",)
    with pytest.raises(Refused, match="started with systemd"):
        units_host.converge([{"name": "a.service", "only_if_exists": False}], False, Systemd(), "/no/such/directory")


@given(
    unit=st.builds(
        Unit,
        st.sampled_from(["loaded", "not-found"]),
        st.sampled_from(["enabled", "disabled", "static", "indirect", "linked", ""]),
        st.sampled_from(["active", "inactive", "failed", "activating"]),
    ),
    enabled=st.sampled_from([None, True, False]),
    masked=st.sampled_from([None, False]),
    state=st.sampled_from(["", "started", "stopped"]),
)
def test_planning_again_finds_nothing(unit: Unit, enabled: bool | None, masked: bool | None, state: str) -> None:
    systemd = Systemd(a=unit)
    wish = {"name": "a.service", "enabled": enabled, "masked": masked, "state": state}
    assert converge(systemd, wish).problems == ()
    assert converge(systemd, wish).steps == ()
