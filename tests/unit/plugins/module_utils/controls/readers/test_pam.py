# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PAM stacks are walked as libpam walks them."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers import pam

from ..conftest import MakeHost

MODULES = ("unix", "faillock", "deny", "permit", "wheel", "rootok", "google_authenticator", "pwhistory", "umask", "env")
FILES = {f"/usr/lib/x86_64-linux-gnu/security/pam_{name}.so": "" for name in MODULES}
DEBIAN = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\n"
FAILLOCK = (
    "auth required pam_faillock.so preauth\n"
    "auth [success=1 default=ignore] pam_unix.so\n"
    "auth [default=die] pam_faillock.so authfail\n"
    "auth sufficient pam_faillock.so authsucc\n"
    "auth requisite pam_deny.so\n"
    "auth required pam_permit.so\n"
)
# As a Primary block of pam-auth-update: pam_unix jumps past the line that clears the count.
JUMPED = FAILLOCK.replace("success=1", "success=3")


def auth(text: str, **more: str) -> dict[str, str]:
    files = {f"/etc/pam.d/{name.replace('_', '-')}": content for name, content in more.items()}
    return {**FILES, "/etc/pam.d/sshd": text, **files}


def wish(module: str, **more: object) -> dict[str, object]:
    return {"services": ["sshd"], "stack": "auth", "modules": [{"module": module, **more}]}


PREAUTH = wish("pam_faillock", arguments={"preauth": True}, before=["pam_unix"])
AUTHFAIL = wish("pam_faillock", arguments={"authfail": True}, reached_on=["failure"])
AUTHSUCC = wish("pam_faillock", arguments={"authsucc": True}, reached_on=["success"])


@pytest.mark.parametrize(
    ("text", "wanted", "verdict", "observed"),
    [
        (FAILLOCK, PREAUTH, "pass", "preauth"),
        (FAILLOCK, AUTHFAIL, "pass", "authfail"),
        (FAILLOCK, AUTHSUCC, "pass", "authsucc"),
        (JUMPED, AUTHSUCC, "fail", "is never called on success of the password check"),
        (DEBIAN, PREAUTH, "fail", "not in the stack"),
        ("auth sufficient pam_unix.so\n" + FAILLOCK, PREAUTH, "fail", "is never called on success"),
        ("auth [success=done default=die] pam_unix.so\n" + FAILLOCK, AUTHFAIL, "fail", "is never called on failure"),
        ("auth required pam_faillock.so authfail\n" + DEBIAN, PREAUTH, "fail", "preauth is not set"),
        (DEBIAN + "auth required pam_faillock.so preauth\n", PREAUTH, "fail", "is never called on failure"),
        (DEBIAN, wish("pam_permit", reached_on=["success"]), "pass", "pam_permit"),
        (DEBIAN, wish("pam_permit"), "fail", "is never called on failure"),
        ("auth required pam_nosuch.so\n" + DEBIAN, wish("pam_nosuch"), "fail", "the module is not installed"),
        (DEBIAN, wish("pam_unix", control="required"), "fail", "its control is [success=1 default=ignore]"),
        (DEBIAN, wish("pam_unix.so"), "pass", "pam_unix"),
    ],
)
def test_a_module_counts_only_if_it_is_called(
    make_host: MakeHost, text: str, wanted: dict[str, object], verdict: str, observed: str
) -> None:
    seen = make_host(auth(text)).observe("pam_stack", **wanted, sound=False)
    assert seen.verdict == verdict
    assert observed in seen.observed


SECOND = "auth required pam_google_authenticator.so\n"


@pytest.mark.parametrize(
    ("common", "service", "verdict"),
    [
        (DEBIAN, f"@include common-auth\n{SECOND}", "pass"),
        # `sufficient` in a file that is included ends the whole stack: the second factor is skipped.
        (JUMPED, f"@include common-auth\n{SECOND}", "pass"),
        ("auth sufficient pam_unix.so\nauth requisite pam_deny.so\n", f"@include common-auth\n{SECOND}", "fail"),
        ("auth sufficient pam_unix.so\nauth requisite pam_deny.so\n", f"auth include common-auth\n{SECOND}", "fail"),
        ("auth sufficient pam_unix.so\nauth requisite pam_deny.so\n", f"auth substack common-auth\n{SECOND}", "pass"),
        (FAILLOCK, f"@include common-auth\n{SECOND}", "fail"),
        # A jump counts a substack as one module, and does not leave the one that it is in.
        (DEBIAN, f"auth [success=1 default=ignore] pam_unix.so\nauth substack common-auth\n{SECOND}", "pass"),
        (
            "auth [success=9 default=ignore] pam_unix.so\nauth required pam_env.so\n",
            f"auth substack common-auth\n{SECOND}",
            "pass",
        ),
        (
            "auth required pam_unix.so\n",
            f"auth [success=2 default=ignore] pam_env.so\nauth substack common-auth\n{SECOND}",
            "fail",
        ),
    ],
)
def test_a_second_factor_is_not_skipped(make_host: MakeHost, common: str, service: str, verdict: str) -> None:
    host = make_host(auth(service, common_auth=common))
    wanted = wish("pam_google_authenticator", reached_on=["success"])
    assert host.observe("pam_stack", **wanted, sound=False).verdict == verdict


@pytest.mark.parametrize(
    ("text", "verdict", "observed"),
    [
        (DEBIAN, "pass", "does so"),
        (FAILLOCK, "pass", "does so"),
        ("auth optional pam_unix.so\nauth required pam_permit.so\n", "fail", "a wrong password may be accepted"),
        ("auth sufficient pam_permit.so\n" + DEBIAN, "fail", "a wrong password may be accepted"),
        ("auth required pam_unix.so\nauth sufficient pam_permit.so\n", "pass", "does so"),
        ("auth required pam_unix.so\nauth required pam_deny.so\n", "fail", "no password can be accepted"),
        (DEBIAN.replace("success=1", "success=2"), "fail", "no password can be accepted"),
        ("auth [success=2 default=ignore] pam_localuser.so\n" + DEBIAN, "fail", "a wrong password may be accepted"),
    ],
)
def test_a_stack_must_tell_right_from_wrong(make_host: MakeHost, text: str, verdict: str, observed: str) -> None:
    seen = make_host(auth(text)).observe("pam_stack", services=["sshd"], stack="auth")
    assert seen.verdict == verdict
    assert observed in seen.observed


@pytest.mark.parametrize(
    ("text", "parameters", "verdict", "observed"),
    [
        ("deny = 4\n", {}, "pass", ""),
        ("deny = 10\n", {}, "fail", "deny is 10"),
        ("# deny = 4\n", {}, "fail", "deny is not set"),
        ("# deny = 4\n", {"defaults": {"deny": 3}}, "pass", ""),
        ("", {}, "fail", "deny is not set"),
        ("deny = 4\neven_deny_root\n", {"arguments": {"preauth": True, "even_deny_root": True}}, "pass", ""),
        ("deny = 4\n", {"arguments": {"preauth": True, "even_deny_root": True}}, "fail", "even_deny_root is not set"),
        ("deny = 4\n", {"arguments": {"preauth": True, "even_deny_root": False}}, "pass", ""),
    ],
)
def test_a_settings_file_says_what_arguments_do_not(
    make_host: MakeHost, text: str, parameters: dict[str, Any], verdict: str, observed: str
) -> None:
    path = "/etc/security/faillock.conf"
    base = {"arguments": {"preauth": True, "deny": {"at_least": 1, "at_most": 5}}, "settings_file": path}
    host = make_host({**auth(FAILLOCK), path: text})
    seen = host.observe("pam_stack", **wish("pam_faillock", **{**base, **parameters}))
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_an_argument_outweighs_the_settings_file(make_host: MakeHost) -> None:
    path = "/etc/security/faillock.conf"
    host = make_host({**auth(FAILLOCK.replace("preauth", "preauth deny=10")), path: "deny = 4\n"})
    wanted = wish("pam_faillock", arguments={"preauth": True, "deny": {"at_most": 5}}, settings_file=path)
    assert host.observe("pam_stack", **wanted).observed == "sshd: pam_faillock deny is 10"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("auth sufficient pam_rootok.so\nauth required pam_wheel.so use_uid group=sugroup\n" + DEBIAN, "pass"),
        ("auth required pam_wheel.so use_uid group=sugroup\nauth sufficient pam_rootok.so\n" + DEBIAN, "fail"),
        ("auth sufficient pam_rootok.so\nauth required pam_wheel.so\n" + DEBIAN, "fail"),
        ("auth sufficient pam_rootok.so\n# auth required pam_wheel.so use_uid group=sugroup\n" + DEBIAN, "fail"),
    ],
)
def test_the_wheel_comes_after_root(make_host: MakeHost, text: str, verdict: str) -> None:
    arguments = {"use_uid": True, "group": "sugroup"}
    wanted = wish("pam_wheel", arguments=arguments, control="required", after=["pam_rootok"])
    assert make_host(auth(text)).observe("pam_stack", **wanted).verdict == verdict


@pytest.mark.parametrize(
    ("text", "arguments", "verdict"),
    [
        (DEBIAN, ["nullok"], "fail"),
        (DEBIAN.replace(" nullok", ""), ["nullok"], "pass"),
        (DEBIAN.replace("nullok", "remember=5"), ["nullok", "remember"], "fail"),
        (DEBIAN, [], "fail"),
    ],
)
def test_what_must_not_be_there(make_host: MakeHost, text: str, arguments: list[str], verdict: str) -> None:
    absent = [{"module": "pam_unix", "arguments": arguments}]
    host = make_host(auth(text))
    assert host.observe("pam_stack", services=["sshd"], stack="auth", absent=absent).verdict == verdict


def test_services_that_do_not_exist_are_left_out(make_host: MakeHost) -> None:
    wanted = {**PREAUTH, "services": ["login", "sshd"]}
    assert make_host(auth(FAILLOCK)).observe("pam_stack", **wanted).verdict == "pass"
    seen = make_host(auth(FAILLOCK)).observe("pam_stack", **{**wanted, "services": ["login"]})
    assert (seen.verdict, seen.reason) == ("not_applicable", "PAM has no service login on this host")


@pytest.mark.parametrize("text", ["@include nosuch\n", "auth include nosuch\n", "@include sshd\n"])
def test_a_stack_that_cannot_be_followed_is_unknown(make_host: MakeHost, text: str) -> None:
    with pytest.raises(Unreadable, match=r"which does not exist|includes itself"):
        make_host(auth(text)).observe("pam_stack", **PREAUTH)


def test_lines_are_read_as_libpam_reads_them(make_host: MakeHost) -> None:
    text = "-auth [success=ok \\\n default=bad] pam_unix.so  [a=b c] d # nullok\naccount required pam_env.so\n"
    (entry,) = pam.stack(make_host(auth(text)), "sshd", "auth")
    assert (entry.module, entry.arguments) == ("pam_unix", ("a=b c", "d"))
    assert entry.actions == {"success": "ok", "default": "bad"}
    assert (entry.argument("a"), entry.argument("d"), entry.argument("x")) == ("b c", "yes", None)


def test_a_loop_of_many_open_outcomes_ends(make_host: MakeHost) -> None:
    text = "auth [success=1 default=ignore] pam_succeed_if.so a\nauth optional pam_env.so\n" * 30 + DEBIAN
    seen = make_host(auth(text)).observe("pam_stack", **wish("pam_unix"))
    assert seen.verdict == "pass"


@pytest.mark.parametrize(("other", "verdict"), [("auth required pam_deny.so\n", "fail"), (DEBIAN, "pass")])
def test_a_service_without_a_stack_has_that_of_other(make_host: MakeHost, other: str, verdict: str) -> None:
    host = make_host({**auth("password required pam_unix.so\n"), "/etc/pam.d/other": other})
    assert host.observe("pam_stack", services=["sshd"], stack="auth").verdict == verdict


@pytest.mark.parametrize(
    ("text", "succeeds"),
    [
        # What libpam itself did with each of these on Debian 12 and 13.
        ("auth required pam_permit.so\nauth [success=3 default=ignore] pam_permit.so\n", False),
        ("auth [success=1 default=ignore] pam_permit.so\nauth required pam_permit.so\n", False),
        ("auth [default=ok] pam_deny.so\nauth sufficient pam_permit.so\n", False),
        ("auth [default=done] pam_faillock.so authfail\nauth required pam_permit.so\n", False),
        ("auth [default=die] pam_faillock.so authfail\nauth required pam_permit.so\n", False),
        ("auth required pam_faillock.so preauth\n", True),
    ],
)
def test_jumps_and_results_that_surprise(make_host: MakeHost, text: str, succeeds: bool) -> None:
    entries = pam.stack(make_host(auth(text)), "sshd", "auth")
    assert pam.ways(entries, pam.SCENARIOS["success"]).may_succeed is succeeds


def test_a_module_that_is_called_for_some_only_does_not_do(make_host: MakeHost) -> None:
    text = "auth [success=1 default=ignore] pam_succeed_if.so user ingroup x\nauth required pam_faillock.so preauth\n"
    seen = make_host(auth(text + DEBIAN)).observe("pam_stack", **PREAUTH)
    assert (seen.verdict, "is not always called" in seen.observed) == ("fail", True)
