# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set of files as it should be, compared with what is there. Pure.

`parse()` checks what the user wrote, `plan()` returns the changes. Every byte that an edit is not about stays:
comments, unknown lines, the order, the spaces around a sign, what is no UTF-8. Planning again after the changes finds
none.
"""

from __future__ import annotations

import fnmatch
import re
import typing as t
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .host import Refused, parse_mode

PRESENT = "present"
ABSENT = "absent"
SPACE = "space"
EQUALS = "equals"
INI = "ini"
FORMATS = (SPACE, EQUALS, INI)
START = "start"
END = "end"
NEW_MODE = 0o644
BEGIN_MARK = "# BEGIN bulwark {}"
END_MARK = "# END bulwark {}"
SHORTEST_SECRET = 8
HIDDEN = "(not shown: the file is not readable by everybody)\n"

KEY = re.compile(r"[^\s#;=\[\]]+")
SECTION = re.compile(r"[^\s\[\]](?:[^\[\]\n]*[^\s\[\]])?")
HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:[#;].*)?$")
BLOCK_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,62}[A-Za-z0-9])?")
SPACE_LINE = re.compile(r"(\s*([^\s#]+)[ \t]+)(.*)", re.DOTALL)
EQUALS_LINE = re.compile(r"(\s*(?:export\s+)?([^\s#;=]+)[ \t]*=[ \t]*)(.*)", re.DOTALL)
SPACED = re.compile(r"^[ \t]*[#;]?[ \t]*[\w.-]+ = ", re.MULTILINE)
UNSPACED = re.compile(r"^[ \t]*[#;]?[ \t]*[\w.-]+=", re.MULTILINE)

# The argument `files` of every module that takes such entries.
FILES_OPTION: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "path": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "content": {"type": "str"},
        "settings": {
            "type": "dict",
            "options": {
                "format": {"type": "str", "choices": ["space", "equals", "ini"], "required": True},
                "section": {"type": "str"},
                # The keys are those of configuration files; one may have "pass" in it and is no secret.
                "values": {"type": "dict", "default": {}, "no_log": False},
                "flags": {"type": "list", "elements": "str", "default": []},
            },
        },
        "block": {
            "type": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "text": {"type": "str", "default": ""},
                "at": {"type": "str", "choices": ["start", "end"], "default": "end"},
            },
        },
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "mode": {"type": "str"},
        "validate": {"type": "list", "elements": "str", "default": []},
        "only_if_exists": {"type": "bool", "default": False},
    },
}


@dataclass(frozen=True)
class Found:
    """A regular file: what is in it, and whose it is."""

    content: bytes
    mode: int
    uid: int
    gid: int

    @property
    def secret(self) -> bool:
        return not self.mode & 0o004


@dataclass(frozen=True)
class Settings:
    """Keys and values of a configuration file, or of one section of it. An empty tuple of values removes the key."""

    form: str
    section: str = ""
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """Lines between two marks; an empty text removes them."""

    name: str
    text: str
    at: str = END


@dataclass(frozen=True)
class Entry:
    """What is wished of one file."""

    path: str
    state: str = PRESENT
    content: str | None = None
    settings: Settings | None = None
    block: Block | None = None
    owner: str = ""
    group: str = ""
    mode: int | None = None
    validate: tuple[str, ...] = ()
    only_if_exists: bool = False


@dataclass(frozen=True)
class Change:
    """One file before and after; None where there is none."""

    path: str
    before: Found | None
    after: Found | None
    validate: tuple[tuple[str, ...], ...] = ()

    @property
    def action(self) -> str:
        if self.after is None:
            return "removed"
        return "created" if self.before is None else "changed"

    @property
    def what(self) -> tuple[str, ...]:
        """Return which of content, owner, group and mode differ."""
        if self.before is None or self.after is None:
            return ()
        pairs = (
            ("content", self.before.content, self.after.content),
            ("owner", self.before.uid, self.after.uid),
            ("group", self.before.gid, self.after.gid),
            ("mode", self.before.mode, self.after.mode),
        )
        return tuple(name for name, old, new in pairs if old != new)


@dataclass(frozen=True)
class Command:
    """A program that has to run after any of some files changed."""

    argv: tuple[str, ...]
    when_changed: tuple[str, ...]


Read = Callable[[str], t.Optional[Found]]
Identify = Callable[[str], int]


def parse(entries: Sequence[Mapping[str, t.Any]], place: str = "files") -> tuple[Entry, ...]:
    """Return the entries of the argument `files`, defaults filled in. Raises Refused with everything that is wrong."""
    problems: list[str] = []
    parsed: list[Entry] = []
    for number, entry in enumerate(entries):
        try:
            parsed.append(_entry(entry, f"{place}[{number}]"))
        except Refused as error:
            problems.append(str(error))
    for path in dict.fromkeys(entry.path for entry in parsed):
        problems += _contradictions(path, [entry for entry in parsed if entry.path == path])
    if problems:
        raise Refused("; ".join(problems))
    return tuple(parsed)


def plan(entries: Sequence[Entry], read: Read, user: Identify, group: Identify) -> tuple[Change, ...]:
    """Return what has to change, in the order of the entries. Several entries of one path are edits of one file.

    read returns a file or None, user and group the number for a name; what they raise passes through.
    Raises Refused for a file that cannot be edited as wished.
    """
    changes: list[Change] = []
    for path in dict.fromkeys(entry.path for entry in entries):
        before = read(path)
        after = before
        validators: list[tuple[str, ...]] = []
        for entry in (entry for entry in entries if entry.path == path):
            if after is None and entry.only_if_exists:
                continue
            after = _applied(entry, after, user, group)
            if entry.validate and entry.validate not in validators:
                validators.append(entry.validate)
        if after != before:
            changes.append(Change(path, before, after, tuple(validators)))
    return tuple(changes)


def parse_commands(entries: Sequence[Mapping[str, t.Any]], place: str = "commands_after") -> tuple[Command, ...]:
    """Return the entries of the argument `commands_after`. Raises Refused."""
    commands = []
    for number, entry in enumerate(entries):
        argv = tuple(str(word) for word in entry.get("argv") or ())
        if not argv or not argv[0] or any("\0" in word for word in argv):
            raise Refused(f"{place}[{number}].argv names no program; give a list such as [systemctl, daemon-reload]")
        if not entry.get("when_changed"):
            raise Refused(f"{place}[{number}].when_changed is empty; give the paths whose change needs {argv[0]}")
        commands.append(Command(argv, tuple(str(pattern) for pattern in entry["when_changed"])))
    return tuple(commands)


def due(
    commands: Sequence[Command], changed: Iterable[str], owed: Iterable[tuple[str, ...]] = ()
) -> list[tuple[str, ...]]:
    """Return the programs to run, each once and in their order: a file they are about changed, or a run owes them."""
    paths, debts = list(changed), set(owed)
    wanted = [
        command.argv
        for command in commands
        if command.argv in debts
        or any(fnmatch.fnmatchcase(path, pattern) for path in paths for pattern in command.when_changed)
    ]
    return list(dict.fromkeys(wanted))


def diff(changes: Sequence[Change]) -> list[dict[str, str]]:
    """Return the changes for Ansible's diff. What not everybody may read on the host is not shown here either."""
    shown = []
    for change in changes:
        secret = any(side is not None and side.secret for side in (change.before, change.after))
        shown.append(
            {
                "before": _shown(change.before, secret),
                "after": _shown(change.after, secret),
                "before_header": _header(change.path, change.before),
                "after_header": _header(change.path, change.after),
            }
        )
    return shown


def _shown(side: Found | None, secret: bool) -> str:
    if side is None:
        return ""
    return HIDDEN if secret else side.content.decode("utf-8", "replace")


def _header(path: str, side: Found | None) -> str:
    return f"{path} (absent)" if side is None else f"{path} (mode {side.mode:04o}, {side.uid}:{side.gid})"


# What the user wrote.


def _entry(entry: Mapping[str, t.Any], place: str) -> Entry:
    path = str(entry.get("path") or "")
    parts = path.split("/")
    if not path.startswith("/") or "" in parts[1:] or "." in parts or ".." in parts or "\0" in path or "\n" in path:
        raise Refused(f"{place}.path is {path!r}; a path is absolute, without //, . and ..")
    place = f"{place} ({path})"
    given = [key for key in ("content", "settings", "block") if entry.get(key) is not None]
    state = str(entry.get("state") or PRESENT)
    if state not in (PRESENT, ABSENT):
        raise Refused(f"{place}.state is {state!r}; accepted are present and absent")
    if len(given) > 1:
        raise Refused(f"{place} has {' and '.join(given)}; give one of them, and a second entry for the other")
    if state == ABSENT and given not in ([], ["block"]):
        raise Refused(f"{place} is to be absent and has {given[0]}; remove one of the two")
    validate = tuple(str(word) for word in entry.get("validate") or ())
    if validate and not any("%s" in word for word in validate):
        raise Refused(f"{place}.validate has no %s, which stands for the candidate, as in [visudo, -cf, '%s']")
    mode = entry.get("mode")
    block = None if entry.get("block") is None else _block(entry["block"], f"{place}.block")
    if block is not None and state == ABSENT:
        block = replace(block, text="")
    content = entry.get("content")
    return Entry(
        path=path,
        state=PRESENT if block else state,
        content=None if content is None else str(content),
        settings=None if entry.get("settings") is None else _settings(entry["settings"], f"{place}.settings"),
        block=block,
        owner=str(entry.get("owner") or ""),
        group=str(entry.get("group") or ""),
        mode=None if mode in (None, "") else parse_mode(str(mode), f"{place}.mode"),
        validate=validate,
        only_if_exists=bool(entry.get("only_if_exists")) or bool(block and not block.text),
    )


def _settings(given: Mapping[str, t.Any], place: str) -> Settings:
    form = str(given.get("format") or "")
    if form not in FORMATS:
        raise Refused(f"{place}.format is {form!r}; accepted are {', '.join(FORMATS)}")
    section = str(given.get("section") or "")
    if section and (form != INI or not SECTION.fullmatch(section)):
        raise Refused(f"{place}.section is {section!r}; only format ini has sections, named without brackets")
    flags = tuple(str(flag) for flag in given.get("flags") or ())
    if flags and form == INI:
        raise Refused(f"{place}.flags: format ini has no words without a value")
    values = tuple(
        (str(key), _values(value, f"{place}.values.{key}")) for key, value in (given.get("values") or {}).items()
    )
    for key in (*flags, *(key for key, _value in values)):
        if not KEY.fullmatch(key):
            raise Refused(f"{place}: {key!r} is not a key; a key has no spaces and none of # ; = [ ]")
    if not values and not flags:
        raise Refused(f"{place} has neither values nor flags")
    return Settings(form, section, values, flags)


def _values(value: t.Any, place: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, (list, tuple)):
        return tuple(text for item in value for text in _values(item, place))
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Refused(
            f"{place} is {value!r}; give a text or a number (yes and no in quotes), null to remove the key, "
            "or name a word without a value in flags"
        )
    text = str(value).strip()
    if "\n" in text or "\0" in text or text.endswith("\\"):
        raise Refused(f"{place} goes on in another line; a value is one line and does not end in a backslash")
    return (text,)


def _block(given: Mapping[str, t.Any], place: str) -> Block:
    name, text, at = str(given.get("name") or ""), str(given.get("text") or ""), str(given.get("at") or END)
    if not BLOCK_NAME.fullmatch(name):
        raise Refused(f"{place}.name is {name!r}; a name is up to 64 of letters, digits, space and . _ -")
    if at not in (START, END):
        raise Refused(f"{place}.at is {at!r}; accepted are start and end")
    if any(re.match(r"# (BEGIN|END) bulwark ", line) for line in text.splitlines()):
        raise Refused(f"{place}.text has a line that marks a block; leave it out")
    return Block(name, text if not text or text.endswith("\n") else f"{text}\n", at)


def _contradictions(path: str, entries: Sequence[Entry]) -> list[str]:
    if len(entries) < 2:
        return []
    if len({entry.state for entry in entries}) > 1 or any(entry.state == ABSENT for entry in entries):
        return [f"{path} stands twice, and is to be absent; leave one entry"]
    if any(entry.content is not None for entry in entries):
        return [f"{path} stands twice, once with its whole content; leave one entry"]
    problems = []
    for name in ("owner", "group", "mode"):
        if len({getattr(entry, name) for entry in entries} - {"", None}) > 1:
            problems.append(f"{path} stands twice, with different values of {name}; leave one")
    names = [entry.block.name for entry in entries if entry.block]
    problems += [f"{path} has two blocks named {name!r}" for name in dict.fromkeys(names) if names.count(name) > 1]
    return problems


# One file.


def _applied(entry: Entry, found: Found | None, user: Identify, group: Identify) -> Found | None:
    if entry.state == ABSENT:
        return None
    old = found or Found(b"", NEW_MODE, 0, 0)
    text = old.content.decode("utf-8", "surrogateescape")
    if entry.content is not None:
        text = entry.content
    elif entry.settings is not None:
        text = with_settings(text, entry.settings)
    elif entry.block is not None:
        text = with_block(text, entry.block, entry.path)
    return Found(
        content=text.encode("utf-8", "surrogateescape"),
        mode=old.mode if entry.mode is None else entry.mode,
        uid=user(entry.owner) if entry.owner else old.uid,
        gid=group(entry.group) if entry.group else old.gid,
    )


def with_settings(text: str, settings: Settings) -> str:
    """Return a text in which each key has exactly its values, each flag stands, and all else is as it was."""
    lines = _logical_lines(text, settings.form)
    alone = _alone(settings.form)
    wished: list[tuple[str, tuple[str | None, ...]]] = list(settings.values)
    wished += [(flag, (alone,)) for flag in settings.flags]
    for key, values in wished:
        scope = _scope(lines, settings)
        places = [at for at in scope if _assignment(lines[at], settings.form)[0] == key]
        if tuple(_assignment(lines[at], settings.form)[1] for at in places) == values:
            continue
        if values and not scope and settings.section and not _has_section(lines, settings.section):
            lines = _with_section(lines, settings.section)
        template = lines[places[0]] if places else ""
        new = [_line(key, value, settings.form, template, text) for value in values]
        at = places[0] if places else _end_of_scope(lines, settings)
        kept = [line for number, line in enumerate(lines) if number not in places]
        if new and at > 0:
            kept[at - 1] = _finished(kept[at - 1], _comment_signs(settings.form))
        lines = kept[:at] + new + kept[at:]
    return "".join(lines)


def _alone(form: str) -> str | None:
    """Return the value of a word that stands alone: where spaces part key and value, it is the empty one."""
    return "" if form == SPACE else None


def _finished(line: str, comment_signs: tuple[str, ...] = ("#",)) -> str:
    """Return a line after which another one can start, even if a backslash would draw that one in."""
    ended = line if line.endswith("\n") else f"{line}\n"
    continued = ended.endswith("\\\n") and not ended.lstrip().startswith(comment_signs)
    return f"{ended}\n" if continued else ended


def _logical_lines(text: str, form: str) -> list[str]:
    """Return lines with their ends; one that a backslash continues is one line with what follows."""
    joined: list[str] = []
    continued = False
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        if continued:
            joined[-1] += line
        else:
            joined.append(line)
        comment = not continued and line.lstrip().startswith(_comment_signs(form))
        continued = not comment and line.rstrip("\n").endswith("\\")
    return joined


def _comment_signs(form: str) -> tuple[str, ...]:
    return ("#",) if form == SPACE else ("#", ";")


def _assignment(line: str, form: str) -> tuple[str, str | None]:
    """Return key and value of a line, the value None for a word alone, the key "" for a line that sets nothing."""
    stripped = line.strip()
    if not stripped or stripped.startswith(_comment_signs(form)) or (form == INI and HEADER.match(line)):
        return "", ""
    match = (SPACE_LINE if form == SPACE else EQUALS_LINE).match(line.rstrip())
    return (match[2], match[3]) if match else (stripped, _alone(form))


def _line(key: str, value: str | None, form: str, template: str, text: str) -> str:
    if value is None:
        return f"{key}\n"
    if form == SPACE:
        match = SPACE_LINE.match(template)
        return f"{match[1] if match else key + ' '}{value}\n" if value else f"{key}\n"
    match = EQUALS_LINE.match(template)
    if match:
        return f"{match[1] if value else match[1].rstrip()}{value}\n"
    # pwquality.conf and its like have spaces there, /etc/default must not.
    sign = " = " if len(SPACED.findall(text)) > len(UNSPACED.findall(text)) else "="
    return f"{key}{sign}{value}".rstrip(" ") + "\n"


def _sections(lines: Sequence[str]) -> list[str]:
    """Return for each line the section it is in, "" before the first header."""
    current, found = "", []
    for line in lines:
        match = HEADER.match(line.rstrip("\n"))
        current = match[1].strip() if match else current
        found.append(current)
    return found


def _has_section(lines: Sequence[str], section: str) -> bool:
    return section in _sections(lines)


def _scope(lines: Sequence[str], settings: Settings) -> list[int]:
    if settings.form != INI:
        return list(range(len(lines)))
    return [number for number, section in enumerate(_sections(lines)) if section == settings.section]


def _end_of_scope(lines: Sequence[str], settings: Settings) -> int:
    """Return where a new line goes: the end of the file, or of the section's first part."""
    if settings.form != INI:
        return len(lines)
    scope = _scope(lines, settings)
    if not scope:
        return 0
    # The header itself is the first line of its section.
    first = end = scope[0] + 1 if settings.section else 0
    while end < len(lines) and not HEADER.match(lines[end].rstrip("\n")):
        end += 1
    if end < len(lines):
        # Comments right above a header belong to it.
        above = end
        while above > first and lines[above - 1].lstrip().startswith(_comment_signs(settings.form)):
            above -= 1
        if first < above < end and not lines[above - 1].strip():
            end = above
    while end > first and not lines[end - 1].strip():
        end -= 1
    return end


def _with_section(lines: Sequence[str], section: str) -> list[str]:
    result = list(lines)
    if result:
        result[-1] = _finished(result[-1], _comment_signs(INI))
    if result and result[-1].strip():
        result.append("\n")
    return [*result, f"[{section}]\n"]


def with_block(text: str, block: Block, path: str = "the file") -> str:
    """Return a text that has the block once. One that is there keeps its place; a new one goes to start or the end."""
    begin, end = BEGIN_MARK.format(block.name), END_MARK.format(block.name)
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    new = [f"{begin}\n", *re.findall(r"[^\n]*\n", block.text), f"{end}\n"] if block.text else []
    kept: list[str] = []
    place: int | None = None
    inside = False
    for line in lines:
        mark = line.rstrip("\n")
        if inside:
            inside = mark != end
        elif mark == begin:
            inside = True
            place = len(kept) if place is None else place
        elif mark == end:
            raise Refused(f"{path} has the last line of block {block.name!r} without its first; repair it by hand")
        else:
            kept.append(line)
    if inside:
        raise Refused(f"{path} has the first line of block {block.name!r} without its last; repair it by hand")
    if place is None:
        # A first line that names an interpreter works in the first line only.
        place = len(kept) if block.at == END else int(bool(kept) and kept[0].startswith("#!"))
    if new and place > 0:
        kept[place - 1] = _finished(kept[place - 1])
    return "".join(kept[:place] + new + kept[place:])


def secrets(entries: Sequence[Mapping[str, t.Any]]) -> set[str]:
    """Return the texts of entries whose mode keeps others from reading, for the module to hide in its output."""
    texts: set[str] = set()
    for entry in entries:
        mode = str(entry.get("mode") or "")
        if mode and mode[-1:] in "0123":
            block, settings = entry.get("block") or {}, entry.get("settings") or {}
            values = (settings.get("values") or {}).values()
            texts.update(str(text) for text in (entry.get("content"), block.get("text"), *values) if text is not None)
    # Something short, such as "root" in a list of users, would hide harmless words all over the output.
    return {text for text in texts if len(text) >= SHORTEST_SECRET}
