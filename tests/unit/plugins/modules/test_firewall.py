# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The firewall module's documentation, arguments and role describe the same options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.firewall import model
from ansible_collections.bulwark.hardening.plugins.module_utils.firewall.validate import (
    OPTION_KEYS,
    RULE_KEYS,
    validate_policy,
)
from ansible_collections.bulwark.hardening.plugins.modules import firewall

ROLE = Path(__file__).parents[4] / "roles" / "firewall"
DOCUMENTED: dict[str, Any] = yaml.safe_load(firewall.DOCUMENTATION)["options"]
ROLE_OPTIONS: dict[str, Any] = yaml.safe_load((ROLE / "meta" / "argument_specs.yml").read_text())["argument_specs"][
    "main"
]["options"]
COMPARED = ("type", "elements", "choices", "required", "default")


def test_documentation_and_arguments_agree() -> None:
    assert set(DOCUMENTED) == set(firewall.ARGUMENT_SPEC)
    for name, option in firewall.ARGUMENT_SPEC.items():
        for key in COMPARED:
            assert DOCUMENTED[name].get(key) == option.get(key), (name, key)
        for inner, suboption in option.get("options", {}).items():
            for key in COMPARED:
                assert DOCUMENTED[name]["suboptions"][inner].get(key) == suboption.get(key), (name, inner, key)


def test_validation_and_arguments_know_the_same_options() -> None:
    assert set(firewall.ARGUMENT_SPEC) == set(OPTION_KEYS)
    assert set(model.RULE_LISTS) <= set(firewall.ARGUMENT_SPEC)
    rules = firewall.ARGUMENT_SPEC["rules"]["options"]
    assert set(rules) == set(RULE_KEYS)
    assert tuple(rules["protocol"]["choices"]) == model.PROTOCOLS
    assert tuple(rules["action"]["choices"]) == model.ACTIONS
    assert tuple(firewall.ARGUMENT_SPEC["backend"]["choices"]) == model.BACKENDS


def test_the_role_offers_each_rule_key_of_the_module() -> None:
    for name in model.RULE_LISTS:
        offered = ROLE_OPTIONS[f"firewall_{name}"]["options"]
        module = firewall.ARGUMENT_SPEC[name]["options"]
        assert set(offered) == set(module)
        for key, option in offered.items():
            assert option.get("choices") == module[key].get("choices"), key
            assert option.get("default") == module[key].get("default"), key


def test_the_role_hands_over_each_option_that_a_user_may_set() -> None:
    tasks = yaml.safe_load((ROLE / "tasks" / "policy.yml").read_text())
    task = next(task for task in tasks if "bulwark.hardening.firewall" in task)
    handed = set(task["bulwark.hardening.firewall"])
    assert handed == set(firewall.ARGUMENT_SPEC) - {"transaction"}
    assert {f"firewall_{name}" for name in handed - {"operation"}} <= set(ROLE_OPTIONS)


def test_the_defaults_and_the_examples_are_valid_policies() -> None:
    assert validate_policy({name: option.get("default") for name, option in firewall.ARGUMENT_SPEC.items()}) == []
    for task in yaml.safe_load(firewall.EXAMPLES):
        assert validate_policy(task["bulwark.hardening.firewall"]) == []
