# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PAM as text: profiles for pam-auth-update, stacks that it builds of them, lines that libpam does not take. Pure.

Debian builds /etc/pam.d/common-* out of the profiles in /usr/share/pam-configs. Lines that are put there by hand end
with the next package, so that everything which fits goes through a profile. Source: pam-auth-update(8), pam.conf(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .host import Refused

PROFILES = "/usr/share/pam-configs"
SAVED = "/var/lib/pam"
SERVICES = "/etc/pam.d"
STACKS = ("auth", "account", "password", "session")
# The files that pam-auth-update writes, below SERVICES with "common-" before them, below SAVED without.
COMMON = (*STACKS, "session-noninteractive")
PRIMARY = "Primary"
ADDITIONAL = "Additional"
OWN_PREFIX = "bulwark-"
OWN_NAME = re.compile(rf"{OWN_PREFIX}[a-z0-9][a-z0-9-]{{0,40}}")
ANY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")

KEYWORDS = frozenset({"required", "requisite", "sufficient", "optional", "include", "substack"})
ACTIONS = frozenset({"ignore", "ok", "done", "bad", "die", "reset"})
CONTROL = re.compile(r"[a-z_]+=(?:[a-z]+|[0-9]+|end)")
JUMP = re.compile(r"(\[[^\]0-9]*?=)(?:[0-9]+|end)([^\]]*\])")


@dataclass(frozen=True)
class Part:
    """What a profile does in one stack; initial is for when nothing stands before it in the block."""

    block: str
    lines: tuple[str, ...]
    initial: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """One profile. Without parts it names a profile, or a feature of authselect, that the host has already."""

    name: str
    priority: int = 256
    default: bool = True
    parts: Mapping[str, Part] = field(default_factory=dict)
    interactive_only: bool = False

    @property
    def is_own(self) -> bool:
        return bool(self.parts)


@dataclass(frozen=True)
class Line:
    """One line of a stack. A module that is_optional may be missing: its line starts with "-"."""

    stack: str
    control: str
    module: str
    arguments: tuple[str, ...] = ()
    is_optional: bool = False


def parse(entries: Sequence[Mapping[str, Any]], place: str = "pam_profiles") -> tuple[Profile, ...]:
    """Return the profiles of the policy. Raises Refused with everything that is wrong."""
    problems: list[str] = []
    profiles: list[Profile] = []
    for number, entry in enumerate(entries):
        at = f"{place}[{number}]"
        name = str(entry.get("name") or "")
        parts, wrong = _parts(entry, at)
        problems += wrong
        if parts and not OWN_NAME.fullmatch(name):
            problems.append(f"{at}.name is {name!r}; a profile of our own has a name such as {OWN_PREFIX}faillock")
        if not parts and (not ANY_NAME.fullmatch(name) or name.startswith(OWN_PREFIX)):
            problems.append(f"{at}.name is {name!r}; without any text, name a profile that the host's packages bring")
        if name in [profile.name for profile in profiles]:
            problems.append(f"{at}.name: {name!r} stands twice; leave one")
        priority = entry.get("priority")
        if priority is not None and not 0 <= int(priority) <= 9999:
            problems.append(f"{at}.priority is {priority!r}; accepted are 0 to 9999")
        profiles.append(
            Profile(
                name=name,
                priority=256 if priority is None else int(priority),
                default=entry.get("default") is not False,
                parts=parts,
                interactive_only=bool(entry.get("session_interactive_only")),
            )
        )
    if problems:
        raise Refused("; ".join(problems))
    return tuple(profiles)


def _parts(entry: Mapping[str, Any], place: str) -> tuple[dict[str, Part], list[str]]:
    parts: dict[str, Part] = {}
    problems: list[str] = []
    for stack in STACKS:
        lines, initial = _lines(entry.get(stack)), _lines(entry.get(f"{stack}_initial"))
        if initial and not lines:
            problems.append(f"{place}.{stack}_initial stands without {stack}; give both")
        if not lines:
            continue
        block = str(entry.get(f"{stack}_type") or (ADDITIONAL if stack == "session" else PRIMARY))
        if block not in (PRIMARY, ADDITIONAL):
            problems.append(f"{place}.{stack}_type is {block!r}; accepted are {PRIMARY} and {ADDITIONAL}")
        for line in (*lines, *initial):
            wrong = line_problem(f"{stack} {line}")
            if wrong:
                problems.append(f"{place}.{stack}: {line!r}: {wrong}")
        parts[stack] = Part(block, lines, initial)
    return parts, problems


def _lines(text: Any) -> tuple[str, ...]:
    lines = text if isinstance(text, (list, tuple)) else str(text or "").splitlines()
    return tuple(" ".join(str(line).split()) for line in lines if str(line).strip())


def render(profile: Profile, conflicts: Sequence[str] = ()) -> str:
    """Return the file of a profile; conflicts are profiles that it takes the place of."""
    lines = [
        f"Name: {profile.name}",
        f"Default: {'yes' if profile.default else 'no'}",
        f"Priority: {profile.priority}",
    ]
    if conflicts:
        lines.append(f"Conflicts: {', '.join(conflicts)}")
    if profile.interactive_only:
        lines.append("Session-Interactive-Only: yes")
    for stack, part in profile.parts.items():
        lines.append(f"{stack.title()}-Type: {part.block}")
        lines += [f"{stack.title()}:", *(f"\t{line}" for line in part.lines)]
        if part.initial:
            lines += [f"{stack.title()}-Initial:", *(f"\t{line}" for line in part.initial)]
    return "\n".join(lines) + "\n"


def fields(text: str) -> dict[str, str]:
    """Return the fields of a profile's file; the lines of a stack are divided by line ends."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        head = re.match(r"(\S+):(?:\s+(.*?))?\s*$", line)
        if head and not line[0].isspace():
            name = head[1].replace("-Final", "")
            found[name] = head[2] or ""
        elif name and line.strip():
            found[name] = f"{found[name]}\n{line.strip()}".strip()
    return found


def conflicts(profile: Profile, others: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of those profiles, given as name and text, that run a Primary module of this one as well.

    Both would ask for the same password. Our own profiles never conflict with each other.
    """
    own = {
        (stack, module)
        for stack, part in profile.parts.items()
        if part.block == PRIMARY
        for module in _modules(stack, part.lines)
    }
    found = []
    for name, text in others.items():
        values = fields(text)
        theirs = {
            (stack, module)
            for stack in STACKS
            if values.get(f"{stack.title()}-Type") == PRIMARY
            for module in _modules(stack, values.get(stack.title(), "").split("\n"))
        }
        if own & theirs and not name.startswith(OWN_PREFIX):
            found.append(name)
    return tuple(sorted(found))


def _modules(stack: str, lines: Iterable[str]) -> set[str]:
    parsed = [parse_line(f"{stack} {line}") for line in lines if line.strip()]
    return {line.module for line in parsed if line is not None}


# What pam-auth-update made of them.


def enabled(saved: Mapping[str, str]) -> frozenset[str]:
    """Return the profiles that are enabled; saved is what pam-auth-update remembers of each file of COMMON."""
    return frozenset(
        line.partition(":")[2].strip()
        for text in saved.values()
        for line in text.splitlines()
        if line.startswith("Module:")
    )


def in_force(
    profiles: Sequence[Profile],
    files: Mapping[str, str],
    wanted: Mapping[str, str],
    saved: Mapping[str, str],
    current: Mapping[str, str],
) -> bool:
    """Return whether pam-auth-update would have nothing to do.

    files and wanted are the own profiles that there are and that shall be, as name and text; saved and current are the
    remembered and the present files of COMMON.
    """
    if dict(files) != dict(wanted):
        return False
    if {profile.name for profile in profiles} - enabled(saved):
        return False
    for stack in COMMON:
        remembered = [line for line in saved.get(stack, "").splitlines() if line and not line.startswith("Module:")]
        if [_plain(line) for line in remembered] != managed(current.get(stack, ""), stack):
            return False
    return not left_out(profiles, current)


def managed(text: str, name: str) -> list[str]:
    """Return the lines of a common file that pam-auth-update manages, without the lengths of their jumps."""
    lines: list[str] = []
    inside = False
    stack = name.partition("-")[0]
    for line in text.splitlines():
        if line.startswith("#"):
            if "per-package modules" in line:
                inside = True
            elif line.startswith(("# here's the fallback", "# end of pam-auth-update")):
                inside = False
        elif inside and line.strip():
            lines.append(_plain(re.sub(rf"^{stack}\s+", "", line)))
    return lines


def _plain(line: str) -> str:
    return " ".join(JUMP.sub(r"\1\2", line).split())


def left_out(profiles: Sequence[Profile], current: Mapping[str, str]) -> list[str]:
    """Return what of the profiles is not in the common files, each as FILE: LINE."""
    missing = []
    for profile in profiles:
        for stack, part in profile.parts.items():
            names = [stack]
            if stack == "session" and not profile.interactive_only:
                names.append("session-noninteractive")
            for name in names:
                there = [_words(line) for line in managed(current.get(name, ""), name)]
                for lines in (part.lines, part.initial or part.lines):
                    wanted = [_words(_plain(line)) for line in lines]
                    if all(any(head == have[0] and rest <= have[1] for have in there) for head, rest in wanted):
                        break
                else:
                    missing.append(f"{SERVICES}/common-{name}: {part.lines[0]}")
    return missing


def _words(line: str) -> tuple[str, frozenset[str]]:
    """Return control and module, and the arguments: of these an administrator may have added some."""
    parsed = parse_line(f"auth {line}")
    if parsed is None:
        return line, frozenset()
    return f"{parsed.control} {parsed.module}", frozenset(parsed.arguments)


# Services.


def parse_line(line: str) -> Line | None:
    """Return one line of a service's file, None where it holds no module."""
    text = line.partition("#")[0].strip()
    found = re.match(r"(-?)([a-zA-Z]+)\s+(\[[^\]]*\]|\S+)\s+(\S+)\s*(.*)$", text)
    if found is None or text.startswith("@"):
        return None
    arguments = tuple(re.findall(r"\[[^\]]*\]|\S+", found[5]))
    return Line(found[2].lower(), found[3], found[4], arguments, bool(found[1]))


def line_problem(line: str) -> str:
    """Return why libpam would not take a line, empty if it would."""
    text = line.partition("#")[0].strip()
    if not text:
        return ""
    if "\0" in text or "\\" in text[-1:]:
        return "a line must not go on in the next one"
    if text.startswith("@include"):
        return "" if len(text.split()) == 2 else "@include takes the name of one file"
    parsed = parse_line(text)
    if parsed is None:
        return "a line is TYPE CONTROL MODULE and arguments"
    if parsed.stack not in STACKS:
        return f"{parsed.stack!r} is no type; accepted are {', '.join(STACKS)}"
    if parsed.control.startswith("["):
        words = parsed.control.strip("[]").split()
        wrong = [word for word in words if not _is_control(word)]
        if wrong or not words:
            return (
                f"{(wrong or [parsed.control])[0]!r} is no VALUE=ACTION; an action is a number or one of "
                + ", ".join(sorted(ACTIONS))
            )
        return ""
    if parsed.control not in KEYWORDS:
        return f"{parsed.control!r} is no control; accepted are {', '.join(sorted(KEYWORDS))} and [VALUE=ACTION …]"
    return ""


def _is_control(word: str) -> bool:
    action = word.partition("=")[2]
    return CONTROL.fullmatch(word) is not None and (action.isdigit() or action in ACTIONS or action == "end")


def logical_lines(text: str) -> list[str]:
    """Return the lines of a service's file; one that a backslash continues is one line."""
    return re.sub(r"\\\n", " ", text).splitlines()


def modules(text: str) -> list[str]:
    """Return the modules that a service's file needs."""
    lines = [parse_line(line) for line in logical_lines(text)]
    return [
        line.module
        for line in lines
        if line is not None and not line.is_optional and line.control not in ("include", "substack")
    ]


def problems(before: Mapping[str, str], after: Mapping[str, str], has_module: Callable[[str], bool]) -> list[str]:
    """Return what libpam would not take in the files of a candidate, and would have taken before.

    before and after hold the text of every file of SERVICES by its name.
    """
    known = {module for text in before.values() for module in modules(text)}
    found = []
    for name, text in sorted(after.items()):
        if before.get(name) == text:
            continue
        old = set(logical_lines(before.get(name, "")))
        for line in logical_lines(text):
            wrong = line_problem(line)
            if wrong and line not in old:
                found.append(f"{SERVICES}/{name}: {line.strip()!r}: {wrong}")
        for module in dict.fromkeys(modules(text)):
            if module not in known and not has_module(module):
                found.append(
                    f"{SERVICES}/{name} names {module}, which is not on this host; install the package that has it"
                )
    return found
