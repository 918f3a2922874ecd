# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Local accounts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers.local_accounts import METHODS, method

from ..conftest import MakeHost

HASH = "$y$j9T$abcdefghijklmnopqrstuv$0123456789012345678901234567890123456789012"
ROOT = "root:x:0:0:root:/root:/bin/bash\n"
DAEMON = "daemon:x:1:1:d:/usr/sbin:/usr/sbin/nologin\n"
ADMIN = "admin:x:1000:1000::/home/admin:/bin/bash\n"
GROUPS = "root:x:0:\ndaemon:x:1:\nshadow:x:42:\nadmin:x:1000:\n"
DEFINITIONS = "PASS_MAX_DAYS 365\nPASS_MIN_DAYS 1\nPASS_WARN_AGE 7\nUID_MIN 1000\nENV_SUPATH PATH=/usr/sbin:/usr/bin\n"
SHADOW = "root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nadmin:!:19000:0:99999:7:::\n"


def accounts(passwd: str = ROOT + DAEMON + ADMIN, shadow: str = SHADOW, **more: str) -> dict[str, str]:
    return {
        "/etc/passwd": passwd,
        "/etc/group": more.get("group", GROUPS),
        "/etc/shadow": shadow,
        "/etc/login.defs": more.get("defs", DEFINITIONS),
        "/etc/default/useradd": more.get("useradd", "SHELL=/bin/sh\nINACTIVE=45\n"),
    }


AGES = {
    "maximum_days": {"at_least": 1, "at_most": 365},
    "minimum_days": {"at_least": 1},
    "inactive_days": {"at_most": 45},
}


@pytest.mark.parametrize(
    ("files", "verdict", "observed"),
    [
        (accounts(), "pass", ""),
        (accounts(defs="PASS_MAX_DAYS 99999\nPASS_MIN_DAYS 1\n"), "fail", "new accounts maximum 99999 days"),
        (accounts(defs="PASS_MAX_DAYS 365\nPASS_MIN_DAYS 0\n"), "fail", "new accounts minimum 0 days"),
        (accounts(useradd=""), "fail", "new accounts inactive never"),
        (accounts(shadow=SHADOW.replace("admin:!", f"admin:{HASH}")), "fail", "admin maximum 99999 days"),
        (accounts(shadow=f"admin:{HASH}:19000:1:365:7:45::\n"), "pass", ""),
        (accounts(shadow=f"admin:{HASH}:19000:1:365:7:::\n"), "fail", "admin inactive never"),
        (accounts(shadow=f"admin:{HASH}:19000:1::7:45::\n"), "fail", "admin maximum never"),
    ],
)
def test_ages_of_passwords(make_host: MakeHost, files: dict[str, str], verdict: str, observed: str) -> None:
    seen = make_host(files).observe("account_aging", **AGES)
    assert seen.verdict == verdict
    assert observed in seen.observed
    assert "$y$" not in str(seen)


def test_accounts_may_be_left_out_of_ages(make_host: MakeHost) -> None:
    host = make_host(accounts(shadow=f"admin:{HASH}:19000:0:99999:7:::\n"))
    assert host.observe("account_aging", **AGES, **{"except": ["admin"]}).verdict == "pass"
    assert host.observe("account_aging", **AGES, accounts=False).verdict == "pass"


@pytest.mark.parametrize(
    ("passwd", "shadow", "parameters", "verdict", "observed"),
    [
        (ROOT + DAEMON + ADMIN, SHADOW, {}, "pass", ""),
        (DAEMON.replace("/usr/sbin/nologin", "/bin/sh"), SHADOW, {}, "fail", "daemon /bin/sh"),
        (DAEMON.replace("/usr/sbin/nologin", ""), SHADOW, {}, "fail", "daemon /bin/sh"),
        (DAEMON.replace("/usr/sbin/nologin", "/bin/sh"), SHADOW, {"except": ["daemon"]}, "not_applicable", ""),
        (DAEMON.replace("/usr/sbin/nologin", "/bin/sh"), SHADOW, {"shell": False}, "pass", ""),
        (DAEMON, f"daemon:{HASH}:1:0:1:7:::\n", {}, "fail", "daemon a password (yescrypt)"),
        (DAEMON, "daemon::1:0:1:7:::\n", {}, "fail", "daemon no password at all"),
        (DAEMON, "", {}, "fail", "daemon not in /etc/shadow"),
        ("nobody:x:65534:65534::/nonexistent:/bin/sh\n", "nobody:*:1:0:1:7:::\n", {}, "fail", "nobody /bin/sh"),
        ("sync:x:4:65534:sync:/bin:/bin/sync\n", SHADOW, {}, "not_applicable", ""),
    ],
)
def test_accounts_of_the_system(
    make_host: MakeHost, passwd: str, shadow: str, parameters: dict[str, Any], verdict: str, observed: str
) -> None:
    seen = make_host(accounts(passwd, shadow)).observe("system_accounts", **parameters)
    assert seen.verdict == verdict
    assert observed in seen.observed


@pytest.mark.parametrize(
    ("shadow", "accepted", "verdict"),
    [
        ("root:*:1:0:1:7:::\n", ["locked", "strong"], "pass"),
        ("root:!$y$xxxxxxxxxxxxxxxxxx:1:0:1:7:::\n", ["locked"], "pass"),
        (f"root:{HASH}:1:0:1:7:::\n", ["locked", "strong"], "pass"),
        (f"root:{HASH}:1:0:1:7:::\n", ["locked"], "fail"),
        ("root:$1$abcdefgh$0123456789012345678901:1:0:1:7:::\n", ["locked", "strong"], "fail"),
        ("root::1:0:1:7:::\n", ["locked", "strong"], "fail"),
    ],
)
def test_root_password(make_host: MakeHost, shadow: str, accepted: list[str], verdict: str) -> None:
    assert make_host(accounts(shadow=shadow)).observe("root_account", password=accepted).verdict == verdict


@pytest.mark.parametrize(
    ("modes", "owners", "supath", "verdict", "observed"),
    [
        ({"/root": 0o700}, {}, "/usr/sbin:/usr/bin", "pass", ""),
        ({"/root": 0o755}, {}, "/usr/sbin:/usr/bin", "fail", "/root root 0755"),
        ({"/root": 0o700, "/usr/bin": 0o777}, {}, "/usr/sbin:/usr/bin", "fail", "PATH /usr/bin directory root 0777"),
        ({"/root": 0o700}, {"/usr/sbin": (1000, 0)}, "/usr/sbin:/usr/bin", "fail", "PATH /usr/sbin"),
        ({"/root": 0o700}, {}, "/usr/sbin::/usr/bin", "fail", "empty"),
        ({"/root": 0o700}, {}, ".:/usr/bin", "fail", "PATH . ."),
        ({"/root": 0o700}, {}, "/usr/sbin:/nowhere", "pass", ""),
    ],
)
def test_root_home_and_path(
    make_host: MakeHost,
    modes: dict[str, int],
    owners: dict[str, tuple[int, int]],
    supath: str,
    verdict: str,
    observed: str,
) -> None:
    files = accounts(defs=f"ENV_SUPATH PATH={supath}\n")
    host = make_host({**files, "/root": None, "/usr/sbin": None, "/usr/bin": None}, modes=modes, owners=owners)
    seen = host.observe("root_account", home_mode="0700", path=True)
    assert seen.verdict == verdict
    assert observed in seen.observed


@pytest.mark.parametrize(
    ("check", "files", "observed"),
    [
        ("uid_zero", accounts(ROOT + "toor:x:0:0::/:/bin/sh\n"), "toor"),
        ("gid_zero", accounts(ROOT + "eve:x:1001:0::/:/bin/sh\n"), "eve"),
        ("gid_zero", accounts(group="root:x:0:\nwheel:x:0:\n"), "wheel"),
        ("unique", accounts(ROOT + ADMIN + ADMIN.replace("1000:1000", "1001:1000")), "/etc/passwd: name admin 2 times"),
        ("unique", accounts(ROOT + ADMIN + ADMIN.replace("admin", "eve")), "/etc/passwd: number 1000 2 times"),
        ("consistent", accounts(ADMIN.replace("1000:1000", "1000:4242")), "admin has the group 4242"),
        ("shadowed", accounts("eve:hash:1001:1000::/:/bin/sh\n"), "eve"),
        ("passwords", accounts(shadow="eve::1:0:1:7:::\n"), "eve"),
        ("shadow_group_empty", accounts(group="root:x:0:\nshadow:x:42:eve\n"), "eve"),
    ],
)
def test_account_files_agree(make_host: MakeHost, check: str, files: dict[str, str], observed: str) -> None:
    seen = make_host(files).observe("account_database", checks=[check])
    assert (seen.verdict, observed in seen.observed) == ("fail", True)
    assert make_host(accounts()).observe("account_database", checks=[check]).verdict == "pass"


HOME = {"/home/admin": None, "/home/admin/.profile": "", "/etc/skel/.bashrc": ""}
OWNERS = {path: (1000, 1000) for path in HOME if path.startswith("/home")}
GOOD = {"/home/admin": 0o750, "/home/admin/.profile": 0o640, "/etc/skel/.bashrc": 0o640}


@pytest.mark.parametrize(
    ("modes", "owners", "more", "verdict", "observed"),
    [
        ({}, {}, {}, "pass", ""),
        ({"/home/admin": 0o755}, {}, {}, "fail", "/home/admin admin 0755"),
        ({}, {"/home/admin": (0, 0)}, {}, "fail", "/home/admin root 0750"),
        ({"/home/admin/.profile": 0o644}, {}, {}, "fail", "/home/admin/.profile admin 0644"),
        ({"/etc/skel/.bashrc": 0o644}, {}, {}, "fail", "/etc/skel/.bashrc root 0644"),
        ({}, {}, {"/home/admin/.rhosts": ""}, "fail", "/home/admin/.rhosts there"),
    ],
)
def test_homes(
    make_host: MakeHost,
    modes: dict[str, int],
    owners: dict[str, tuple[int, int]],
    more: dict[str, str],
    verdict: str,
    observed: str,
) -> None:
    host = make_host({**accounts(), **HOME, **more}, modes={**GOOD, **modes}, owners={**OWNERS, **owners})
    seen = host.observe("home_directories", mode="0750", dotfiles_mode="0740", forbidden_files=[".rhosts"])
    assert seen.verdict == verdict
    assert observed in seen.observed


@pytest.mark.parametrize(
    ("group", "members", "verdict"),
    [
        ("sugroup:x:50:\n", [], "pass"),
        ("sugroup:x:50:eve\n", [], "fail"),
        ("sugroup:x:50:eve,bob\n", ["bob", "eve"], "pass"),
        ("sugroup:x:1000:\n", [], "fail"),
        ("", [], "fail"),
    ],
)
def test_members_of_a_group(make_host: MakeHost, group: str, members: list[str], verdict: str) -> None:
    host = make_host(accounts(group=f"root:x:0:\n{group}"))
    assert host.observe("group_members", group="sugroup", members=members).verdict == verdict


def test_without_shadow_nothing_is_known(make_host: MakeHost) -> None:
    with pytest.raises(Unreadable, match="there is no /etc/shadow"):
        make_host({"/etc/passwd": DAEMON}).observe("system_accounts")


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters=":\n")))
def test_of_a_password_field_only_its_method_is_told(field: str) -> None:
    assert method(field) in {"none", "locked", "des", "bcrypt", "unknown", *METHODS.values()}
