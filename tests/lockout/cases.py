# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Harmful changes, drawn by seed; pure.

Every case is a policy, a fault on the host, or an interruption that would lock an administrator out if nothing
prevented it. What a case carries is data: commands that prepare the host, role variables, what happens in between,
and how the run has to end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

# refused: the host was not changed. rolled_back: the run itself saw the rollback. restored: nobody was left to see it.
# kept: the run succeeded, and left out what would have been harmful.
ENDINGS = ("refused", "rolled_back", "restored", "kept")
WINDOW_SECONDS = 30
TRAP_PORT = 6666
TRAP = {"name": "trap", "ports": [TRAP_PORT]}
TRAP_BANNER = "bulwark-trap"
SABOTEUR = "/usr/local/bin/saboteur"
COLLEAGUE_PASSWORD = "Only-for-disposable-hosts-1"


@dataclass(frozen=True)
class Case:
    """One harmful change."""

    number: int
    domain: str
    kind: str
    ending: str
    reason: str
    variables: dict[str, Any] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    teardown: tuple[str, ...] = ()
    # Who logs in and becomes root: the controller's own administrator without a password, or somebody else.
    user: str = ""
    password: str = ""
    interruption: str = ""
    loaded: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the case as data for the log."""
        return asdict(self)


Maker = Callable[[random.Random], dict[str, Any]]


def stranger(rng: random.Random) -> str:
    """Return a network of the documentation ranges: nobody here lives in it."""
    base = rng.choice(["192.0.2", "198.51.100", "203.0.113"])
    prefix = rng.randint(25, 32)
    step = 2 ** (32 - prefix)
    return f"{base}.{rng.randrange(0, 256, step)}/{prefix}"


def other_port(rng: random.Random) -> int:
    """Return a port that is neither SSH's nor used by the harness."""
    return rng.choice([port for port in (rng.randint(1024, 65535), rng.randint(23, 1023)) if port != TRAP_PORT])


def harmless_rules(rng: random.Random) -> list[dict[str, Any]]:
    """Return rules around the trap, so that policies differ."""
    rules = [
        {
            "name": f"service {index}",
            "ports": [other_port(rng)],
            "sources": [stranger(rng)] if rng.random() < 0.5 else [],
        }
        for index in range(rng.randint(0, 5))
    ]
    rules.insert(rng.randint(0, len(rules)), dict(TRAP))
    return rules


def saboteur(condition: str, damage: str) -> dict[str, Any]:
    """Return the setup of a program on the host that does damage as soon as the new policy is live.

    It stands for everything that no check can foresee: a hook, another manager, a bug in a kernel.
    """
    return {
        "setup": (f"systemd-run --quiet --unit=saboteur --collect python3 {SABOTEUR} {condition} {damage}",),
        "teardown": ("systemctl stop saboteur.service || true", "nft delete table inet saboteur 2>/dev/null || true"),
    }


def firewall_wrong_source(rng: random.Random) -> dict[str, Any]:
    sources = [stranger(rng) for _index in range(rng.randint(1, 4))]
    return {
        "ending": "refused",
        "reason": "firewall_management_sources",
        "variables": {"firewall_management_sources": sources, "firewall_rules": harmless_rules(rng)},
    }


def firewall_wrong_port(rng: random.Random) -> dict[str, Any]:
    return {
        "ending": "refused",
        "reason": "firewall_management_ports",
        "variables": {"firewall_management_ports": [other_port(rng)], "firewall_rules": harmless_rules(rng)},
    }


def firewall_outbound_closed(rng: random.Random) -> dict[str, Any]:
    outbound = [{"name": "one", "direction": "out", "ports": [other_port(rng)], "destinations": [stranger(rng)]}]
    return {
        "ending": "refused",
        "reason": "dns|DNS|mirror|package",
        "variables": {
            "firewall_default_outbound": rng.choice(["deny", "reject"]),
            "firewall_rules": harmless_rules(rng) + outbound,
        },
    }


def firewall_new_logins_dropped(rng: random.Random) -> dict[str, Any]:
    return {
        "ending": "rolled_back",
        "reason": "new login .* failed",
        "variables": {"firewall_rules": harmless_rules(rng), "firewall_rehearse": rng.random() < 0.5},
        **saboteur("firewall", rng.choice(["drop-new-logins", "reject-new-logins"])),
    }


def firewall_everything_dropped(rng: random.Random) -> dict[str, Any]:
    return {
        "ending": "rolled_back",
        "reason": "new login .* failed|connection broke|window passed",
        "variables": {"firewall_rules": harmless_rules(rng), "firewall_rehearse": rng.random() < 0.5},
        **saboteur("firewall", "drop-everything"),
    }


def firewall_deny_everybody(rng: random.Random) -> dict[str, Any]:
    """A policy that denies everything, on a host where SSH is only allowed by what the host brought along."""
    rules = [{"name": "nobody", "action": rng.choice(["deny", "reject"]), "protocol": "any"}]
    return {
        "ending": "rolled_back",
        "reason": "new login .* failed",
        "variables": {"firewall_rules": rules + harmless_rules(rng)},
        **saboteur("firewall", "drop-new-logins"),
    }


def interrupted(interruption: str) -> Maker:
    def make(rng: random.Random) -> dict[str, Any]:
        return {
            "ending": "restored",
            "reason": "",
            "interruption": interruption,
            "variables": {"firewall_rules": harmless_rules(rng), "firewall_rehearse": rng.random() < 0.5},
        }

    return make


def ufw_broken_rules(rng: random.Random) -> dict[str, Any]:
    name = rng.choice(["before.rules", "after.rules", "before6.rules"])
    garbage = rng.choice(["-A ufw-before-input -j NOSUCHTARGET", "-A INPUT -p tcp --dport ssh ssh", "COMMIT ME"])
    return {
        "ending": "refused",
        "reason": "line",
        "variables": {"firewall_rules": harmless_rules(rng)},
        "setup": (f"cp -p /etc/ufw/{name} /root/saved.rules", f"sed -i '/^COMMIT/i {garbage}' /etc/ufw/{name}"),
        "teardown": (f"cp -p /root/saved.rules /etc/ufw/{name}",),
    }


def ufw_other_manager_does_not_start(rng: random.Random) -> dict[str, Any]:
    drop_in = "/run/systemd/system/firewalld.service.d"
    return {
        "ending": "rolled_back",
        "reason": "firewalld",
        "variables": {
            "firewall_backend": "firewalld",
            "firewall_rules": harmless_rules(rng),
            "firewall_rehearse": False,
        },
        "setup": (
            f"mkdir -p {drop_in}",
            f"printf '[Service]\\nExecStartPre=/bin/false\\n' > {drop_in}/broken.conf",
            "systemctl daemon-reload",
        ),
        "teardown": (f"rm -r {drop_in}", "systemctl daemon-reload"),
    }


def firewalld_broken_zone(rng: random.Random) -> dict[str, Any]:
    text = rng.choice(["<zone><rule></zone>", "<zone><port port='99999' protocol='tcp'/></zone>", "not xml at all"])
    return {
        "ending": "refused",
        "reason": "zone|config",
        "variables": {"firewall_rules": harmless_rules(rng)},
        "setup": (f'printf "%s" "{text}" > /etc/firewalld/zones/broken.xml',),
        "teardown": ("rm /etc/firewalld/zones/broken.xml",),
    }


def firewalld_other_manager_does_not_start(rng: random.Random) -> dict[str, Any]:
    return {
        "ending": "rolled_back",
        "reason": "ufw",
        "variables": {"firewall_backend": "ufw", "firewall_rules": harmless_rules(rng), "firewall_rehearse": False},
        "setup": (
            "cp -p /usr/lib/ufw/ufw-init /root/saved.ufw-init",
            "printf '#!/bin/sh\\nexit 1\\n' > /usr/lib/ufw/ufw-init",
        ),
        "teardown": ("cp -p /root/saved.ufw-init /usr/lib/ufw/ufw-init",),
    }


def ssh_group_emptied(rng: random.Random) -> dict[str, Any]:
    group = f"operators{rng.randint(1, 99)}"
    return {
        "ending": "refused",
        "reason": group,
        "variables": {"ssh_allow_groups": [group]},
        "setup": (f"groupadd {group}",),
        "teardown": (f"groupdel {group}",),
    }


def ssh_administrator_denied(rng: random.Random) -> dict[str, Any]:
    return {
        "ending": "refused",
        "reason": "admin",
        "variables": rng.choice([{"ssh_deny_users": ["admin"]}, {"ssh_allow_users": ["nobody", "backup"]}]),
    }


def ssh_port_taken(rng: random.Random) -> dict[str, Any]:
    port = rng.randint(2000, 9000)
    server = f"systemd-run --quiet --unit=squatter --collect python3 -m http.server --bind 0.0.0.0 {port}"
    return {
        "ending": "refused",
        "reason": str(port),
        "variables": {"ssh_ports": [port]},
        "setup": (server, "sleep 1"),
        "teardown": ("systemctl stop squatter.service",),
    }


def ssh_broken_syntax(rng: random.Random) -> dict[str, Any]:
    line = rng.choice(["NoSuchKeyword yes", "PermitRootLogin perhaps", "Match user", "Ciphers rot13"])
    return {
        "ending": "refused",
        "reason": "sshd",
        "variables": {"ssh_max_auth_tries": rng.randint(4, 9)},
        "setup": (f"echo '{line}' > /etc/ssh/sshd_config.d/50-by-hand.conf",),
        "teardown": ("rm /etc/ssh/sshd_config.d/50-by-hand.conf",),
    }


def ssh_unknown_algorithm(rng: random.Random) -> dict[str, Any]:
    option = rng.choice(["ssh_ciphers", "ssh_macs", "ssh_key_exchange_algorithms", "ssh_host_key_algorithms"])
    return {"ending": "refused", "reason": option, "variables": {option: [f"nonsense-{rng.randint(1, 99)}"]}}


def ssh_own_key_revoked(rng: random.Random) -> dict[str, Any]:
    return {
        "ending": "refused",
        "reason": "revoked",
        "variables": {"ssh_revoked_keys": [{"public_key": "{{ controller_public_key }}"}]},
    }


def ssh_wrong_address(rng: random.Random) -> dict[str, Any]:
    address = rng.choice(["127.0.0.1", "192.0.2.99", "::1"])
    return {"ending": "refused or rolled_back", "reason": "", "variables": {"ssh_listen_addresses": [address]}}


def ssh_new_logins_dropped(rng: random.Random) -> dict[str, Any]:
    return {
        "ending": "rolled_back",
        "reason": "new login .* failed|no SSH server answers|connection broke",
        "variables": {"ssh_banner": f"{TRAP_BANNER} {rng.random()}"},
        **saboteur("sshd", rng.choice(["drop-new-logins", "reject-new-logins", "drop-everything"])),
    }


def ssh_service_dies(rng: random.Random) -> dict[str, Any]:
    drop_in = "/run/systemd/system/ssh.service.d"
    reload_command = rng.choice(["/bin/false", "/bin/kill -KILL $MAINPID"])
    lines = f"[Service]\\nRestart=no\\nExecReload=\\nExecReload={reload_command}\\n"
    return {
        "ending": "rolled_back",
        "reason": "ssh",
        "variables": {"ssh_max_auth_tries": rng.randint(4, 9)},
        "setup": (f"mkdir -p {drop_in}", f"printf '{lines}' > {drop_in}/broken.conf", "systemctl daemon-reload"),
        "teardown": (f"rm -r {drop_in}", "systemctl daemon-reload", "systemctl restart ssh.service"),
    }


def ssh_interrupted(interruption: str) -> Maker:
    def make(rng: random.Random) -> dict[str, Any]:
        variables = {"ssh_max_auth_tries": rng.randint(4, 9), "ssh_banner": f"{TRAP_BANNER} {rng.random()}"}
        return {"ending": "restored", "reason": "", "interruption": interruption, "variables": variables}

    return make


def access_trap(rng: random.Random) -> list[dict[str, Any]]:
    """Return a harmless file that tells the policies apart, and tells the saboteur that one is live."""
    content = f"# {TRAP_BANNER} {rng.random()}\nDefaults !insults\n"
    return [{"path": "/etc/sudoers.d/zz-trap", "content": content, "mode": "0440"}]


def harmful_file(rng: random.Random, path: str, text: str, **facts: Any) -> dict[str, Any]:
    """Return the variables of a policy with one file too much."""
    return {"access_files": [*access_trap(rng), {"path": path, "content": text, "mode": "0644", **facts}]}


def harmful_block(rng: random.Random, path: str, text: str, at: str = "start") -> dict[str, Any]:
    """Return the variables of a policy with lines too much in one file."""
    block = {"name": "harm", "text": f"{text}\n", "at": at}
    return {"access_files": [*access_trap(rng), {"path": path, "block": block}]}


def harmful_profile(rng: random.Random, stack: str, line: str, block: str = "Additional") -> dict[str, Any]:
    """Return the variables of a policy with one PAM profile too much."""
    profile = {"name": f"bulwark-harm-{rng.randint(1, 99)}", "priority": rng.randint(0, 2000), stack: line}
    return {"access_files": access_trap(rng), "access_pam_profiles": [{**profile, f"{stack}_type": block}]}


def refused(variables: dict[str, Any], reason: str = "nothing was changed", **more: Any) -> dict[str, Any]:
    return {"ending": "refused", "reason": reason, "variables": variables, **more}


def access_missing_module(rng: random.Random) -> dict[str, Any]:
    name = f"pam_{rng.choice(['tally', 'tally2', 'cracklib', 'nosuch', 'radius'])}{rng.randint(1, 9)}.so"
    line = f"{rng.choice(['required', 'requisite'])} {name}"
    if rng.random() < 0.5:
        return refused(harmful_profile(rng, rng.choice(["account", "session"]), line), name)
    service = rng.choice(["sshd", "sudo"])
    return refused(harmful_block(rng, f"/etc/pam.d/{service}", f"account {line}"), name)


def access_broken_line(rng: random.Random) -> dict[str, Any]:
    line = rng.choice(
        ["account requird pam_unix.so", "account [success=on] pam_unix.so", "account mandatory pam_unix.so"]
    )
    return refused(harmful_block(rng, f"/etc/pam.d/{rng.choice(['sshd', 'sudo'])}", line), "accepted are|an action is")


def access_account_denied(rng: random.Random) -> dict[str, Any]:
    line = f"{rng.choice(['required', 'requisite'])} pam_deny.so"
    if rng.random() < 0.5:
        return refused(harmful_profile(rng, "account", line))
    return refused(harmful_block(rng, f"/etc/pam.d/{rng.choice(['sshd', 'sudo'])}", f"account {line}"))


def access_list_without_administrator(rng: random.Random) -> dict[str, Any]:
    rules = rng.choice(["-:ALL EXCEPT root:ALL", "-:admin:ALL", "-:ALL:ALL", "+:root:ALL\n-:ALL:192.0.2.0/24 ALL"])
    conf = {"path": "/etc/security/access.conf", "content": f"{rules}\n", "mode": "0644"}
    variables = harmful_block(rng, f"/etc/pam.d/{rng.choice(['sshd', 'sudo'])}", "account required pam_access.so")
    variables["access_files"].append(conf)
    return refused(variables)


def access_condition_unmet(rng: random.Random) -> dict[str, Any]:
    line = rng.choice(
        [
            "required pam_succeed_if.so quiet user ingroup nosuchgroup",
            "required pam_succeed_if.so quiet uid < 500",
            "requisite pam_listfile.so onerr=fail item=user sense=allow file=/etc/nosuchlist",
            "required pam_exec.so quiet /bin/false",
        ]
    )
    return refused(harmful_profile(rng, "account", line))


def access_session_denied(rng: random.Random) -> dict[str, Any]:
    line = rng.choice(["required pam_deny.so", "requisite pam_exec.so quiet /bin/false"])
    if rng.random() < 0.5:
        return refused(harmful_profile(rng, "session", line))
    return refused(harmful_block(rng, "/etc/pam.d/sshd", f"session {line}"))


def access_limits(rng: random.Random) -> dict[str, Any]:
    limit = rng.choice(["maxlogins 0", "nproc 0", "as 1024", "nofile 2", "maxsyslogins 0"])
    who = rng.choice(["admin", "*", "@sudo"])
    return refused(harmful_file(rng, "/etc/security/limits.d/99-harm.conf", f"{who} hard {limit}\n"))


def access_sudoers_syntax(rng: random.Random) -> dict[str, Any]:
    text = rng.choice(
        ["admin ALL=(ALL ALL\n", "Defaults nosuchthing\n", "%sudo ALL\n", "User_Alias X = \n", "garbage\n"]
    )
    # The file that has the administrator's rule: sudo goes on after a line that it does not understand.
    return refused(harmful_file(rng, "/etc/sudoers.d/admin", text, mode="0440"), "visudo|sudo")


def access_sudoers_owner(rng: random.Random) -> dict[str, Any]:
    facts = rng.choice([{"mode": "0666"}, {"mode": "0440", "owner": "nobody"}, {"mode": "0662"}])
    rule = "admin ALL=(ALL:ALL) NOPASSWD: ALL\n"
    return refused(harmful_file(rng, "/etc/sudoers.d/admin", rule, **facts), "visudo|sudo")


def access_rule_removed(rng: random.Random) -> dict[str, Any]:
    removed = {"path": "/etc/sudoers.d/admin", "state": "absent"}
    empty = {"path": "/etc/sudoers.d/admin", "content": "# nobody\n", "mode": "0440"}
    return refused({"access_files": [*access_trap(rng), rng.choice([removed, empty])]}, "sudo")


def access_rule_against(rng: random.Random) -> dict[str, Any]:
    rule = rng.choice(
        [
            "admin ALL=(ALL) !ALL",
            "ALL ALL=(ALL:ALL) !ALL",
            "%sudo ALL=(ALL) !/bin/sh, !/usr/bin/sh",
            "admin ALL=(ALL) PASSWD: ALL",
        ]
    )
    return refused(harmful_file(rng, "/etc/sudoers.d/zz-harm", f"{rule}\n", mode="0440"), "sudo")


def access_sudo_defaults(rng: random.Random) -> dict[str, Any]:
    default = rng.choice(["requiretty", "noexec", "runchroot=/nonexistent", "log_output, iolog_dir=/proc/nonexistent"])
    return refused(
        harmful_file(rng, "/etc/sudoers.d/zz-harm", f"Defaults {default}\n", mode="0440"), "sudo|become root"
    )


def access_password_refused(rng: random.Random) -> dict[str, Any]:
    """Somebody who becomes root with a password, under a policy that takes none."""
    harm = rng.choice(
        [
            harmful_profile(rng, "auth", "requisite pam_deny.so"),
            harmful_block(rng, "/etc/pam.d/sudo", "auth requisite pam_succeed_if.so quiet user ingroup nosuchgroup"),
            harmful_file(rng, "/etc/sudoers.d/zz-harm", "Defaults rootpw\n", mode="0440"),
            harmful_file(rng, "/etc/sudoers.d/zz-harm", "Defaults targetpw\n", mode="0440"),
        ]
    )
    return refused(
        {**harm, "ansible_user": "colleague", "ansible_become_password": COLLEAGUE_PASSWORD},
        "sudo fails with the right password|could not log in and become root",
        setup=(
            "useradd -m -s /bin/bash -G sudo colleague",
            f"echo 'colleague:{COLLEAGUE_PASSWORD}' | chpasswd -c SHA512",
            "cp -a /home/admin/.ssh /home/colleague/.ssh && chown -R colleague: /home/colleague/.ssh",
        ),
        teardown=("userdel -r -f colleague 2>/dev/null || true",),
        user="colleague",
        password=COLLEAGUE_PASSWORD,
    )


def access_password_ended(rng: random.Random) -> dict[str, Any]:
    return refused(
        {"access_files": access_trap(rng), "access_password_aging": {"maximum_days": rng.randint(2, 400)}},
        "password|token",
        setup=(
            f"echo 'admin:{COLLEAGUE_PASSWORD}' | chpasswd -c SHA512",
            f"chage -d 20{rng.randint(10, 24)}-01-0{rng.randint(1, 9)} -I {rng.choice([-1, 7])} admin",
        ),
        teardown=("usermod -p '*' admin", "chage -d -1 -I -1 admin"),
    )


def access_shell_not_listed(rng: random.Random) -> dict[str, Any]:
    variables = harmful_file(rng, "/etc/shells", rng.choice(["/bin/sh\n", "/bin/zsh\n/bin/dash\n"]))
    block = {"name": "harm", "text": "account required pam_shells.so\n", "at": "start"}
    variables["access_files"].append({"path": "/etc/pam.d/sshd", "block": block})
    return refused(variables, "/etc/shells")


def access_shell_start(rng: random.Random) -> dict[str, Any]:
    line = rng.choice(["exit 1", "exec /bin/false", "exec /usr/sbin/nologin", "PATH=/nonexistent"])
    return refused(harmful_block(rng, "/etc/bash.bashrc", line))


def access_environment(rng: random.Random) -> dict[str, Any]:
    path = rng.choice(["/nonexistent", "/tmp", "''"])
    return refused(harmful_file(rng, "/etc/environment", f"PATH={path}\n"))


def access_mount(rng: random.Random) -> dict[str, Any]:
    mount = rng.choice(
        [
            {"path": "/home", "type": "tmpfs"},
            {"path": "/etc", "type": "tmpfs"},
            {"path": "/", "options": ["noexec"]},
            {"path": "/", "options": ["nosuid"]},
            {"path": "/usr", "type": "tmpfs"},
            {"path": "/var", "type": "tmpfs"},
        ]
    )
    return refused({"access_files": access_trap(rng), "access_mounts": [mount]}, r"mounts\[0\]")


def access_mount_unknown_option(rng: random.Random) -> dict[str, Any]:
    option = f"nosuchoption{rng.randint(1, 99)}"
    mount = {"path": rng.choice(["/tmp", "/dev/shm"]), "type": "tmpfs", "options": ["nodev", "nosuid", option]}
    return {
        "ending": "refused or rolled_back",
        "reason": "mount",
        "variables": {"access_files": access_trap(rng), "access_mounts": [mount]},
    }


def access_forbidden_file(rng: random.Random) -> dict[str, Any]:
    path = rng.choice(["/etc/passwd", "/etc/shadow", "/etc/nologin", "/etc/ssh/sshd_config"])
    return refused(harmful_file(rng, path, "root:x:0:0:root:/root:/bin/bash\n"), path)


def access_broken_behind(rng: random.Random) -> dict[str, Any]:
    damage = rng.choice(
        ["refuse-logins", "refuse-sessions", "refuse-sudo", "open-sudoers", "break-sudoers", "remove-rules"]
    )
    return {
        "ending": "rolled_back",
        "reason": "new login .* failed|sudo|changed by someone else",
        "variables": {"access_files": access_trap(rng)},
        **saboteur("access", damage),
    }


def access_account_behind(rng: random.Random) -> dict[str, Any]:
    return {
        "ending": "rolled_back",
        "reason": "new login .* failed|sudo",
        "variables": {"access_files": access_trap(rng)},
        **saboteur("access", rng.choice(["close-host", "expire-account", "replace-shell"])),
    }


def other_file(rng: random.Random) -> dict[str, Any]:
    """The same files through the module that makes no new login."""
    path, content, mode = rng.choice(
        [
            ("/etc/pam.d/sshd", "account requisite pam_deny.so\n", "0644"),
            ("/etc/pam.d/sudo", "auth requisite pam_deny.so\naccount requisite pam_deny.so\n", "0644"),
            ("/etc/pam.d/common-account", "account requisite pam_deny.so\n", "0644"),
            ("/etc/sudoers", "root ALL=(ALL:ALL) ALL\n", "0440"),
            ("/etc/sudoers.d/admin", "# nobody\n", "0440"),
            ("/etc/security/limits.d/99-harm.conf", "admin hard maxlogins 0\n", "0644"),
            ("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n", "0644"),
            ("/etc/nologin", "closed\n", "0644"),
            ("/etc/nsswitch.conf", "passwd: db\ngroup: db\nshadow: db\n", "0644"),
            ("/etc/profile", "exit 1\n", "0644"),
            ("/etc/ssh/sshd_config.d/00-harm.conf", "DenyUsers admin\n", "0600"),
            ("/home/admin/.ssh/authorized_keys", "# nobody\n", "0600"),
            ("/etc/ld.so.preload", "/nonexistent.so\n", "0644"),
        ]
    )
    return refused({"access_other_files": [{"path": path, "content": content, "mode": mode}]}, path)


def other_permission(rng: random.Random) -> dict[str, Any]:
    entry = rng.choice(
        [
            {"path": "/", "mode": "0700", "at_most": True},
            {"path": "/etc", "mode": "0750"},
            {"path": "/home", "mode": "0700"},
            {"path": "/home/*", "mode": "0600", "at_most": True, "type": "directory"},
            {"path": "/home/*", "owner": "root", "mode": "0700"},
            {"path": "/home/admin/.ssh/*", "owner": "root", "group": "root", "mode": "0600"},
            {"path": "/home/admin/.ssh", "mode": "0777"},
            {"path": "/usr/bin/*", "mode": "0750", "at_most": True, "type": "file"},
            {"path": "/usr/bin/sudo", "mode": "0755"},
            {"path": "/usr/bin/sudo", "owner": "nobody"},
            {"path": "/usr/lib/**/*.so*", "mode": "0700", "at_most": True, "type": "file"},
            {"path": "/etc/sudoers", "mode": "0666"},
            {"path": "/etc/sudoers.d/*", "owner": "admin"},
            {"path": "/etc/ssh/ssh_host_*_key", "mode": "0644"},
            {"path": "/run/sshd", "mode": "0777"},
        ]
    )
    return refused({"access_permissions": [entry]})


def other_rights(rng: random.Random) -> dict[str, Any]:
    return refused({"access_suid_stripped": [rng.choice(["/usr/bin/sudo", "/usr/bin/sud*", "/usr/bin/*"])]}, "sudo")


def other_unit(rng: random.Random) -> dict[str, Any]:
    wish: dict[str, Any] = rng.choice(
        [
            {"name": "ssh.service", "masked": True, "state": "stopped"},
            {"name": "ssh.service", "state": "stopped"},
            {"name": "systemd-networkd.service", "masked": True, "state": "stopped"},
            {"name": "halt.target", "state": "started"},
            {"name": "poweroff.target", "state": "started"},
            {"name": "systemd-user-sessions.service", "masked": True, "state": "stopped"},
        ]
    )
    return refused({"access_units": [wish]}, wish["name"])


def other_home(rng: random.Random) -> dict[str, Any]:
    return refused({"access_accounts": {"homes": {"mode": rng.choice(["0600", "0500", "0040"])}}}, "homes.mode")


def other_account(rng: random.Random) -> dict[str, Any]:
    """Somebody who logs in to what looks like a program's account."""
    group = rng.choice(["", "-G sudo"])
    wish = {"lock": True, "shell": rng.choice(["/usr/sbin/nologin", "/bin/false"]), "except": ["sync"]}
    return {
        "ending": "kept",
        "reason": "deploy is left as it is",
        "user": "deploy",
        "variables": {"access_accounts": {"system_accounts": wish}, "ansible_user": "deploy"},
        "setup": (
            f"useradd --system {group} -m -s /bin/bash deploy",
            "cp -a /home/admin/.ssh /home/deploy/.ssh && chown -R deploy: /home/deploy/.ssh",
            "echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/zz-deploy && chmod 440 /etc/sudoers.d/zz-deploy",
        ),
        "teardown": ("rm -f /etc/sudoers.d/zz-deploy", "userdel -r -f deploy 2>/dev/null || true"),
    }


def other_age(rng: random.Random) -> dict[str, Any]:
    aging = {"maximum_days": rng.randint(30, 400), "apply_to_existing": True}
    return {
        "ending": "kept",
        "reason": "the password of admin is",
        "variables": {"access_accounts": {"password_aging": aging}},
        "setup": (
            f"echo 'admin:{COLLEAGUE_PASSWORD}' | chpasswd -c SHA512",
            f"chage -d 20{rng.randint(10, 24)}-01-0{rng.randint(1, 9)} admin",
        ),
        "teardown": ("usermod -p '*' admin", "chage -d -1 -I -1 -M 99999 admin"),
    }


def access_interrupted(interruption: str) -> Maker:
    def make(rng: random.Random) -> dict[str, Any]:
        profile = {"name": "bulwark-harm", "auth_type": "Additional", "auth": "optional pam_warn.so"}
        mount = {
            "path": "/tmp",
            "type": "tmpfs",
            "options": ["nodev", "nosuid", "noexec"],
            "size": f"{rng.randint(64, 512)}m",
        }
        variables = {
            "access_files": access_trap(rng),
            "access_pam_profiles": [profile],
            "access_mounts": [mount] if rng.random() < 0.5 else [],
        }
        return {"ending": "restored", "reason": "", "interruption": interruption, "variables": variables}

    return make


FIREWALL_KINDS: dict[str, Maker] = {
    "wrong source": firewall_wrong_source,
    "wrong port": firewall_wrong_port,
    "outbound closed": firewall_outbound_closed,
    "new logins dropped": firewall_new_logins_dropped,
    "everything dropped": firewall_everything_dropped,
    "deny everybody": firewall_deny_everybody,
    "controller killed": interrupted("kill"),
    "host rebooted": interrupted("reboot"),
}
KINDS: dict[str, dict[str, Maker]] = {
    "ufw": {
        **FIREWALL_KINDS,
        "broken syntax": ufw_broken_rules,
        "service fails to start": ufw_other_manager_does_not_start,
    },
    "firewalld": {
        **FIREWALL_KINDS,
        "broken syntax": firewalld_broken_zone,
        "service fails to start": firewalld_other_manager_does_not_start,
    },
    "sshd": {
        "admin group emptied": ssh_group_emptied,
        "administrator denied": ssh_administrator_denied,
        "port taken": ssh_port_taken,
        "broken syntax": ssh_broken_syntax,
        "unknown algorithm": ssh_unknown_algorithm,
        "own key revoked": ssh_own_key_revoked,
        "wrong address": ssh_wrong_address,
        "new logins dropped": ssh_new_logins_dropped,
        "service fails to start": ssh_service_dies,
        "controller killed": ssh_interrupted("kill"),
        "host rebooted": ssh_interrupted("reboot"),
    },
    "access": {
        "missing module": access_missing_module,
        "broken line": access_broken_line,
        "account denied": access_account_denied,
        "list without the admin": access_list_without_administrator,
        "condition unmet": access_condition_unmet,
        "session denied": access_session_denied,
        "limits": access_limits,
        "sudoers syntax": access_sudoers_syntax,
        "sudoers owner and mode": access_sudoers_owner,
        "sudo rule removed": access_rule_removed,
        "sudo rule against": access_rule_against,
        "sudo defaults": access_sudo_defaults,
        "password refused": access_password_refused,
        "password ended": access_password_ended,
        "shell not listed": access_shell_not_listed,
        "shell start-up": access_shell_start,
        "environment": access_environment,
        "mount over what is needed": access_mount,
        "unknown mount option": access_mount_unknown_option,
        "forbidden file": access_forbidden_file,
        "broken behind": access_broken_behind,
        "account behind": access_account_behind,
        "file without a proof": other_file,
        "owner and mode": other_permission,
        "rights taken from sudo": other_rights,
        "unit that logins need": other_unit,
        "home closed": other_home,
        "account of a program": other_account,
        "age of a password": other_age,
        "controller killed": access_interrupted("kill"),
        "host rebooted": access_interrupted("reboot"),
    },
}
SHARES = {"access": 2}


def make_case(seed: int, number: int, domain: str) -> Case:
    """Return case ``number`` of a domain; kinds take turns, so that few cases cover many kinds."""
    rng = random.Random(f"{seed}/{domain}/{number}")
    order = list(KINDS[domain])
    random.Random(f"{seed}/{domain}/{number // len(order)}").shuffle(order)
    kind = order[number % len(order)]
    return Case(number=number, domain=domain, kind=kind, **KINDS[domain][kind](rng))


def make_cases(seed: int, count: int, domains: tuple[str, ...] = tuple(KINDS)) -> list[Case]:
    """Return ``count`` cases, shared out over the domains; access has most kinds and gets two shares."""
    shares = [domain for domain in domains for _share in range(SHARES.get(domain, 1))]
    wanted = [shares[index % len(shares)] for index in range(count)]
    return [make_case(seed, wanted[:index].count(domain), domain) for index, domain in enumerate(wanted)]
