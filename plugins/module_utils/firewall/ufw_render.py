# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render ufw's files with ufw's own library, below a staging directory; run as a program by the system's Python.

Arguments: the staging directory, which holds ``etc/ufw`` and ``etc/default/ufw``, and a JSON object with ``policies``
({direction: action}), ``logging`` and ``enabled``. Prints the number of rules that ufw accepted, by family.
A child process keeps ufw's output, its ``_`` builtin and its interpreter apart from the module.
Source: ufw 0.36.2, backend_iptables.py and backend.py.
"""

from __future__ import annotations

import gettext
import json
import os
import sys
import typing as t


def render(staged: str, settings: t.Mapping[str, t.Any]) -> dict[str, int]:
    """Set default policies, log level and switch, and write both rules files. Returns rule counts by family."""
    gettext.install("ufw")
    # ufw checks who owns the running program; the module itself may come from a pipe.
    sys.argv = ["/usr/sbin/ufw"]
    os.umask(0o027)
    from ufw.backend_iptables import UFWBackendIptables  # type: ignore[import-not-found,import-untyped,unused-ignore]

    backend = UFWBackendIptables(dryrun=False, datadir=staged)
    # ufw finds out by adding test chains to the live rule set; what really works is shown by the rehearsal instead.
    backend.caps = {"limit": {"4": True, "6": True}}
    backend.set_default(backend.files["conf"], "ENABLED", "no")
    for direction, action in settings["policies"].items():
        backend.set_default_policy(action, direction)
    # Writes user.rules and user6.rules; while ENABLED is no, the live firewall stays untouched.
    backend.set_loglevel(settings["logging"])
    if settings["enabled"]:
        backend.set_default(backend.files["conf"], "ENABLED", "yes")
    return {"4": len(backend.rules), "6": len(backend.rules6)}


if __name__ == "__main__":
    # The parent reads this line.
    print(json.dumps(render(sys.argv[1], json.loads(sys.argv[2]))))  # noqa: T201  # pylint: disable=ansible-bad-function
