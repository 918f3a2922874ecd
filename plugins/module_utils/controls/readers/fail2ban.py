# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The jails of fail2ban as the running server has them, and whether the kernel drops who is banned."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .. import conditions
from ..host import Answer, Host
from ..model import Item, Observation, item, observation
from ..parameters import Parameter, Parameters
from ..reader import Reader

CLIENT = "/usr/bin/fail2ban-client"
ACTION = "bulwark-nftables"
TABLE = ("nft", "list", "table", "inet", "bulwark_fail2ban")
# What the catalogue calls it, and what fail2ban does.
SETTINGS = {"maximum_attempts": "maxretry", "find_seconds": "findtime", "ban_seconds": "bantime"}
GROWS = "bantime.increment"


def ask(host: Host, *words: str) -> Answer:
    return host.run("fail2ban-client", *words)


def questions(parameters: Parameters) -> list[tuple[str, ...]]:
    """Return everything that the server will be asked."""
    asked = [*SETTINGS.values(), GROWS, "actions"]
    return [("ping",), *(("get", jail, what) for jail in parameters["jails"] for what in asked)]


def announce_jails(host: Host, parameters: Parameters) -> None:
    """Ask everything at once."""
    if host.exists(CLIENT):
        for words in questions(parameters):
            host.start("fail2ban-client", *words)


def fail2ban_jails(host: Host, parameters: Parameters) -> Observation:
    """Check that jails run, when they ban and for how long, and that a ban has an effect.

    ``jails``: names. ``maximum_attempts``, ``find_seconds``, ``ban_seconds``: conditions on what each jail has.
    ``growing``: each further ban of an address lasts longer.
    """
    source = "fail2ban-client"
    if not host.exists(CLIENT):
        return observation([item("fail2ban", False, "runs", "is not installed")], source)
    if "pong" not in ask(host, "ping").output:
        return observation([item("fail2ban", False, "runs", "does not answer")], source)
    items: list[Item] = []
    for jail in parameters["jails"]:
        items += jail_items(host, jail, parameters)
    return observation(items, source)


def jail_items(host: Host, jail: str, parameters: Parameters) -> list[Item]:
    """Return what is to be said about one jail."""
    if not ask(host, "get", jail, "maxretry").ok:
        return [item(f"jail {jail}", False, "runs", "does not run")]
    items = []
    for name, word in SETTINGS.items():
        condition = parameters[name]
        if condition is not None:
            seen = setting(host, jail, word)
            items.append(
                item(
                    f"jail {jail} {name}",
                    conditions.met(condition, seen),
                    conditions.describe(condition),
                    conditions.shown(seen),
                )
            )
    if parameters["growing"]:
        grows = setting(host, jail, GROWS) == "True"
        seen = "bans longer each time" if grows else "bans each time alike"
        items.append(item(f"jail {jail}", grows, "bans longer each time", seen))
    return [*items, effect(host, jail)]


def setting(host: Host, jail: str, word: str) -> str | None:
    """Return what the server answers, None if it has no answer."""
    answer = ask(host, "get", jail, word)
    return answer.output.strip() if answer.ok else None


def effect(host: Host, jail: str) -> Item:
    """Return whether a ban of this jail does something; of actions that are not ours, only that there is one."""
    # The answer is a sentence, and on the next line the names.
    answer = setting(host, jail, "actions") or ""
    names = [name for line in answer.splitlines()[1:] for name in re.split(r"[\s,]+", line.strip()) if name]
    if ACTION not in names:
        return item(f"jail {jail}", bool(names), "has an action", f"has {', '.join(names) or 'none'}")
    wished = "drops who is banned, IPv4 and IPv6"
    listing = host.run(*TABLE)
    chain = re.search(rf"chain jail-{re.escape(jail)} \{{(.*?)\n\t\}}", listing.output, re.DOTALL)
    rules = chain[1] if chain else ""
    drops = [line for line in rules.splitlines() if line.strip().endswith("drop")]
    families = [family for family in ("ip", "ip6") if any(f"\t{family} saddr @" in line for line in drops)]
    works = "hook prerouting" in rules and len(families) == 2
    return item(f"jail {jail}", works, wished, wished if works else "has no effect in the kernel")


READERS: Mapping[str, Reader] = {
    "fail2ban_jails": Reader(
        fail2ban_jails,
        {
            "jails": Parameter("texts", required=True),
            "maximum_attempts": Parameter("condition"),
            "find_seconds": Parameter("condition"),
            "ban_seconds": Parameter("condition"),
            "growing": Parameter("boolean", default=False),
        },
        announce_jails,
    )
}
