# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows about accounts on real hosts: what PAM, sudo, su and mounts do once access_policy has brought them there.

Makes its own disposable hosts (root on Linux). The policy is the catalogue's own, as the role would hand it over.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.plugin_utils import baseline_policy, catalogue

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = [sys.executable, str(REPOSITORY / "molecule/shared/hosts.py")]
GROUP = "test-access-policy"
RELEASES = {"main": "debian12", "second": "debian13"}
PATIENCE_SECONDS = 300
PASSWORD = "Correct-Horse-7-battery"
# Stands in no command of these tests, so that a log that holds it has it from the collection.
UNSPOKEN_PASSWORD = "Amber-Kite-3-harbour"
# Asks PAM as a program would: SERVICE USER PASSWORD…; prints what each attempt ended with, and what PAM said.
TRY = Path(__file__).with_name("pam_attempts.py")
TREES = (
    "find /etc /var/lib/pam /usr/share/pam-configs -xdev ! -name .pwd.lock -exec stat -c '%n %a %u %g %Y' {} + | sort"
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


def policy(release: str) -> dict[str, Any]:
    """Return the policy of the rows about accounts and of those about mounts."""
    variables = yaml.safe_load((REPOSITORY / "roles/baseline/defaults/main.yml").read_text(encoding="utf-8"))
    wanted = ("OS-34", "OS-35", *(f"OS-{number}" for number in range(40, 57)))
    rows = [row for row in catalogue.load() if row.id.startswith(wanted)]
    platform = baseline_policy.Platform("Debian", "Debian", release.removeprefix("debian"), own_kernel=False)
    return baseline_policy.build(rows, variables, platform)


class Host:
    """One disposable host, with the policy that it gets."""

    def __init__(self, name: str, release: str, folder: Path) -> None:
        self.name, self.release = name, release
        self.inventory = folder / "inventory.yml"
        self.ssh_config = folder / "ssh_config"
        self.policy = policy(release)

    def ssh(self, command: str, text: str = "", user: str = "admin") -> subprocess.CompletedProcess[str]:
        options = ["-F", str(self.ssh_config), "-o", "ControlPath=none", "-o", f"User={user}"]
        return run(["ssh", *options, self.name, command], text)

    def root(self, command: str, text: str = "") -> str:
        done = self.ssh(f"sudo -n sh -c {quoted(command)}", text)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def module(self, name: str, arguments: dict[str, Any], *options: str, **variables: Any) -> dict[str, Any]:
        """Call a module as a task does, over SSH and sudo, and return its result."""
        command = [str(Path(sys.executable).with_name("ansible")), self.name, "-i", str(self.inventory), "--become"]
        command += ["--one-line", "-m", name, "-a", json.dumps(arguments), "-e", json.dumps(variables), *options]
        done = run(command, cwd=REPOSITORY)
        line = next((line for line in done.stdout.splitlines() if line.startswith(f"{self.name} | ")), "")
        assert "=> {" in line, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(line[line.index("{") :])
        return {**result, "failed": " | FAILED" in line[: line.index("{")]}

    def access(self, *options: str, policy: dict[str, Any] | None = None, **variables: Any) -> dict[str, Any]:
        wished = self.policy if policy is None else policy
        arguments = {
            "files": wished["access_files"],
            "pam_profiles": wished["pam_profiles"],
            "mounts": wished["mounts"],
            "confirm_seconds": 1,
            "window_seconds": 30,
        }
        return self.module("bulwark.hardening.access_policy", arguments, *options, **variables)

    def attempts(self, service: str, user: str, *passwords: str) -> list[str]:
        return self.root(f"python3 /root/pam_attempts.py {service} {user} {' '.join(passwords)}").splitlines()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def run(command: list[str], text: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, **options
    )


@pytest.fixture(scope="module", name="hosts")
def two_hosts() -> Iterator[dict[str, Host]]:
    wishes = [f"{name}={release}" for name, release in RELEASES.items()]
    started = run([*HOSTS, "up", "--group", GROUP, *wishes])
    assert started.returncode == 0, started.stderr
    folder = Path(started.stdout.strip().splitlines()[-1]).parent
    yield {name: Host(name, release, folder) for name, release in RELEASES.items()}
    run([*HOSTS, "down", "--group", GROUP])


@pytest.fixture(name="host", params=list(RELEASES), scope="module")
def converged_host(request: pytest.FixtureRequest, hosts: dict[str, Host]) -> Host:
    """Return a host that was stock, with what the other modules of the role do before."""
    host = hosts[request.param]
    host.root("cat > /root/pam_attempts.py", TRY.read_text(encoding="utf-8"))
    host.root(f"useradd -m -s /bin/bash tester && echo 'tester:{PASSWORD}' | chpasswd -c YESCRYPT")
    packages = {"name": [*host.policy["packages_present"], "cron"], "install_recommends": False, "policy_rc_d": 101}
    accounts = {key: host.policy["accounts"][key] for key in ("groups_present", "homes")}
    before: list[tuple[str, dict[str, Any]]] = [
        ("ansible.builtin.apt", {**packages, "update_cache": True, "cache_valid_time": 3600}),
        ("bulwark.hardening.file_set", {"files": host.policy["files"]}),
        ("bulwark.hardening.account_set", accounts),
    ]
    for name, arguments in before:
        done = host.module(name, arguments)
        assert not done["failed"], done
    trees = host.root(TREES)
    checked = host.access("--check")
    assert (checked["changed"], checked.get("failed", False)) == (True, False), checked
    assert host.root(TREES) == trees, "check mode changes nothing"
    applied = host.access()
    assert (applied["changed"], applied.get("failed", False)) == (True, False), applied
    assert applied["confirmation"] == "3 new logins"
    assert host.root("ls -d /run/bulwark-* 2>/dev/null || true") == ""
    return host


def test_a_second_run_changes_nothing_and_has_nothing_to_say_in_check_mode(host: Host) -> None:
    assert host.access()["changed"] is False
    assert host.access("--check", "--diff")["changed"] is False


def test_four_wrong_passwords_lock_and_a_key_opens_again(host: Host) -> None:
    wrong = host.attempts("sudo", "tester", "a", "b", "c", PASSWORD)
    assert wrong[-1].startswith("0 "), "three are not enough, and a right one is accepted"
    locked = host.attempts("sudo", "tester", "a", "b", "c", "d", PASSWORD)
    assert not locked[-1].startswith("0 ")
    assert "locked" in locked[-1]
    host.root("cp -a /home/admin/.ssh /home/tester/.ssh && chown -R tester: /home/tester/.ssh")
    assert host.ssh("id -un", user="tester").stdout == "tester\n", "a key opens a locked account"
    assert host.attempts("sudo", "tester", PASSWORD)[-1].startswith("0 ")


def test_a_second_factor_after_the_include_is_asked_for(host: Host) -> None:
    host.root("printf '@include common-auth\\nauth required pam_echo.so second\\n' > /etc/pam.d/two-factors")
    assert host.attempts("two-factors", "tester", PASSWORD) == ["0 second"]
    host.root("rm /etc/pam.d/two-factors")


def test_an_account_without_a_password_is_no_way_in(host: Host) -> None:
    host.root("useradd -m nobodys && passwd -d nobodys")
    assert not host.attempts("login", "nobodys", "")[0].startswith("0 ")
    host.root("userdel -r -f nobodys 2>/dev/null")


def test_an_update_of_the_package_does_not_bring_empty_passwords_back(host: Host) -> None:
    before = host.root("cat /etc/pam.d/common-*")
    host.root("DEBIAN_FRONTEND=noninteractive apt-get install -y -q --reinstall libpam-runtime libpam-modules")
    assert host.root("cat /etc/pam.d/common-*") == before
    assert host.access()["changed"] is False


def test_only_root_becomes_somebody_else_by_su(host: Host) -> None:
    assert host.root("su tester -c 'id -un'") == "tester\n"
    refused = host.ssh("su tester -c true", f"{PASSWORD}\n")
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr


def test_new_files_are_closed_whatever_makes_them(host: Host) -> None:
    assert host.ssh("umask").stdout == "0027\n"
    assert host.ssh("bash -lc umask").stdout == "0027\n"
    assert host.root("umask") == "0027\n"


def test_what_cron_makes_is_closed_as_well(host: Host) -> None:
    host.root("printf '* * * * * admin umask > /home/admin/umask-of-cron\\n' > /etc/cron.d/umask")
    host.root("systemctl restart cron.service")
    until = time.monotonic() + 90
    while not (found := host.ssh("cat /home/admin/umask-of-cron 2>/dev/null").stdout) and time.monotonic() < until:
        time.sleep(3)
    host.root("rm /etc/cron.d/umask /home/admin/umask-of-cron; systemctl stop cron.service")
    assert found == "0027\n"


@pytest.mark.parametrize("pipelining", [True, False])
def test_modules_run_with_and_without_pipelining(host: Host, pipelining: bool) -> None:
    done = host.module("ansible.builtin.stat", {"path": "/root/pam_attempts.py"}, ansible_pipelining=pipelining)
    assert done["stat"]["exists"], "only root sees it"


def test_passwords_age_and_nobody_who_is_connected_loses_theirs(host: Host) -> None:
    aging = {"maximum_days": 365, "minimum_days": 1, "warning_days": 7, "inactive_days": 45}
    host.root("chage -m 0 -M 99999 -W 7 -I -1 tester")
    asked = {"files": host.policy["access_files"], "pam_profiles": host.policy["pam_profiles"], "confirm_seconds": 1}
    asked |= {"mounts": host.policy["mounts"], "window_seconds": 30, "password_aging": aging}
    done = host.module("bulwark.hardening.access_policy", asked)
    assert (done["changed"], done["failed"]) == (True, False), done
    assert host.root("getent shadow tester | cut -d: -f4-7") == "1:365:7:45\n"
    assert host.module("bulwark.hardening.access_policy", asked)["changed"] is False
    host.root("chpasswd -c YESCRYPT", f"admin:{UNSPOKEN_PASSWORD}\n")
    host.root("chage -d 2020-01-01 -M 99999 admin")
    trees = host.root(TREES)
    refused = host.module("bulwark.hardening.access_policy", asked)
    assert refused["failed"], refused
    assert "because the password has ended" in refused["msg"]
    assert host.root(TREES) == trees
    host.root("usermod -p '*' admin; chage -d -1 -m 0 -I -1 -M 99999 admin; chage -m 0 -M 99999 -I -1 tester")


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("/etc/pam.d/sshd", "account requisite pam_deny.so", "PAM refuses a login by SSH"),
        # What only a real login shows.
        ("/etc/pam.d/sshd", "session requisite pam_deny.so", "could not log in and become root"),
        ("/etc/bash.bashrc", "exit 1", "could not log in and become root"),
        ("/etc/pam.d/sudo", "account requisite pam_deny.so", "sudo does not allow a shell as root"),
    ],
)
def test_a_candidate_that_keeps_the_administrator_out_is_refused(
    host: Host, path: str, text: str, message: str
) -> None:
    trees = host.root(TREES)
    harm = {"path": path, "block": {"name": "harm", "text": f"{text}\n", "at": "start"}}
    done = host.access(policy={**host.policy, "access_files": [*host.policy["access_files"], harm]})
    assert done["failed"], done
    assert message in done["msg"]
    assert done["msg"].startswith("nothing was changed")
    assert "rolled_back" not in done, "it never came into force"
    assert host.root(TREES) == trees
    assert host.root("ls -d /run/bulwark-* 2>/dev/null || true") == "", "no copy stays, and no second sshd"


def test_new_passwords_are_strong_and_not_old_ones(host: Host) -> None:
    weak = host.ssh("sudo -n sh -c \"printf 'short\\nshort\\n' | passwd tester\"")
    assert weak.returncode != 0
    assert "BAD PASSWORD" in weak.stdout + weak.stderr
    host.root("printf 'Zebra-tunic-9-lamp\\nZebra-tunic-9-lamp\\n' | passwd tester")
    host.root("printf 'Kettle+moss+4+flint\\nKettle+moss+4+flint\\n' | passwd tester")
    old = host.ssh("sudo -n sh -c \"printf 'Zebra-tunic-9-lamp\\nZebra-tunic-9-lamp\\n' | passwd tester\"")
    assert old.returncode != 0
    assert "already used" in old.stdout + old.stderr
    assert host.root("getent shadow tester").split(":")[1].startswith("$y$")


def test_programs_in_tmp_do_not_run_also_after_a_restart(host: Host) -> None:
    command = "cp /bin/true /tmp/true && /tmp/true; echo $?; rm -f /tmp/true"
    assert host.ssh(command).stdout == "126\n"
    assert run([*HOSTS, "reboot", f"{GROUP}/{host.name}"]).returncode == 0
    assert host.ssh(command).stdout == "126\n"
    assert host.ssh(command.replace("/tmp/", "/dev/shm/")).stdout == "126\n"
    assert host.access()["changed"] is False


def test_an_administrator_with_a_password_is_proven_by_that_password(host: Host) -> None:
    host.root("useradd -m -s /bin/bash -G sudo colleague; cp -a /home/admin/.ssh /home/colleague/.ssh")
    host.root("chown -R colleague: /home/colleague/.ssh; chpasswd -c YESCRYPT", f"colleague:{UNSPOKEN_PASSWORD}\n")
    extra = {"path": "/etc/sudoers.d/zz-extra", "content": "Defaults !insults\n", "mode": "0440"}
    wished = {**host.policy, "access_files": [*host.policy["access_files"], extra]}
    login = {"ansible_user": "colleague", "ansible_become_password": UNSPOKEN_PASSWORD}
    result = host.access(policy=wished, **login)
    assert (result["changed"], result.get("failed", False)) == (True, False), result
    assert UNSPOKEN_PASSWORD not in json.dumps(result)
    log = host.root("cat /var/log/sudo.log /var/log/auth.log 2>/dev/null; journalctl --no-pager -q | tail -n 500")
    assert UNSPOKEN_PASSWORD not in log
    host.root("rm /etc/sudoers.d/zz-extra; userdel -r -f colleague 2>/dev/null")


def test_a_path_in_use_is_mounted_with_the_next_start_only(host: Host) -> None:
    host.root("systemd-run --quiet --unit=holder --collect sh -c 'exec 9>/var/tmp/held; exec sleep 600'")
    mount = {"path": "/var/tmp", "type": "tmpfs", "options": ["nodev", "nosuid", "noexec"], "size": "64m"}
    wished = {**host.policy, "mounts": [*host.policy["mounts"], mount]}
    result = host.access(policy=wished)
    assert result["reboot_needed"] is True
    assert "/var/tmp/held is in use by" in result["pending"][0]
    assert host.ssh("findmnt /var/tmp").returncode != 0
    again = host.access(policy=wished)
    assert (again["changed"], again["reboot_needed"]) == (False, True)
    host.root("systemctl stop holder.service; rm -f /var/tmp/held")
    host.root("rm /etc/systemd/system/*var-tmp* /etc/systemd/system/local-fs.target.wants/*var-tmp*")


def test_what_the_profiles_took_the_place_of_comes_back_with_their_end(host: Host) -> None:
    host.access(policy={**host.policy, "pam_profiles": [{"name": "pwquality"}]})
    stacks = host.root("cat /etc/pam.d/common-auth /etc/pam.d/common-session; ls /usr/share/pam-configs")
    assert "faillock" not in stacks
    assert "bulwark" not in stacks
    assert "pam_unix.so nullok" in stacks
    again = host.access()
    assert (again["changed"], again.get("failed", False)) == (True, False), again
