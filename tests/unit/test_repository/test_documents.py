# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents say about the collection is true as far as a program can tell."""

from __future__ import annotations

import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from tools import checks, reference
from tools.__main__ import COMMANDS
from tools.paths import tool
from tools.sanity import source_files

from .repository import ROOT, Role

SOURCES = [ROOT / name for name in source_files() if not (ROOT / name).is_symlink()]
DOCUMENTS = sorted(path for path in SOURCES if path.suffix == ".md")
YAML_BLOCK = re.compile(r"^```ya?ml\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(params=DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def document(request: pytest.FixtureRequest) -> Path:
    return t.cast("Path", request.param)


def check_variables(variables: dict[str, t.Any], roles: dict[str, Role]) -> list[str]:
    """Return what is wrong with variables of our roles; those of nobody are no concern of ours."""
    options = {name: option for role in roles.values() for name, option in role.options.items()}
    plain = {name: value for name, value in variables.items() if name in options and "{{" not in yaml.safe_dump(value)}
    unknown = [
        name for name in variables if name.startswith(tuple(f"{role}_" for role in roles)) and name not in options
    ]
    result = ArgumentSpecValidator({name: options[name] for name in plain}).validate(plain)
    return [f"no role has the variable {name}" for name in unknown] + list(map(str, result.error_messages))


def test_the_reference_is_what_dev_docs_writes() -> None:
    outdated = [str(path.relative_to(ROOT)) for path in reference.stale(reference.pages())]
    assert outdated == [], "run ./dev docs"


def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", target)]
    assert [target for target in targets if not (document.parent / target.partition("#")[0]).exists()] == []


def test_commands_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert set(re.findall(r"\./dev ([a-z]+)", text)) <= set(COMMANDS)
    known = set(checks.groups()) | {step.name.split()[-1] for steps in checks.groups().values() for step in steps}
    assert set(re.findall(r"\./dev test ([a-z-]+)", text)) <= known


def test_names_of_the_collection_exist(document: Path) -> None:
    kinds = ("playbooks/*.yml", "roles/*", "plugins/modules/*.py", "plugins/filter/*.py", "plugins/callback/*.py")
    known = {path.stem for kind in kinds for path in ROOT.glob(kind)}
    known |= set(yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"])
    named = set(re.findall(r"\bbulwark\.hardening\.([a-z_]+)\b", document.read_text(encoding="utf-8")))
    assert sorted(named - known) == []


def test_variables_exist(document: Path, roles: dict[str, Role]) -> None:
    known = {name for role in roles.values() for name in role.options}
    known |= {path.stem for path in SOURCES} | {f"{name}_result" for name in roles} | {"baseline_policy"}
    pattern = rf"`((?:{'|'.join(roles)})_[a-z_]+)`"
    assert sorted(set(re.findall(pattern, document.read_text(encoding="utf-8"))) - known) == []


def test_examples_are_accepted(document: Path, roles: dict[str, Role], tmp_path: Path) -> None:
    for number, block in enumerate(YAML_BLOCK.findall(document.read_text(encoding="utf-8"))):
        content = yaml.safe_load(block)
        if isinstance(content, dict):
            assert check_variables(content, roles) == [], block
        elif isinstance(content, list) and any("hosts" in play or "import_playbook" in str(play) for play in content):
            playbook = tmp_path / f"example{number}.yml"
            playbook.write_text(block, encoding="utf-8")
            command = [tool("ansible-playbook"), "--syntax-check", "--inventory", "localhost,", str(playbook)]
            result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("inventory", ["example", "disposable"])
def test_variables_of_the_inventories_are_accepted(inventory: str, roles: dict[str, Role]) -> None:
    paths = [path for path in SOURCES if path.match(f"inventories/{inventory}/*_vars/*.yml")]
    assert paths
    problems = {}
    for path in paths:
        variables = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        problems[path.name] = check_variables(variables, roles)
    assert {name: problem for name, problem in problems.items() if problem} == {}


def test_nothing_of_a_single_machine_is_in_the_repository() -> None:
    """This checkout, this Python and the options that name a package index have no place in a file that is shared."""
    here = [str(ROOT), *(path for path in (sys.prefix, sys.base_prefix) if path.startswith(f"{Path.home()}/"))]
    pattern = re.compile("|".join([*map(re.escape, here), "--(?:extra-)?index-url", "--find-links", r"\bpypi\.org\b"]))
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in SOURCES
        if path != Path(__file__).resolve()
        and (match := pattern.search(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert found == {}


def test_every_source_names_its_licence() -> None:
    missing = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if path.suffix == ".py"
        and path.stat().st_size
        and "SPDX-License-Identifier: GPL-3.0-or-later" not in path.read_text(encoding="utf-8")[:600]
    ]
    assert missing == []


def test_nginx_and_postgresql_are_told_the_same_suites() -> None:
    (nginx,) = re.findall(r"^ssl_ciphers (\S+);", (ROOT / "roles/tls/files/nginx.conf").read_text(), re.MULTILINE)
    for path in ("docs/tls.md", "molecule/tls/files/postgresql.conf", "tests/certificates/postgresql.conf"):
        assert re.findall(r"^ssl_ciphers = '(.+)'", (ROOT / path).read_text(), re.MULTILINE) == [nginx], path
    assert nginx.count(":") == 3
