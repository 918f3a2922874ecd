# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts: what is changed, and that nobody who logs in is locked out by it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import accounts, accounts_host
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.accounts import Account, Aging, Homes
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused

PASSWD = """root:x:0:0:root:/root:/bin/bash
games:x:5:60:games:/usr/games:/bin/sh
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
postgres:x:105:105::/var/lib/postgresql:/bin/bash
open:x:106:106::/nonexistent:/bin/false
anna:x:1000:1000::/home/anna:/bin/bash
broken line
nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin
"""
SHADOW = """root:!:19000:0:99999:7:::
games:*:19000:0:99999:7:::
open::19000:0:99999:7:::
anna:$y$secret:20000:0:99999:7:::
"""
LOCKED = {"system_accounts": {"lock": True, "shell": "/usr/sbin/nologin", "except": ["postgres"]}}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"groups_present": ["-x"]}, "'-x' is not a name of a group"),
        ({"groups_present": ["a b"]}, "is not a name of a group"),
        ({"system_accounts": {"shell": "nologin"}}, "a shell is an absolute path"),
        ({"system_accounts": {"shell": "/bin/x:y"}}, "a shell is an absolute path"),
        ({"password_aging": {"maximum_days": 0}}, "accepted are 1 to 99999 days"),
        ({"password_aging": {"inactive_days": -1}}, "accepted are 0 to 99999 days"),
        ({"password_aging": {"maximum_days": 5, "minimum_days": 5}}, "is not below maximum_days"),
        ({"homes": {"mode": "755x"}}, "three or four octal digits"),
        ({"homes": {"mode": "0050"}}, "the owner has to read and write"),
        ({"homes": {"mode": "0600"}}, "and to enter it"),
        ({"homes": {"dotfiles_mode": "0400"}}, "the owner has to read and write"),
        ({"homes": {"forbidden_files": ["a/b"]}}, "is not a file of a home"),
        ({"homes": {"forbidden_files": [".ssh"]}}, "is not a file of a home"),
    ],
)
def test_what_is_wrong_is_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        accounts.parse(parameters)


def test_accounts_of_programs_lose_shell_and_password() -> None:
    found = accounts.read_accounts(PASSWD, SHADOW)
    changes, kept = accounts.system_accounts(accounts.parse(LOCKED), found, 1000)
    assert [change.argv for change in changes] == [
        ("usermod", "--shell", "/usr/sbin/nologin", "games"),
        ("usermod", "--lock", "open"),
    ]
    assert kept == []
    assert "secret" not in str(found)


def test_an_account_that_somebody_uses_is_left_and_told() -> None:
    used = [Account("deploy", 900, 900, "/srv", "/bin/sh", used="it has an SSH key")]
    changes, kept = accounts.system_accounts(accounts.parse(LOCKED), used, 1000)
    assert changes == []
    assert kept == ["the account deploy is left as it is: it has an SSH key; name it in except if that is right"]


def test_keys_sudo_and_this_session_count_as_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys").write_text("# none\nssh-ed25519 AAAA\n")
    found = [
        Account("keyed", 900, 900, str(tmp_path), "/bin/sh"),
        Account("session", 901, 901, "/nonexistent", "/bin/sh"),
        Account("member", 902, 902, "/nonexistent", "/bin/sh"),
        Account("primary", 903, 27, "/nonexistent", "/bin/sh"),
        Account("program", 904, 904, "/nonexistent", "/bin/sh"),
    ]
    monkeypatch.setattr(accounts_host, "session_owner", lambda: 901)
    seen = accounts_host._with_use(found, "sudo:x:27:member\ngames:x:60:program\n")
    assert [bool(account.used) for account in seen] == [True, True, True, True, False]


YEAR = Aging(maximum_days=365, minimum_days=1, warning_days=7, inactive_days=45, apply_to_existing=True)


def test_limits_are_added_and_stricter_ones_stay() -> None:
    strict = Account("s", 1001, 1001, "/", "/bin/sh", "set", 20000, 5, 30, 14, 10)
    fresh = Account("f", 1002, 1002, "/", "/bin/sh", "set", 20000, 0, 99999, 7, None)
    locked = Account("l", 1003, 1003, "/", "/bin/sh", "locked", 20000, 0, 99999, 7, None)
    changes, kept = accounts.existing_ages(YEAR, [strict, fresh, locked], 20010)
    assert [change.argv for change in changes] == [
        ("chage", "-M", "365", "f"), ("chage", "-I", "45", "f"), ("chage", "-m", "1", "f")
    ]  # fmt: skip
    assert kept == []
    assert accounts.existing_ages(Aging(maximum_days=365), [fresh], 20010) == ([], [])


def test_a_password_that_would_end_at_once_keeps_its_age() -> None:
    old = Account("o", 1001, 1001, "/", "/bin/sh", "set", 19000, 0, 99999, 7, None)
    changes, kept = accounts.existing_ages(YEAR, [old], 20000)
    assert changes == []
    assert "the password of o is 1000 days old and would end within 7 days" in kept[0]


DAY = st.one_of(st.none(), st.integers(-1, 99999))


@given(
    aging=st.builds(Aging, st.integers(2, 99999), st.just(1), st.integers(0, 60), DAY, st.just(True)),
    changed=DAY, minimum=DAY, maximum=DAY, warning=DAY, inactive=DAY,
)  # fmt: skip
def test_no_password_ends_by_the_change_and_a_second_plan_is_empty(
    aging: Aging,
    changed: int | None,
    minimum: int | None,
    maximum: int | None,
    warning: int | None,
    inactive: int | None,
) -> None:
    today = 20000
    account = Account("x", 1000, 1000, "/", "/bin/sh", "set", changed, minimum, maximum, warning, inactive)
    changes, kept = accounts.existing_ages(aging, [account], today)
    new = {change.attribute: int(change.after) for change in changes}
    if "maximum_days" in new and changed is not None:
        assert changed + new["maximum_days"] > today
    values = {name: new.get(name, getattr(account, name)) for name in
              ("minimum_days", "maximum_days", "warning_days", "inactive_days")}  # fmt: skip
    after = Account("x", 1000, 1000, "/", "/bin/sh", "set", changed, **values)
    assert accounts.existing_ages(aging, [after], today) == ([], kept)


class Person:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.account = Account("me", os.getuid(), os.getgid(), str(home), "/bin/sh")
        home.chmod(0o755)
        for name, mode in ((".profile", 0o644), (".secret", 0o600), ("web", 0o644), (".netrc", 0o644)):
            (home / name).write_text(name)
            (home / name).chmod(mode)

    def converge(self, wish: Homes) -> list[str]:
        changes = list(accounts_host.home_changes(self.account, wish))
        assert [problem for change in changes for problem in accounts_host._set_home(change)] == []
        return [change.name for change in changes]

    def mode(self, name: str) -> int:
        return (self.home / name).stat().st_mode & 0o7777


WISH = Homes(0o750, 0o740, (".netrc", ".rhosts"))


def test_a_home_is_closed_and_what_is_forbidden_is_set_aside(tmp_path: Path) -> None:
    person = Person(tmp_path)
    (tmp_path / "netrc.set-aside-by-bulwark").write_text("older")
    assert person.converge(WISH) == ["", ".netrc", ".profile"]
    assert (person.mode(""), person.mode(".profile"), person.mode(".secret"), person.mode("web")) == (
        0o750, 0o640, 0o600, 0o644
    )  # fmt: skip
    assert (tmp_path / "netrc.set-aside-by-bulwark-2").read_text() == ".netrc"
    assert person.mode("netrc.set-aside-by-bulwark-2") == 0o600
    assert (tmp_path / "netrc.set-aside-by-bulwark").read_text() == "older"
    assert person.converge(WISH) == []


def test_links_and_second_names_in_a_home_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    target = tmp_path / "precious"
    target.write_text("x")
    target.chmod(0o666)
    person = Person(tmp_path / "home")
    (person.home / ".link").symlink_to(target)
    os.link(target, person.home / ".second")
    (person.home / ".rhosts").symlink_to(target)
    person.converge(WISH)
    assert target.stat().st_mode & 0o7777 == 0o666
    assert (person.home / "rhosts.set-aside-by-bulwark").is_symlink()


def test_a_home_that_is_not_the_persons_own_is_left(tmp_path: Path) -> None:
    person = Person(tmp_path)
    other = Account("other", os.getuid() + 1, os.getgid(), str(tmp_path), "/bin/sh")
    assert list(accounts_host.home_changes(other, WISH)) == []
    assert list(accounts_host.home_changes(Account("gone", 1000, 1000, "/nonexistent", "/bin/sh"), WISH)) == []
    assert person.mode("") == 0o755
