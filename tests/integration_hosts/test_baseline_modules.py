# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the baseline that bring sets to a host, on real hosts: their traps, and what is left after a failure.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = [sys.executable, str(REPOSITORY / "molecule/shared/hosts.py")]
ANSIBLE = str(Path(sys.executable).with_name("ansible"))
RELEASES = ("debian12", "debian13")
PATIENCE_SECONDS = 180
SYSCTL_FILE = "/etc/sysctl.d/99-zz-bulwark.conf"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


class Host:
    def __init__(self, name: str, ssh_config: str, inventory: str) -> None:
        self.name = name
        self.inventory = inventory
        self._ssh = ["ssh", "-F", ssh_config]

    def shell(self, script: str, user: str = "root", check: bool = True) -> str:
        """Run a script on the host, as root or over a login of another user, and return what it prints."""
        done = subprocess.run(
            [*self._ssh, f"{user}@{self.name}", script],
            capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, f"{script}: {done.stderr}"
        return done.stdout.strip()

    def module(self, name: str, parameters: dict[str, Any], *options: str) -> dict[str, Any]:
        """Call a module as a task does, over SSH and sudo, and return its result; `words` is all that was printed."""
        done = subprocess.run(
            [ANSIBLE, self.name, "-i", self.inventory, "--become", "--one-line", *options,
             "-m", f"bulwark.hardening.{name}", "-a", json.dumps(parameters)],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        line = next((line for line in done.stdout.splitlines() if line.startswith(f"{self.name} | ")), "")
        assert "=> {" in line, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(line[line.index("{") :])
        return {**result, "failed": " | FAILED" in line[: line.index("{")], "words": done.stdout + done.stderr}

    def converges(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Call a module in check mode, for real, again and in check mode again, and return the real result."""
        before = self.module(name, parameters, "--check")
        assert before["changed"] is True, before
        done = self.module(name, parameters)
        assert done["changed"] is True, done
        assert self.module(name, parameters)["changed"] is False
        assert self.module(name, parameters, "--check")["changed"] is False
        return done

    def refuses(self, name: str, parameters: dict[str, Any]) -> str:
        result = self.module(name, parameters)
        assert result["failed"], result
        assert "Traceback" not in result["words"]
        return str(result["msg"])


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    group = f"m-{os.getpid()}"
    try:
        specifications = [f"{release}={release}" for release in RELEASES]
        packages = [word for release in RELEASES for word in ("--install", f"{release}=ufw")]
        subprocess.run([*HOSTS, "up", "--group", group, *packages, *specifications], check=True, timeout=600)
        paths = [
            subprocess.run([*HOSTS, what, "--group", group], capture_output=True, text=True, check=True).stdout.strip()
            for what in ("ssh-config", "inventory")
        ]
        yield {release: Host(release, *paths) for release in RELEASES}
    finally:
        subprocess.run([*HOSTS, "down", "--group", group], check=True, timeout=300)


@pytest.fixture(params=RELEASES)
def host(hosts: dict[str, Host], request: pytest.FixtureRequest) -> Host:
    return hosts[str(request.param)]


def test_redirects_end_on_interfaces_that_exist_also_after_a_boot(host: Host) -> None:
    live = "/proc/sys/net/ipv4/conf/host0/accept_redirects"
    host.shell(
        f"for part in all default; do echo 0 > /proc/sys/net/ipv4/conf/$part/accept_redirects; done; echo 1 > {live}"
    )
    wish = {"parameters": {"net.ipv4.conf.*.accept_redirects": 0, "net.ipv6.conf.*.accept_redirects": 0}}
    done = host.converges("sysctl_policy", wish)
    assert host.shell(f"cat {live}") == "0"
    assert done["overridden"] == []
    moved = [entry["key"] for entry in done["parameters"] if entry["state"] == "changed"]
    assert "net.ipv4.conf.host0.accept_redirects" in moved
    # What a boot does.
    host.shell(f"echo 1 > {live}; systemctl restart systemd-sysctl.service")
    assert host.shell(f"cat {live}") == "0"


def test_what_this_kernel_keeps_or_lacks_is_told_and_no_failure(host: Host) -> None:
    wish = {"parameters": {"kernel.kptr_restrict": 2, "kernel.no_such_key": 1, "net.ipv4.tcp_rfc1337": 1}}
    done = host.module("sysctl_policy", wish)
    assert not done["failed"]
    found = {entry["key"]: entry for entry in done["parameters"]}
    assert found["net.ipv4.tcp_rfc1337"]["observed"] == "1"
    assert done["missing"] == ["kernel.no_such_key"]
    # A container host shares its kernel, read-only; should this one not, the key is simply set.
    if host.shell("test -w /proc/sys/kernel/kptr_restrict && echo yes", check=False) != "yes":
        assert done["refused"] == ["kernel.kptr_restrict"]
        assert "read-only here" in found["kernel.kptr_restrict"]["reason"]
    assert "kernel.kptr_restrict = 2" in host.shell(f"cat {SYSCTL_FILE}")
    assert host.module("sysctl_policy", wish)["changed"] is False
    assert host.module("sysctl_policy", wish, "--check")["changed"] is False


def test_a_key_of_the_network_that_is_refused_fails_the_task(host: Host) -> None:
    message = host.refuses("sysctl_policy", {"parameters": {"net.ipv4.conf.*.rp_filter": "nonsense"}})
    assert "net.ipv4.conf.all.rp_filter = nonsense (the kernel does not accept this value)" in message
    # The boot takes no harm from the line.
    assert (
        host.shell("systemctl restart systemd-sysctl.service && systemctl is-active systemd-sysctl.service") == "active"
    )
    host.shell(f"rm {SYSCTL_FILE}")


def test_a_file_of_debian_that_sorts_later_is_named(host: Host) -> None:
    later = host.shell(
        "ls /usr/lib/sysctl.d/*protect-links.conf /etc/sysctl.d/*protect-links.conf 2>/dev/null", check=False
    )
    if not later:
        later = "/usr/lib/sysctl.d/99-protect-links.conf"
        host.shell(f"echo 'fs.protected_fifos = 1' > {later}")
    wish: dict[str, Any] = {"path": "/etc/sysctl.d/50-early.conf", "parameters": {"fs.protected_fifos": 2}}
    (entry,) = host.module("sysctl_policy", wish, "--check")["overridden"]
    assert (entry["value"], entry["file"]) == ("1", later)
    assert host.module("sysctl_policy", {"parameters": wish["parameters"]}, "--check")["overridden"] == []


def test_ufw_sets_keys_back_until_it_is_told_not_to(host: Host) -> None:
    wish = {"parameters": {"net.ipv4.conf.*.log_martians": 1}}
    live = "cat /proc/sys/net/ipv4/conf/all/log_martians"
    host.shell("ufw allow 22/tcp && ufw --force enable")
    done = host.module("sysctl_policy", wish)
    assert {entry["key"] for entry in done["overridden"]} >= {"net.ipv4.conf.all.log_martians"}
    assert "/etc/ufw/sysctl.conf" in done["overridden"][0]["file"]
    host.shell("ufw disable && ufw --force enable")
    assert host.shell(live) == "0"
    host.converges(
        "file_set",
        {"files": [{"path": "/etc/default/ufw", "settings": {"format": "equals", "values": {"IPT_SYSCTL": ""}}}]},
    )
    assert host.module("sysctl_policy", wish)["overridden"] == []
    host.shell("ufw disable && ufw --force enable")
    assert host.shell(live) == "1"
    host.shell("ufw disable")


SET: list[dict[str, Any]] = [
    {"path": "/etc/bulwark-test/a.conf", "content": "new\n", "mode": "0640"},
    {"path": "/etc/login.defs", "settings": {"format": "space", "values": {"UMASK": "027"}}},
    {"path": "/etc/skel/.bashrc", "block": {"name": "test", "text": "umask 027\n", "at": "start"}},
]
SUDO = {"path": "/etc/bulwark-test/rules", "mode": "0440", "validate": ["visudo", "-cf", "%s"]}
LOOK = "find /etc/bulwark-test /etc/login.defs /etc/skel/.bashrc -type f -exec sha256sum {} + -ls 2>&1"


def test_a_set_of_files_arrives_and_can_be_taken_back(host: Host) -> None:
    before = host.shell("cat /etc/login.defs /etc/skel/.bashrc")
    done = host.converges("file_set", {"files": [*SET, {**SUDO, "content": "Defaults use_pty\n"}]})
    assert {entry["action"] for entry in done["files"]} == {"created", "changed"}
    assert host.shell("stat -c '%a %U %G' /etc/bulwark-test/a.conf /etc/bulwark-test/rules") == (
        "640 root root\n440 root root"
    )
    after = host.shell("cat /etc/login.defs /etc/skel/.bashrc")
    gone = [line for line in before.splitlines() if line not in after.splitlines()]
    # Debian 13 has no such line of its own.
    assert [line.split() for line in gone] in ([], [["UMASK", "022"]])
    assert [line.split() for line in after.splitlines() if line.startswith("UMASK")] == [["UMASK", "027"]]
    taken = [{"path": "/etc/bulwark-test/a.conf", "state": "absent"}, {"path": SUDO["path"], "state": "absent"}]
    host.converges("file_set", {"files": [*taken, {**SET[2], "state": "absent"}]})
    assert host.shell("find /etc -name '.bulwark-*'; ls /var/lib/bulwark/files; stat -c %a /var/lib/bulwark/files") == (
        "lock\n700"
    )


@pytest.mark.parametrize(
    ("prepare", "entry", "message"),
    [
        ("true", {**SUDO, "content": "nonsense\n"}, "/etc/bulwark-test/rules is not accepted by visudo"),
        (
            "mkdir -p /mnt/full && mount -t tmpfs -o size=32k tmpfs /mnt/full",
            {"path": "/mnt/full/big", "content": "x" * 60_000},
            "/mnt/full/big cannot be written: the disk is full; nothing was changed",
        ),
        (
            "mkdir -p /mnt/only && mount -t tmpfs -o ro tmpfs /mnt/only",
            {"path": "/mnt/only/deep/file", "content": "x"},
            "/mnt/only/deep/file cannot be written: the file system is read-only; nothing was changed",
        ),
        (
            "ln -sfn /etc/shadow /etc/bulwark-link",
            {"path": "/etc/bulwark-link", "content": "x"},
            "/etc/bulwark-link is a symbolic link, which is never written through",
        ),
        (
            "ln -sfn /etc /opt/planted",
            {"path": "/opt/planted/shadow", "content": "x"},
            "/opt/planted is a symbolic link, which is never written through",
        ),
        (
            "touch /etc/bulwark-busy && mount --bind /etc/hostname /etc/bulwark-busy",
            {"path": "/etc/bulwark-busy", "content": "x"},
            "/etc/bulwark-busy cannot be written: it is a mount point; nothing was changed",
        ),
    ],
    ids=["refused by its program", "disk full", "read-only", "planted link", "planted directory", "mount point"],
)
def test_one_file_that_cannot_be_keeps_all_others_as_they_were(
    host: Host, prepare: str, entry: dict[str, Any], message: str
) -> None:
    host.shell(f"{{ {prepare}; }} && sha256sum /etc/shadow > /root/shadow.sum")
    try:
        before = host.shell(LOOK)
        assert message in host.refuses("file_set", {"files": [*SET[:1], SET[2], entry]})
        assert host.shell(LOOK) == before
        assert host.shell("find /etc /mnt -xdev -name '.bulwark-*'; ls /var/lib/bulwark/files") == "lock"
        host.shell("sha256sum --check --status /root/shadow.sum")
    finally:
        host.shell(
            "umount -q /mnt/full /mnt/only /etc/bulwark-busy; rm -f /etc/bulwark-link /opt/planted /etc/bulwark-busy",
            check=False,
        )


def test_a_run_that_is_killed_before_its_command_is_finished_by_the_next(host: Host) -> None:
    script = "echo ran >> /root/ran; test -e /root/killed || { touch /root/killed; kill -9 $PPID; }"
    wish = {
        "files": [{"path": "/etc/bulwark-killed", "content": "new\n"}],
        "commands_after": [{"argv": ["sh", "-c", script], "when_changed": ["/etc/bulwark-killed"]}],
    }
    host.shell("rm -f /root/ran /root/killed /etc/bulwark-killed")
    with pytest.raises((AssertionError, json.JSONDecodeError)):
        assert host.module("file_set", wish)["changed"] is True
    assert host.shell("cat /etc/bulwark-killed /root/ran") == "new\nran"
    assert host.module("file_set", wish, "--check")["commands"] != []
    done = host.module("file_set", wish)
    assert (done["changed"], done["files"]) == (True, [])
    assert host.module("file_set", wish)["changed"] is False
    assert host.shell("cat /root/ran; ls /var/lib/bulwark/files; find /etc -name '.bulwark-*'") == "ran\nran\nlock"


def test_a_secret_is_neither_shown_nor_logged(host: Host) -> None:
    canary = f"canary-{os.urandom(8).hex()}"
    entry = {"path": "/etc/bulwark-secret", "content": f"password {canary}\n", "mode": "0600"}
    seen = host.module("file_set", {"files": [entry]}, "--diff", "-vvv")["words"]
    assert "/etc/bulwark-secret" in seen
    assert canary not in seen
    assert host.shell(f"grep -c {canary} /etc/bulwark-secret") == "1"
    assert host.shell(f"journalctl --no-pager | grep -c {canary}", check=False) == "0"


def test_logs_lose_their_readers_and_a_program_its_lent_rights(host: Host) -> None:
    host.shell("mkdir -p /var/log/deep/er && echo x > /var/log/deep/er/open.log && chmod 666 /var/log/deep/er/open.log")
    host.shell(
        "ln -sfn /etc/passwd /var/log/planted.log; chmod 4755 /usr/bin/chfn;"
        "dpkg-statoverride --quiet --remove /usr/bin/chfn",
        check=False,
    )
    wish = {
        "entries": [{"path": "/var/log/**/*", "type": "file", "mode": "0640", "at_most": True}],
        "suid_stripped": ["/usr/bin/chfn"],
    }
    host.converges("permission_set", wish)
    assert host.shell("stat -c %a /var/log/deep/er/open.log /etc/passwd /usr/bin/chfn") == "640\n644\n755"
    assert "/usr/bin/chfn" in host.shell("dpkg-statoverride --list")
    # What dpkg does when an update of the package brings the file anew.
    host.shell(
        "chmod 4755 /usr/bin/chfn && set -- $(dpkg-statoverride --list /usr/bin/chfn)"
        " && dpkg-statoverride --quiet --remove $4 && dpkg-statoverride --update --add $1 $2 $3 $4"
    )
    assert host.shell("stat -c %a /usr/bin/chfn") == "755"


def test_units_are_masked_stopped_and_back(host: Host) -> None:
    host.shell(
        "printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n'"
        " > /etc/systemd/system/bulwark-test.service; systemctl daemon-reload"
    )
    host.converges(
        "unit_set",
        {
            "units": [
                {"name": "ctrl-alt-del.target", "masked": True},
                {"name": "debug-shell.service", "masked": True, "state": "stopped"},
                {"name": "no-such.service", "masked": True},
                {"name": "bulwark-test.service", "enabled": True, "state": "started"},
            ]
        },
    )
    assert host.shell("systemctl is-enabled ctrl-alt-del.target debug-shell.service", check=False) == "masked\nmasked"
    assert host.shell("systemctl is-active bulwark-test.service") == "active"
    host.converges("unit_set", {"units": [{"name": "bulwark-test.service", "enabled": False, "state": "stopped"}]})
    host.converges("unit_set", {"units": [{"name": "ctrl-alt-del.target", "masked": False}]})
    host.shell("sed -i s,/bin/sleep.*,/bin/false, /etc/systemd/system/bulwark-test.service; systemctl daemon-reload")
    host.shell("sed -i '/ExecStart/i Type=oneshot' /etc/systemd/system/bulwark-test.service; systemctl daemon-reload")
    message = host.refuses("unit_set", {"units": [{"name": "bulwark-test.service", "state": "started"}]})
    assert message.startswith("bulwark-test.service cannot be changed by systemctl start")
    assert "Traceback" not in message


def test_accounts_are_closed_and_nobody_is_locked_out(host: Host) -> None:
    host.shell(
        "useradd --system --shell /bin/sh --home-dir /var/lib/program program;"
        "useradd --system --shell /bin/bash --create-home deploy; useradd --create-home --shell /bin/bash anna;"
        "echo 'anna:Correct-Horse-7' | chpasswd; chage -d 2020-01-01 anna; useradd --create-home -s /bin/bash berta;"
        "echo 'berta:Correct-Horse-8' | chpasswd; echo machine > /home/berta/.netrc; chmod 755 /home/berta;"
        "install -d -m 700 -o deploy /home/deploy/.ssh;"
        "install -m 600 -o deploy $(ls /home/admin/.ssh/authorized_keys) /home/deploy/.ssh/authorized_keys"
    )
    wish = {
        "groups_present": ["sugroup"],
        "system_accounts": {"lock": True, "shell": "/usr/sbin/nologin", "except": ["sync"]},
        "password_aging": {"maximum_days": 365, "minimum_days": 1, "warning_days": 7, "inactive_days": 45,
                           "apply_to_existing": True},
        "homes": {"mode": "0750", "dotfiles_mode": "0740", "forbidden_files": [".netrc"]},
    }  # fmt: skip
    done = host.converges("account_set", wish)
    assert host.shell("getent passwd program deploy | cut -d: -f7; getent group sugroup | cut -d: -f1") == (
        "/usr/sbin/nologin\n/bin/bash\nsugroup"
    )
    assert any("deploy" in sentence and "SSH key" in sentence for sentence in done["kept"])
    assert any("anna" in sentence and "days old" in sentence for sentence in done["kept"])
    assert host.shell("getent shadow berta | cut -d: -f4-7; getent shadow anna | cut -d: -f5") == "1:365:7:45\n99999"
    assert host.shell("cat /home/berta/netrc.set-aside-by-bulwark; stat -c %a /home/berta /home/berta/.profile") == (
        "machine\n750\n640"
    )
    # The ways in still are.
    assert host.shell("id -un", user="deploy") == "deploy"
    assert host.shell("sudo -n id -un", user="admin") == "root"
    host.shell("userdel -r anna; userdel -r berta; userdel -r deploy; userdel program", check=False)
