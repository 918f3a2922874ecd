# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Uses the transaction engine on a real host; test_transaction_engine.py copies it there and calls it.

transaction_driver.py OPERATION [ARGUMENT...]: the answer is one JSON object, a refusal {"error": SENTENCE}.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, "/root/bulwark-test")

from transaction.engine import Engine, Transaction, TransactionError
from transaction.namespace import rehearse
from transaction.probe import Probe
from transaction.state import Command

TREE = Path("/etc/bulwark-test")
LIVE = Path("/run/bulwark-test-live")
BOOT = Path("/run/bulwark-test-boot")
STAGED = Path("/root/bulwark-staged")
CONTROLLER, CONTROLLER_6, STRANGER, STRANGER_6 = "203.0.113.9", "2001:db8:9::9", "198.51.100.7", "2001:db8:7::7"
RULES = f"""
table inet rehearsed {{
  chain input {{
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    ip saddr {CONTROLLER} tcp dport 22 accept
    ip6 saddr {CONTROLLER_6} tcp dport 22 accept
  }}
  chain output {{
    type filter hook output priority 0; policy accept;
    tcp dport 25 reject
  }}
}}
"""


def begin() -> Transaction:
    live = [Command(("touch", str(LIVE)))]
    boot = [Command(("touch", str(BOOT)))]
    transaction = Engine().begin("test", [str(TREE), "/etc/motd"], live, boot, 30, [22], {"kept": True})
    transaction.arm()
    transaction.applying()
    (TREE / "changed").write_text("new")
    (TREE / "added").write_text("added")
    (TREE / "link").unlink()
    Path("/etc/motd").write_text("changed\n")
    return transaction


def apply() -> dict[str, Any]:
    transaction = begin()
    transaction.applied()
    return transaction.to_result()


def killed() -> dict[str, Any]:
    begin()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL does not return")


def hung() -> dict[str, Any]:
    begin()
    while True:
        time.sleep(1)


def commit(transaction_id: str, nonce: str, logins: str) -> dict[str, Any]:
    transaction = Engine().resume(transaction_id)
    transaction.commit(nonce, json.loads(logins), lambda: None)
    return transaction.to_result()


def rollback(transaction_id: str) -> dict[str, Any]:
    transaction = Engine().resume(transaction_id)
    transaction.rollback("the test asked for it")
    return transaction.to_result()


def prepare() -> dict[str, Any]:
    TREE.mkdir(exist_ok=True)
    (TREE / "changed").write_text("old")
    (TREE / "link").symlink_to("changed")
    (TREE / "changed").chmod(0o640)
    return look()


def look() -> dict[str, Any]:
    """What the test compares: the tree, the marks of the commands, and what the engine left on the host."""
    files = [*sorted(TREE.rglob("*")), Path("/etc/motd")]
    units = subprocess.run(
        ["systemctl", "list-units", "--all", "--no-legend", "bulwark-rollback*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "tree": {
            str(path): [path.lstat().st_mode, path.lstat().st_ino and path.readlink().name]
            if path.is_symlink()
            else [path.stat().st_mode, path.read_text()]
            for path in files
        },
        "live": LIVE.exists(),
        "boot": BOOT.exists(),
        "pending": os.path.lexists("/var/lib/bulwark/transactions/pending"),
        "units": units.stdout.split(),
    }


def everything() -> set[str]:
    """What a rehearsal must not change, line by line; systemd mounts a directory for root while root is logged in."""
    commands = (
        "nft list ruleset; ip -o address; ip route; "
        "ip -6 route | sed 's/expires.*//'; cut -d ' ' -f 4,5 /proc/self/mountinfo | grep -v ' /run/user/'; "
        "find /etc -type f -exec md5sum {} + | sort; sysctl -a 2>/dev/null | grep forwarding; "
        "ls /run/mark /var/log/mark"
    )
    return set(subprocess.run(["sh", "-c", commands], capture_output=True, text=True, check=False).stdout.splitlines())


def rehearsal(address: str, address_6: str) -> dict[str, Any]:
    STAGED.mkdir(exist_ok=True)
    TREE.mkdir(exist_ok=True)
    (STAGED / "rules.nft").write_text(RULES)
    load = [
        Command(("nft", "-f", str(TREE / "rules.nft"))),
        Command(
            (
                "sh",
                "-c",
                f"echo x > {TREE}/written && sysctl -qw net.ipv4.ip_forward=1 && touch /run/mark /var/log/mark",
            )
        ),
        # What belongs to the host must not be writable.
        Command(("sh", "-c", "! touch /etc/forbidden && ! touch /root/forbidden && ! sysctl -qw kernel.printk=1")),
        Command(("sleep", "987"), background=True),
    ]
    probes = [
        Probe("controller", CONTROLLER, address, 22, "open"),
        Probe("controller IPv6", CONTROLLER_6, address_6, 22, "open"),
        Probe("stranger", STRANGER, address, 22, "closed"),
        Probe("stranger IPv6", STRANGER_6, address_6, 22, "closed"),
        Probe("other port", CONTROLLER, address, 80, "closed"),
        Probe("name service", "", "192.0.2.53", 53, "open"),
        Probe("mail", "", "192.0.2.53", 25, "closed"),
    ]
    after = [Probe("stranger", STRANGER, address, 22, "open"), Probe("mail", "", "192.0.2.53", 25, "open")]
    before = everything()
    result = rehearse(
        "host0", [f"{address}/24", f"{address_6}/64"], load, probes, [Command(("nft", "flush", "ruleset"))], after,
        [(str(STAGED), str(TREE))],
    )  # fmt: skip
    daemons = subprocess.run(["pgrep", "-fx", "sleep 987"], capture_output=True, text=True, check=False).stdout.split()
    return {
        **result.to_dict(),
        "touched": sorted(everything() ^ before),
        "daemons": daemons,
        "staged": [path.name for path in STAGED.iterdir()],
    }


def main() -> None:
    operations: dict[str, Callable[..., Any]] = {
        "prepare": prepare, "look": look, "apply": apply, "killed": killed, "hung": hung, "commit": commit,
        "rollback": rollback, "rehearsal": rehearsal, "status": Engine().status, "settle": Engine().settle,
    }  # fmt: skip
    try:
        answer = operations[sys.argv[1]](*sys.argv[2:])
    except TransactionError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
