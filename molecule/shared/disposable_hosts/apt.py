# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's own apt configuration: where its Debian packages come from, proxies, certificates."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from .common import run

DEFAULT_ARCHIVE = "http://deb.debian.org/debian"
DEFAULT_SECURITY = "http://deb.debian.org/debian-security"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CODENAMES = {"debian12": "bookworm", "debian13": "trixie"}
# A mirror that is frozen in time needs the two Check options inside the hosts as well.
WANTED_OPTION = re.compile(
    r"Acquire::(?:(?:https?|ftp)::(?:Proxy(?:::[^\s:]+)?|(?:.*::)?(?:CaInfo|Verify-Peer|Verify-Host))|Check-Valid-Until|Check-Date)",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Source:
    """One archive address with the suites that are taken from it."""

    uri: str
    suites: tuple[str, ...]


def parse_one_line(text: str) -> list[Source]:
    """Read a sources.list file in the one-line format."""
    result = []
    for line in text.splitlines():
        fields = re.sub(r"\[[^]]*\]", "", line.partition("#")[0]).split()
        if len(fields) >= 3 and fields[0] == "deb":
            result.append(Source(fields[1], (fields[2],)))
    return result


def parse_deb822(text: str) -> list[Source]:
    """Read a .sources file; disabled stanzas are left out."""
    result = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[key] = f"{fields.get(key, '')} {line.strip()}"
                continue
            name, _separator, value = line.partition(":")
            key = name.strip().lower()
            fields[key] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        suites = tuple(fields.get("suites", "").split())
        result += [Source(uri, suites) for uri in fields.get("uris", "").split()]
    return result


def read_sources(directory: Path) -> list[Source]:
    """All enabled sources below an /etc/apt."""
    result = []
    files = [directory / "sources.list", *sorted((directory / "sources.list.d").glob("*"))]
    for file in files:
        if file.suffix == ".sources" and file.is_file():
            result += parse_deb822(file.read_text(encoding="utf-8"))
        elif file.suffix == ".list" and file.is_file():
            result += parse_one_line(file.read_text(encoding="utf-8"))
    return result


def archives(sources: Iterable[Source]) -> tuple[str, str]:
    """The Debian archive and the security archive that the machine uses, else Debian's official ones.

    Debian's own suites are recognised by name, so that third-party repositories on the machine play no part.
    """
    names = {*CODENAMES.values(), "bullseye", "stable", "oldstable"}
    archive = security = ""
    for source in sources:
        for suite in source.suites:
            base, _separator, pocket = suite.replace("/updates", "-security").partition("-")
            if base not in names or not source.uri.startswith(("http://", "https://", "file:")):
                continue
            if pocket == "security":
                security = security or source.uri
            elif pocket in ("", "updates"):
                archive = archive or source.uri
    return archive.rstrip("/") or DEFAULT_ARCHIVE, security.rstrip("/") or DEFAULT_SECURITY


def source_lines(release: str, archive: str, security: str) -> list[str]:
    """sources.list of a disposable host."""
    codename = CODENAMES[release]
    signed = f"deb [signed-by={KEYRING}]"
    return [
        f"{signed} {archive} {codename} main",
        f"{signed} {archive} {codename}-updates main",
        f"{signed} {security} {codename}-security main",
    ]


def wanted_options(dump: str, environment: Mapping[str, str]) -> str:
    """apt.conf lines for the hosts, out of `apt-config dump` and the proxy variables of the environment."""
    lines = []
    for line in dump.splitlines():
        key, _separator, value = line.partition(" ")
        if WANTED_OPTION.fullmatch(key) and value not in ('"";', ""):
            lines.append(f"{key} {value}")
    keys = {line.partition(" ")[0].lower() for line in lines}
    for protocol in ("http", "https"):
        proxy = environment.get(f"{protocol}_proxy", "")
        if proxy and '"' not in proxy and f"acquire::{protocol}::proxy" not in keys:
            lines.append(f'Acquire::{protocol}::Proxy "{proxy}";')
    return "".join(f"{line}\n" for line in lines)


def dump_options() -> str:
    return run(["apt-config", "dump"]).stdout


def local_certificates() -> list[Path]:
    """Certificate authorities that the machine's administrator added."""
    return sorted(Path("/usr/local/share/ca-certificates").glob("**/*.crt"))
