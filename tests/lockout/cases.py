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
ENDINGS = ("refused", "rolled_back", "restored")
WINDOW_SECONDS = 30
TRAP_PORT = 6666
TRAP = {"name": "trap", "ports": [TRAP_PORT]}
TRAP_BANNER = "bulwark-trap"
SABOTEUR = "/usr/local/bin/saboteur"


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
}


def make_case(seed: int, number: int, domain: str) -> Case:
    """Return case ``number`` of a domain; kinds take turns, so that few cases cover many kinds."""
    rng = random.Random(f"{seed}/{domain}/{number}")
    order = list(KINDS[domain])
    random.Random(f"{seed}/{domain}/{number // len(order)}").shuffle(order)
    kind = order[number % len(order)]
    return Case(number=number, domain=domain, kind=kind, **KINDS[domain][kind](rng))


def make_cases(seed: int, count: int, domains: tuple[str, ...] = tuple(KINDS)) -> list[Case]:
    """Return ``count`` cases, shared out evenly over the domains."""
    return [make_case(seed, index // len(domains), domains[index % len(domains)]) for index in range(count)]
