# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in fail2ban's own Python on the managed host: asks its engine and its server, and answers in JSON.

A program of its own: the standard library and fail2ban only. The request comes on standard input.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib import import_module
from typing import Any

SOCKET = "/run/fail2ban/fail2ban.sock"
SECONDS = 10


def environment(_request: dict[str, Any]) -> dict[str, Any]:
    """Say which fail2ban this is, and whether it can read the journal."""
    version = import_module("fail2ban.version").version
    try:
        import_module("systemd.journal")
    except ImportError:
        return {"version": version, "journal": False}
    return {"version": version, "journal": os.path.exists("/run/systemd/journal/socket")}


def engine(directory: str, name: str) -> Any:
    """Return fail2ban's filter as the server would set it up from this configuration directory."""
    reader = import_module("fail2ban.client.filterreader").FilterReader(name, name, {}, basedir=directory)
    if not reader.read():
        raise ValueError(f"the filter {name} cannot be read")
    reader.getOptions(None)
    result = import_module("fail2ban.server.filter").Filter(None)
    # Samples are older than a jail would look back.
    result.checkFindTime = False
    result.setUseDns("no")
    for command in reader.convert():
        values = command[3] if command[0] == "multi-set" else command[3:]
        for value in values:
            if command[2] == "prefregex":
                result.prefRegex = value
            elif command[2] == "addfailregex":
                result.addFailRegex(value)
            elif command[2] == "addignoreregex":
                result.addIgnoreRegex(value)
            elif command[2] == "datepattern":
                result.setDatePattern(value)
    return result


def samples(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Say against which addresses each sample counts, all samples of a filter in order, as lines of one log."""
    answers = []
    for entry in request["filters"]:
        answer: dict[str, Any] = {"name": entry["name"], "error": "", "found": []}
        answers.append(answer)
        try:
            tried = engine(request["directory"], entry["name"])
            for sample in entry["samples"]:
                line = sample["line"]
                if sample["source"] == "journal":
                    # The journal keeps host and time apart from the line; the server puts them together so.
                    failures = tried.processLine(("", "2026-01-01T00:00:00 ", f"host {line}"), 1767225600.0)
                else:
                    failures = tried.processLine(line)
                answer["found"].append(
                    [str(failure[1]) for failure in failures if failure[1] is not None and not failure[3].get("nofail")]
                )
        except Exception as error:  # whatever a filter makes the engine raise is the answer
            answer["error"] = " ".join(str(error).split()) or type(error).__name__
    return answers


def live(_request: dict[str, Any]) -> dict[str, Any]:
    """Say what the running server does: each jail with its settings and its bans."""
    try:
        connection = import_module("fail2ban.client.csocket").CSocket(SOCKET, timeout=SECONDS)
    except OSError:
        return {"answers": False, "jails": {}}

    def ask(*words: str) -> Any:
        code, answer = connection.send(list(words))
        if code:
            raise ValueError(str(answer))
        return answer

    try:
        if ask("ping") != "pong":
            return {"answers": False, "jails": {}}
        status = dict(ask("status"))
        names = [name.strip() for name in status["Jail list"].split(",") if name.strip()]
        return {
            "answers": True,
            "history": ask("get", "dbpurgeage"),
            "jails": {name: jail(ask, name) for name in names},
        }
    except (OSError, EOFError):
        return {"answers": False, "jails": {}}
    finally:
        connection.close()


def jail(ask: Any, name: str) -> dict[str, Any]:
    """Return the settings and the bans of one running jail."""

    def get(*words: str) -> Any:
        return ask("get", name, *words)

    def texts(*words: str) -> list[str]:
        answer = get(*words)
        return [str(entry) for entry in answer] if isinstance(answer, (list, tuple)) else []

    # A jail that reads files answers with no match, one that reads the journal with no path.
    matches = [" ".join(alternative) for alternative in get("journalmatch")]
    return {
        "maxretry": get("maxretry"),
        "findtime": get("findtime"),
        "bantime": get("bantime"),
        "increment": bool(get("bantime.increment")),
        "multipliers": str(get("bantime.multipliers") or ""),
        "maxtime": get("bantime.maxtime"),
        "usedns": str(get("usedns")),
        "ignored": texts("ignoreip"),
        "patterns": len(texts("failregex")),
        "journal": " + ".join(matches),
        "paths": texts("logpath"),
        "actions": texts("actions"),
        "banned": [str(entry).split()[0] for entry in texts("banip")],
    }


OPERATIONS = {"environment": environment, "samples": samples, "live": live}


def main() -> int:
    """Answer every operation of the request."""
    logging.disable(logging.CRITICAL)
    request = json.load(sys.stdin)
    answers = {}
    for name in request["operations"]:
        answers[name] = OPERATIONS[name](request)
    json.dump(answers, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())  # pylint: disable=ansible-bad-function  # a program of its own
