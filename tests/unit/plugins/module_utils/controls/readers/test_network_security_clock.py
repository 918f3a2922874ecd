# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners, mandatory access control, the clock."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Unreadable
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers.clock import KernelClock, kernel_clock

from ..conftest import MakeHost

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def words(text: str) -> str:
    """Return an address of 32-bit words as this machine's kernel prints it."""
    parts = (text[at : at + 8] for at in range(0, len(text), 8))
    return "".join(part if sys.byteorder == "big" else bytes.fromhex(part)[::-1].hex().upper() for part in parts)


def socket(address: str, port: int, inode: int, state: str = "0A", remote: str = "") -> str:
    other = remote or f"{'0' * len(address)}:0000"
    queues = "00000000:00000000 00:00000000 00000000     0        0"
    return f"   0: {words(address)}:{port:04X} {other} {state} {queues} {inode} 1\n"


ANY, LOOPBACK, OWN = "00000000", "7F000001", "C0000201"
ANY6, LOOPBACK6 = "0" * 32, "0" * 31 + "1"
SSH = {"/proc/net/tcp": HEAD + socket(ANY, 22, 100)}
SSHD = {"/proc/77/comm": "sshd\n", "/proc/77/fd": None}


@pytest.mark.parametrize(
    ("files", "parameters", "verdict", "observed"),
    [
        (SSH, {"allowed": [{"port": 22}]}, "pass", "tcp 0.0.0.0:22 (sshd)"),
        (SSH, {"allowed": [{"port": 22, "process": "sshd"}]}, "pass", ""),
        (SSH, {"allowed": [{"port": 22, "process": "nginx"}]}, "fail", "tcp 0.0.0.0:22 (sshd)"),
        (SSH, {"allowed": [{"port": 22, "protocol": "udp"}]}, "fail", ""),
        (SSH, {"allowed": [{"port": "*"}]}, "pass", ""),
        (SSH, {"allowed": []}, "fail", "tcp 0.0.0.0:22 (sshd)"),
        ({"/proc/net/tcp": HEAD + socket(LOOPBACK, 5432, 1)}, {"allowed": []}, "pass", "nothing waits"),
        ({"/proc/net/tcp": HEAD + socket(OWN, 8080, 1)}, {"allowed": []}, "fail", "tcp 192.0.2.1:8080 (the kernel)"),
        ({"/proc/net/tcp": HEAD + socket(OWN, 22, 1, state="01")}, {"allowed": []}, "pass", "nothing waits"),
        ({"/proc/net/tcp6": HEAD + socket(ANY6, 443, 1)}, {"allowed": []}, "fail", "tcp [::]:443"),
        ({"/proc/net/tcp6": HEAD + socket(LOOPBACK6, 443, 1)}, {"allowed": []}, "pass", ""),
        ({"/proc/net/udp": HEAD + socket(ANY, 161, 1, state="07")}, {"allowed": []}, "fail", "udp 0.0.0.0:161"),
        (
            {"/proc/net/udp": HEAD + socket(OWN, 40000, 1, state="01", remote="08080808:0035")},
            {"allowed": []},
            "pass",
            "",
        ),
        (
            {"/proc/net/tcp": HEAD + socket(ANY, 25, 1)},
            {"allowed": [{"port": "*"}], "only_loopback": [25]},
            "fail",
            "tcp 0.0.0.0:25",
        ),
        ({"/proc/net/tcp": HEAD + socket(LOOPBACK, 25, 1)}, {"allowed": [], "only_loopback": [25]}, "pass", ""),
    ],
)
def test_listeners(
    make_host: MakeHost, files: dict[str, str], parameters: dict[str, Any], verdict: str, observed: str
) -> None:
    host = make_host({**SSHD, **files}, links={"/proc/77/fd/3": "socket:[100]"})
    seen = host.observe("listeners", **parameters)
    assert seen.verdict == verdict
    assert observed in seen.observed


ENABLED = {"/sys/module/apparmor/parameters/enabled": "Y\n"}
PROFILES = "/sys/kernel/security/apparmor/profiles"


@pytest.mark.parametrize(
    ("files", "parameters", "verdict", "observed"),
    [
        ({**ENABLED, PROFILES: "/usr/sbin/x (enforce)\nchrome (unconfined)\n"}, {}, "pass", ""),
        ({**ENABLED, PROFILES: "/usr/sbin/x (enforce)\n/usr/bin/y (complain)\n"}, {}, "fail", "/usr/bin/y complain"),
        ({**ENABLED, PROFILES: "a (enforce)\n/usr/bin/y (complain)\n"}, {"except": ["/usr/bin/*"]}, "pass", ""),
        ({**ENABLED, PROFILES: ""}, {}, "fail", "profiles none"),
        ({**ENABLED, PROFILES: ""}, {"enforce": False}, "pass", ""),
        ({"/sys/module/apparmor/parameters/enabled": "N\n"}, {}, "fail", "not enabled in this kernel"),
        ({}, {}, "fail", "not enabled in this kernel"),
    ],
)
def test_apparmor(
    make_host: MakeHost, files: dict[str, str], parameters: dict[str, Any], verdict: str, observed: str
) -> None:
    seen = make_host(files).observe("apparmor", **parameters)
    assert seen.verdict == verdict
    assert observed in seen.observed


@pytest.mark.parametrize(("current", "verdict"), [("/usr/sbin/x (enforce)\n", "pass"), ("unconfined\n", "fail")])
def test_a_program_that_was_started_before_its_profile(make_host: MakeHost, current: str, verdict: str) -> None:
    files = {**ENABLED, PROFILES: "/usr/sbin/x (enforce)\n", "/proc/9/attr/current": current}
    host = make_host(files, links={"/proc/9/exe": "/usr/sbin/x"})
    assert host.observe("apparmor").verdict == verdict


def test_profiles_that_cannot_be_seen(make_host: MakeHost) -> None:
    with pytest.raises(Unreadable, match="securityfs is not mounted"):
        make_host(ENABLED).observe("apparmor")


@pytest.mark.parametrize(
    ("text", "mode", "verdict"),
    [
        ("1", "enforcing", "pass"),
        ("0", "enforcing", "fail"),
        (None, "enforcing", "fail"),
        ("0\n", "permissive", "pass"),
    ],
)
def test_selinux(make_host: MakeHost, text: str | None, mode: str, verdict: str) -> None:
    host = make_host({"/sys/fs/selinux/enforce": text} if text else {})
    assert host.observe("selinux", mode=mode).verdict == verdict


TIMESYNCD = "systemd-timesyncd"


def daemons(*active: str) -> dict[str, str]:
    units = ("chrony", "chronyd", "ntpsec", "ntp", "ntpd", "openntpd", TIMESYNCD)
    states = ("active" if unit in active else "inactive" for unit in units)
    loaded = "".join(f"{unit}.service loaded\n" for unit in units)
    return {
        "systemctl list-units": loaded,
        "systemctl show": "\n".join(f"LoadState=loaded\nActiveState={state}\n" for state in states),
    }


@pytest.mark.parametrize(
    ("active", "clock", "wanted", "verdict", "observed"),
    [
        ([TIMESYNCD], KernelClock(True, 0.01), [TIMESYNCD], "pass", ""),
        (["chronyd"], KernelClock(True, 0.01), [TIMESYNCD, "chrony"], "pass", ""),
        (["chrony"], KernelClock(True, 0.01), [TIMESYNCD], "fail", "daemon chrony"),
        (["chrony", TIMESYNCD], KernelClock(True, 0.01), [TIMESYNCD], "fail", "daemon chrony, systemd-timesyncd"),
        ([], KernelClock(True, 0.01), [TIMESYNCD], "fail", "daemon none"),
        ([TIMESYNCD], KernelClock(False, 16.0), [TIMESYNCD], "fail", "clock not synchronised"),
        ([TIMESYNCD], KernelClock(True, 1.5), [TIMESYNCD], "fail", "offset 1.500 s"),
    ],
)
def test_the_clock(
    make_host: MakeHost, active: list[str], clock: KernelClock, wanted: list[str], verdict: str, observed: str
) -> None:
    host = make_host({}, daemons(*active))
    host.once("kernel clock", lambda: clock)
    seen = host.observe("time_sync", daemons=wanted, offset_seconds={"at_most": 1})
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_this_kernel_tells_about_its_clock() -> None:
    """The state that adjtimex returns says the same as the status that it writes: 5 is TIME_ERROR (adjtimex(2))."""
    returned = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    assert kernel_clock().synchronised == (returned != 5)
