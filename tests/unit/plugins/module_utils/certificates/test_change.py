# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Issue, renew, refuse, put back; and what is left when a run ends anywhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import (
    consumers,
    probe,
    serve,
    x509,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError
from ansible_collections.bulwark.hardening.plugins.module_utils.transaction.clock import Clock

from . import pki
from .box import UNIT, UNITS, Box
from .listener import TLSServer
from .test_system_trust import System


class LaterClock(Clock):
    """The real clock, some days on."""

    days = 0.0

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + timedelta(days=self.days)


@pytest.fixture
def box(tmp_path: Path, ca: pki.TestCA, monkeypatch: pytest.MonkeyPatch) -> Box:
    box = Box(tmp_path, ca)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(consumers, "units", box.units)
    monkeypatch.setattr(consumers, "check", box.check)
    monkeypatch.setattr(consumers, "load", box.load)
    monkeypatch.setattr(serve, "PROVE_SECONDS", 0.6)
    monkeypatch.setattr(serve, "POLL_SECONDS", 0.01)
    return box


@pytest.fixture
def serving(box: Box) -> Iterator[Box]:
    """A box whose services serve what was deployed, proven."""
    box.run()
    with box.serving():
        box.run()
        assert box.plan()["changed"] is False
        box.loads.clear()
        yield box


def test_check_mode_changes_nothing_and_says_what_is_due(box: Box) -> None:
    planned = box.plan(check_mode=True)
    assert planned["reasons"] == ["web: no certificate is deployed", box.bundle_reason]
    assert planned["requests"] == []
    assert planned["diff"]["before"]["web"]["version"] == 0
    assert planned["diff"]["after"]["web"]["names"] == ["www.example.org"]
    assert not (box.path / "tls").exists()


def test_a_certificate_is_issued_and_a_second_run_changes_nothing(box: Box) -> None:
    done = box.run()
    assert done["changed"] is True
    assert done["certificates"][0]["version"] == 1
    assert done["diff"]["after"]["web"]["fingerprint"] == box.deployed()
    key = Path(box.current("key.pem"))
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert box.plan()["changed"] is False
    assert box.plan(check_mode=True)["changed"] is False
    assert key.read_text() not in str(done)


def test_the_key_stays_on_the_host_and_is_asked_for_once(box: Box) -> None:
    first, second = box.plan(), box.plan()
    assert first["requests"] == second["requests"]
    assert "PRIVATE" not in str(first)
    key = (box.path / "tls/web/v0001.staged/key.pem").read_text()
    assert key.split("\n")[1] not in str(first)


def test_another_wish_takes_another_request(box: Box) -> None:
    first = box.plan()
    second = box.plan(names=["mail.example.org"])
    assert first["requests"] != second["requests"]
    assert x509.request_facts(second["requests"][0]["request"].encode()).names == ("mail.example.org",)
    third = box.plan(key_type="ecdsa_p384")
    assert x509.request_facts(third["requests"][0]["request"].encode()).key_type == "ecdsa_p384"
    assert list(box.store.versions("web")) == [1]


def test_services_serve_what_is_deployed_after_a_renewal(serving: Box) -> None:
    before = serving.deployed()
    serving.renew = ["web"]
    done = serving.run()
    assert done["reasons"] == ["web: its renewal was asked for"]
    assert "failed" not in done
    assert serving.deployed() != before
    assert serving.fingerprints() == {serving.deployed()}
    assert sorted(serving.loads) == sorted(UNITS)
    serving.renew = []
    assert serving.plan()["changed"] is False


def test_two_thirds_of_a_life_are_enough(box: Box) -> None:
    clock = box.clock = LaterClock()
    box.run()
    clock.days = 16
    assert box.plan()["changed"] is False
    clock.days = 21
    assert "two thirds of its life are over" in box.plan()["reasons"][0]


def test_a_listener_that_serves_something_else_is_reloaded(serving: Box) -> None:
    server = serving.servers[UNIT]
    pem, key = serving.path / "other.pem", serving.path / "other.key"
    key.write_bytes(x509.make_key("ecdsa_p256"))
    pem.write_bytes(pki.leaf(serving.ca, key.read_bytes()) + serving.ca.generation.chain)
    deployed, server.paths = server.paths, (str(pem), str(key))
    server.load()
    server.paths = deployed
    planned = serving.plan()
    assert planned["reasons"] == [f"web: 127.0.0.1:{server.port} (www.example.org) serves another one"]
    assert planned["requests"] == []
    assert "failed" not in serving.deploy([])
    assert serving.fingerprints() == {serving.deployed()}
    assert serving.loads == [UNIT]


@pytest.mark.parametrize("complaint", ["it does not reload", ""])
@pytest.mark.parametrize("unit", UNITS)
def test_what_is_not_served_is_put_back_and_the_task_fails(serving: Box, unit: str, complaint: str) -> None:
    before = serving.deployed()
    serving.broken[unit] = complaint
    done = serving.run(names=["www.example.org", "new.example.org"])
    assert done["failed"] is True
    if complaint:
        # The service does not reload for the old one either, which it still serves.
        assert f"{unit} does not use it: {complaint}; the one before it is back" in done["msg"]
    else:
        assert "serves another one; the one before it is back, and served" in done["msg"]
    assert serving.deployed() == before
    assert serving.fingerprints() == {before}
    # It works again: the same candidate is swapped in, without another request.
    serving.broken.clear()
    planned = serving.plan(names=["www.example.org", "new.example.org"])
    assert planned["due"] == ["web"]
    assert planned["requests"] == []
    assert "failed" not in serving.deploy([], names=["www.example.org", "new.example.org"])
    assert serving.fingerprints() == {serving.deployed()} != {before}


def test_a_configuration_that_is_not_accepted_is_never_loaded(serving: Box) -> None:
    before = serving.deployed()
    serving.refused = "/usr/sbin/nginx -t fails: unknown directive"
    done = serving.run(names=["www.example.org", "new.example.org"])
    assert "unknown directive; the one before it is back, and served" in done["msg"]
    assert serving.loads == []
    assert serving.deployed() == before


def test_a_service_that_does_not_run_is_left_alone(serving: Box) -> None:
    serving.inactive = set(UNITS)
    done = serving.run(names=["www.example.org", "new.example.org"])
    assert "failed" not in done
    assert serving.loads == []


def test_a_service_that_has_not_heard_of_its_first_certificate_is_told_about(box: Box) -> None:
    pem, key = box.path / "snakeoil.pem", box.path / "snakeoil.key"
    key.write_bytes(x509.make_key("ecdsa_p256"))
    pem.write_bytes(pki.leaf(box.ca, key.read_bytes()))
    with TLSServer(str(pem), str(key)) as server:
        box.servers[UNIT] = server
        done = box.run()
        assert "failed" not in done
        assert f"let its configuration name {box.current('full_chain.pem')}" in done["warnings"][-1]
        # In the next run it must.
        again = box.run()
        assert again["failed"] is True
        assert "there is no certificate before it to put back" in again["msg"]
        server.paths = (box.current("full_chain.pem"), box.current("key.pem"))
        assert "failed" not in box.run()
        assert box.plan()["changed"] is False


def bad_candidates(box: Box, stranger: pki.TestCA) -> dict[str, Any]:
    def by(ca: pki.TestCA, **values: Any) -> Any:
        def alter(entry: dict[str, str]) -> None:
            key = box.store.read_staged("web", "key.pem")
            assert key
            entry["certificate"] = pki.leaf(ca, key, **values).decode()

        return alter

    def other_key(entry: dict[str, str]) -> None:
        entry["certificate"] = pki.leaf(box.ca, x509.make_key("ecdsa_p256")).decode()

    return {
        "expired at": by(box.ca, life=timedelta(minutes=1)),
        "is not valid before": by(box.ca, start=timedelta(minutes=5)),
        "it does not stand for www.example.org": by(box.ca, names=("www.example.com",)),
        "refuses it: unable to get local issuer certificate": by(stranger),
        "the private key belongs to another certificate": other_key,
        "accepted are at most 90": by(box.ca, life=timedelta(days=92)),
        "not allowed for use as server": by(box.ca, usages=("client",)),
        "certificate of a CA": by(box.ca, is_authority=True),
        "there is no certificate in it": lambda entry: entry.update(certificate="", chain=""),
        "cannot be read": lambda entry: entry.update(
            certificate="-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n"
        ),
        "unable to get local issuer": lambda entry: entry.update(chain=""),
    }


def test_a_wrong_candidate_is_refused_before_the_swap(serving: Box, stranger: pki.TestCA) -> None:
    before = serving.deployed()
    for word, alter in bad_candidates(serving, stranger).items():
        done = serving.run(
            alter, key_type="ecdsa_p384" if "other" in word else "ecdsa_p256", usages=["server"], life_days=29
        )
        assert word in done["msg"], done["msg"]
        assert "the new certificate is refused" in done["msg"]
        assert "the old one stays" in done["msg"]
        assert serving.deployed() == before
        assert serving.fingerprints() == {before}
        assert list(serving.store.versions("web").values()) == [False]
    assert serving.loads == []


def test_a_wrong_first_candidate_leaves_nothing(box: Box, stranger: pki.TestCA) -> None:
    for word, alter in bad_candidates(box, stranger).items():
        done = box.run(alter)
        assert word in done["msg"]
        assert "nothing is deployed" in done["msg"]
        assert not Path(box.current("key.pem")).exists()


def test_a_key_that_somebody_exchanged_is_noticed_and_replaced(serving: Box) -> None:
    Path(serving.current("key.pem")).write_bytes(x509.make_key("ecdsa_p256"))
    done = serving.run()
    assert done["reasons"][0] == "web: its key does not belong to it"
    assert "failed" not in done
    assert serving.fingerprints() == {serving.deployed()}


def test_a_mode_that_somebody_changed_is_repaired_without_a_new_certificate(serving: Box) -> None:
    before = serving.deployed()
    Path(serving.current("key.pem")).chmod(0o644)
    assert serving.run()["reasons"] == ["web: its key has mode 0644 and should have 0600"]
    assert stat.S_IMODE(Path(serving.current("key.pem")).stat().st_mode) == 0o600
    assert serving.deployed() == before
    assert serving.plan()["changed"] is False


class Keeper:
    """Keeps the names of certificates."""

    def __init__(self) -> None:
        self.kept: list[Any] = []

    def names(self, arguments: Any) -> list[Any]:
        return [entry["names"] for entry in arguments["certificates"]]

    def reasons(self, arguments: Any) -> list[str]:
        return [] if self.kept == self.names(arguments) else ["what is kept differs"]

    def difference(self, arguments: Any) -> tuple[dict[str, str], dict[str, str]]:
        return {"/kept": str(self.kept)}, {"/kept": str(self.names(arguments))}

    def apply(self, arguments: Any) -> None:
        self.kept = self.names(arguments)


def test_a_host_keeps_what_was_carried_out(serving: Box) -> None:
    keeper = serving.keeper = Keeper()
    for check_mode in (True, False):
        planned = serving.plan(check_mode)
        assert (planned["changed"], planned["reasons"]) == (True, ["what is kept differs"])
        assert planned["diff"] == {"before": {"/kept": "[]"}, "after": {"/kept": "[['www.example.org']]"}}
        assert keeper.kept == []
    done = serving.run()
    assert done["diff"]["after"] == {"/kept": "[['www.example.org']]"}
    assert serving.plan()["changed"] is False
    # What failed is not what the host shall go on with.
    serving.broken[UNIT] = "it does not reload"
    done = serving.run(names=["www.example.org", "new.example.org"])
    assert done["failed"] is True
    assert "/kept" not in done["diff"]["after"]
    assert keeper.kept == [["www.example.org"]]
    serving.broken.clear()
    serving.run(names=["www.example.org", "new.example.org"])
    assert keeper.kept == [["www.example.org", "new.example.org"]]


def test_another_ca_takes_another_certificate(serving: Box, root: pki.TestCA, tmp_path: Path) -> None:
    serving.ca = pki.make_ca(tmp_path, "next", below=root)
    done = serving.run()
    assert "another CA than that of ca signed it" in done["reasons"][0]
    assert "failed" not in done
    assert serving.fingerprints() == {serving.deployed()}


def test_a_ca_is_replaced_by_trusting_both_for_a_while(serving: Box, stranger: pki.TestCA) -> None:
    old, new, first = serving.ca, stranger, serving.deployed()
    trust = Path(serving.path / "tls/web/trust.pem")
    others = ["web: the certificates that its consumers trust are others", serving.bundle_reason]
    # The new one is trusted, and the old one still signs.
    serving.also_trusted = [new]
    assert serving.run()["reasons"] == others
    assert set(trust.read_text().split("-----BEGIN")) == set((new.trust + old.trust).split("-----BEGIN"))
    assert sorted(serving.loads) == sorted(UNITS), "services read whom to trust anew"
    assert serving.deployed() == first
    assert serving.plan()["changed"] is False
    # The new one signs.
    serving.ca, serving.also_trusted = new, [old]
    assert "another CA" in serving.run()["reasons"][0]
    assert serving.fingerprints() == {serving.deployed()} != {first}
    assert serving.plan()["changed"] is False
    # The old one is forgotten.
    serving.also_trusted = []
    assert serving.run()["reasons"] == others
    assert trust.read_text() == new.trust
    assert serving.plan()["changed"] is False


def test_an_acme_server_is_asked_once_and_by_the_host(box: Box) -> None:
    box.acme = True
    assert box.plan(check_mode=True)["reasons"] == ["web: no certificate is deployed", box.bundle_reason]
    planned = box.plan()
    assert (planned["due"], planned["requests"], box.acme_server.asked) == (["web"], [], [])
    done = box.run()
    assert "failed" not in done
    assert done["certificates"][0]["fingerprint"] == box.deployed()
    assert len(box.acme_server.asked) == 1
    # It is longer and for more than is the default here, and not due again for that.
    assert box.plan()["changed"] is False


def test_an_acme_certificate_is_renewed_without_the_controller(box: Box) -> None:
    box.acme, box.clock = True, (clock := LaterClock())
    box.acme_server.values = {"life": timedelta(hours=3)}
    box.run()
    before = box.deployed()
    assert "failed" not in box.deploy(None)
    assert box.deployed() == before
    clock.days = 0.05
    box.acme_server.values = {}
    done = box.deploy(None)
    assert "two thirds of its life are over" in done["reasons"][0]
    assert "failed" not in done
    assert box.deployed() != before
    assert len(set(box.acme_server.asked)) == 2, "a new key each time"


def test_what_the_controller_must_sign_waits_for_it(serving: Box) -> None:
    before = serving.deployed()
    serving.clock = clock = LaterClock()
    clock.days = 21
    done = serving.deploy(None)
    assert "failed" not in done
    assert "two thirds of its life are over" in done["warnings"][0]
    assert "run the role, the controller must issue it" in done["warnings"][0]
    assert (serving.deployed(), serving.loads) == (before, [])


def test_an_acme_server_that_does_not_answer_leaves_the_old_one(box: Box) -> None:
    box.acme = True
    box.acme_server.complaint = "cannot be reached: connection refused"
    first, second = box.run(), box.run()
    assert first["failed"] is True
    assert first["msg"] == second["msg"]
    assert first["msg"].startswith(
        "web: https://acme.example.org/dir cannot be reached: connection refused; nothing is"
    )
    assert "the next run tries again with the same key" in first["msg"]
    box.acme_server.complaint = ""
    assert "failed" not in box.run()
    assert len(set(box.acme_server.asked)) == 1
    before = box.deployed()
    box.acme_server.complaint = "cannot be reached: connection refused"
    done = box.run(names=["www.example.org", "new.example.org"])
    assert "the old one stays, and the next run tries again" in done["msg"]
    assert box.deployed() == before


def test_what_an_acme_server_issued_is_not_ordered_again(box: Box, stranger: pki.TestCA) -> None:
    box.acme = True
    trusted, box.ca = box.ca, stranger
    told = box.ordering()["authorities"][0]
    box.acme_server.values = {"life": timedelta(days=91)}
    for _run in range(3):
        done = box.run()
        assert "it lives 91 days; accepted are at most 90; nothing is deployed" in done["msg"]
        assert "or another with tls_renew: [web]" in done["msg"]
    assert len(box.acme_server.asked) == 1
    box.acme_server.values = {}
    box.renew = ["web"]
    told["trust"] = trusted.trust
    box.told = told
    for renew, count in ((["web"], 2), ([], 2)):
        box.renew = renew
        done = box.run()
        assert "refuses it: unable to get local issuer certificate" in done["msg"]
        assert len(box.acme_server.asked) == count
    # Consumers trust its CA now: what lies there is taken.
    box.told = None
    assert "failed" not in box.run()
    assert len(box.acme_server.asked) == 2
    assert box.plan()["changed"] is False


def test_a_refused_answer_is_ordered_again_when_it_would_be_due(box: Box) -> None:
    box.acme, box.clock = True, (clock := LaterClock())
    box.acme_server.values = {"life": timedelta(days=91)}
    box.run()
    clock.days = 70
    box.acme_server.values = {}
    assert "failed" not in box.run()
    assert len(set(box.acme_server.asked)) == 1
    assert len(box.acme_server.asked) == 2


def test_another_kind_of_issuer_takes_another_certificate(serving: Box) -> None:
    serving.acme = True
    assert serving.run()["reasons"] == ["web: it was not issued by https://acme.example.org/dir"]
    assert serving.fingerprints() == {serving.deployed()}
    assert serving.plan()["changed"] is False
    serving.acme = False
    assert "it is for client and server and should be for server" in serving.run()["reasons"][0]
    assert not Path(serving.current("issued_by")).exists()
    assert serving.plan()["changed"] is False


def test_nobody_but_root_and_nobody_unknown(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CertificateError, match=r"tls_certificates \(web\).group: there is no group nobodys"):
        box.plan(group="nobodys")
    with pytest.raises(CertificateError, match=r"tls_certificates\[0\].life_days: 91"):
        box.plan(life_days=91)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CertificateError, match="by root only"):
        box.plan()


class Killed(BaseException):
    """The process ends here."""


# Every step would take a minute.
STRIDE = 13
WRITING = ("mkdir", "rename", "symlink", "fsync", "fchmod", "fchown", "write")
STEPS = ("write", "mkdir", "rename", "symlink", "fsync", "unlink", "rmdir", "fchmod", "fchown", "open")


class Reaper:
    """Ends the process at the n-th step; or lets the next that writes fail, and all of its kind that follow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, box: Box) -> None:
        self.left = -1
        self.error: OSError | None = None
        self.failing = ""
        self.steps = 0
        for name in STEPS:
            self.watch(monkeypatch, os, name, getattr(os, name))
        for name in ("load", "check"):
            self.watch(monkeypatch, consumers, name, getattr(box, name))
        self.watch(monkeypatch, probe, "ask", probe.ask)

    def watch(self, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, real: Any) -> None:
        def step(*arguments: Any, **options: Any) -> Any:
            self.tick(name)
            return real(*arguments, **options)

        monkeypatch.setattr(place, name, step)

    def tick(self, name: str) -> None:
        self.steps += 1
        if self.left == 0 and self.error is None:
            raise Killed
        if self.error and self.left <= 0 and not self.failing and name in WRITING:
            self.failing = name
        if self.failing == name and self.error:
            raise self.error
        self.left -= 1


def test_a_run_that_ends_anywhere_is_finished_by_the_next(serving: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    reaper = Reaper(monkeypatch, serving)
    wishes: list[dict[str, Any]] = [{"names": ["www.example.org", f"{word}.example.org"]} for word in ("one", "two")]
    assert "failed" not in serving.run(**wishes[0])
    points = 0
    for number, point in enumerate(range(0, reaper.steps, STRIDE)):
        wish = wishes[(number + 1) % 2]
        reaper.left = point
        try:
            serving.run(**wish)
        except Killed:
            points += 1
        reaper.left = -1
        # Whatever was interrupted: what is deployed belongs together, and what is served is valid.
        serving.deployed()
        assert len(serving.fingerprints()) <= 2
        assert "failed" not in serving.run(**wish), point
        assert serving.fingerprints() == {serving.deployed()}, point
        assert serving.plan(**wish)["changed"] is False, point
        (facts,) = x509.parse_chain(Path(serving.current("certificate.pem")).read_bytes())
        assert set(facts.names) == set(wish["names"])
    assert points >= 30


def test_the_system_trusts_a_ca_before_a_certificate_of_it_is_served(box: Box, tmp_path: Path) -> None:
    box.trust, box.trusted = System(tmp_path).trust, True
    assert box.plan(check_mode=True)["reasons"] == [
        "web: no certificate is deployed",
        box.bundle_reason,
        "the system does not trust CN=root",
    ]
    assert box.run()["changed"] is True
    assert box.plan()["changed"] is False
    box.trusted = False
    done = box.run()
    assert done["changed"] is True
    assert "which no issuer wishes any more" in done["reasons"][0]
    assert box.plan()["changed"] is False


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_fails_anywhere_is_one_sentence_and_harms_nothing(
    serving: Box, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    reaper = Reaper(monkeypatch, serving)
    wishes: list[dict[str, Any]] = [{"names": ["www.example.org", f"{word}.example.org"]} for word in ("one", "two")]
    assert "failed" not in serving.run(**wishes[0])
    points = 0
    for count, point in enumerate(range(0, reaper.steps, 2 * STRIDE)):
        wish = wishes[(count + 1) % 2]
        reaper.left, reaper.error = point, OSError(number, os.strerror(number))
        try:
            said = str(serving.run(**wish).get("msg", ""))
        except CertificateError as error:
            said = str(error)
        failed, reaper.left, reaper.error, reaper.failing = reaper.failing, -1, None, ""
        if failed:
            points += 1
            assert os.strerror(number) in said, (point, failed, said)
            assert str(serving.path) in said
        serving.deployed()
        serving.fingerprints()
        assert "failed" not in serving.run(**wish), point
        assert serving.fingerprints() == {serving.deployed()}, point
        assert serving.plan(**wish)["changed"] is False, point
    assert points >= 5


@pytest.fixture
def pool(serving: Box) -> Box:
    """Two instances that are taken out of use before they are restarted; `said` has what was done, in turn."""
    log = serving.path / "said"
    log.touch()
    for unit in UNITS:
        serving.further[unit] = {
            "on_change": "restart",
            **{
                f"{when}_restart": ["/bin/sh", "-c", f"echo {when} {unit} >> {log}; test ! -e {serving.path}/{when}"]
                for when in ("before", "after")
            },
        }
    return serving


def said(pool: Box) -> list[str]:
    """Return what was done since the last look, restarts among it."""
    log = pool.path / "said"
    lines = log.read_text().splitlines()
    log.write_text("")
    return lines


def spoken(pool: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let restarts be written between the commands."""

    def load(service: Any, unit: consumers.Unit) -> str:
        with (pool.path / "said").open("a") as log:
            log.write(f"restart {service.unit}\n")
        return pool.load(service, unit)

    monkeypatch.setattr(consumers, "load", load)


def turn(unit: str, restarts: int = 1) -> list[str]:
    return [f"before {unit}", *[f"restart {unit}"] * restarts, f"after {unit}"]


def test_instances_are_out_of_use_in_turn_while_they_are_restarted(pool: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken(pool, monkeypatch)
    pool.renew = ["web"]
    assert "failed" not in pool.run()
    database, web = sorted(UNITS)
    assert said(pool) == [*turn(database), *turn(web)]
    assert pool.fingerprints() == {pool.deployed()}
    pool.renew = []
    assert pool.run()["changed"] is False
    assert said(pool) == []


def test_an_instance_that_cannot_be_taken_out_is_not_restarted(pool: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken(pool, monkeypatch)
    (pool.path / "before").touch()
    before = pool.deployed()
    pool.renew = ["web"]
    done = pool.run()
    assert done["failed"] is True
    assert "before_restart (/bin/sh -c" in done["msg"]
    assert "the one before it is back, and served" in done["msg"]
    assert said(pool) == [f"before {min(UNITS)}", f"after {min(UNITS)}"]
    assert pool.fingerprints() == {pool.deployed()} == {before}


@pytest.mark.parametrize("broken", UNITS)
def test_an_instance_is_put_in_again_after_what_was_before_is_back(
    pool: Box, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    spoken(pool, monkeypatch)
    pool.broken[broken] = "it does not start"
    before = pool.deployed()
    pool.renew = ["web"]
    assert pool.run()["failed"] is True
    lines = said(pool)
    first = min(UNITS)
    # It stays out until it was tried with what was before; nothing else is out with it.
    tried = turn(broken, restarts=6)
    assert lines == (tried if broken == first else [*turn(first), *tried])
    assert pool.deployed() == before
    assert pool.store.taken_out() == set()


def test_nothing_else_is_taken_out_while_an_instance_cannot_be_put_in(
    pool: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken(pool, monkeypatch)
    (pool.path / "after").touch()
    pool.renew = ["web"]
    done = pool.run()
    assert done["failed"] is True
    first, second = sorted(UNITS)
    assert f"{first} is still out of use: after_restart" in done["msg"]
    assert f"before {second}" not in said(pool)
    (pool.path / "after").unlink()
    pool.renew = []
    done = pool.run()
    assert "failed" not in done, done
    assert f"web: {first} was taken out of use for a restart and not put in again" in done["reasons"]
    assert said(pool)[0] == f"before {first}"
    assert pool.store.taken_out() == set()
    assert pool.fingerprints() == {pool.deployed()}
    assert pool.run()["changed"] is False


@pytest.mark.parametrize("died", ["before", "restart", "after"])
@pytest.mark.parametrize("unit", UNITS)
def test_what_a_run_that_died_left_out_of_use_is_put_in_first(
    pool: Box, monkeypatch: pytest.MonkeyPatch, unit: str, died: str
) -> None:
    class Died(Exception):
        """The process is gone; nothing that would follow happens."""

    call, gone = consumers.call, False

    def dies(option: str, argv: Any) -> str:
        nonlocal gone
        gone = gone or (option == f"{died}_restart" and unit in argv[-1])
        if gone:
            raise Died
        return call(option, argv)

    def load(service: Any, state: consumers.Unit) -> str:
        nonlocal gone
        gone = gone or (died == "restart" and service.unit == unit)
        if gone:
            raise Died
        return pool.load(service, state)

    pool.renew = ["web"]
    planned = pool.plan()
    issued = pool.issue(planned)
    with monkeypatch.context() as dying:
        dying.setattr(consumers, "call", dies)
        dying.setattr(consumers, "load", load)
        with pytest.raises(Died):
            pool.deploy(issued)
    assert pool.store.taken_out() == {unit}
    said(pool)
    spoken(pool, monkeypatch)
    pool.renew = []
    done = pool.run()
    assert "failed" not in done, done
    assert said(pool)[:3] == turn(unit)
    assert pool.store.taken_out() == set()
    assert pool.fingerprints() == {pool.deployed()}
    assert pool.run()["changed"] is False
