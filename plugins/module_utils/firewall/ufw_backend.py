# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ufw backend: own rules are those whose comment starts with ``bulwark: ``.

ufw's library renders the files in a staging copy of /etc/ufw. A running ufw gets the new rules in one
``iptables-restore --noflush`` per family, so no packet meets a half-loaded rule set.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pkgutil
import shutil
import typing as t

from ..transaction.state import Command
from . import ufw_render
from .backend import Candidate, FirewallError, RehearsalPlan
from .evaluate import Packet, judge
from .model import FAMILIES, Policy
from .planner import difference, merge
from .system import read_text, run, unit_is, write_text
from .ufw_rules import (
    BadTuple,
    UfwRule,
    effective,
    missing_structure,
    parse_rules,
    parse_settings,
    policy_action,
    reload_batch,
    rules_file,
    rules_from,
    user_chains,
)

DIRECTORY = "/etc/ufw"
SETTINGS = "/etc/default/ufw"
CONFIGURATION = "/etc/ufw/ufw.conf"
LOCK = "/run/ufw.lock"
PYTHON = "/usr/bin/python3"
INIT_PATHS = ("/usr/lib/ufw/ufw-init", "/lib/ufw/ufw-init")
ENABLEMENT = "/etc/systemd/system/multi-user.target.wants/ufw.service"
RULES_FILES = {4: "user.rules", 6: "user6.rules"}
RESTORE = {4: "iptables-restore", 6: "ip6tables-restore"}
SAVE = {4: "iptables-save", 6: "ip6tables-save"}
PROGRAM = {4: "iptables", 6: "ip6tables"}
WRITTEN = (
    SETTINGS,
    "/etc/ufw/after.rules",
    "/etc/ufw/after6.rules",
    "/etc/ufw/user.rules",
    "/etc/ufw/user6.rules",
    CONFIGURATION,
)
DIRECTIONS = {"incoming": "INPUT", "outgoing": "OUTPUT", "routed": "FORWARD"}
# Loads a rules file in a network namespace of its own and prints the canonical form; "$0" is the file.
CANONICAL = '"$1" --noflush < "$0" && exec "$2" -t filter'


@contextlib.contextmanager
def ufw_lock() -> t.Iterator[None]:
    """Hold the lock that every ufw command takes, so that fail2ban's or an admin's ufw call waits."""
    handle = os.open(LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Ufw:
    """Observe and change ufw on this host."""

    name = "ufw"

    def __init__(self, directory: str) -> None:
        """``directory`` is a private, empty scratch directory; the caller removes it."""
        self.scratch = directory
        self.policy: Policy | None = None
        self.observed: dict[int, list[UfwRule]] = {4: [], 6: []}
        self.settings: dict[str, str] = {}
        self.was_enabled = False
        self.was_running = False

    # -- observe ---------------------------------------------------------------------------------------------------

    def missing(self) -> str:
        """Return the package that has to be installed first, or nothing."""
        return "" if self.init_program() and os.path.isdir(DIRECTORY) else "ufw"

    def init_program(self) -> str:
        """Return ufw's start program, or nothing."""
        return next((path for path in INIT_PATHS if os.access(path, os.X_OK)), "")

    def families(self) -> tuple[int, ...]:
        """Return the address families that this kernel has."""
        return FAMILIES if os.path.exists("/proc/sys/net/ipv6") else (4,)

    def active(self) -> bool:
        """Return whether ufw filters now, or will after a reboot."""
        if self.missing():
            return False
        self.read_state()
        return self.was_enabled or self.was_running

    def running(self) -> bool:
        """Return whether ufw's user chains are in the live rule set."""
        return run([PROGRAM[4], "-n", "-L", "ufw-user-input"], check=False).returncode == 0

    def read_state(self) -> None:
        """Read rules and settings from the host."""
        self.settings = {**parse_settings(read_text(SETTINGS)), **parse_settings(read_text(CONFIGURATION))}
        try:
            for family in FAMILIES:
                text = read_text(os.path.join(DIRECTORY, RULES_FILES[family]), "")
                self.observed[family] = parse_rules(text, family)
        except BadTuple as error:
            raise FirewallError(f"{error}; correct or remove that line in {DIRECTORY}, then run again") from error
        self.was_enabled = self.settings.get("ENABLED", "no").lower() == "yes"
        self.was_running = self.running()

    # -- plan ------------------------------------------------------------------------------------------------------

    def candidate(self, policy: Policy) -> Candidate:
        """Observe the host and return what the policy would make of it."""
        self.policy = policy
        self.read_state()
        wished = self.wished_rules(policy)
        self.render(policy, wished)
        before, after = effective(self.observed), effective(wished)
        own_before = [entry for entry in before if entry.own]
        own_after = [entry for entry in after if entry.own]
        added, removed, kept = difference(own_before, own_after, key=lambda entry: entry)
        candidate = Candidate(
            before=self.describe(self.observed, self.settings, self.was_enabled and self.was_running),
            after=self.describe(wished, self.staged_settings(), True),
            reasons=self.reasons(wished),
            added=added,
            removed=removed,
            kept=len(kept),
            entries=after,
            foreign=[entry for entry in after if not entry.own],
            defaults={"in": policy.default_inbound, "out": policy.default_outbound},
        )
        routed = self.staged_settings().get("DEFAULT_FORWARD_POLICY", "DROP")
        if policy.default_routed is None and not self.was_enabled and routed == "ACCEPT":
            candidate.notes.append(
                "this host forwards packets, and so far without a filter: it still does; "
                "set firewall_default_routed to deny or reject to close that"
            )
        if self.settings.get("MANAGE_BUILTINS", "no").lower() == "yes":
            candidate.warnings.append(
                f"{SETTINGS} sets MANAGE_BUILTINS=yes: each start of ufw flushes the rules of Docker, fail2ban, others"
            )
        return candidate

    def wished_rules(self, policy: Policy) -> dict[int, list[UfwRule]]:
        """Return both families' rules with the policy's own ones in place."""
        own = [rule for item in policy.rules for rule in rules_from(item)]
        families = self.families()
        return {
            family: merge(
                self.observed[family],
                list(dict.fromkeys(rule for rule in own if rule.family == family and family in families)),
                is_own=lambda rule: rule.own,
                key=lambda rule: rule,
            )
            for family in FAMILIES
        }

    def describe(
        self, rules: t.Mapping[int, t.Sequence[UfwRule]], settings: t.Mapping[str, str], on: bool
    ) -> dict[str, t.Any]:
        """Return the state for the diff."""
        return {
            "backend": "ufw",
            "enabled": on,
            "default_inbound": policy_action(settings.get("DEFAULT_INPUT_POLICY", "DROP")),
            "default_outbound": policy_action(settings.get("DEFAULT_OUTPUT_POLICY", "ACCEPT")),
            "default_routed": policy_action(settings.get("DEFAULT_FORWARD_POLICY", "DROP")),
            "logging": settings.get("LOGLEVEL", "low"),
            "rules": [entry.to_dict() for entry in effective(rules)],
        }

    def reasons(self, wished: t.Mapping[int, t.Sequence[UfwRule]]) -> list[str]:
        """Return one clause for each difference between the host and the rendered candidate."""
        reasons: list[str] = []
        if not self.was_enabled:
            reasons.append("ufw is not enabled")
        for family in FAMILIES:
            if list(wished[family]) != self.observed[family]:
                reasons.append(f"the IPv{family} rules differ")
        staged = self.staged_settings()
        for key in ("IPV6", "DEFAULT_INPUT_POLICY", "DEFAULT_OUTPUT_POLICY", "DEFAULT_FORWARD_POLICY", "LOGLEVEL"):
            if staged.get(key, "").lower() != self.settings.get(key, "").lower():
                reasons.append(f"{key} is {self.settings.get(key) or 'not set'}, wished is {staged.get(key)}")
        if not reasons and any(read_text(path, "") != read_text(self.staged(path), "") for path in WRITTEN):
            reasons.append(f"files in {DIRECTORY} are not as ufw renders them")
        if self.was_enabled and not self.was_running:
            reasons.append("ufw is enabled but its chains are not loaded")
        elif self.was_enabled and not reasons:
            reasons += self.drift()
        if self.was_enabled and not self.is_persistent():
            reasons.append("ufw does not start at the next boot")
        return reasons

    def drift(self) -> list[str]:
        """Return how the live rule set differs from the rendered candidate."""
        reasons: list[str] = []
        settings = self.staged_settings()
        for family in self.families():
            live = run([SAVE[family], "-t", "filter"]).stdout
            reasons += missing_structure(live, family, settings)
            expected = self.canonical(family)
            if expected is not None and user_chains(live, family) != user_chains(expected, family):
                reasons.append(f"the live IPv{family} rules are not those of {DIRECTORY}/{RULES_FILES[family]}")
        return reasons

    def canonical(self, family: int) -> str | None:
        """Return the rendered rules as the kernel would list them, or None where no namespace can be made."""
        path = self.staged(os.path.join(DIRECTORY, RULES_FILES[family]))
        done = run(["unshare", "-n", "sh", "-c", CANONICAL, path, RESTORE[family], SAVE[family]], check=False)
        return done.stdout if done.returncode == 0 else None

    # -- render ----------------------------------------------------------------------------------------------------

    def staged(self, path: str) -> str:
        """Return where the rendered form of a file is."""
        return os.path.join(self.scratch, "new", path.lstrip("/"))

    def original(self, path: str) -> str:
        """Return where the copy of the host's file is."""
        return os.path.join(self.scratch, "old", path.lstrip("/"))

    def staged_settings(self) -> dict[str, str]:
        """Return the rendered settings."""
        settings = parse_settings(read_text(self.staged(SETTINGS)))
        return {**settings, **parse_settings(read_text(self.staged(CONFIGURATION)))}

    def render(self, policy: Policy, wished: t.Mapping[int, t.Sequence[UfwRule]], enabled: bool = True) -> None:
        """Write the complete candidate below the scratch directory with ufw's own library."""
        for kind in ("old", "new"):
            target = os.path.join(self.scratch, kind)
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(DIRECTORY, target + DIRECTORY, symlinks=True)
            os.makedirs(os.path.dirname(target + SETTINGS))
            shutil.copy2(SETTINGS, target + SETTINGS)
        for family in FAMILIES:
            write_text(self.staged(os.path.join(DIRECTORY, RULES_FILES[family])), rules_file(wished[family], family))
        settings = {
            "policies": {"incoming": policy.default_inbound, "outgoing": policy.default_outbound},
            "logging": policy.logging,
            "enabled": enabled,
        }
        routed = policy.default_routed or self.routed_to_keep()
        if routed:
            settings["policies"] = {**t.cast("dict[str, str]", settings["policies"]), "routed": routed}
        if 6 in self.families():
            self.set_ipv6()
        source = pkgutil.get_data(ufw_render.__package__ or "", "ufw_render.py")
        if source is None:
            raise FirewallError(
                "the module was shipped without ufw_render.py; report this as a fault of the collection"
            )
        arguments = [
            PYTHON,
            "-I",
            "-c",
            source.decode("utf-8"),
            os.path.join(self.scratch, "new"),
            json.dumps(settings),
        ]
        done = run(arguments, check=False)
        if done.returncode:
            lines = (done.stderr.strip() or "no message").splitlines()
            raise FirewallError(f"ufw's own library could not render the policy: {lines[-1]}")
        counts = json.loads(done.stdout.strip().splitlines()[-1])
        for family in self.families():
            if counts[str(family)] != len(wished[family]):
                raise FirewallError(
                    f"ufw accepted {counts[str(family)]} of {len(wished[family])} IPv{family} rules: "
                    f"{done.stderr.strip()}"
                )

    def routed_to_keep(self) -> str:
        """Return allow when ufw is off and the host forwards unfiltered: switching ufw on must not end that."""
        if self.was_enabled or read_text("/proc/sys/net/ipv4/ip_forward", "0").strip() != "1":
            return ""
        live = run([SAVE[4], "-t", "filter"], check=False).stdout
        return "" if ":FORWARD DROP" in live else "allow"

    def set_ipv6(self) -> None:
        """Switch IPv6 on in the rendered settings; without it ufw leaves that family to another policy."""
        path = self.staged(SETTINGS)
        lines = [line for line in read_text(path).splitlines() if not line.startswith("IPV6=")]
        if parse_settings(read_text(path)).get("IPV6", "no").lower() != "yes":
            write_text(path, "\n".join(["IPV6=yes", *lines, ""]))

    # -- rehearse --------------------------------------------------------------------------------------------------

    def rehearsal(self, candidate: Candidate) -> RehearsalPlan:  # noqa: ARG002 - the files are staged already
        """Return how the rendered candidate is tried: ufw's own start, on the staged files."""
        init = self.init_program()
        # The rehearsed rollback writes the old files over these, so they are a copy of the candidate.
        trial = os.path.join(self.scratch, "trial")
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(os.path.join(self.scratch, "new"), trial, symlinks=True)
        entries = effective(self.observed)
        default = policy_action(self.settings.get("DEFAULT_INPUT_POLICY", "DROP"))

        def admitted_before(source: str, destination: str, port: int) -> bool:
            """Return whether the old state admits a TCP connection; a stopped ufw admits everything."""
            if not (self.was_enabled and self.was_running):
                return True
            return judge(entries, default, Packet("in", "tcp", source, destination, port)).admitted

        return RehearsalPlan(
            mounts=((trial + DIRECTORY, DIRECTORY), (trial + SETTINGS, SETTINGS)),
            load=(Command((init, "start")),),
            unload=(
                Command(("cp", "-a", self.original(DIRECTORY) + "/.", DIRECTORY)),
                Command(("cp", self.original(SETTINGS), SETTINGS)),
                *self.rollback_commands(),
            ),
            admitted_before=admitted_before,
            check=self.check_staged,
        )

    def check_staged(self) -> None:
        """Let iptables-restore parse the rendered rules without loading them. Raises FirewallError."""
        for family in self.families():
            run([RESTORE[family], "--test", "--noflush", self.staged(os.path.join(DIRECTORY, RULES_FILES[family]))])

    # -- apply -----------------------------------------------------------------------------------------------------

    def snapshot_paths(self) -> list[str]:
        """Return files and directories that a rollback restores."""
        return [DIRECTORY, SETTINGS, ENABLEMENT]

    def rollback_commands(self) -> list[Command]:
        """Return the commands that make the restored files effective again.

        A ufw that did not run is only stopped, whatever its file says: that is how access was when the change began.
        """
        # What matters is what is loaded afterwards: ufw's own start, or the other manager's, which comes last.
        stop = Command((self.init_program(), "force-stop"), required=False)
        return [stop, Command((self.init_program(), "start"))] if self.was_running else [stop]

    def prepare(self) -> None:
        """Nothing to do: a ufw that is not enabled loads nothing at boot."""

    def apply(self, candidate: Candidate) -> None:  # noqa: ARG002 - the files are staged already
        """Put the rendered files into place and load them."""
        if self.policy is None:
            raise FirewallError("no candidate was made before apply")
        with ufw_lock():
            observed = {family: list(rules) for family, rules in self.observed.items()}
            self.read_state()
            if observed != self.observed:
                # fail2ban or an admin was quicker; their rules belong into the result.
                self.render(self.policy, self.wished_rules(self.policy))
            self.install()
            self.load()

    def install(self) -> None:
        """Replace every file whose rendered form differs."""
        for path in WRITTEN:
            text = read_text(self.staged(path), "")
            if text and text != read_text(path, ""):
                write_text(path, text)

    def load(self) -> None:
        """Load the installed files: at once into a complete running ufw, else by ufw's own start."""
        settings = self.staged_settings()
        live = {family: run([SAVE[family], "-t", "filter"]).stdout for family in self.families()}
        present = [
            family for family in self.families() if f":{'ufw' if family == 4 else 'ufw6'}-user-input " in live[family]
        ]
        damaged = [
            family
            for family in self.families()
            if any("does not lead" in problem for problem in missing_structure(live[family], family, settings))
        ]
        if not damaged:
            for family in self.families():
                text = read_text(os.path.join(DIRECTORY, RULES_FILES[family]))
                run([RESTORE[family], "--noflush", "-w", "10"], stdin=reload_batch(text, settings, family))
            return
        if present:
            run([self.init_program(), "force-stop"])
        for family in self.families():
            self.unhook(family)
        run([self.init_program(), "start"])
        if not self.running():
            raise FirewallError("ufw was started, but its chains are not in the live rule set")

    def unhook(self, family: int) -> None:
        """Take leftovers of ufw's chains out of the built-in ones, so that its start builds them anew."""
        prefix = "ufw-" if family == 4 else "ufw6-"
        lines = run([SAVE[family], "-t", "filter"]).stdout.splitlines()
        chains = [line[1:].split()[0] for line in lines if line.startswith(f":{prefix}")]
        if not chains:
            return
        jumps = [
            f"-D {line[3:]}"
            for line in lines
            if line.startswith(("-A INPUT ", "-A OUTPUT ", "-A FORWARD ")) and f" -j {prefix}" in line
        ]
        batch = [
            "*filter",
            *jumps,
            *(f"-F {chain}" for chain in chains),
            *(f"-X {chain}" for chain in chains),
            "COMMIT",
            "",
        ]
        run([RESTORE[family], "--noflush", "-w", "10"], stdin="\n".join(batch))

    def retire(self) -> None:
        """Stop ufw and take the own rules out of its files; the host's own ones stay in them, switched off."""
        with ufw_lock():
            self.read_state()
            foreign = {family: [rule for rule in rules if not rule.own] for family, rules in self.observed.items()}
            policy = Policy(
                default_inbound=policy_action(self.settings.get("DEFAULT_INPUT_POLICY", "DROP")),
                default_outbound=policy_action(self.settings.get("DEFAULT_OUTPUT_POLICY", "ACCEPT")),
                logging=self.settings.get("LOGLEVEL", "low"),
            )
            self.render(policy, foreign, enabled=False)
            self.install()
            run([self.init_program(), "force-stop"])

    def persist(self) -> None:
        """Let ufw start at the next boot, and check that the live rules are the files' ones."""
        run(["systemctl", "enable", "--no-reload", "ufw.service"])

    def retire_persist(self) -> None:
        """Nothing to do: ENABLED=no keeps ufw's start from loading anything."""

    def is_persistent(self) -> bool:
        """Return whether ufw starts at the next boot."""
        return unit_is("is-enabled", "ufw.service")
