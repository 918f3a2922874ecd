# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/reference/: a page for each role, module and filter, from the documentation that Ansible reads."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
import typing as t
from pathlib import Path

import yaml

from .paths import ROOT, Problem, tool

REFERENCE = ROOT / "docs" / "reference"
COLLECTION = "bulwark.hardening"
Document = dict[str, t.Any]

_MARKUP = [
    (re.compile(r"\bL\(([^,]+),\s*((?:\\.|[^)\\])+)\)"), r"[\1](\2)"),
    (re.compile(r"\bR\(([^,]+),\s*[^)]+\)"), r"\1"),
    (re.compile(r"\bU\(((?:\\.|[^)\\])+)\)"), r"<\1>"),
    (re.compile(r"\bB\(((?:\\.|[^)\\])+)\)"), r"**\1**"),
    (re.compile(r"\bI\(((?:\\.|[^)\\])+)\)"), r"*\1*"),
    # The part before the colon names the plugin that an option or a value belongs to, the part after # its kind.
    (re.compile(r"\bR?[OV]\((?:[a-z_]+\.[a-z_.]+#[a-z]+:)?((?:\\.|[^)\\])+)\)"), r"`\1`"),
    (re.compile(r"\b[CEMP]\(((?:\\.|[^)\\#])+)(?:#[a-z]+)?\)"), r"`\1`"),
]


def write(_options: t.Sequence[str] = ()) -> int:
    """Bring docs/reference/ up to date, say what has changed, and return 0."""
    wanted = pages()
    for path in stale(wanted):
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
        print(f"{'wrote' if path in wanted else 'removed'} {path.relative_to(ROOT)}")
    return 0


def stale(wanted: t.Mapping[Path, str]) -> list[Path]:
    """Return the pages that are missing, out of date, or about something that does not exist any more."""
    present = set(REFERENCE.rglob("*.md"))
    outdated = [
        path for path, text in wanted.items() if path not in present or path.read_text(encoding="utf-8") != text
    ]
    return sorted([*outdated, *(present - set(wanted))])


def pages() -> dict[Path, str]:
    """Return the text of every page by its path."""
    result: dict[Path, str] = {}
    index = [
        "# Reference",
        "",
        "Written by `./dev docs`; edit the argument specifications and the modules instead.",
        "",
    ]
    for title, folder, entries in (
        ("Roles", "roles", {name: (role_page(name), summary) for name, summary in roles().items()}),
        ("Modules", "modules", plugin_pages("module", "modules")),
        ("Filters", "filters", plugin_pages("filter", "filter")),
    ):
        if entries:
            index += [f"## {title}", ""]
            for name, (text, summary) in sorted(entries.items()):
                result[REFERENCE / folder / f"{name}.md"] = text
                index.append(f"- [{name}]({folder}/{name}.md): {summary}")
            index.append("")
    result[REFERENCE / "README.md"] = "\n".join(index).rstrip() + "\n"
    return result


def roles() -> dict[str, str]:
    """Return the short description of each role."""
    found = {}
    for path in sorted(ROOT.glob("roles/*/meta/argument_specs.yml")):
        found[path.parent.parent.name] = markdown(_specification(path)["short_description"])
    return found


def role_page(name: str) -> str:
    """Return the page of one role."""
    main = _specification(ROOT / "roles" / name / "meta" / "argument_specs.yml")
    lines = [f"# Role {COLLECTION}.{name}", "", *paragraphs(main.get("description") or main["short_description"])]
    lines += ["## Variables", "", *options(main.get("options") or {})]
    return "\n".join(lines).rstrip() + "\n"


def plugin_pages(kind: str, folder: str) -> dict[str, tuple[str, str]]:
    """Return page and summary of each plugin of a kind, as ansible-doc reads them, doc fragments included."""
    names = [
        f"{COLLECTION}.{path.stem}"
        for path in sorted((ROOT / "plugins" / folder).glob("*"))
        if path.suffix in {".py", ".yml"} and not path.name.startswith("_")
    ]
    if not names:
        return {}
    command = [tool("ansible-doc"), "--json", "--type", kind, *dict.fromkeys(names)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise Problem(f"ansible-doc cannot read the {kind}s: {result.stderr.strip()}")
    documents: dict[str, Document] = json.loads(result.stdout)
    missing = sorted(set(names) - set(documents))
    if missing:
        raise Problem(f"ansible-doc finds no documentation for {', '.join(missing)}: {result.stderr.strip()}")
    return {
        name.rpartition(".")[2]: (plugin_page(kind, name, document), markdown(document["doc"]["short_description"]))
        for name, document in documents.items()
    }


def plugin_page(kind: str, name: str, document: Document) -> str:
    """Return the page of one module or filter."""
    doc = document["doc"]
    lines = [f"# {kind.capitalize()} {name}", "", *paragraphs(doc.get("description") or [])]
    if doc.get("attributes"):
        lines += ["## Behaviour", ""]
        for attribute, value in sorted(doc["attributes"].items()):
            details = " ".join(_texts(value.get("details") or []))
            lines.append(f"- `{attribute}`: {value['support']}. {markdown(details)}".rstrip())
        lines.append("")
    lines += ["## Options", "", *options(doc.get("options") or {})]
    if document.get("examples"):
        lines += ["## Examples", "", "```yaml", document["examples"].strip(), "```", ""]
    if document.get("return"):
        lines += ["## Return values", "", *options(document["return"])]
    if doc.get("notes"):
        lines += ["## Notes", "", *(f"- {markdown(note)}" for note in doc["notes"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def options(specification: Document, depth: int = 0) -> list[str]:
    """Return a nested list: each option with its type, its default, its accepted values and what it means."""
    lines: list[str] = []
    for name, option in specification.items():
        facts = [_type_of(option)]
        if option.get("required"):
            facts.append("required")
        if option.get("returned"):
            facts.append(f"returned: {markdown(str(option['returned']))}")
        if option.get("default") is not None:
            facts.append(f"default `{_value(option['default'])}`")
        if option.get("choices"):
            facts.append("one of " + ", ".join(f"`{_value(choice)}`" for choice in option["choices"]))
        text = " ".join(markdown(part) for part in _texts(option.get("description") or []))
        if option.get("sample") is not None:
            text += f" For example `{_value(option['sample'])}`."
        entry = [f"- **`{name}`** ({'; '.join(facts)})", *textwrap.wrap(text, 116 - 2 * depth, break_long_words=False)]
        lines += [textwrap.indent(line, "  " * (depth + bool(number))) for number, line in enumerate(entry)]
        # Roles, modules and return values each have their own word for what is inside.
        inner = option.get("options") or option.get("suboptions") or option.get("contains") or {}
        lines += options(inner, depth + 1)
    if depth == 0:
        lines += [] if lines else ["None."]
        lines.append("")
    return lines


def paragraphs(description: str | t.Sequence[str]) -> list[str]:
    """Return a description as paragraphs, each followed by an empty line."""
    lines = []
    for text in _texts(description):
        lines += [*textwrap.wrap(markdown(text), 118, break_long_words=False, break_on_hyphens=False), ""]
    return lines


def markdown(text: str) -> str:
    """Turn Ansible's documentation markup into Markdown."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return re.sub(r"\\([\\)])", r"\1", " ".join(text.split()))


def _specification(path: Path) -> Document:
    main: Document = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]
    return main


def _texts(description: str | t.Sequence[str]) -> t.Sequence[str]:
    return [description] if isinstance(description, str) else description


def _type_of(option: Document) -> str:
    kind = str(option.get("type", "str"))
    return f"{kind} of {option['elements']}" if option.get("elements") else kind


def _value(value: t.Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)
