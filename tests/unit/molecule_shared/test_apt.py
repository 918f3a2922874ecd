# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's apt configuration, read in every form that Debian has had."""

from __future__ import annotations

from pathlib import Path

import pytest

from disposable_hosts import apt
from disposable_hosts.apt import Source

DEB822 = """\
# A comment
Types: deb deb-src
URIs: http://mirror.example/debian http://second.example/debian/
Suites: bookworm
 bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm

Types: deb
Enabled: no
URIs: http://disabled.example/debian
Suites: bookworm

Types: deb
URIs: https://vendor.example/node
Suites: nodistro

Types: deb
URIs: http://mirror.example/debian-security
# between two fields
Suites: bookworm-security
"""


def test_deb822_stanzas() -> None:
    suites = ("bookworm", "bookworm-updates")
    assert apt.parse_deb822(DEB822) == [
        Source("http://mirror.example/debian", suites),
        Source("http://second.example/debian/", suites),
        Source("https://vendor.example/node", ("nodistro",)),
        Source("http://mirror.example/debian-security", ("bookworm-security",)),
    ]


def test_one_line_sources() -> None:
    text = (
        "# deb http://commented.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian trixie main contrib # why\n"
        "deb-src http://mirror.example/debian trixie main\n"
        "deb broken\n\n"
        "deb http://mirror.example/security trixie-security main\n"
    )
    assert apt.parse_one_line(text) == [
        Source("http://mirror.example/debian", ("trixie",)),
        Source("http://mirror.example/security", ("trixie-security",)),
    ]


def test_files_of_both_forms_are_read_and_backups_are_not(tmp_path: Path) -> None:
    directory = tmp_path / "sources.list.d"
    directory.mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example/debian bookworm main\n")
    (directory / "a.sources").write_text("Types: deb\nURIs: http://two.example/debian\nSuites: sid\n")
    (directory / "b.list").write_text("deb http://three.example/debian trixie main\n")
    (directory / "c.list.bak").write_text("deb http://four.example/debian trixie main\n")
    uris = [source.uri for source in apt.read_sources(tmp_path)]
    assert uris == ["http://one.example/debian", "http://two.example/debian", "http://three.example/debian"]


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ([], (apt.DEFAULT_ARCHIVE, apt.DEFAULT_SECURITY)),
        ([Source("http://m.example/debian/", ("trixie",))], ("http://m.example/debian", apt.DEFAULT_SECURITY)),
        (
            [
                Source("http://s.example/sec", ("bullseye/updates",)),
                Source("http://m.example/d", ("bookworm-updates",)),
            ],
            ("http://m.example/d", "http://s.example/sec"),
        ),
        ([Source("http://u.example/ubuntu", ("noble", "noble-security"))], (apt.DEFAULT_ARCHIVE, apt.DEFAULT_SECURITY)),
        ([Source("http://m.example/b", ("bookworm-backports",))], (apt.DEFAULT_ARCHIVE, apt.DEFAULT_SECURITY)),
        ([Source("cdrom:[Debian]/", ("bookworm",))], (apt.DEFAULT_ARCHIVE, apt.DEFAULT_SECURITY)),
        ([Source("http://vendor.example/x", ("cloud-sdk-bookworm",))], (apt.DEFAULT_ARCHIVE, apt.DEFAULT_SECURITY)),
    ],
)
def test_archives_are_the_machines_own_or_debians(sources: list[Source], expected: tuple[str, str]) -> None:
    assert apt.archives(sources) == expected


def test_hosts_get_main_updates_and_security_of_their_own_release() -> None:
    lines = apt.source_lines("debian13", "http://m.example/debian", "http://m.example/sec")
    signed = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    assert lines == [
        f"{signed} http://m.example/debian trixie main",
        f"{signed} http://m.example/debian trixie-updates main",
        f"{signed} http://m.example/sec trixie-security main",
    ]


def test_proxies_and_a_frozen_mirror_are_passed_on() -> None:
    dump = (
        'Acquire "";\n'
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::http::Proxy::mirror.example "DIRECT";\n'
        'Acquire::http::Pipeline-Depth "0";\n'
        'Acquire::https::CaInfo "/etc/ssl/own.pem";\n'
        'Acquire::Check-Valid-Until "false";\n'
        'Acquire::Check-Date "";\n'
        'DPkg::Post-Invoke:: "rm -rf /";\n'
    )
    assert apt.wanted_options(dump, {"http_proxy": "http://ignored.example"}).splitlines() == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::http::Proxy::mirror.example "DIRECT";',
        'Acquire::https::CaInfo "/etc/ssl/own.pem";',
        'Acquire::Check-Valid-Until "false";',
    ]


def test_proxy_of_the_environment_is_used_without_one_of_apt() -> None:
    options = apt.wanted_options("", {"https_proxy": "http://proxy.example:1", "http_proxy": 'bad"; DPkg::X "'})
    assert options == 'Acquire::https::Proxy "http://proxy.example:1";\n'
