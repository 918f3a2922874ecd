# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sshd_config(5) as text: words, lines, Match blocks, and reversible edits. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

BEGIN = "# BEGIN bulwark.hardening"
END = "# END bulwark.hardening"
REPLACED = "#bulwark.hardening replaces: "
DROP_IN_GLOB = "/etc/ssh/sshd_config.d/*.conf"

_BARE = re.compile(r"[A-Za-z0-9_@%+.,:/*?!~^\[\]-][A-Za-z0-9_@%+.,:/*?!~^\[\]=-]*\Z")
_WORD_BREAK = " \t"
# What sshd strips from the end of a line; Python's own idea of blanks and line ends is wider.
_BLANK = " \t\r\f\n"


class GrammarError(ValueError):
    """A value that sshd_config cannot hold, or a line that sshd would not read."""


@dataclass(frozen=True)
class Line:
    """One line of a configuration file; keyword is lower case and empty for blanks and comments."""

    number: int
    raw: str
    keyword: str = ""
    arguments: tuple[str, ...] = ()
    match: tuple[str, ...] | None = None

    @property
    def is_global(self) -> bool:
        """Return whether the line stands outside every Match block."""
        return self.match is None and self.keyword != "match"


def quote(value: str) -> str:
    """Return value as one word of an sshd_config line; raises GrammarError for what no quoting can carry."""
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise GrammarError(f"{value!r} holds a control character, which an sshd_config line cannot carry")
    if _BARE.match(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split_lines(text: str) -> list[str]:
    """Return the lines with their ends; only a newline ends a line for sshd."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def words(text: str) -> tuple[str, ...]:
    """Split the arguments of a line the way sshd does; raises GrammarError for an open quote."""
    found: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character in _WORD_BREAK:
            position += 1
            continue
        if character == "#":
            break
        word, position = _word(text, position)
        found.append(word)
    return tuple(found)


def _word(text: str, position: int) -> tuple[str, int]:
    """Return the word that starts at position and the position behind it."""
    word: list[str] = []
    quoted = ""
    while position < len(text):
        character = text[position]
        following = text[position + 1 : position + 2]
        if character == "\\" and following and (following in "'\"\\" or (not quoted and following == " ")):
            word.append(following)
            position += 2
            continue
        if not quoted and character in _WORD_BREAK:
            break
        if not quoted and character in "'\"":
            quoted = character
        elif quoted and character == quoted:
            quoted = ""
        else:
            word.append(character)
        position += 1
    if quoted:
        raise GrammarError(f"the quote {quoted} is never closed in: {text.strip()}")
    return "".join(word), position


def render(keyword: str, arguments: Sequence[str]) -> str:
    """Return one line that words() reads back as the same arguments."""
    return " ".join([keyword, *(quote(argument) for argument in arguments)])


def parse(text: str) -> tuple[Line, ...]:
    """Return every line of a file, each with the Match block that it belongs to."""
    lines: list[Line] = []
    match: tuple[str, ...] | None = None
    for number, raw in enumerate((line.rstrip("\n") for line in split_lines(text)), start=1):
        stripped = raw.strip(_BLANK)
        if not stripped or stripped.startswith("#"):
            lines.append(Line(number, raw, match=match))
            continue
        keyword, rest = _split_keyword(stripped)
        arguments = words(rest)
        if keyword == "match":
            match = arguments
        lines.append(Line(number, raw, keyword, arguments, match))
    return tuple(lines)


def _split_keyword(stripped: str) -> tuple[str, str]:
    """Return keyword and arguments; sshd takes a blank, an equals sign or both between them."""
    found = re.match(r'"?([A-Za-z0-9]+)"?(?:[ \t]*=[ \t]*|[ \t]+|\Z)(.*)\Z', stripped)
    if not found:
        raise GrammarError(f"this is not a keyword with arguments: {stripped}")
    return found[1].lower(), found[2]


def is_managed_start(line: str) -> bool:
    """Return whether a block of ours starts here."""
    return line.startswith(BEGIN)


def restore(text: str) -> str:
    """Return the file as it was before manage(): blocks of ours removed, replaced lines back in force."""
    kept: list[str] = []
    inside = False
    for line in split_lines(text):
        if is_managed_start(line):
            inside = True
        elif inside and line.startswith(END):
            inside = False
        elif not inside:
            kept.append(line[len(REPLACED) :] if line.startswith(REPLACED) else line)
    if inside:
        raise GrammarError(f"a block that starts with {BEGIN!r} has no end; remove or complete the block by hand")
    return "".join(kept)


def manage(text: str, block: Sequence[str], replaces: Callable[[Line], bool]) -> str:
    """Return a restored file with our block at its top and the lines that contradict it commented out."""
    changed: list[str] = []
    for line, raw in zip(parse(text), split_lines(text)):
        changed.append(REPLACED + raw if line.keyword and replaces(line) else raw)
    head = (
        [] if not block else [f"{BEGIN}: made by Ansible, changes here are lost\n", *(f"{entry}\n" for entry in block)]
    )
    if head:
        head.append(f"{END}\n")
    return "".join([*head, *changed])


def is_drop_in_include(line: Line) -> bool:
    """Return whether the line reads the drop-in directory."""
    return line.keyword == "include" and any(
        argument in (DROP_IN_GLOB, "sshd_config.d/*.conf") for argument in line.arguments
    )


def include_comes_first(text: str, keywords: Iterable[str]) -> bool:
    """Return whether the drop-ins are read before the main file sets any of the keywords or opens a Match block.

    sshd keeps the first value that it meets.
    """
    watched = {keyword.lower() for keyword in keywords}
    for line in parse(text):
        if is_drop_in_include(line):
            return line.is_global
        if line.keyword == "match" or line.keyword in watched:
            return False
    return False


@dataclass(frozen=True)
class Setting:
    """Where a keyword is set: file, line and the Match block around it."""

    path: str
    line: Line

    def where(self) -> str:
        """Return file and line for a message."""
        block = f" (Match {' '.join(self.line.match)})" if self.line.match is not None else ""
        return f"{self.path} line {self.line.number}{block}"


def in_reading_order(main: str, files: Mapping[str, str], resolve: Callable[[str], Sequence[str]]) -> list[Setting]:
    """Return all settings in the order in which sshd meets them, Include files in place.

    files holds the texts by path; resolve returns the sorted paths that an Include argument names.
    """
    found: list[Setting] = []
    _walk(main, files, resolve, None, found, 0)
    return found


def _walk(
    path: str,
    files: Mapping[str, str],
    resolve: Callable[[str], Sequence[str]],
    match: tuple[str, ...] | None,
    found: list[Setting],
    depth: int,
) -> None:
    if depth > 16:
        raise GrammarError(f"{path}: Include lines nest deeper than sshd allows (16)")
    for line in parse(files.get(path, "")):
        inherited = line if line.match is not None or match is None else _within(line, match)
        if line.keyword == "include":
            for argument in line.arguments:
                for included in resolve(argument):
                    _walk(included, files, resolve, inherited.match, found, depth + 1)
        elif line.keyword and line.keyword != "match":
            found.append(Setting(path, inherited))


def _within(line: Line, match: tuple[str, ...]) -> Line:
    return Line(line.number, line.raw, line.keyword, line.arguments, match)
