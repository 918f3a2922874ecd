# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host does with nobody but itself: report, metrics, and a renewal that needs no controller."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import change, on_host, policy, x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction import files, locks

from . import pki
from .box import UNIT, Box
from .exposition import parse
from .test_change import LaterClock, box, serving

__all__ = ["box", "serving"]


class Lonely:
    """A host that runs the program on what it has kept."""

    def __init__(self, box: Box, capsys: pytest.CaptureFixture[str]) -> None:
        self.box = box
        self.capsys = capsys
        self.clock = box.clock = LaterClock()
        self.metrics = box.path / "metrics"
        self.metrics.mkdir()
        self.place = box.path / "policy.json"
        self.keep()

    def keep(self, **wished: Any) -> None:
        arguments = {**self.box.arguments(**wished), "metrics_directory": str(self.metrics)}
        self.place.write_bytes(policy.pack(arguments))

    def run(self, command: str) -> tuple[int, list[str], list[str]]:
        """Return the exit code, what was told, and what needs a person."""

        def make(arguments: Any, check_mode: bool, alone: bool) -> change.Change:
            return change.Change(
                arguments,
                check_mode,
                self.box.store,
                self.clock,
                self.box.trust,
                self.box.bundles,
                alone=alone,
                credentials=self.box.credentials,
            )

        self.capsys.readouterr()
        code = on_host.run(command, lambda: policy.read(str(self.place)), make)
        out, err = self.capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    def samples(self) -> dict[str, dict[Any, float]]:
        return parse((self.metrics / "bulwark_certificates.prom").read_text())


@pytest.fixture
def lonely(serving: Box, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Lonely:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    return Lonely(serving, capsys)


def test_a_host_on_which_all_is_well_says_so(lonely: Lonely) -> None:
    code, out, err = lonely.run("report")
    assert (code, err) == (0, [])
    assert "serves it" in "\n".join(out)
    assert stat.S_IMODE((lonely.metrics / "bulwark_certificates.prom").stat().st_mode) == 0o644
    assert set(lonely.samples()["bulwark_certificate_served"].values()) == {1}
    assert lonely.run("renew") == (0, ["everything is as it should be"], [])
    assert lonely.box.loads == []


def test_a_certificate_that_waits_for_the_controller_is_left_alone_and_told_in_time(lonely: Lonely) -> None:
    deployed = lonely.box.deployed()
    lonely.clock.days = 21
    code, out, err = lonely.run("renew")
    assert (code, err) == (0, [])
    assert out[0].startswith("web: two thirds of its life are over")
    assert out[0].endswith("this waits for the controller")
    assert lonely.run("report")[0] == 0
    lonely.clock.days = 26
    code, _out, err = lonely.run("report")
    assert code == 1
    assert len(err) == 1
    assert "and was not renewed; run the role tls from the controller" in err[0]
    lonely.clock.days = 31
    assert "it expired at" in lonely.run("report")[2][0]
    assert lonely.run("renew")[0] == 0
    assert lonely.box.deployed() == deployed
    assert lonely.box.loads == []


def test_what_is_served_and_not_deployed_is_told_and_mended(lonely: Lonely) -> None:
    box = lonely.box
    server = box.servers[UNIT]
    pem, key = box.path / "other.pem", box.path / "other.key"
    key.write_bytes(x509.make_key("ecdsa_p256"))
    pem.write_bytes(pki.leaf(box.ca, key.read_bytes()) + box.ca.generation.chain)
    deployed, server.paths = server.paths, (str(pem), str(key))
    server.load()
    server.paths = deployed
    code, _out, err = lonely.run("report")
    assert code == 1
    assert "serves another one; systemctl start bulwark-certificates-renew.service" in err[0]
    assert box.loads == [], "a report changes nothing"
    assert sorted(lonely.samples()["bulwark_certificate_served"].values()) == [0, 1]
    code, out, err = lonely.run("renew")
    assert (code, err) == (0, [])
    assert "serves another one" in out[0]
    assert box.loads == [UNIT]
    assert box.fingerprints() == {box.deployed()}
    assert lonely.run("report")[0] == 0


def test_a_service_that_does_not_load_makes_the_renewal_fail(lonely: Lonely) -> None:
    (lonely.box.path / "tls/web/proven").unlink()
    lonely.box.broken[UNIT] = "it does not reload"
    code, _out, err = lonely.run("renew")
    assert code == 1
    assert f"{UNIT} does not use it: it does not reload" in err[0]
    assert "was not shown to use it" in lonely.run("report")[2][0]


def test_what_the_controller_has_begun_is_finished_or_left_to_it(lonely: Lonely) -> None:
    box = lonely.box
    before = box.deployed()
    names = ["www.example.org", "new.example.org"]
    lonely.keep(names=names)
    planned = box.plan(names=names)
    staged = {path.name: path.read_bytes() for path in (box.path / "tls/web/v0002.staged").iterdir()}
    # The controller has not answered yet: its request must still be there when it does.
    assert lonely.run("renew")[0] == 0
    assert {path.name: path.read_bytes() for path in (box.path / "tls/web/v0002.staged").iterdir()} == staged
    assert box.deployed() == before
    (issued,) = box.issue(planned, names=names)
    box.store.add_certificate("web", issued["certificate"].encode(), issued["chain"].encode())
    # It has answered, and died before the swap.
    code, out, err = lonely.run("renew")
    assert (code, err) == (0, []), out
    assert box.deployed() != before
    assert box.fingerprints() == {box.deployed()}


def test_a_wrong_candidate_is_not_taken_and_not_thrown_away(lonely: Lonely, stranger: pki.TestCA) -> None:
    box = lonely.box
    before = box.deployed()
    lonely.clock.days = 21
    box.plan()
    key = box.store.read_staged("web", "key.pem")
    assert key
    box.store.add_certificate("web", pki.leaf(stranger, key), stranger.generation.chain)
    assert lonely.run("renew")[0] == 0
    assert box.deployed() == before
    assert box.store.read_staged("web", "key.pem") == key


def test_a_certificate_that_is_gone_is_told(lonely: Lonely) -> None:
    lonely.keep(name="other")
    code, out, err = lonely.run("report")
    assert code == 1
    assert len(err) == 1
    assert err[0].startswith("other: no certificate is deployed; run the role tls from the controller")
    assert out == ["other: nothing is deployed"]
    assert lonely.run("renew")[0] == 0


def test_a_damaged_policy_is_one_sentence(lonely: Lonely) -> None:
    lonely.place.write_bytes(lonely.place.read_bytes().replace(b"www.", b"xxx."))
    for command in ("report", "renew"):
        code, out, err = lonely.run(command)
        assert (code, out) == (1, [])
        assert len(err) == 1
        assert "is damaged: it is not what the role wrote" in err[0]


def test_a_full_disk_keeps_the_metrics_before_and_is_told(lonely: Lonely, monkeypatch: pytest.MonkeyPatch) -> None:
    lonely.run("report")
    path = lonely.metrics / "bulwark_certificates.prom"
    before = path.read_text()
    real = os.write
    # It takes some, and then no more.
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:100]) and full())
    code, out, err = lonely.run("report")
    monkeypatch.undo()
    assert code == 1
    assert "the metrics cannot be written" in err[-1]
    assert "No space left on device" in err[-1]
    assert "serves it" in "\n".join(out)
    assert path.read_text() == before
    assert list(lonely.metrics.iterdir()) == [path]


def full() -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_report_comes_although_the_store_cannot_be_locked(lonely: Lonely, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_host, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(locks.Lock, "acquire", lambda *_words: False)
    code, out, err = lonely.run("report")
    assert code == 1
    assert "has been working on" in err[0]
    assert "serves it" in "\n".join(out)


def test_metrics_go_nowhere_unless_somebody_reads_them(
    lonely: Lonely, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_host.write_metrics({"metrics_directory": ""}, "x")
    monkeypatch.setattr(policy, "METRICS_DIRECTORY", str(tmp_path / "none"))
    on_host.write_metrics({}, "x")
    with pytest.raises(CertificateError, match="set tls_metrics_directory"):
        on_host.write_metrics({"metrics_directory": str(tmp_path / "other")}, "x")


def test_alarm_units_find_the_sentences(lonely: Lonely, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "runtime"
    place.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(place))
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    lonely.clock.days = 26
    _code, _out, err = lonely.run("report")
    assert err[0].startswith("<3>web: it expires")
    assert (place / "report").read_text() == f"{err[0][3:]}\n"
    lonely.clock.days = 1
    assert lonely.run("report")[0] == 0
    assert (place / "report").read_text() == ""
    # Somewhere to leave them is a help, not a condition.
    monkeypatch.setattr(files, "write_file", lambda *_words: full())
    lonely.keep(name="other")
    assert lonely.run("renew")[0] == 0


def test_the_arguments_say_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        on_host.main(["nothing"])
    assert "report" in capsys.readouterr().err
    assert on_host.main(["report", "--policy", str(tmp_path / "none")]) == 1
