# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packages and what apt trusts."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers import packages

from ..conftest import MakeHost

STATES = ("sudo\tinstalled\t1.9", "nis\tconfig-files\t4", "gdm3\thalf-installed\t3", "xserver-xorg-core\tinstalled\t2")
DPKG = {"dpkg-query": "\n".join(STATES)}
DEBIAN = {"/var/lib/dpkg/status": ""}


@pytest.mark.parametrize(
    ("parameters", "verdict"),
    [
        ({"names": ["sudo"]}, "pass"),
        ({"names": ["sudo", "aide"]}, "fail"),
        ({"names": ["aide", "sudo"], "any_of": True}, "pass"),
        ({"names": ["gdm3"]}, "fail"),
        ({"names": ["nis"]}, "fail"),
    ],
)
def test_what_must_be_installed(make_host: MakeHost, parameters: dict[str, Any], verdict: str) -> None:
    assert make_host(DEBIAN, DPKG).observe("package_present", **parameters).verdict == verdict


@pytest.mark.parametrize(
    ("name", "verdict", "observed"),
    [
        ("telnet", "pass", "telnet not installed"),
        ("nis", "pass", "nis not installed"),
        ("gdm3", "fail", "gdm3 3 (half-installed)"),
        ("xserver-xorg*", "fail", "xserver-xorg-core 2"),
        ("xorg*", "pass", "xorg* not installed"),
    ],
)
def test_what_must_not_be_installed(make_host: MakeHost, name: str, verdict: str, observed: str) -> None:
    seen = make_host(DEBIAN, DPKG).observe("package_absent", names=[name])
    assert (seen.verdict, seen.observed) == (verdict, observed)


def test_other_hosts_are_asked_by_rpm(make_host: MakeHost) -> None:
    host = make_host({}, {"rpm": "sudo\tinstalled\t1.9-1\n"})
    assert host.observe("package_present", names=["sudo"]).source == "rpm"


APT = {"/etc/apt": None}
DUMP = 'APT "";\nAPT::Get::AllowUnauthenticated "false";\nUnattended-Upgrade::Origins-Pattern "";\n'
SECURITY = 'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=x,label=Debian-Security";\n'
STABLE = 'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=x,label=Debian";\n'


@pytest.mark.parametrize(
    ("dump", "parameters", "verdict"),
    [
        (DUMP, {"settings": {"APT::Get::AllowUnauthenticated": False}}, "pass"),
        (DUMP, {"settings": {"apt::get::allowunauthenticated": True}}, "fail"),
        (DUMP, {"settings": {"APT::Periodic::Unattended-Upgrade": 1}}, "fail"),
        (DUMP + SECURITY, {"security_origin_only": True}, "pass"),
        (DUMP + SECURITY + STABLE, {"security_origin_only": True}, "fail"),
        (DUMP, {"security_origin_only": True}, "fail"),
    ],
)
def test_what_apt_says_about_itself(make_host: MakeHost, dump: str, parameters: dict[str, Any], verdict: str) -> None:
    assert make_host(APT, {"apt-config dump": dump}).observe("apt_policy", **parameters).verdict == verdict


@pytest.mark.parametrize(
    ("files", "verdict"),
    [
        ({"sources.list": "# x\ndeb [signed-by=/k.gpg arch=amd64] http://a b main\n"}, "pass"),
        ({"sources.list": "deb http://a b main\n"}, "fail"),
        ({"sources.list": "deb [trusted=yes signed-by=/k.gpg] http://a b main\n"}, "fail"),
        ({"sources.list.d/x.sources": "Types: deb\nURIs: http://a\nSigned-By: /k.gpg\n"}, "pass"),
        ({"sources.list.d/x.sources": "Types: deb\nSigned-By:\n -----BEGIN PGP\n .\n"}, "pass"),
        ({"sources.list.d/x.sources": "Types: deb\nURIs: http://a\n\nTypes: deb\nSigned-By: /k\n"}, "fail"),
        ({"sources.list.d/x.sources": "Types: deb\nSigned-By: /k\nAllow-Insecure: yes\n"}, "fail"),
        ({"sources.list.d/x.sources": "Types: deb\nURIs: http://a\nEnabled: no\n"}, "not_applicable"),
    ],
)
def test_sources_are_bound_to_a_key(make_host: MakeHost, files: dict[str, str], verdict: str) -> None:
    host = make_host({f"/etc/apt/{name}": text for name, text in files.items()}, {"apt-config dump": ""})
    assert host.observe("apt_policy", signed_by=True).verdict == verdict


@pytest.mark.parametrize(("mode", "owner", "verdict"), [(0o644, 0, "pass"), (0o664, 0, "fail"), (0o644, 1000, "fail")])
def test_only_root_changes_keys(make_host: MakeHost, mode: int, owner: int, verdict: str) -> None:
    path = "/etc/apt/keyrings/a.gpg"
    host = make_host({path: "k"}, {"apt-config dump": ""}, modes={path: mode}, owners={path: (owner, 0)})
    assert host.observe("apt_policy", key_files=True).verdict == verdict


@pytest.mark.parametrize(
    ("age_days", "up_days", "verdict"), [(0.5, 9, "pass"), (3, 9, "fail"), (None, 9, "fail"), (None, 0.5, "pending")]
)
def test_updates_ran_lately(make_host: MakeHost, age_days: float | None, up_days: float, verdict: str) -> None:
    boot = 50 * packages.DAY
    start_ticks = int((boot - up_days * packages.DAY) * packages.TICKS)
    files = {
        **APT,
        "/proc/uptime": f"{boot}.0 1.0\n",
        "/proc/1/stat": f"1 (init (x)) S {' '.join(['0'] * 18)} {start_ticks} 0\n",
    }
    if age_days is not None:
        files[packages.STAMP] = ""
    host = make_host(files, {"apt-config dump": ""})
    if age_days is not None:
        moment = time.time() - age_days * packages.DAY
        os.utime(host.path(packages.STAMP), (moment, moment))
    assert host.observe("apt_policy", last_run_days=2).verdict == verdict


def test_without_apt_it_is_not_applicable(make_host: MakeHost) -> None:
    assert make_host({}).observe("apt_policy", signed_by=True).reason == "this host has no apt"
