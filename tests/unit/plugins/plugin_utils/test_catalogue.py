# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue: every row of the collection is well formed, and a row that is not is refused with its place."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import audit
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers import kernel_audit
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.registry import prepared
from ansible_collections.bulwark.hardening.plugins.plugin_utils import catalogue

ROWS = catalogue.load()
GOOD = {"id": "OS-99", "title": "Something is true", "kind": "file", "check": {"reader": "unit"}}


def every_check(row: catalogue.Row) -> list[Mapping[str, Any]]:
    """Return all that a row may be observed by: its own check, those of releases, and those of switches."""
    parts = [{"check": row.check}, *row.platforms.values()]
    relaxations = [row.relaxed_by, *(overlay.get("relaxed_by") or {} for overlay in row.platforms.values())]
    parts += [change for relaxation in relaxations for change in relaxation.values() if isinstance(change, dict)]
    return list(itertools.chain(*(catalogue.readers(part["check"]) for part in parts if "check" in part)))


def every_enforce(row: catalogue.Row) -> list[Mapping[str, Any]]:
    """Return all that a row may enforce."""
    parts = [{"enforce": row.enforce}, *row.platforms.values()]
    relaxations = [row.relaxed_by, *(overlay.get("relaxed_by") or {} for overlay in row.platforms.values())]
    parts += [change for relaxation in relaxations for change in relaxation.values() if isinstance(change, dict)]
    return [part["enforce"] for part in parts if part.get("enforce")]


def test_the_catalogue_covers_what_the_baseline_promises() -> None:
    covered = {row.id.partition(".")[0] for row in ROWS if row.role == "baseline"}
    mine = {*range(1, 40), *range(57, 85)}
    assert {f"OS-{number:02d}" for number in mine} <= covered


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_row_is_observed_by_readers_that_exist_and_take_its_parameters(row: catalogue.Row) -> None:
    problems = [problem for check in every_check(row) for problem in prepared(dict(check))[2]]
    assert problems == []


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_row_is_complete(row: catalogue.Row) -> None:
    assert row.references, "a control has a reason in some framework"
    assert not row.title.endswith(".")
    assert row.default != "opt_in" or row.hazard or row.kind in ("package", "observation"), "why is it not on?"
    if row.role == "baseline":  # what other roles enforce is theirs
        assert row.default == "reported" or every_enforce(row) or row.kind == "observation"


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_files_are_never_left_to_the_umask(row: catalogue.Row) -> None:
    """A file that is written whole has owner and mode; one that is edited may keep its own."""
    loose = [
        entry["path"]
        for enforce in every_enforce(row)
        for entry in (*enforce.get("files", ()), *enforce.get("access_files", ()))
        if "content" in entry and not {"owner", "group", "mode"} <= set(entry)
    ]
    assert loose == []


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_a_service_that_somebody_may_use_is_spared_or_named(row: catalogue.Row) -> None:
    """Nothing is stopped that an operator cannot keep by a switch."""
    for enforce in every_enforce(row):
        stopped = [unit for unit in enforce.get("units", ()) if unit.get("state") == "stopped"]
        assert not stopped or row.relaxed_by


def parse(**changes: Any) -> list[catalogue.Row]:
    entry = {**GOOD, **changes}
    return catalogue.read(yaml.safe_dump([{key: value for key, value in entry.items() if value is not None}]), "here")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": None}, "id is missing"),
        ({"id": "os-1"}, "has the form OS-14"),
        ({"title": None}, "title is missing"),
        ({"title": " "}, "title says in one line"),
        ({"kind": "sysctls"}, "kind is 'sysctls'; accepted are account"),
        ({"default": "on"}, "default is 'on'"),
        ({"needs": ["vm"]}, "needs names 'vm'"),
        ({"check": None}, "check is missing"),
        ({"check": []}, "check needs at least one reader"),
        ({"check": {"parameters": {}}}, "check.reader is missing"),
        ({"check": [{"reader": "unit"}, {"reader": "unit", "parameter": {}}]}, "check[1].parameter is unknown"),
        ({"check": {"reader": "unit", "parameters": []}}, "check.parameters is a mapping"),
        ({"references": {"pci": ["1"]}}, "references names 'pci'"),
        ({"platforms": {"debian12": {"not_applicable": "why"}}}, "platforms names 'debian12'"),
        ({"platforms": {"debian-12": {"enforced": {}}}}, "platforms.debian-12.enforced is unknown"),
        ({"platforms": {"debian-12": {}}}, "platforms.debian-12 is a mapping with some of"),
        ({"platforms": {"ubuntu": {"relaxed_by": ["router"]}}}, "platforms.ubuntu.relaxed_by is a mapping"),
        ({"relaxed_by": {"Router": "unmanaged"}}, "relaxed_by.Router has the form"),
        ({"relaxed_by": {"router": "off"}}, "relaxed_by.router is a mapping"),
        ({"relaxed_by": {"router": {"default": "opt_in"}}}, "relaxed_by.router.default is unknown"),
        ({"relaxed_by": {"router": {"enforce": {"sysctl": {}}}}}, "relaxed_by.router.enforce.sysctl is unknown"),
        ({"enforce": []}, "enforce is a mapping"),
        ({"enforce": ["sysctls"]}, "enforce is a mapping"),
        ({"enforce": {"sysctls": ["kernel.panic"]}}, "enforce.sysctls is a dict"),
        ({"enforce": {"packages_present": "aide"}}, "enforce.packages_present is a list"),
        ({"enforce": {"packages_present": [1]}}, "enforce.packages_present[0] is a text"),
        ({"enforce": {"units": [{"enabled": True}]}}, "enforce.units[0].name is missing"),
        ({"enforce": {"units": ["a.service"]}}, "enforce.units[0] is a mapping"),
        ({"enforce": {"files": [{"path": "/x", "text": "y"}]}}, "enforce.files[0].text is unknown"),
        ({"enforce": {"files": [{"path": "/x", "mode": 420}]}}, "enforce.files[0].mode is four octal digits in quotes"),
        ({"enforce": {"files": [{"path": "/x", "mode": "u=rw"}]}}, "enforce.files[0].mode is four octal digits"),
        ({"enforce": {"audit_immutable": "yes"}}, "enforce.audit_immutable is a bool"),
        ({"default": "reported", "enforce": {"sysctls": {"a": 1}}}, "a reported row enforces nothing"),
        ({"enforced": {}}, "enforced is unknown"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(catalogue.CatalogueError) as refusal:
        parse(**changes)
    assert words in str(refusal.value)
    assert str(refusal.value).startswith("here[0]")


def test_a_file_that_is_no_list_is_refused() -> None:
    with pytest.raises(catalogue.CatalogueError, match=r"here: a catalogue file holds a list of rows"):
        catalogue.read("OS-01: {}", "here")


def test_a_row_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(catalogue.CatalogueError, match=r"here\[0\]: a row is a mapping"):
        catalogue.read("- OS-01", "here")


def test_broken_yaml_is_refused_without_a_traceback() -> None:
    with pytest.raises(catalogue.CatalogueError, match="here: "):
        catalogue.read("- {id: ", "here")


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(catalogue.CatalogueError, match="'title' stands twice"):
        catalogue.read("- {id: OS-01, title: a, title: b}", "here")


def test_merge_keys_of_yaml_are_no_double() -> None:
    text = "- {id: OS-01, title: A, kind: file, check: {reader: unit, parameters: &p {a: 1, b: 1}}}\n"
    text += "- {id: OS-02, title: A, kind: file, check: {reader: unit, parameters: {<<: *p, b: 2}}}\n"
    assert catalogue.read(text, "here")[1].check[0]["parameters"] == {"a": 1, "b": 2}


def test_the_same_id_in_two_roles_is_refused(tmp_path: Path) -> None:
    for role in ("one", "two"):
        folder = tmp_path / role / "controls"
        folder.mkdir(parents=True)
        (folder / "rows.yml").write_text(yaml.safe_dump([GOOD]), encoding="utf-8")
    with pytest.raises(catalogue.CatalogueError, match=r"two/rows\.yml: there is another row OS-99, in role one"):
        catalogue.load(tmp_path)


@pytest.mark.parametrize(
    ("platform", "keys"),
    [
        (("Debian", "Debian", "12"), ("debian", "debian-12")),
        (("Debian", "Debian", "12.11"), ("debian", "debian-12")),
        (("Debian", "Ubuntu", "22.04"), ("debian", "ubuntu", "ubuntu-22.04")),
        (("RedHat", "Rocky", "9.4"), ("redhat", "redhat-9", "rocky", "rocky-9")),
        (("RedHat", "RedHat", "10.0"), ("redhat", "redhat-10")),
    ],
)
def test_overlays_go_from_general_to_special(platform: tuple[str, str, str], keys: tuple[str, ...]) -> None:
    assert catalogue.platform_keys(*platform) == keys


BASELINE_PAGE = (catalogue.ROLES.parent / "docs" / "baseline.md").read_text(encoding="utf-8")


def test_the_page_about_the_baseline_names_every_choice() -> None:
    """Whoever opts in reads there what it may break."""
    unnamed = [row.id for row in ROWS if row.default == "opt_in" and f"| {row.id} |" not in BASELINE_PAGE]
    assert unnamed == []


def test_the_page_about_the_baseline_names_every_switch() -> None:
    switches = {name for name, option in catalogue.specification().items() if option["type"] == "bool"}
    assert sorted(name for name in switches if f"`{name}`" not in BASELINE_PAGE) == []


def audit_lines() -> list[str]:
    return [line for row in ROWS for enforce in every_enforce(row) for line in enforce.get("audit_rules", ())]


@pytest.mark.parametrize("line", sorted(set(audit_lines())))
def test_an_audit_rule_is_one_for_the_module_and_for_the_reader(line: str) -> None:
    assert audit.without_doubles([line]) == [line]
    assert kernel_audit.parse(line)
    assert " -k " in line


def test_every_call_that_is_recorded_is_recorded_for_both_word_lengths() -> None:
    keys = {}
    for word_length in ("b32", "b64"):
        keys[word_length] = sorted(line.split(" -k ")[1] for line in audit_lines() if f"arch={word_length}" in line)
    assert keys["b32"] == keys["b64"] != []
