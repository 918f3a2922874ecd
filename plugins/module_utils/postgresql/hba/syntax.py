# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg_hba.conf as PostgreSQL 13 to 18 reads it: words, quotes, continued lines, included files, records. Pure.

What a file holds comes through ``Files``, so that nothing here touches a disk.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import typing as t
from dataclasses import dataclass

TYPES = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
METHODS = (
    "trust", "reject", "md5", "password", "scram-sha-256", "gss", "ident", "peer", "pam", "ldap", "radius", "cert",
    "oauth",
)  # fmt: skip
ADDRESS_KEYWORDS = ("all", "samehost", "samenet")
BLANK = " \t\r"
BARE = re.compile(r"[^\s,\"#\\\x00-\x20]+")
MAXIMUM_DEPTH = 10
CONTINUED_SINCE = 14
INCLUDED_SINCE = 16
# Options that only some records may have; the server checks all others alone.
MAPPED = ("ident", "peer", "gss", "sspi", "cert", "oauth")
FEW_METHODS = {"map": MAPPED, "include_realm": ("gss", "sspi"), "krb_realm": ("gss", "sspi"), "pamservice": ("pam",)}
ENCRYPTED = ("clientcert", "clientname")


@dataclass(frozen=True)
class Token:
    """A word. One that begins with a quote has lost any special meaning, but for a regular expression's slash."""

    text: str
    quoted: bool = False

    def is_keyword(self, word: str) -> bool:
        return not self.quoted and self.text == word


Field = tuple[Token, ...]


@dataclass(frozen=True)
class Address:
    """Where a client comes from: a keyword, a host's name, or the addresses that equal base in the bits of mask."""

    keyword: str = ""
    name: str = ""
    base: int = 0
    mask: int = 0
    version: int = 0

    def holds(self, address: str) -> bool:
        """Return whether a range holds the address."""
        number, version = number_of(address)
        return version == self.version and not (number ^ self.base) & self.mask


@dataclass(frozen=True)
class Record:
    """One rule as the server keeps it."""

    type: str
    databases: Field
    users: Field
    address: Address | None
    method: str
    options: tuple[tuple[str, str], ...] = ()
    file: str = ""
    line: int = 0

    @property
    def asks_certificate(self) -> bool:
        """Whether only clients with a certificate come in."""
        wanted = self.method == "cert" or dict(self.options).get("clientcert", "").startswith("verify-")
        return wanted and self.method != "reject"


@dataclass(frozen=True)
class Problem:
    """A line that the server would refuse, and with it the whole file."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file} line {self.line}: {self.text}"


class Files(t.Protocol):
    """What is on the disk; both raise OSError."""

    def read(self, path: str) -> str:
        """Return the content of a file."""

    def names(self, directory: str) -> t.Sequence[str]:
        """Return the names of the files in a directory."""


Entry = t.Union[Record, Problem]


def logical_lines(text: str, major: int) -> t.Iterator[tuple[int, str]]:
    """Yield each line with its number, continued ones joined under the number of the first."""
    buffer, joined, start = "", 0, 1
    for number, raw in enumerate(text.split("\n"), 1):
        buffer = (buffer + raw).rstrip("\r\n")
        # A backslash that was there before this line was joined is content.
        if major >= CONTINUED_SINCE and len(buffer) > joined and buffer.endswith("\\"):
            buffer = buffer[:-1]
            joined = len(buffer)
            continue
        yield start, buffer
        buffer, joined, start = "", 0, number + 1
    if buffer:
        yield start, buffer


def words(line: str) -> list[Field]:
    """Return the fields of a line, each a list of words that commas join, before files are expanded."""
    fields: list[Field] = []
    position, joined = 0, False
    while True:
        token, position, comma = _word(line, position)
        if token is None:
            return fields
        if joined:
            fields[-1] = (*fields[-1], token)
        else:
            fields.append((token,))
        joined = comma


def _word(line: str, position: int) -> tuple[Token | None, int, bool]:
    """Return the next word, where it ends, and whether a comma ended it."""
    while position < len(line) and line[position] in BLANK + ",":
        position += 1
    text, quoted, seen, inside, doubled = "", False, False, False, False
    while position < len(line) and (inside or line[position] not in BLANK):
        character = line[position]
        if not inside and character == "#":
            position = len(line)
            break
        position += 1
        if not inside and character == ",":
            return Token(text, quoted), position, True
        if character != '"' or doubled:
            text += character
        doubled = inside and character == '"' and not doubled
        if character == '"':
            inside, seen = not inside, True
            quoted = quoted or not text
    return (Token(text, quoted) if seen or text else None), position, False


def read(path: str, files: Files, major: int) -> list[Entry]:
    """Return the records of a file and of all that it includes, and a problem for each line that is refused."""
    try:
        text = files.read(path)
    except OSError as error:
        return [Problem(path, 0, f"it cannot be read: {error.strerror or error}")]
    return parse(text, path, files, major)


def parse(text: str, path: str, files: Files, major: int, depth: int = 0) -> list[Entry]:
    """Return the same for a text that is, or will be, at path."""
    entries: list[Entry] = []
    for number, line in logical_lines(text, major):
        try:
            fields = [
                expanded
                for field in words(line)
                if (expanded := tuple(token for word in field for token in _expand(word, path, files, major, depth)))
            ]
            if not fields:
                continue
            included = _included(fields, path, files, major, depth)
            entries += [record_of(fields, path, number, major)] if included is None else included
        except OSError as error:
            reason = f"{error.filename} cannot be read: {error.strerror or error}"
            entries.append(Problem(path, number, reason))
        except ValueError as error:
            entries.append(Problem(path, number, str(error)))
    return entries


def _expand(token: Token, path: str, files: Files, major: int, depth: int) -> list[Token]:
    if token.quoted or not token.text.startswith("@") or len(token.text) == 1:
        return [token]
    named = beside(token.text[1:], path)
    _check_depth(named, depth)
    return [
        found
        for _number, line in logical_lines(files.read(named), major)
        for field in words(line)
        for word in field
        for found in _expand(word, named, files, major, depth + 1)
    ]


def _included(fields: t.Sequence[Field], path: str, files: Files, major: int, depth: int) -> list[Entry] | None:
    """Return what a line that includes files stands for, None for any other."""
    if major < INCLUDED_SINCE or len(fields) != 2:
        return None
    directive, target = fields[0][0].text, beside(fields[1][0].text, path)
    if directive not in ("include", "include_if_exists", "include_dir"):
        return None
    _check_depth(target, depth)
    paths = [target]
    if directive == "include_dir":
        names = sorted(name for name in files.names(target) if name.endswith(".conf") and name[0] != ".")
        paths = [f"{target}/{name}" for name in names]
    entries: list[Entry] = []
    for each in paths:
        try:
            text = files.read(each)
        except FileNotFoundError:
            if directive == "include_if_exists":
                continue
            raise
        entries += parse(text, each, files, major, depth + 1)
    return entries


def _check_depth(path: str, depth: int) -> None:
    if depth >= MAXIMUM_DEPTH:
        raise ValueError(f"{path} is included more than {MAXIMUM_DEPTH} levels deep; a file may include itself")


def beside(name: str, path: str) -> str:
    """Return where a name in the file at path leads: from that file's own directory, unless it is absolute."""
    return name if name.startswith("/") else f"{path.rpartition('/')[0]}/{name}"


def record_of(fields: t.Sequence[Field], path: str, number: int, major: int) -> Record:
    """Return the record of a line. Raises ValueError with the reason of the refusal."""
    rest = list(fields)
    kind = _single(rest.pop(0), "connection type")
    if kind not in TYPES:
        raise ValueError(f"the connection type is {kind!r}; accepted are {', '.join(TYPES)}")
    databases, users = _next(rest, "databases"), _next(rest, "users")
    address = None if kind == "local" else _address(rest)
    method = _single(_next(rest, "method"), "method")
    if method not in METHODS or (method == "oauth" and major < 18):
        raise ValueError(f"the method is {method!r}; accepted are {', '.join(METHODS)}")
    if kind == "local" and method == "ident":
        method = "peer"
    if method == ("gss" if kind == "local" else "peer"):
        raise ValueError(f"the method {method} does not exist for {kind}")
    if method == "cert" and kind != "hostssl":
        raise ValueError(f"the method cert needs hostssl, and the type is {kind}")
    options = tuple(_option(token.text, kind, method) for field in rest for token in field)
    return Record(kind, databases, users, address, method, options, path, number)


def _next(rest: list[Field], what: str) -> Field:
    if not rest:
        raise ValueError(f"the line ends before the {what}")
    return rest.pop(0)


def _single(field: Field, what: str) -> str:
    if len(field) != 1:
        raise ValueError(f"the {what} has {len(field)} values; accepted is one")
    return field[0].text


def _address(rest: list[Field]) -> Address:
    token = _next(rest, "address")
    text = _single(token, "address")
    if not token[0].quoted and text in ADDRESS_KEYWORDS:
        return Address(keyword=text)
    plain, slash, bits = text.partition("/")
    try:
        base, version = number_of(plain)
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME:
            raise ValueError(f"the address is {text!r}: {error.strerror}") from error
        if slash:
            raise ValueError(f"{text!r} is a name with a mask; give a mask to addresses only") from error
        return Address(name=text)
    width = 32 if version == 4 else 128
    if slash:
        if not re.fullmatch(r"[ \t\r]*\+?[0-9]+", bits) or int(bits) > width:
            raise ValueError(f"the address is {text!r}; accepted are /0 to /{width}")
        return Address(base=base, mask=(1 << width) - (1 << width - int(bits)), version=version)
    mask_text = _single(_next(rest, "netmask"), "netmask")
    try:
        mask, mask_version = number_of(mask_text)
    except socket.gaierror as error:
        raise ValueError(f"the netmask is {mask_text!r}, which is no address") from error
    if mask_version != version:
        raise ValueError(f"the address {text} and the netmask {mask_text} are of different versions of IP")
    return Address(base=base, mask=mask, version=version)


def number_of(address: str) -> tuple[int, int]:
    """Return (number, 4 or 6) of an address in any notation that the C library knows. Raises socket.gaierror."""
    if not address or not address.isascii():
        raise socket.gaierror(socket.EAI_NONAME, "no address")
    # No name is looked up: AI_NUMERICHOST. Text would be taken for an international name, and refused as such.
    found = socket.getaddrinfo(address.encode(), None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][4][0]
    parsed = ipaddress.ip_address(str(found).partition("%")[0])
    return int(parsed), parsed.version


def _option(text: str, kind: str, method: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"the option {text!r} is not written name=value")
    if method not in FEW_METHODS.get(name, (method,)):
        raise ValueError(f"the option {name} is for the methods {', '.join(FEW_METHODS[name])} only")
    if name in ENCRYPTED and kind != "hostssl":
        raise ValueError(f"the option {name} needs hostssl, and the type is {kind}")
    return name, value


def quote(token: Token) -> str:
    """Return a word as it has to be written. Raises ValueError for characters that no file can hold."""
    if "\n" in token.text or "\0" in token.text:
        raise ValueError(f"{token.text!r} contains a line break or NUL, which pg_hba.conf cannot hold")
    if not token.quoted and BARE.fullmatch(token.text):
        return token.text
    # A quote that comes later than the first character keeps the meaning of +, / and @.
    first, rest = ("", token.text) if token.quoted else (token.text[:1], token.text[1:])
    return first + '"' + rest.replace('"', '""') + '"'


def address_text(address: Address) -> str:
    """Return the address of a record as one or two words."""
    if address.keyword:
        return address.keyword
    if not address.version:
        return quote(Token(address.name, address.name in ADDRESS_KEYWORDS or not BARE.fullmatch(address.name)))
    width = 32 if address.version == 4 else 128
    make = ipaddress.IPv4Address if address.version == 4 else ipaddress.IPv6Address
    bits = bin(address.mask).count("1")
    if address.mask == (1 << width) - (1 << width - bits):
        return f"{make(address.base)}/{bits}"
    return f"{make(address.base)} {make(address.mask)}"


def render(record: Record) -> str:
    """Return the line of a record, which reads back as the same."""
    columns = [record.type, ",".join(map(quote, record.databases)), ",".join(map(quote, record.users))]
    if record.address is not None:
        columns.append(address_text(record.address))
    columns.append(record.method)
    columns += [quote(Token(f"{name}={value}")) for name, value in record.options]
    return " ".join(columns)


def view(record: Record) -> dict[str, t.Any]:
    """Return what pg_hba_file_rules says of a record, as far as it does not depend on the method's defaults."""
    address = record.address
    ranged = address is not None and bool(address.version)
    return {
        "type": record.type,
        "database": [token.text for token in record.databases],
        "user_name": [token.text for token in record.users],
        "address": None if address is None else address.base if ranged else address.keyword or address.name,
        "netmask": address.mask if address is not None and ranged else None,
        "auth_method": record.method,
    }


def comparable(row: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return a row of pg_hba_file_rules in the form of ``view``."""
    ranged = row["netmask"] is not None
    return {
        **{name: row[name] for name in ("type", "database", "user_name", "auth_method")},
        "address": number_of(row["address"])[0] if ranged else row["address"],
        "netmask": number_of(row["netmask"])[0] if ranged else None,
    }
