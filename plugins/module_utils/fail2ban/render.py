# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a policy, in the grammar of fail2ban; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .model import JOURNAL, Filter, Jail, Policy, multipliers, port_range

DIRECTORY = "/etc/fail2ban"
# Read after everything else but a file of the same kind whose name comes later.
JAILS = f"{DIRECTORY}/jail.d/zz-bulwark.local"
SERVER = f"{DIRECTORY}/fail2ban.d/zz-bulwark.local"
ACTION_NAME = "bulwark-nftables"
ACTION = f"{DIRECTORY}/action.d/{ACTION_NAME}.conf"
FILTERS = f"{DIRECTORY}/filter.d"
OWN_JAILS = f"{DIRECTORY}/jail.local"
UNITS = "/etc/systemd/system"
TABLE = "bulwark_fail2ban"
HEADER = "# Made by the fail2ban role of bulwark.hardening, which overwrites what is changed here.\n"

# A table of its own, in front of connection tracking and of every address translation: it holds beside ufw, firewalld
# and Docker alike, a reload of theirs leaves it alone, and it also covers what is forwarded to a container.
# Each script is one transaction of nft; each may be repeated at any time.
ACTION_TEXT = f"""{HEADER}
[Definition]
# The table is there before the first ban, so that a jail can be proven live.
actionstart_on_demand = false

_chain = 'add table inet <table>;' \\
         'add set inet <table> jail-<name>-inet4 {{ type ipv4_addr; }};' \\
         'add set inet <table> jail-<name>-inet6 {{ type ipv6_addr; }};' \\
         'add chain inet <table> jail-<name> {{ type filter hook prerouting priority -310; policy accept; }};'

_rules = 'flush chain inet <table> jail-<name>;' \\
         'add rule inet <table> jail-<name> ip saddr @jail-<name>-inet4 <match> counter drop;' \\
         'add rule inet <table> jail-<name> ip6 saddr @jail-<name>-inet6 <match> counter drop;'

_flush = 'flush set inet <table> jail-<name>-inet4;' \\
         'flush set inet <table> jail-<name>-inet6;'

_element = inet <table> jail-<name>-<family> {{ <ip> }};

# What a server that was killed left behind goes; it restores its own bans afterwards.
actionstart = nft %(_chain)s %(_flush)s %(_rules)s

# The ports may have changed; those who are banned stay banned.
actionreload = nft %(_chain)s %(_rules)s

actionrepair = nft %(_chain)s %(_rules)s

actionstop = nft %(_chain)s 'delete chain inet <table> jail-<name>;' \\
             'delete set inet <table> jail-<name>-inet4;' \\
             'delete set inet <table> jail-<name>-inet6;'

# fail2ban runs a command that it already ran for the other family only once; the name of the family keeps them apart.
actionflush = nft 'flush set inet <table> jail-<name>-<family>;'

actioncheck = nft list chain inet <table> jail-<name> > /dev/null

actionban = nft 'add element %(_element)s'

actionunban = nft 'add element %(_element)s' 'delete element %(_element)s'

[Init]
table = {TABLE}
name = default
# Which packets are dropped; empty for all.
match =
"""

OWN_JAILS_TEXT = """# For jails of your own; this file was made once and is yours.
# jail.d/zz-bulwark.local is read after it, and the fail2ban role of bulwark.hardening overwrites that one.
"""

# nftables.service empties the whole rule set when it loads its own; the bans come back from fail2ban's database.
# A stop of firewalld stops fail2ban with it, which a start of firewalld alone would not undo.
UNIT_FILES = {
    f"{UNITS}/nftables.service.d/50-bulwark-fail2ban.conf": f"""{HEADER}[Unit]
Wants=fail2ban.service
[Service]
ExecStartPost=-/usr/bin/systemctl --no-block try-restart fail2ban.service
ExecReload=-/usr/bin/systemctl --no-block try-restart fail2ban.service
""",
    f"{UNITS}/firewalld.service.d/50-bulwark-fail2ban.conf": f"""{HEADER}[Unit]
Wants=fail2ban.service
""",
}

# The server reads logs, keeps its database and asks for changes of the packet filter; nothing else.
SANDBOX = f"{UNITS}/fail2ban.service.d/50-bulwark-fail2ban.conf"
SANDBOX_TEXT = f"""{HEADER}[Service]
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_DAC_READ_SEARCH
LockPersonality=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths=-/var/log -/var/lib/fail2ban -/run
RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0027
"""


@dataclass(frozen=True)
class Log:
    """Where a jail finds its log on this host: in the journal, or in these files."""

    backend: str
    paths: tuple[str, ...] = ()


def value(text: str) -> str:
    """Return a text as the value of an option, for a parser that interpolates ``%``."""
    return text.replace("%", "%%")


def option(key: str, *lines: str) -> str:
    """Return an option; further lines are set in, so that none of them begins another option or section."""
    return f"{key} = " + "\n    ".join(value(line) for line in lines) + "\n"


def port_match(jail: Jail) -> str:
    """Return what nft compares to find the packets of a jail; empty for all packets."""
    if not jail.ports:
        return ""
    ranges = (port_range(port) for port in jail.ports)
    ports = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)
    if jail.protocol == "any":
        return f"meta l4proto {{ tcp, udp }} th dport {{ {ports} }}"
    return f"{jail.protocol} dport {{ {ports} }}"


def journal_match(jail: Jail) -> str:
    """Return the alternatives in one line, as fail2ban and journalctl write them."""
    return " + ".join(" ".join(match.split()) for match in jail.journal_matches)


def jail_text(policy: Policy, jail: Jail, log: Log | None) -> str:
    """Return the section of a jail."""
    text = f"[{jail.name}]\n"
    if not jail.enabled or log is None:
        return text + option("enabled", "false")
    text += option("enabled", "true")
    text += option("filter", jail.package_filter or f"bulwark-{jail.filter}")
    if log.backend == JOURNAL:
        text += option("backend", "systemd") + option("journalmatch", journal_match(jail))
    else:
        text += option("backend", "auto") + option("logpath", *log.paths)
    text += option("action", f'{ACTION_NAME}[name={jail.name}, match="{port_match(jail)}"]')
    text += option("maxretry", str(jail.maximum_attempts))
    text += option("findtime", str(jail.find_seconds))
    text += option("bantime", str(jail.ban_seconds))
    text += option("bantime.multipliers", growth(policy, jail.ban_seconds))
    return text + option("ignoreip", *jail.ignored)


def filter_text(entry: Filter) -> str:
    """Return the file of a filter."""
    text = f"{HEADER}\n[Definition]\n"
    if entry.prefix:
        text += option("prefregex", entry.prefix)
    text += option("failregex", *entry.fail_patterns)
    text += option("ignoreregex", *entry.ignore_patterns)
    if entry.date_pattern:
        text += option("datepattern", entry.date_pattern)
    return text


def growth(policy: Policy, ban_seconds: int) -> str:
    """Return the multipliers of a jail's ban time as one value."""
    factors = multipliers(policy.growth_factor, ban_seconds, policy.maximum_ban_seconds)
    return " ".join(str(factor) for factor in factors)


def jails_text(policy: Policy, logs: t.Mapping[str, Log]) -> str:
    """Return the file with the defaults and all jails."""
    text = f"{HEADER}\n[DEFAULT]\n"
    text += "# Names in a log are chosen by whoever writes them.\n" + option("usedns", "no")
    text += option("ignoreself", "true")
    text += option("ignoreip", *policy.ignored)
    text += option("maxretry", str(policy.maximum_attempts))
    text += option("findtime", str(policy.find_seconds))
    text += option("bantime", str(policy.ban_seconds))
    text += option("bantime.increment", "true" if policy.growth_factor > 1 else "false")
    text += option("bantime.multipliers", growth(policy, policy.ban_seconds))
    text += option("bantime.maxtime", str(policy.maximum_ban_seconds))
    for jail in policy.jails:
        text += f"\n{jail_text(policy, jail, logs.get(jail.name))}"
    return text


def server_text(policy: Policy) -> str:
    """Return the file with the server's own options."""
    text = f"{HEADER}\n[Definition]\n" + option("allowipv6", "auto")
    return (
        text
        + "# Bans grow as long as earlier ones are remembered.\n"
        + option("dbpurgeage", str(policy.history_seconds))
    )


def files(policy: Policy, logs: t.Mapping[str, Log]) -> dict[str, str]:
    """Return all files of the policy, by path."""
    return {
        JAILS: jails_text(policy, logs),
        SERVER: server_text(policy),
        ACTION: ACTION_TEXT,
        **{f"{FILTERS}/{entry.file_name}.conf": filter_text(entry) for entry in policy.filters},
        **UNIT_FILES,
        **({SANDBOX: SANDBOX_TEXT} if policy.sandbox else {}),
    }
