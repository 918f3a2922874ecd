# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fail2ban module's documentation, arguments and role describe the same options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.validate import (
    BASE_KEYS,
    FILTER_KEYS,
    JAIL_KEYS,
    OPTION_KEYS,
    SAMPLE_KEYS,
    validate_policy,
)
from ansible_collections.bulwark.hardening.plugins.modules import fail2ban

ROLE = Path(__file__).parents[4] / "roles" / "fail2ban"
DOCUMENTED: dict[str, Any] = yaml.safe_load(fail2ban.DOCUMENTATION)["options"]
ROLE_OPTIONS: dict[str, Any] = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"][
    "main"
]["options"]
COMPARED = ("type", "elements", "choices", "required", "default")


def compare(documented: dict[str, Any], specified: dict[str, Any], path: str = "") -> None:
    assert set(documented) == set(specified), path
    for name, option in specified.items():
        for key in COMPARED:
            assert documented[name].get(key) == option.get(key), (path, name, key)
        inner = documented[name].get("suboptions") or documented[name].get("options") or {}
        compare(inner, option.get("options") or {}, f"{path}{name}.")


def test_documentation_and_arguments_agree() -> None:
    compare(DOCUMENTED, fail2ban.ARGUMENT_SPEC)


def test_validation_and_arguments_know_the_same_options() -> None:
    assert set(fail2ban.ARGUMENT_SPEC) == {*OPTION_KEYS, *BASE_KEYS}
    assert set(fail2ban.JAIL) == set(JAIL_KEYS)
    assert set(fail2ban.FILTER) == set(FILTER_KEYS)
    assert set(fail2ban.FILTER["samples"]["options"]) == set(SAMPLE_KEYS)


def test_role_and_module_agree() -> None:
    for name, option in ROLE_OPTIONS.items():
        kind = name.rpartition("_")[2]
        if kind in ("jails", "filters"):
            compare(option["options"], fail2ban.ARGUMENT_SPEC[kind]["options"], f"{name}.")
            continue
        specified = fail2ban.ARGUMENT_SPEC[name.removeprefix("fail2ban_")]
        assert {key: option.get(key) for key in COMPARED} == {key: specified.get(key) for key in COMPARED}, name


def test_documented_examples_are_valid_policies() -> None:
    for task in yaml.safe_load(fail2ban.EXAMPLES):
        assert validate_policy(task["bulwark.hardening.fail2ban"]) == []
