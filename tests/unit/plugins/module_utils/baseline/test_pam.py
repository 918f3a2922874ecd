# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PAM as text: profiles, the stacks that pam-auth-update makes of them, and lines that libpam does not take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.baseline import pam
from ansible_collections.bulwark.hardening.plugins.module_utils.baseline.host import Refused

DEBIAN_UNIX = """\
Name: Unix authentication
Default: yes
Priority: 256
Auth-Type: Primary
Auth:
\t[success=end default=ignore]\tpam_unix.so nullok try_first_pass
Auth-Initial:
\t[success=end default=ignore]\tpam_unix.so nullok
Session-Type: Additional
Session:
\trequired\tpam_unix.so
"""
SYSTEMD = "Name: systemd\nDefault: yes\nPriority: 0\nSession-Type: Additional\nSession:\n\toptional\tpam_systemd.so\n"
COMMON = """\
#
# /etc/pam.d/common-auth
# here are the per-package modules (the "Primary" block)
{primary}
# here's the fallback if no module succeeds
auth	requisite			pam_deny.so
auth	required			pam_permit.so
# and here are more per-package modules (the "Additional" block)
{additional}
# end of pam-auth-update config
"""
UNIX = {"name": "bulwark-unix", "auth": "[success=end default=ignore] pam_unix.so try_first_pass"}
FAILED = {"name": "bulwark-failed", "priority": 0, "auth": "[default=die] pam_faillock.so authfail"}
PASSED = {"name": "bulwark-passed", "auth_type": "Additional", "auth": "required pam_faillock.so authsucc"}
SAVED = {
    "auth": "Module: bulwark-unix\n[success=end default=ignore] pam_unix.so try_first_pass\n"
    "Module: bulwark-failed\n[default=die] pam_faillock.so authfail\n"
    "Module: bulwark-passed\nrequired pam_faillock.so authsucc\n"
}
AUTH = COMMON.format(
    primary="auth\t[success=2 default=ignore] pam_unix.so try_first_pass\nauth\t[default=die] pam_faillock.so authfail",
    additional="auth\trequired pam_faillock.so authsucc",
)


@pytest.fixture(name="profiles")
def three_profiles() -> tuple[pam.Profile, ...]:
    return pam.parse([UNIX, FAILED, PASSED])


def in_force(profiles: tuple[pam.Profile, ...], auth: str, files: dict[str, str] | None = None) -> bool:
    wanted = {profile.name: pam.render(profile) for profile in profiles}
    return pam.in_force(profiles, wanted if files is None else files, wanted, SAVED, {"auth": auth})


def test_a_profile_reads_back_as_pam_auth_update_would_read_it(profiles: tuple[pam.Profile, ...]) -> None:
    values = pam.fields(pam.render(profiles[2], ("other", "unix")))
    assert values == {
        "Name": "bulwark-passed",
        "Default": "yes",
        "Priority": "256",
        "Conflicts": "other, unix",
        "Auth-Type": "Additional",
        "Auth": "required pam_faillock.so authsucc",
    }


def test_initial_lines_and_interactive_sessions_are_rendered() -> None:
    entry = {
        "name": "bulwark-x",
        "password": "requisite pam_pwhistory.so use_authtok",
        "password_initial": "requisite pam_pwhistory.so",
        "session": "optional pam_umask.so",
        "session_interactive_only": True,
        "default": False,
    }
    values = pam.fields(pam.render(pam.parse([entry])[0]))
    assert (values["Password-Type"], values["Session-Type"]) == ("Primary", "Additional")
    assert values["Password-Initial"] == "requisite pam_pwhistory.so"
    assert (values["Session-Interactive-Only"], values["Default"]) == ("yes", "no")


def test_a_profile_takes_the_place_of_those_that_ask_for_the_same_password(profiles: tuple[pam.Profile, ...]) -> None:
    others = {"unix": DEBIAN_UNIX, "systemd": SYSTEMD, "bulwark-old": DEBIAN_UNIX}
    assert [pam.conflicts(profile, others) for profile in profiles] == [("unix",), (), ()]


def test_a_module_in_the_additional_block_takes_nobodys_place() -> None:
    profile = pam.parse([{"name": "bulwark-x", "session": "required pam_unix.so"}])[0]
    assert pam.conflicts(profile, {"unix": DEBIAN_UNIX}) == ()


def test_stacks_are_in_force_whatever_the_lengths_of_jumps(profiles: tuple[pam.Profile, ...]) -> None:
    assert in_force(profiles, AUTH)
    assert in_force(profiles, AUTH.replace("success=2", "success=3"))


@pytest.mark.parametrize(
    "changed",
    [
        AUTH.replace("auth\t[default=die] pam_faillock.so authfail\n", ""),
        AUTH.replace("try_first_pass", "try_first_pass nullok"),
        AUTH.replace("pam_faillock.so authsucc", "pam_faillock.so"),
        AUTH.replace("auth\t[default=die]", "auth\trequired pam_local.so\nauth\t[default=die]"),
        "",
    ],
)
def test_a_stack_that_was_changed_by_hand_is_not_in_force(profiles: tuple[pam.Profile, ...], changed: str) -> None:
    assert not in_force(profiles, changed)


def test_a_profile_that_is_missing_or_too_many_is_not_in_force(profiles: tuple[pam.Profile, ...]) -> None:
    wanted = {profile.name: pam.render(profile) for profile in profiles}
    assert not in_force(profiles, AUTH, {**wanted, "bulwark-old": DEBIAN_UNIX})
    assert not in_force(profiles, AUTH, {name: text for name, text in wanted.items() if name != "bulwark-unix"})


def test_what_pam_auth_update_left_out_is_named(profiles: tuple[pam.Profile, ...]) -> None:
    text = AUTH.replace("auth\trequired pam_faillock.so authsucc\n", "")
    assert pam.left_out(profiles, {"auth": text}) == ["/etc/pam.d/common-auth: required pam_faillock.so authsucc"]


def test_arguments_of_the_administrator_count_as_kept(profiles: tuple[pam.Profile, ...]) -> None:
    assert pam.left_out(profiles, {"auth": AUTH.replace("try_first_pass", "try_first_pass debug")}) == []


def test_sessions_must_be_in_both_files() -> None:
    profiles = pam.parse([{"name": "bulwark-x", "session": "optional pam_umask.so umask=027"}])
    session = COMMON.format(primary="", additional="session optional pam_umask.so umask=027").replace("auth", "session")
    assert pam.left_out(profiles, {"session": session}) == [
        "/etc/pam.d/common-session-noninteractive: optional pam_umask.so umask=027"
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "unix", "auth": "required pam_unix.so"}, "has a name such as bulwark-"),
        ({"name": "bulwark-x"}, "name a profile that the host's packages bring"),
        ({"name": "a/b"}, "name a profile that the host's packages bring"),
        ({"name": "bulwark-x", "auth": "requird pam_unix.so"}, "'requird' is no control"),
        ({"name": "bulwark-x", "auth": "[success=on] pam_unix.so"}, "'success=on' is no VALUE=ACTION"),
        ({"name": "bulwark-x", "auth": "[] pam_unix.so"}, "is no VALUE=ACTION"),
        ({"name": "bulwark-x", "auth": "required"}, "TYPE CONTROL MODULE"),
        ({"name": "bulwark-x", "auth": "required pam_unix.so \\"}, "must not go on"),
        ({"name": "bulwark-x", "auth_initial": "required pam_unix.so"}, "give both"),
        ({"name": "bulwark-x", "auth": "required pam_unix.so", "auth_type": "Second"}, "accepted are Primary"),
        ({"name": "bulwark-x", "auth": "required pam_unix.so", "priority": -1}, "accepted are 0 to 9999"),
    ],
)
def test_a_wrong_profile_is_refused_with_its_place(entry: dict[str, str | int], message: str) -> None:
    with pytest.raises(Refused, match=r"pam_profiles\[0\]") as caught:
        pam.parse([entry])
    assert message in str(caught.value)


def test_a_name_stands_once() -> None:
    with pytest.raises(Refused, match=r"pam_profiles\[1\]\.name: 'bulwark-unix' stands twice"):
        pam.parse([UNIX, UNIX])


SSHD = (
    "# comment\n@include common-auth\naccount    required     pam_nologin.so\n-session optional pam_selinux.so close\n"
)


def has_module(name: str) -> bool:
    return name in ("pam_unix.so", "pam_nologin.so")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("auth required pam_nosuch.so", "names pam_nosuch.so, which is not on this host"),
        ("auth requird pam_unix.so", "'requird' is no control"),
        ("acount required pam_unix.so", "'acount' is no type"),
        ("@include", "takes the name of one file"),
        ("auth required \\\n pam_nosuch.so", "names pam_nosuch.so"),
    ],
)
def test_a_candidate_that_libpam_does_not_take_is_told(line: str, message: str) -> None:
    found = pam.problems({"sshd": SSHD}, {"sshd": f"{SSHD}{line}\n"}, has_module)
    assert len(found) == 1
    assert found[0].startswith("/etc/pam.d/sshd")
    assert message in found[0]


def test_what_was_wrong_before_is_not_ours() -> None:
    before = {"old": "auth required pam_gone.so\nnonsense\n", "sshd": SSHD}
    after = {"old": "auth required pam_gone.so\nnonsense\n# new\n", "sshd": SSHD}
    assert pam.problems(before, after, has_module) == []


def test_a_line_with_a_dash_needs_no_module() -> None:
    assert pam.problems({}, {"sshd": "-auth required pam_nosuch.so\nauth include common-auth\n"}, has_module) == []


WORDS = ["auth", "-session", "@include", "required", "[success=1", "default=ignore]", "[x=y]", "pam_unix.so"]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)))
def test_a_line_that_is_taken_says_what_it_calls(text: str) -> None:
    """Whatever is accepted is one that the stack's reader understands, so nothing is written that it would not see."""
    said = text.partition("#")[0].strip()
    if not said or pam.line_problem(text):
        return
    parsed = pam.parse_line(said)
    if said.startswith("@include"):
        assert len(said.split()) == 2
    else:
        assert parsed is not None
        assert parsed.stack in pam.STACKS
        assert parsed.module


@given(st.text(alphabet="abc[]=\n:\t #", max_size=40))
def test_no_text_breaks_out_of_a_profile(text: str) -> None:
    """Whatever is accepted as lines of one stack stays in the field of that stack."""
    try:
        profile = pam.parse([{"name": "bulwark-x", "auth": text}])[0]
    except Refused:
        return
    values = pam.fields(pam.render(profile))
    assert set(values) <= {"Name", "Default", "Priority", "Auth-Type", "Auth"}
    assert values["Name"] == "bulwark-x"
