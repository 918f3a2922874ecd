# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped filters do what their samples say, by fail2ban's own engine; a sample that lies is found out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.change import sample_problems
from ansible_collections.bulwark.hardening.plugins.module_utils.fail2ban.model import Filter, Sample

from . import policies

SPOOFED = "198.51.100.9"


def with_samples(entry: Filter, *samples: Sample) -> Filter:
    return dataclasses.replace(entry, samples=samples)


@pytest.fixture(scope="module")
def sshd() -> Filter:
    return policies.policy().filters[0]


def answers(tmp_path: Path, entry: Filter) -> list[str]:
    tried = dataclasses.replace(policies.policy(), filters=(entry,))
    return sample_problems(tried, policies.try_samples(tmp_path, tried))


def test_shipped_filters_do_what_their_samples_say(tmp_path: Path) -> None:
    tried = policies.policy()
    assert sample_problems(tried, policies.try_samples(tmp_path, tried)) == []


def test_shipped_samples_hold_both_kinds_and_families_and_what_an_attacker_would_try(sshd: Filter) -> None:
    addresses = [sample.address for sample in sshd.samples]
    assert addresses.count("") >= 10
    assert any(":" in address for address in addresses)
    assert any("." in address for address in addresses)
    assert {"journal", "file"} == {sample.source for sample in sshd.samples}
    spoofs = [sample for sample in sshd.samples if SPOOFED in sample.line]
    assert len(spoofs) >= 5
    assert all(sample.address != SPOOFED for sample in spoofs)


def test_a_sample_that_should_count_and_does_not_is_told(tmp_path: Path, sshd: Filter) -> None:
    problems = answers(tmp_path, with_samples(sshd, Sample("sshd[1]: hello", "192.0.2.1")))
    assert len(problems) == 1
    assert "it counts against nobody, and should count against 192.0.2.1" in problems[0]


def test_a_sample_that_should_not_count_and_does_is_told(tmp_path: Path, sshd: Filter) -> None:
    line = "sshd[1]: Failed password for root from 192.0.2.1 port 22 ssh2"
    problems = answers(tmp_path, with_samples(sshd, Sample(line, ""), Sample(line, "192.0.2.2")))
    assert [problem.split(", ")[1][:10] for problem in problems] == ["samples[0]", "samples[1]"]


def test_a_pattern_that_takes_the_first_address_is_told(tmp_path: Path, sshd: Filter) -> None:
    lazy = dataclasses.replace(
        sshd,
        fail_patterns=(r"^Failed password for .*? from <ADDR> .*$",),
        samples=tuple(sample for sample in sshd.samples if "Failed password" in sample.line),
    )
    assert any(SPOOFED in problem for problem in answers(tmp_path, lazy))


def test_a_pattern_that_is_none_is_the_answer_and_not_a_crash(tmp_path: Path, sshd: Filter) -> None:
    broken = dataclasses.replace(sshd, fail_patterns=("^(<ADDR>$",))
    problems = answers(tmp_path, broken)
    assert len(problems) == 1
    assert problems[0].startswith("filter sshd: the engine does not take it")


def test_a_guess_counts_once_whatever_its_connection_says_besides(tmp_path: Path, sshd: Filter) -> None:
    """The whole talk of five connections, as sshd wrote it at LogLevel VERBOSE, is five attempts."""
    talk = []
    for number in range(5):
        head, tail = f"sshd-session[{number + 7}]:", f"192.0.2.1 port {number + 40000}"
        talk += [
            f'{head} Connection from {tail} on 192.0.2.2 port 22 rdomain ""',
            f"{head} Invalid user oracle from {tail}",
            f"{head} Failed none for invalid user oracle from {tail} ssh2",
            f"{head} Failed password for invalid user oracle from {tail} ssh2",
            f"{head} Connection closed by invalid user oracle {tail} [preauth]",
        ]
    tried = dataclasses.replace(policies.policy(), filters=(with_samples(sshd, *(Sample(line, "") for line in talk)),))
    found = policies.try_samples(tmp_path, tried)[0]["found"]
    assert sum(len(addresses) for addresses in found) == 5


def test_a_login_after_a_connection_was_opened_is_no_attempt(tmp_path: Path, sshd: Filter) -> None:
    tail = "192.0.2.1 port 40000"
    talk = (
        f'sshd[7]: Connection from {tail} on 192.0.2.2 port 22 rdomain ""',
        f"sshd[7]: Accepted password for alice from {tail} ssh2",
        f"sshd[7]: Disconnected from authenticating user alice {tail} [preauth]",
    )
    assert answers(tmp_path, with_samples(sshd, *(Sample(line, "") for line in talk))) == []
