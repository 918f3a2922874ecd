# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One call of the module: plan, try in a staging directory, replace, reload, and read back what runs."""

from __future__ import annotations

import re
import time
import typing as t

from ..transaction.session import ssh_session
from . import host, observe, render
from .model import JOURNAL, Fail2banError, Jail, Policy, build
from .validate import validate_policy

LIVE_SECONDS = 30.0
POLL_SECONDS = 0.3
LOG_LINE = re.compile(r"[\d-]+ [\d:,]+ +\S+ +\[\d+\]: (?P<level>[A-Z]+) +(?P<text>.*)")
NO_SERVER: dict[str, t.Any] = {"answers": False, "jails": {}}
Contents = t.Dict[str, t.Optional[bytes]]  # noqa: UP006 - evaluated on Python 3.9 too


class Change:
    """Make fail2ban on this host what the arguments say."""

    def __init__(self, arguments: t.Mapping[str, t.Any], check_mode: bool) -> None:
        problems = validate_policy(arguments)
        if problems:
            raise Fail2banError("; ".join(problems))
        session = ssh_session()
        self.policy: Policy = build(arguments, session.client_address if session else "")
        self.check_mode = check_mode

    def run(self) -> dict[str, t.Any]:
        """Return the module's result. Raises Fail2banError, with the host as it was before."""
        if not host.installed():
            return self.without_program()
        answers = host.ask("environment", "live")
        logs = {jail.name: host.find_log(jail, answers["environment"]["journal"]) for jail in self.policy.enabled}
        before, after = self.contents(logs)
        changed = {path: after[path] for path in after if after[path] != before[path]}
        reasons = [f"{path} {'is missing' if before[path] is None else 'differs'}" for path in changed]
        live = answers["live"]
        broken: dict[str, str] = {}
        if live["answers"]:
            broken = self.broken_in_kernel(live)
            if not changed:
                reasons += observe.differences(self.policy, logs, live)
                reasons += broken.values()
        else:
            reasons.append("the server does not run")
        enabled = host.is_enabled()
        if not enabled:
            reasons.append("the service does not start at boot")
        tried = self.rehearse(after) if changed else 0
        if reasons and not self.check_mode:
            live = self.apply(logs, before, changed, enabled)
        return {
            "changed": bool(reasons),
            "reasons": reasons,
            "version": answers["environment"]["version"],
            "samples": tried,
            **self.report(logs, live),
            "diff": {"before": _lines(before, changed), "after": _lines(after, changed)},
        }

    def without_program(self) -> dict[str, t.Any]:
        """Return the plan for a host that will get the package; only check mode comes here for good reason."""
        if not self.check_mode:
            raise Fail2banError("fail2ban is not installed; install the package, which the role fail2ban does")
        logs = {jail.name: render.Log(JOURNAL) for jail in self.policy.enabled}
        after = {path: text.encode() for path, text in render.files(self.policy, logs).items()}
        return {
            "changed": True,
            "reasons": ["fail2ban is not installed"],
            "version": "",
            "samples": 0,
            **self.report(logs, NO_SERVER),
            "diff": {"before": {}, "after": _lines(after, after)},
        }

    def contents(self, logs: t.Mapping[str, render.Log]) -> tuple[Contents, Contents]:
        """Return every file that the policy is about as it is, and as it should be; None where there is no file."""
        after: Contents = {path: text.encode() for path, text in render.files(self.policy, logs).items()}
        for path in host.own_files():
            after.setdefault(path, None)
        if host.read(render.OWN_JAILS) is None:
            after[render.OWN_JAILS] = render.OWN_JAILS_TEXT.encode()
        return {path: host.read(path) for path in after}, after

    def broken_in_kernel(self, live: t.Mapping[str, t.Any]) -> dict[str, str]:
        """Return the jails whose bans the kernel does not carry out; looks twice, since bans come and go meanwhile."""
        broken = observe.kernel_differences(self.policy, live, observe.kernel_jails(host.kernel_table()))
        if broken:
            again = host.ask("live")["live"]
            still = observe.kernel_differences(self.policy, again, observe.kernel_jails(host.kernel_table()))
            broken = {name: reason for name, reason in still.items() if name in broken}
        return broken

    def rehearse(self, after: Contents) -> int:
        """Let fail2ban read the whole set in a staging directory, and try each filter on its samples.

        Returns how many samples were tried. Raises Fail2banError when something is not accepted.
        """
        with host.staged(after) as directory:
            test = host.run(host.CLIENT, "-c", directory, "-t")
            if test.code:
                complaint = complaints(test.error + test.output, directory) or test.complaint()
                raise Fail2banError(f"fail2ban does not accept the jails: {complaint}; nothing is changed")
            filters = [
                {
                    "name": entry.file_name,
                    "samples": [{"line": sample.line, "source": sample.source} for sample in entry.samples],
                }
                for entry in self.policy.filters
            ]
            answers = host.ask("samples", directory=directory, filters=filters)["samples"]
        problems = sample_problems(self.policy, answers)
        if problems:
            raise Fail2banError(f"{'; '.join(problems)}; nothing is changed")
        return sum(len(entry.samples) for entry in self.policy.filters)

    def apply(
        self, logs: t.Mapping[str, render.Log], before: Contents, changed: Contents, enabled: bool
    ) -> dict[str, t.Any]:
        """Replace the files, let the server read them, and return what then runs.

        Raises Fail2banError if that is not the policy; the old files are put back then.
        """
        host.write(changed)
        was_active = host.is_active()
        try:
            self.load(changed, was_active)
            live = self.wait_until_live(logs)
            if not enabled:
                self.systemctl("enable", host.SERVICE)
            return live
        except Fail2banError as error:
            back = {path: before[path] for path in changed}
            if not back:
                raise
            host.write(back)
            if was_active:
                self.load(back, was_active)
            else:
                host.systemctl("stop", host.SERVICE)
            raise Fail2banError(f"{error}; the old configuration is back") from error

    def load(self, changed: Contents, active: bool) -> None:
        """Let the server read its files: a reload keeps every ban; a server that does not run is started.

        Only another sandbox takes a restart, after which the bans come back from the database.
        """
        if any(path.startswith(f"{render.UNITS}/") for path in changed):
            self.systemctl("daemon-reload")
        if not active:
            host.systemctl("reset-failed", host.SERVICE)
            self.systemctl("start", host.SERVICE)
            return
        if render.SANDBOX in changed:
            self.systemctl("restart", host.SERVICE)
            return
        reload = host.run(host.CLIENT, "reload")
        if reload.code:
            raise Fail2banError(f"fail2ban does not reload: {reload.complaint()}")

    def systemctl(self, *words: str) -> None:
        answer = host.systemctl(*words)
        if answer.code:
            raise Fail2banError(f"systemctl {' '.join(words)} failed: {answer.complaint()}{_because()}")

    def wait_until_live(self, logs: t.Mapping[str, render.Log]) -> dict[str, t.Any]:
        """Return the server's answers once they are what the policy says, in the kernel as well."""
        until = time.monotonic() + LIVE_SECONDS
        restarted: set[str] = set()
        while True:
            live: dict[str, t.Any] = host.ask("live")["live"]
            problems = observe.differences(self.policy, logs, live)
            if not problems:
                broken = self.broken_in_kernel(live)
                problems = list(broken.values())
                # A jail that is started anew brings back its bans from the database.
                for name in set(broken) - restarted:
                    host.run(host.CLIENT, "reload", "--restart", name)
                    restarted.add(name)
            if not problems:
                return live
            if time.monotonic() > until:
                raise Fail2banError(f"fail2ban does not run as it should: {'; '.join(problems)}{_because()}")
            time.sleep(POLL_SECONDS)

    def report(self, logs: t.Mapping[str, render.Log], live: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Return what a reader wants to know about the jails."""
        own = {jail.name for jail in self.policy.jails}
        return {
            "jails": [self.describe(jail, logs[jail.name], live) for jail in self.policy.enabled],
            "foreign_jails": sorted(name for name in live["jails"] if name not in own),
            "ignored": list(self.policy.ignored),
        }

    def describe(self, jail: Jail, log: render.Log, live: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        answer = live["jails"].get(jail.name)
        return {
            "name": jail.name,
            "filter": jail.package_filter or jail.filter,
            "backend": log.backend,
            "log_paths": list(log.paths),
            "ports": list(jail.ports),
            "maximum_attempts": jail.maximum_attempts,
            "find_seconds": jail.find_seconds,
            "ban_seconds": jail.ban_seconds,
            "live": answer is not None,
            "banned": list(answer["banned"]) if answer else [],
        }


def complaints(output: str, directory: str) -> str:
    """Return what fail2ban-client says is wrong, by the real names of the files that it read in a copy; pure.

    Its last line only says that there was something.
    """
    found: list[str] = []
    for line in output.replace(directory, render.DIRECTORY).splitlines():
        dated = LOG_LINE.match(line)
        if not dated:
            # A fault in a file is told on further lines: its name, the number and the text of the line.
            if found and found[-1]:
                found[-1] += f" {line.strip()}"
        else:
            wrong = dated["level"] in ("ERROR", "CRITICAL") and "test configuration failed" not in line
            found.append(dated["text"].rstrip(".") if wrong else "")
    return ", ".join(text for text in found if text)


def sample_problems(policy: Policy, answers: t.Sequence[t.Mapping[str, t.Any]]) -> list[str]:
    """Return one sentence for each sample with which the engine does otherwise than it says; pure."""
    problems = []
    for entry, answer in zip(policy.filters, answers):
        path = f"filter {entry.name}"
        if answer["error"]:
            problems.append(f"{path}: the engine does not take it: {answer['error']}")
            continue
        for index, (sample, found) in enumerate(zip(entry.samples, answer["found"])):
            wished = [sample.address] if sample.address else []
            if found != wished:
                problems.append(
                    f"{path}, samples[{index}]: it counts against {', '.join(found) or 'nobody'}, and should count "
                    f"against {sample.address or 'nobody'}: {sample.line}"
                )
    return problems


def _because() -> str:
    error = host.last_error()
    return f"; its log says: {error}" if error else ""


def _lines(contents: t.Mapping[str, bytes | None], paths: t.Iterable[str]) -> dict[str, t.Any]:
    """Return the files that change as lists of lines."""
    shown = {}
    for path in paths:
        content = contents.get(path)
        shown[path] = None if content is None else content.decode(errors="replace").splitlines()
    return shown
