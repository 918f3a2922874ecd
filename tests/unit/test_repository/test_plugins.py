# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection says about its modules is complete."""

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
import yaml

from .repository import ROOT, Role

MODULES = sorted(path.stem for path in ROOT.glob("plugins/modules/[a-z]*.py"))


def constant(path: Path, name: str) -> str:
    """Return a text that a plugin assigns to a name."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == name:
            return str(ast.literal_eval(statement.value))
    return ""


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> Path:
    return ROOT / "plugins" / "modules" / f"{request.param}.py"


def test_there_are_modules() -> None:
    assert {"firewall", "sshd"} <= set(MODULES)


def test_the_action_group_holds_every_module() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert sorted(runtime["action_groups"]["all"]) == MODULES


def test_the_transaction_group_holds_what_proves_new_logins() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    confirming = [
        path.stem for path in ROOT.glob("plugins/action/*.py") if "CommitConfirmedAction" in path.read_text("utf-8")
    ]
    assert sorted(runtime["action_groups"]["transaction"]) == sorted(confirming)


def test_module_declares_what_check_and_diff_mode_do(module: Path) -> None:
    documentation = yaml.safe_load(constant(module, "DOCUMENTATION"))
    attributes = documentation.get("attributes") or {}
    for fragment in documentation.get("extends_documentation_fragment") or []:
        attributes = {**fragment_part(fragment, "attributes"), **attributes}
    assert {"check_mode", "diff_mode"} <= set(attributes)
    assert all(attribute.get("support") and attribute.get("description") for attribute in attributes.values())


def fragment_part(name: str, part: str) -> dict[str, t.Any]:
    """Return the options or attributes that a documentation fragment of this collection brings."""
    fragment, _dot, section = name.removeprefix("bulwark.hardening.").partition(".")
    source = ROOT / "plugins" / "doc_fragments" / f"{fragment}.py"
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == (section or "documentation").upper():
            return yaml.safe_load(ast.literal_eval(node.value)).get(part) or {}
    raise AssertionError(f"there is no documentation fragment {name}")


def test_module_documents_examples_and_results(module: Path) -> None:
    examples = yaml.safe_load(constant(module, "EXAMPLES"))
    documentation = yaml.safe_load(constant(module, "DOCUMENTATION"))
    documented = set(documentation["options"])
    for fragment in documentation.get("extends_documentation_fragment") or []:
        documented |= set(fragment_part(fragment, "options"))
    used = [task[f"bulwark.hardening.{module.stem}"] for task in examples]
    assert used
    assert [name for arguments in used for name in arguments if name not in documented] == []
    assert yaml.safe_load(constant(module, "RETURN"))


def test_role_and_module_agree_on_lists_of_dicts(roles: dict[str, Role]) -> None:
    """The items of a list are the same, whether it is given to the role or to the module."""
    for role_name, module_name in (("firewall", "firewall"), ("ssh", "sshd")):
        source = ROOT / "plugins" / "modules" / f"{module_name}.py"
        options = yaml.safe_load(constant(source, "DOCUMENTATION"))["options"]
        for name, option in options.items():
            counterpart = roles[role_name].options.get(f"{role_name}_{name}")
            if counterpart and option.get("elements") == "dict":
                assert set(option.get("suboptions") or {}) == set(counterpart["options"]), f"{role_name}_{name}"
