# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, settings, banners and the walk over all of them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable

from ..conftest import MakeHost

ACCOUNTS = {
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nadmin:x:1000:1000::/home/admin:/bin/bash\n",
    "/etc/group": "root:x:0:\nshadow:x:42:\nadmin:x:1000:\n",
}
SHADOW = "/etc/shadow"
WISH = {"path": SHADOW, "owner": "root", "group": ["root", "shadow"], "mode": "0640"}


@pytest.mark.parametrize(
    ("mode", "owner", "wish", "verdict"),
    [
        (0o640, (0, 42), WISH, "pass"),
        (0o600, (0, 0), WISH, "pass"),
        (0o600, (0, 0), {**WISH, "at_most": False}, "fail"),
        (0o644, (0, 42), WISH, "fail"),
        (0o640, (0, 1000), WISH, "fail"),
        (0o640, (1000, 42), WISH, "fail"),
        (0o640, (0, 7777), WISH, "fail"),
        (0o4640, (0, 42), WISH, "fail"),
        (0o640, (0, 42), {"path": SHADOW, "type": "directory", "mode": "0600"}, "not_applicable"),
    ],
)
def test_owner_and_mode(
    make_host: MakeHost, mode: int, owner: tuple[int, int], wish: dict[str, Any], verdict: str
) -> None:
    host = make_host({**ACCOUNTS, SHADOW: ""}, modes={SHADOW: mode}, owners={SHADOW: owner})
    assert host.observe("file_mode", entries=[wish]).verdict == verdict


def test_a_file_that_is_not_there(make_host: MakeHost) -> None:
    host = make_host(ACCOUNTS)
    assert host.observe("file_mode", entries=[WISH]).reason == "/etc/shadow: does not exist"
    assert host.observe("file_mode", entries=[{**WISH, "required": True}]).verdict == "fail"


def test_a_wildcard_takes_files_and_leaves_links_and_exceptions(make_host: MakeHost) -> None:
    host = make_host(
        {**ACCOUNTS, "/var/log/a.log": "", "/var/log/b.log": "", "/var/log/c.log": ""},
        modes={"/var/log/a.log": 0o640, "/var/log/b.log": 0o666, "/var/log/c.log": 0o666},
        links={"/var/log/d.log": "/dev/null"},
    )
    wish = {"path": "/var/log/*.log", "mode": "0640", "except": ["/var/log/b.log"]}
    seen = host.observe("file_mode", entries=[wish])
    assert (seen.verdict, seen.observed) == ("fail", "/var/log/c.log root:root 0666")


JOURNALD = {"path": "/etc/systemd/journald.conf", "format": "systemd", "section": "Journal"}


@pytest.mark.parametrize(
    ("files", "verdict", "observed"),
    [
        ({"/etc/systemd/journald.conf": "[Journal]\nStorage=persistent\n"}, "pass", "Storage persistent"),
        ({"/etc/systemd/journald.conf": "[Journal]\n#Storage=persistent\n"}, "fail", "Storage auto (the default)"),
        ({"/etc/systemd/journald.conf": "[Other]\nStorage=persistent\n"}, "fail", "auto"),
        ({"/usr/lib/systemd/journald.conf": "[Journal]\nStorage=persistent\n"}, "pass", "persistent"),
        (
            {
                "/etc/systemd/journald.conf": "[Journal]\nStorage=persistent\n",
                "/usr/lib/systemd/journald.conf.d/50-x.conf": "[Journal]\nStorage=none\n",
            },
            "fail",
            "Storage none",
        ),
        (
            {
                "/usr/lib/systemd/journald.conf.d/50-x.conf": "[Journal]\nStorage=none\n",
                "/etc/systemd/journald.conf.d/50-x.conf": "[Journal]\nStorage=persistent\n",
            },
            "pass",
            "persistent",
        ),
        (
            {
                "/etc/systemd/journald.conf": "[Journal]\nStorage=persistent\n",
                "/etc/systemd/journald.conf.d/60-x.conf": "[Journal]\nStorage=\n",
            },
            "fail",
            "auto",
        ),
        ({"/etc/systemd/journald.conf.d/x.txt": "[Journal]\nStorage=persistent\n"}, "fail", "auto"),
    ],
)
def test_settings_of_systemd_with_all_its_folders(
    make_host: MakeHost, files: dict[str, str], verdict: str, observed: str
) -> None:
    values = {"Storage": "persistent"}
    seen = make_host(files).observe("file_setting", **JOURNALD, values=values, defaults={"Storage": "auto"})
    assert seen.verdict == verdict
    assert observed in seen.observed


@pytest.mark.parametrize(
    ("files", "parameters", "verdict"),
    [
        ({"/etc/x.conf": "minlen = 14\n"}, {"values": {"minlen": {"at_least": 14}}}, "pass"),
        ({"/etc/x.conf": "minlen = 14\nminlen = 8 # x\n"}, {"values": {"minlen": {"at_least": 14}}}, "fail"),
        ({"/etc/x.conf": "minlen=14\nminlen=8\n"}, {"values": {"minlen": 14}, "wins": "first"}, "pass"),
        ({"/etc/x.conf": "enforcing\n"}, {"values": {"enforcing": {"set": True}}}, "pass"),
        ({"/etc/x.conf": "  ; minlen = 14\n"}, {"values": {"minlen": {"set": False}}}, "pass"),
        ({"/etc/x.conf": "PASS_MAX_DAYS\t365\n"}, {"format": "space", "values": {"PASS_MAX_DAYS": 365}}, "pass"),
        ({"/etc/x.conf": 'a = "b c"\n'}, {"values": {"a": "b c"}}, "pass"),
        ({"/etc/x.conf": "a = \\\n b\n"}, {"values": {"a": "b"}}, "pass"),
        ({"/etc/x.conf": "NAME = 1\n"}, {"values": {"name": 1}, "ignore_case": True}, "pass"),
        ({"/etc/x.conf": "NAME = 1\n"}, {"values": {"name": 1}}, "fail"),
        (
            {"/etc/x.conf": "a=1\n", "/etc/x.d/9.conf": "a=2\n"},
            {"values": {"a": 2}, "drop_ins": ["/etc/x.d/*.conf"]},
            "pass",
        ),
        (
            {"/etc/x.conf": "a=1\n", "/etc/x.d/9.conf": "a=2\n"},
            {"values": {"a": 2}, "drop_ins": ["/etc/x.d/*.conf"], "drop_ins_first": True},
            "fail",
        ),
        ({}, {"values": {"a": 1}}, "not_applicable"),
        ({}, {"values": {"a": 1}, "defaults": {"a": 1}}, "pass"),
    ],
)
def test_settings_as_the_program_reads_them(
    make_host: MakeHost, files: dict[str, str], parameters: dict[str, Any], verdict: str
) -> None:
    assert make_host(files).observe("file_setting", path="/etc/x.conf", **parameters).verdict == verdict


@pytest.mark.parametrize(
    ("text", "parameters", "verdict"),
    [
        ("root\n", {"present": ["root"]}, "pass"),
        ("#root\n", {"present": ["root"]}, "fail"),
        ("rooty\n", {"present": ["root"]}, "fail"),
        ('  module(load="imtcp")\n', {"absent": [r"module\(load=\"imtcp\".*"]}, "fail"),
        ('# module(load="imtcp")\n', {"absent": [r"module\(load=\"imtcp\".*"]}, "pass"),
        (None, {"present": ["root"]}, "fail"),
        (None, {"absent": ["root"]}, "pass"),
    ],
)
def test_lines(make_host: MakeHost, text: str | None, parameters: dict[str, list[str]], verdict: str) -> None:
    host = make_host({} if text is None else {"/etc/cron.allow": text})
    assert host.observe("file_line", paths=["/etc/cron.allow"], **parameters).verdict == verdict


@pytest.mark.parametrize(
    ("text", "value", "verdict"),
    [("UMASK 027\n", "027", "pass"), ("UMASK 022\nUMASK 027\n", "027", "pass"), ("# UMASK 027\n", "027", "fail")],
)
def test_login_definitions(make_host: MakeHost, text: str, value: str, verdict: str) -> None:
    assert make_host({"/etc/login.defs": text}).observe("login_defs", values={"UMASK": value}).verdict == verdict


@pytest.mark.parametrize(
    ("text", "parameters", "verdict"),
    [
        ("Authorised access only.\n", {}, "pass"),
        ("Debian GNU/Linux 12 \\n \\l\n", {}, "fail"),
        ("Kernel \\r\n", {}, "fail"),
        ("\n", {}, "fail"),
        (None, {}, "fail"),
        ("Authorised   access\nonly.", {"text": "Authorised access only.\n"}, "pass"),
        ("Authorised access.", {"text": "Authorised access only.\n"}, "fail"),
        (
            "authorized access is legal evidence",
            {"words": ["authorized", "access", "evidence", "legal"], "minimum_words": 4},
            "pass",
        ),
        ("authorized access", {"words": ["authorized", "access", "evidence"], "minimum_words": 3}, "fail"),
        ("Nothing about debianites.", {}, "pass"),
    ],
)
def test_banners(make_host: MakeHost, text: str | None, parameters: dict[str, Any], verdict: str) -> None:
    host = make_host(
        {"/etc/os-release": 'ID=debian\nNAME="Debian"\n', **({} if text is None else {"/etc/issue": text})}
    )
    assert host.observe("banner", files=["/etc/issue"], **parameters).verdict == verdict


def record(*fields: str) -> str:
    return "\t".join(fields) + "\0"


@pytest.mark.parametrize(
    ("found", "parameters", "verdict", "observed"),
    [
        ("", {"forbid": ["world_writable", "not_sticky", "orphan", "set_id"]}, "pass", "none"),
        (record("f", "666", "0", "0", "/srv/a\tb"), {"forbid": ["world_writable"]}, "fail", "/srv/a\tb"),
        (record("d", "1777", "0", "0", "/tmp"), {"forbid": ["not_sticky"]}, "pass", "none"),
        (record("d", "777", "0", "0", "/srv"), {"forbid": ["not_sticky"]}, "fail", "/srv"),
        (record("f", "644", "4242", "0", "/srv/x"), {"forbid": ["orphan"]}, "fail", "/srv/x (4242:0)"),
        (record("f", "644", "0", "4242", "/srv/x"), {"forbid": ["world_writable"]}, "pass", "none"),
        (record("f", "4755", "0", "0", "/usr/bin/su"), {"forbid": ["set_id"]}, "fail", "/usr/bin/su (4755)"),
        (
            record("f", "4755", "0", "0", "/usr/bin/su"),
            {"forbid": ["set_id"], "set_id_allowed": ["/usr/bin/s?"]},
            "pass",
            "none",
        ),
        (record("f", "2755", "0", "42", "/usr/bin/chage"), {"forbid": ["set_id"]}, "fail", "/usr/bin/chage (2755)"),
    ],
)
def test_the_walk_over_all_files(
    make_host: MakeHost, found: str, parameters: dict[str, list[str]], verdict: str, observed: str
) -> None:
    seen = make_host(ACCOUNTS, {"find": found}).observe("walk", **parameters)
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_the_walk_stays_on_local_disks_and_out_of_containers(make_host: MakeHost) -> None:
    mounts = (
        "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 8:2 / /srv rw - xfs /dev/vdb rw\n3 1 0:9 / /net rw - nfs4 a:/ rw\n"
        "4 1 0:5 / /proc rw - proc proc rw\n5 1 8:1 /x /var/lib/docker rw - ext4 /dev/vda rw\n"
    )
    host = make_host({"/proc/self/mountinfo": mounts}, {"find": ""})
    host.observe("walk", forbid=["orphan"], skip=["/backup"])
    assert host.started[0].startswith("find / /srv -xdev ( ")
    assert "-path /var/lib/docker -o" in host.started[0]
    assert "-path /backup )" in host.started[0]


def test_a_walk_that_failed_is_no_pass(make_host: MakeHost) -> None:
    with pytest.raises(Unreadable, match="find failed: find: bad"):
        make_host({}, {"find": Answer(1, "", "find: bad\n")}).observe("walk", forbid=["orphan"])
