# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A role's argument specification is its interface: complete, true, and used."""

from __future__ import annotations

import re
import typing as t

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from .repository import ROOT, Role

Option = dict[str, t.Any]


def leaves(options: t.Mapping[str, Option], prefix: str = "") -> t.Iterator[tuple[str, Option]]:
    """Yield each option with its path, those inside of lists and dicts included."""
    for name, option in options.items():
        yield f"{prefix}{name}", option
        yield from leaves(option.get("options") or {}, f"{prefix}{name}.")


def is_template(value: t.Any) -> bool:
    return "{{" in yaml.safe_dump(value)


def test_there_are_roles(roles: dict[str, Role]) -> None:
    assert {"firewall", "ssh"} <= set(roles)


def test_every_option_has_a_default_unless_it_is_required(role: Role) -> None:
    assert set(role.defaults) == {name for name, option in role.options.items() if not option.get("required")}


def test_documented_defaults_are_the_real_ones(role: Role) -> None:
    documented = {name: option.get("default") for name, option in role.options.items()}
    differing = {
        name: (documented[name], value)
        for name, value in role.defaults.items()
        if documented[name] != (None if is_template(value) else value)
    }
    assert differing == {}


def test_defaults_satisfy_their_own_specification(role: Role) -> None:
    plain = {name: value for name, value in role.defaults.items() if value is not None and not is_template(value)}
    result = ArgumentSpecValidator({name: role.options[name] for name in plain}).validate(plain)
    assert result.error_messages == []


def test_every_option_is_described_and_typed(role: Role) -> None:
    incomplete = [
        path
        for path, option in leaves(role.options)
        if not option.get("description")
        or not option.get("type")
        or (option["type"] == "list" and not option.get("elements"))
    ]
    assert incomplete == []


def test_lists_of_dicts_are_specified_down_to_the_leaves(role: Role) -> None:
    open_ended = [
        path for path, option in leaves(role.options) if option.get("elements") == "dict" and not option.get("options")
    ]
    assert open_ended == []


def test_every_option_is_used(role: Role) -> None:
    code = "\n".join(role.texts("tasks", "templates", "vars", "handlers").values())
    # Whether a role is for a host at all is decided where it is called.
    code += (ROOT / "playbooks" / "site.yml").read_text(encoding="utf-8")
    # A default may be there to be composed with another one.
    code += "\n".join(str(value) for value in role.defaults.values() if is_template(value))
    assert [name for name in role.options if not re.search(rf"\b{name}\b", code)] == []


def test_public_names_carry_the_name_of_the_role(role: Role) -> None:
    assert [name for name in role.options if not name.startswith(f"{role.name}_")] == []


def test_variables_that_a_role_makes_carry_its_name(role: Role) -> None:
    """Private ones have two underscores in front; public are results, the baseline's policy, Ansible's own."""
    made = {name for text in role.texts("vars").values() for name in yaml.safe_load(text) or {}}
    for text in role.texts("tasks", "handlers").values():
        for task in tasks(yaml.safe_load(text)):
            made |= {task["register"]} if "register" in task else set()
            made |= set(task.get("ansible.builtin.set_fact", {})) - {"cacheable"}
    public = {f"{role.name}_result", "baseline_policy"}
    assert sorted(name for name in made - public if not name.startswith((f"__{role.name}_", "ansible_"))) == []


def tasks(entries: t.Sequence[dict[str, t.Any]] | None) -> t.Iterator[dict[str, t.Any]]:
    """Yield all tasks, those in blocks included."""
    for entry in entries or []:
        yield entry
        for part in ("block", "rescue", "always"):
            yield from tasks(entry.get(part))
