# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The access policy as data: what is refused, password aging, and who keeps a way in and up."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import access, files, mounts

HASH = "$y$j9T$abcdefghijk$lmnopqrstuvwxyz0123456789"
SHADOW = f"root:*:19000:0:99999:7:::\nada:{HASH}:19000:0:99999:7:::\nbob:!{HASH}:19000:0:99999:7:::\n"
YEAR = access.Aging(365, 1, 7, 45)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"files": [{"path": "/usr/bin/sudo", "content": ""}]}, "files[0].path: '/usr/bin/sudo' is not below /etc"),
        ({"files": [{"path": "/etc/passwd", "content": ""}]}, "files[0].path: /etc/passwd is not written as a file"),
        ({"files": [{"path": "/etc/shadow", "state": "absent"}]}, "/etc/shadow is not written as a file"),
        ({"files": [{"path": "/etc/fstab", "content": ""}]}, "/etc/fstab is not written as a file"),
        ({"files": [{"path": "/etc/nologin", "content": ""}]}, "/etc/nologin is not written as a file"),
        ({"files": [{"path": "/etc/ssh/sshd_config", "content": ""}]}, "belongs to another policy"),
        ({"files": [{"path": "/etc/systemd/system/x", "content": ""}]}, "belongs to another policy"),
        ({"files": [{"path": "/etc/pam.d/common-auth", "content": ""}]}, "write a profile in pam_profiles"),
        ({"files": [{"path": "/etc/../usr/x", "content": ""}]}, "files[0].path is '/etc/../usr/x'"),
        ({"files": [{"path": "/etc/x", "mode": "9"}]}, "mode"),
        ({"files": [{"path": "/etc/x", "content": "a"}, {"path": "/etc/x", "content": "b"}]}, "/etc/x stands twice"),
        ({"pam_profiles": [{"name": "x", "auth": "required pam_x.so"}]}, "pam_profiles[0].name is 'x'"),
        ({"mounts": [{"path": "/usr", "options": ["noexec"]}]}, "mounts[0].path is '/usr'"),
        ({"password_aging": {"maximum_days": 0}}, "password_aging.maximum_days is 0; accepted are 1 to 99999 days"),
        ({"password_aging": {"minimum_days": 9, "maximum_days": 9}}, "password_aging.minimum_days is 9"),
        ({"administrators": ["a b"]}, "administrators[0]: 'a b' is no user name"),
        ({"window_seconds": 10}, "window_seconds is 10; accepted are 30 to 600"),
        ({"window_seconds": 30, "confirm_seconds": 20}, "set window_seconds to 40 or more"),
        ({"confirm_logins": 21}, "confirm_logins is 21; accepted are 0 to 20"),
        ({"confirm_seconds": "soon"}, "confirm_seconds is 'soon'; accepted are 0 to 120"),
    ],
)
def test_a_wrong_policy_is_refused_with_the_path_to_the_value(policy: dict[str, Any], message: str) -> None:
    problems = access.problems(policy)
    assert len(problems) == 1
    assert message in problems[0]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    (problem,) = access.problems({"mounts": [{"path": "/usr"}], "administrators": [""], "window_seconds": 1})
    assert all(word in problem for word in ("mounts[0]", "administrators[0]", "window_seconds"))


def test_an_empty_policy_is_valid() -> None:
    assert access.problems({}) == []


def test_only_accounts_with_a_password_age() -> None:
    text, told = access.aged(SHADOW, YEAR)
    assert text == SHADOW.replace(f"ada:{HASH}:19000:0:99999:7:::", f"ada:{HASH}:19000:1:365:7:45::")
    assert told == [
        "ada: minimum 0, maximum 99999, warning 7, inactive none → minimum 1, maximum 365, warning 7, inactive 45"
    ]


def test_what_is_stricter_and_who_is_exempt_stay() -> None:
    strict = SHADOW.replace("0:99999:7::", "2:90:14:30:")
    assert access.aged(strict, YEAR) == (strict, [])
    assert access.aged(SHADOW, dataclasses.replace(YEAR, exempt=("ada",))) == (SHADOW, [])


DAYS = st.one_of(st.just(""), st.integers(0, 99999).map(str))
LIMITS = st.one_of(st.none(), st.integers(1, 99999))


@given(st.tuples(DAYS, DAYS, DAYS, DAYS), st.tuples(LIMITS, LIMITS, LIMITS, LIMITS))
def test_aging_is_done_once_and_never_loosens(
    now: tuple[str, str, str, str], limits: tuple[int | None, int | None, int | None, int | None]
) -> None:
    line = f"ada:{HASH}:19000:{':'.join(now)}::"
    aging = access.Aging(*limits)
    text, _told = access.aged(line, aging)
    assert access.aged(text, aging) == (text, [])
    maximum = text.split(":")[4]
    if now[1]:
        assert int(maximum) <= int(now[1])
    elif limits[0] is None:
        assert maximum == ""


@pytest.mark.parametrize(
    ("fields", "today", "ended"),
    [
        ("19000:0:365:7:::", 19365, False),
        ("19000:0:365:7:::", 19366, True),
        ("0:0:99999:7:::", 19000, True),
        ("19000:0::7:::", 99999, False),
    ],
)
def test_an_old_password_is_known_as_ended(fields: str, today: int, ended: bool) -> None:
    assert access.has_ended(f"ada:{HASH}:{fields}", "ada", today) is ended
    assert not access.has_ended(f"ada:*:{fields}", "ada", today), "without a password nothing ends"


GOOD = access.Sight("ada", is_connecting=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"exists": False}, "there is no such user"),
        ({"shell": "/usr/sbin/nologin"}, "lets nobody in"),
        ({"shell": "/bin/zsh", "shells": ("/bin/sh",)}, "not listed in /etc/shells"),
        ({"login_refusal": "permission denied"}, "PAM refuses a login by SSH: permission denied"),
        ({"sudo_rule_refusal": "no"}, "sudo does not allow a shell as root"),
        ({"sudo_account_refusal": "expired"}, "PAM refuses the account to sudo: expired"),
        ({"sudo_refusal": "a password is required"}, "this run has none to give"),
        ({"sudo_refusal": "x", "knows_password": True}, "the account has none"),
        (
            {"sudo_refusal": "x", "knows_password": True, "has_password": True, "password_refusal": "3 incorrect"},
            "sudo fails with the right password: 3 incorrect",
        ),
    ],
)
def test_who_cannot_log_in_or_become_root_is_told_why(change: dict[str, Any], reason: str) -> None:
    verdict = access.judge(dataclasses.replace(GOOD, **change))
    assert not verdict.able
    assert reason in verdict.reason


def test_who_has_a_way_keeps_it() -> None:
    assert access.judge(GOOD).able
    assert access.judge(dataclasses.replace(GOOD, sudo_refusal="x", knows_password=True, has_password=True)).able
    assert access.judge(access.Sight("root", uid=0, sudo_rule_refusal="not asked")).able
    # Whether somebody else knows a password cannot be seen; what sudo and PAM say can.
    assert access.judge(access.Sight("bob", sudo_refusal="a password is required")).able


def test_the_connecting_user_or_somebody_must_keep_access() -> None:
    able, unable = access.Verdict("ada", True, "can"), access.Verdict("bob", False, "no shell")
    assert access.refusal([able, unable], "ada") == ""
    assert access.refusal([able, unable], "") == ""
    assert "bob, who is connected now, could not log in and become root any more: no shell" in access.refusal(
        [able, unable], "bob"
    )
    assert "no administrator could log in and become root any more: bob: no shell" in access.refusal([unable], "")
    assert "none is named" in access.refusal([], "")


def test_a_private_shadow_differs_in_one_hash() -> None:
    text = access.with_hash(SHADOW, "ada", "$6$salt$hash")
    assert text == SHADOW.replace(f"ada:{HASH}:", "ada:$6$salt$hash:")


def test_the_diff_shows_rules_of_sudo_and_no_line_of_shadow() -> None:
    sudo = access.Piece("/etc/sudoers.d/x", None, files.Found(b"Defaults use_pty\n", 0o440, 0, 0))
    secret = access.Piece("/etc/x.key", None, files.Found(b"the secret\n", 0o600, 0, 0))
    before, after = files.Found(SHADOW.encode(), 0o640, 0, 42), files.Found(b"", 0o640, 0, 42)
    link = access.Piece("/etc/systemd/system/a", link_after="/etc/b")
    shown = access.differences(
        [sudo, secret, access.Piece("/etc/shadow", before, after), link],
        ["ada: maximum 1 → 2"],
        mounts.Plan(apply=(("mount", "/tmp"),)),
    )
    text = json.dumps(shown)
    assert "Defaults use_pty" in text
    assert "ada: maximum 1" in text
    assert "link to /etc/b" in text
    assert "mount /tmp" in text
    assert HASH not in text
    assert "the secret" not in text
