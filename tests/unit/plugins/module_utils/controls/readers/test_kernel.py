# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running kernel."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.readers import kernel

from ..conftest import MakeHost

IPV4, IPV6 = "/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"


def interfaces(folder: str, name: str, forwarding: str = "0", **values: int) -> dict[str, str]:
    files = {f"{folder}/{interface}/{name}": f"{value}\n" for interface, value in values.items()}
    return {**files, **{f"{folder}/{interface}/forwarding": f"{forwarding}\n" for interface in values}}


@pytest.mark.parametrize(("value", "verdict"), [("0\n", "pass"), ("1\n", "fail"), (None, "not_applicable")])
def test_a_key_is_compared(make_host: MakeHost, value: str | None, verdict: str) -> None:
    host = make_host({"/proc/sys/kernel/sysrq": value} if value else {})
    seen = host.observe("sysctl", keys={"kernel.sysrq": 0})
    assert seen.verdict == verdict
    assert (seen.reason == "kernel.sysrq: this kernel has no such key") is (value is None)


def test_a_key_that_this_kernel_lacks_spoils_nothing(make_host: MakeHost) -> None:
    seen = make_host({"/proc/sys/kernel/sysrq": "0"}).observe("sysctl", keys={"kernel.sysrq": 0, "kernel.io_uring": 2})
    assert (seen.verdict, seen.reason) == ("pass", "kernel.io_uring: this kernel has no such key")


@pytest.mark.parametrize(
    ("folder", "name", "wanted", "forwarding", "of_all", "own", "verdict"),
    [
        # The interface's own value counts although `all` looks right, and the other way round.
        (IPV4, "send_redirects", 0, "0", 0, 1, "fail"),
        (IPV4, "send_redirects", 0, "0", 1, 0, "fail"),
        (IPV4, "send_redirects", 0, "0", 0, 0, "pass"),
        (IPV4, "secure_redirects", 0, "0", 0, 1, "fail"),
        (IPV4, "log_martians", 1, "0", 1, 0, "pass"),
        (IPV4, "accept_redirects", 0, "0", 0, 1, "fail"),
        (IPV4, "accept_redirects", 0, "0", 1, 0, "fail"),
        (IPV4, "accept_redirects", 0, "1", 0, 1, "pass"),
        (IPV4, "accept_redirects", 0, "1", 1, 1, "fail"),
        (IPV4, "accept_source_route", 0, "0", 0, 1, "pass"),
        (IPV4, "accept_source_route", 0, "0", 1, 1, "fail"),
        (IPV4, "rp_filter", 1, "0", 1, 0, "pass"),
        (IPV4, "rp_filter", 1, "0", 1, 2, "fail"),
        (IPV4, "rp_filter", {"at_least": 1}, "0", 0, 2, "pass"),
        (IPV4, "forwarding", 0, "0", 1, 0, "pass"),
        (IPV6, "accept_redirects", 0, "0", 0, 1, "fail"),
        (IPV6, "accept_redirects", 0, "0", 1, 0, "pass"),
        (IPV6, "accept_ra", 0, "0", 0, 1, "fail"),
        (IPV6, "accept_source_route", 0, "0", 0, 1, "pass"),
        (IPV6, "accept_source_route", {"at_most": 0}, "0", 0, -1, "pass"),
    ],
)
def test_what_counts_is_what_the_kernel_makes_of_both(
    make_host: MakeHost,
    folder: str,
    name: str,
    wanted: int | dict[str, int],
    forwarding: str,
    of_all: int,
    own: int,
    verdict: str,
) -> None:
    host = make_host(interfaces(folder, name, forwarding, all=of_all, eth0=own))
    family = "ipv6" if folder == IPV6 else "ipv4"
    assert host.observe("sysctl", keys={f"net.{family}.conf.*.{name}": wanted}).verdict == verdict


def test_new_interfaces_count_too_and_the_one_that_is_wrong_is_named(make_host: MakeHost) -> None:
    host = make_host(interfaces(IPV4, "send_redirects", all=0, default=1, eth0=0))
    seen = host.observe("sysctl", keys={"net.ipv4.conf.*.send_redirects": 0})
    assert seen.observed == "net.ipv4.conf.default.send_redirects 1 (all 0, itself 1)"
    assert seen.expected == "net.ipv4.conf.default.send_redirects 0"


def test_without_ipv6_its_keys_are_not_applicable(make_host: MakeHost) -> None:
    seen = make_host({}).observe("sysctl", keys={"net.ipv6.conf.*.accept_ra": 0})
    assert (seen.verdict, "no net.ipv6.conf" in seen.reason) == ("not_applicable", True)


RELEASE = {"/proc/sys/kernel/osrelease": "6.1.0-1-amd64\n"}
MODULES = {
    **RELEASE,
    "/lib/modules/6.1.0-1-amd64/modules.dep": "kernel/drivers/usb/storage/usb-storage.ko.xz: kernel/x.ko\n",
    "/lib/modules/6.1.0-1-amd64/modules.builtin": "kernel/fs/ext4/ext4.ko\n",
}


@pytest.mark.parametrize(
    ("configuration", "files", "name", "verdict", "observed"),
    [
        ("install usb-storage /bin/false\n", {}, "usb-storage", "pass", "is replaced by /bin/false"),
        ("install usb_storage   /bin/true\n", {}, "usb-storage", "pass", "is replaced by /bin/true"),
        ("blacklist usb_storage\n", {}, "usb-storage", "fail", "can be loaded"),
        ("install usb_storage /sbin/modprobe --ignore-install usb_storage\n", {}, "usb-storage", "fail", "can be"),
        ("", {"/sys/module/usb_storage": None}, "usb-storage", "fail", "is loaded"),
        ("install usb_storage /bin/false\n", {"/sys/module/usb_storage": None}, "usb-storage", "pending", "is loaded"),
        ("", {}, "cramfs", "not_applicable", ""),
        ("install cramfs /bin/false\n", {}, "cramfs", "pass", "is replaced"),
        ("install ext4 /bin/false\n", {}, "ext4", "fail", "is built into the kernel"),
        (
            "install a /bin/false\ninstall usb_storage echo\ninstall usb_storage /bin/false\n",
            {},
            "usb-storage",
            "fail",
            "",
        ),
    ],
)
def test_a_module_is_denied_or_not(
    make_host: MakeHost, configuration: str, files: dict[str, None], name: str, verdict: str, observed: str
) -> None:
    host = make_host({**MODULES, **files}, {"modprobe --showconfig": configuration})
    seen = host.observe("kernel_module_denied", names=[name])
    assert seen.verdict == verdict
    assert observed in seen.observed


def test_without_modprobe_nothing_is_known_about_modules(make_host: MakeHost) -> None:
    with pytest.raises(Exception, match="there is no program modprobe"):
        make_host(MODULES).observe("kernel_module_denied", names=["cramfs"])


LINUX = "\tlinux\t/boot/vmlinuz root=/dev/vda "


@pytest.mark.parametrize(
    ("line", "parameters", "verdict", "observed"),
    [
        ("audit=1 audit_backlog_limit=8192", {"values": {"audit": 1}}, "pass", "audit 1"),
        ("audit=1 audit=0", {"values": {"audit": 1}}, "fail", "audit 0"),
        ("quiet", {"values": {"audit": 1}}, "fail", "audit not set"),
        ("audit_backlog_limit=64", {"values": {"audit_backlog_limit": {"at_least": 8192}}}, "fail", "64"),
        ("slab_nomerge", {"flags": ["slab_nomerge"]}, "pass", "there"),
        ("slab_nomerge2", {"flags": ["slab_nomerge"]}, "fail", "not there"),
        ("mitigations=off", {"absent": ["mitigations=off"]}, "fail", "there"),
        ("mitigations=off mitigations=auto", {"absent": ["mitigations=off"]}, "pass", "not there"),
        ("nopti", {"absent": ["nopti"]}, "fail", "there"),
        ("quiet -- nopti", {"absent": ["nopti"]}, "pass", "not there"),
        ("page_alloc.shuffle=1", {"values": {"page_alloc.shuffle": 1}}, "pass", "1"),
        ('dyndbg="file a +p" audit=1', {"values": {"audit": 1}}, "pass", "1"),
    ],
)
def test_the_command_line_of_the_running_kernel(
    make_host: MakeHost, line: str, parameters: dict[str, Any], verdict: str, observed: str
) -> None:
    seen = make_host({"/proc/cmdline": f"{line}\n"}).observe("kernel_command_line", **parameters)
    assert seen.verdict == verdict
    assert observed in seen.observed


@pytest.mark.parametrize(
    ("files", "verdict"),
    [
        ({"/boot/grub/grub.cfg": f"{LINUX}audit=1\n"}, "pending"),
        ({"/boot/grub/grub.cfg": f"{LINUX}audit=1\n{LINUX}audit=0\n"}, "fail"),
        ({"/boot/grub/grub.cfg": f"{LINUX}audit=1\n{LINUX}single\n"}, "pending"),
        ({"/boot/grub/grub.cfg": f"{LINUX}quiet\n"}, "fail"),
        ({"/boot/loader/entries/a.conf": "title x\noptions root=/dev/vda audit=1\n"}, "pending"),
        (
            {
                "/boot/loader/entries/a.conf": "options $kernelopts\n",
                "/boot/grub2/grubenv": "# GRUB\nkernelopts=root=/dev/vda audit=1\n",
            },
            "pending",
        ),
        ({}, "fail"),
    ],
)
def test_what_the_boot_loader_has_is_pending(make_host: MakeHost, files: dict[str, str], verdict: str) -> None:
    host = make_host({"/proc/cmdline": "quiet\n", **files})
    assert host.observe("kernel_command_line", values={"audit": 1}).verdict == verdict


@pytest.mark.parametrize(
    ("files", "verdict"),
    [
        ({"meltdown": "Mitigation: PTI\n", "l1tf": "Not affected\n"}, "pass"),
        ({"meltdown": "Vulnerable\n", "l1tf": "Not affected\n"}, "fail"),
        ({"mds": "Vulnerable: Clear CPU buffers attempted, no microcode\n"}, "fail"),
        ({}, "not_applicable"),
    ],
)
def test_flaws_of_the_processor(make_host: MakeHost, files: dict[str, str], verdict: str) -> None:
    host = make_host({f"{kernel.VULNERABILITIES}/{name}": text for name, text in files.items()})
    assert host.observe("cpu_vulnerabilities").verdict == verdict


def test_a_flaw_may_be_left_out(make_host: MakeHost) -> None:
    host = make_host(
        {f"{kernel.VULNERABILITIES}/mds": "Vulnerable\n", f"{kernel.VULNERABILITIES}/l1tf": "Not affected"}
    )
    assert host.observe("cpu_vulnerabilities", **{"except": ["m*"]}).verdict == "pass"
