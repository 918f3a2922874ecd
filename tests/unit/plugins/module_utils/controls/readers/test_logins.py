# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a login gets."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Answer
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers.logins import pam_umask

from ..conftest import MakeHost

SHELL = {"setpriv": 'Welcome!\n0027\n0\n0\ndeclare -rx TMOUT="900"\ndeclare -x PATH="/bin"\n'}
OPEN = {"setpriv": '0022\n0\nunlimited\ndeclare -x PATH="/bin"\n'}
SESSION = {"/etc/pam.d/sshd": "@include common-session\n"}
UMASK = {**SESSION, "/etc/pam.d/common-session": "session optional pam_umask.so umask=0027\n"}
NO_UMASK = {**SESSION, "/etc/pam.d/common-session": "session required pam_unix.so\n"}
SKIPPED = {
    **SESSION,
    "/etc/pam.d/common-session": "session [default=1] pam_permit.so\nsession optional pam_umask.so umask=0027\n",
}


@pytest.mark.parametrize(
    ("files", "programs", "of", "verdict", "observed"),
    [
        ({}, SHELL, ["login_shell", "interactive_shell"], "pass", "027"),
        ({}, OPEN, ["login_shell"], "fail", "login shell 022"),
        (UMASK, SHELL, ["pam"], "pass", "session of sshd 027"),
        (NO_UMASK, SHELL, ["pam"], "fail", "session of sshd not set"),
        (SKIPPED, SHELL, ["pam"], "fail", "session of sshd not set"),
    ],
)
def test_files_are_born_closed(
    make_host: MakeHost, files: dict[str, str], programs: dict[str, str], of: list[str], verdict: str, observed: str
) -> None:
    seen = make_host(files, programs).observe("shell_umask", umask="027", of=of)
    assert seen.verdict == verdict
    assert observed in seen.observed


DEBIAN_12, DEBIAN_13, UBUNTU = 'ID=debian\nVERSION_ID="12"\n', 'ID=debian\nVERSION_ID="13"\n', "ID=ubuntu\n"


@pytest.mark.parametrize(
    ("release", "arguments", "definitions", "expected"),
    [
        # The first seven were measured with su on the real thing.
        (DEBIAN_12, (), "UMASK 027\nUSERGROUPS_ENAB yes\n", 0o027),
        (DEBIAN_12, ("umask=0027",), "", 0o027),
        (DEBIAN_12, ("umask=0027", "usergroups"), "", 0o007),
        (DEBIAN_13, (), "UMASK 027\nUSERGROUPS_ENAB no\n", 0o007),
        (DEBIAN_13, ("umask=0027",), "", 0o007),
        (DEBIAN_13, ("nousergroups",), "UMASK 027\nUSERGROUPS_ENAB yes\n", 0o027),
        (DEBIAN_12, (), "", None),
        (UBUNTU, (), "UMASK 027\nUSERGROUPS_ENAB yes\n", 0o007),
        (UBUNTU, (), "UMASK 027\nUSERGROUPS_ENAB no\n", 0o027),
        ("ID=rhel\n", (), "UMASK 077\nUMASK 022\n", 0o077),
        ("ID=debian\n", ("umask=0077",), "", 0o007),
    ],
)
def test_the_umask_that_pam_sets(
    make_host: MakeHost, release: str, arguments: tuple[str, ...], definitions: str, expected: int | None
) -> None:
    host = make_host({"/etc/os-release": release, "/etc/login.defs": definitions})
    assert pam_umask(host, arguments) == expected


def test_the_umask_of_an_older_file(make_host: MakeHost) -> None:
    assert pam_umask(make_host({"/etc/default/login": "UMASK=077\n"}), ()) == 0o077


@pytest.mark.parametrize(
    ("programs", "parameters", "verdict", "observed"),
    [
        (SHELL, {"values": {"TMOUT": {"at_least": 1, "at_most": 900}}, "read_only": ["TMOUT"]}, "pass", ""),
        (SHELL, {"values": {"TMOUT": {"at_most": 600}}}, "fail", "TMOUT 900"),
        (OPEN, {"values": {"TMOUT": {"at_most": 900}}}, "fail", "TMOUT not set"),
        (
            {"setpriv": '022\n0022\n0\n0\ndeclare -x TMOUT="900"\n'},
            {"read_only": ["TMOUT"]},
            "fail",
            "TMOUT changeable",
        ),
        (SHELL, {"core_limit": 0}, "pass", ""),
        (OPEN, {"core_limit": 0}, "fail", "core limit unlimited"),
    ],
)
def test_what_a_login_shell_sets(
    make_host: MakeHost, programs: dict[str, str], parameters: dict[str, Any], verdict: str, observed: str
) -> None:
    seen = make_host({}, programs).observe("shell_variable", **parameters)
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_a_shell_that_does_not_answer_is_unknown(make_host: MakeHost) -> None:
    host = make_host({}, {"setpriv": Answer(1, "", "setpriv: setresuid failed\n")})
    with pytest.raises(Unreadable, match="setresuid failed"):
        host.observe("shell_umask", umask="027", of=["login_shell"])
