# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What real hosts do about their certificates while no controller is there: mend, tell, raise the alarm.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from tests.integration_hosts.test_certificates import PACKAGES, RELEASES, STORE, WEB, Host, attempt, disposable
from tests.unit.plugins.module_utils.certificates import pki
from tests.unit.plugins.module_utils.certificates.exposition import parse

METRICS = "/var/lib/prometheus/node-exporter"
FILE = f"{METRICS}/bulwark_certificates.prom"
PROGRAM = "/usr/local/lib/bulwark/certificates.pyz"
REPORT, RENEW = "bulwark-certificates-report.service", "bulwark-certificates-renew.service"
UNITS = f"{REPORT} {RENEW} 'bulwark-certificates-alarm@*.service' site-alarm@{REPORT} site-alarm@{RENEW}"
SITE_ALARM = """
[Service]
Type=oneshot
ExecStart=/usr/bin/touch /root/site-alarm-%i
"""
# What the log of a unit must not show: the words of a program that did not expect what it met.
SURPRISE = re.compile(r"Traceback|Error:|Exception")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


class Alone:
    """A host, and the policy that was deployed on it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.shell = host.shell
        self.since = "today"

    @property
    def policy(self) -> dict[str, Any]:
        return self.host.policy(alarm_units=["site-alarm@%n.service"])

    def converge(self) -> None:
        """Let the controller put everything right, and find that it is."""
        done = self.host.run(self.policy)
        assert done["failed"] is False, done
        self.settle()
        again = self.host.run(self.policy)
        assert (again["changed"], again["reasons"]) == (False, [])
        self.forget()

    def settle(self) -> None:
        """Wait for the report that a deployment starts."""
        self.shell(f"while systemctl is-active {REPORT} | grep -q activating; do sleep 0.1; done")

    def forget(self) -> None:
        """Let what follows be seen apart from what was."""
        self.shell(f"rm -f /root/site-alarm-*; systemctl reset-failed {UNITS} 2>/dev/null", check=False)
        # Not a cursor: with a filter, journalctl of Debian 12 leaves out the first line after it.
        self.since = self.shell("date +@%s.%6N").stdout.strip()

    def journal(self, words: str) -> str:
        return self.shell(f"journalctl --no-pager -o cat --since='{self.since}' {words}", check=False).stdout

    def start(self, unit: str) -> bool:
        """Do what the timer does."""
        return self.shell(f"systemctl start {unit}", check=False).returncode == 0

    def said(self, unit: str) -> list[str]:
        """Return what a unit has told a person, that is, at the priority of errors."""
        return [line for line in self.journal(f"-p err _SYSTEMD_UNIT={unit}").splitlines() if line.strip()]

    def alarm(self, unit: str) -> list[str]:
        """Return the sentences of the alarm that this unit has raised; fails unless all of it is as it should be."""
        # The units of an alarm start after the one that failed.
        log = f"journalctl -o cat --since='{self.since}' -t bulwark-certificates"
        came = f"[ -e /root/site-alarm-{unit} ] && {log} | grep -q 'tries it again'"
        self.shell(f"for i in $(seq 100); do {came} && break; sleep 0.1; done")
        assert unit in self.shell("systemctl --failed --plain --no-legend").stdout
        assert self.shell(f"ls /root/site-alarm-{unit}", check=False).returncode == 0, "the site's unit did not start"
        # The journal need not know the unit of a program that is as short as this.
        *found, last = self.journal("-p err -t bulwark-certificates").splitlines()
        assert last.startswith(f"{unit} failed: systemctl status {unit} shows")
        return found

    def no_surprise(self, unit: str) -> None:
        log = self.journal(f"-u {unit}")
        assert not SURPRISE.search(log), log

    def samples(self) -> dict[str, dict[Any, float]]:
        return parse(self.shell(f"cat {FILE}").stdout)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    packages = f"{PACKAGES},prometheus-node-exporter"
    with disposable(f"tls-report-{os.getpid()}", tmp_path_factory.mktemp("controller"), packages) as hosts:
        for host in hosts.values():
            host.shell("cat > /etc/systemd/system/site-alarm@.service; systemctl daemon-reload", SITE_ALARM)
        yield hosts


@pytest.fixture(params=RELEASES)
def alone(hosts: dict[str, Host], request: pytest.FixtureRequest) -> Alone:
    """A host on which all is well."""
    found = Alone(hosts[str(request.param)])
    found.converge()
    assert found.start(REPORT), found.said(REPORT)
    return found


def test_timers_wait_and_a_second_run_is_one_call_that_changes_nothing(alone: Alone) -> None:
    for name in ("report", "renew"):
        shown = alone.shell(f"systemctl show -P ActiveState -P UnitFileState bulwark-certificates-{name}.timer").stdout
        assert shown.split() == ["active", "enabled"]
    before = alone.shell(f"stat -c '%n %a %U %z' {STORE}/policy.json {PROGRAM}; ls -l --full-time /etc/systemd/system")
    done = alone.host.run(alone.policy)
    assert done["changed"] is False
    assert done["words"].count("Using module file") == 1
    after = alone.shell(f"stat -c '%n %a %U %z' {STORE}/policy.json {PROGRAM}; ls -l --full-time /etc/systemd/system")
    assert after.stdout == before.stdout
    assert f"{STORE}/policy.json 600 root" in after.stdout
    assert f"{PROGRAM} 644 root" in after.stdout
    assert str(alone.host.controller.directory) not in alone.shell(f"cat {STORE}/policy.json").stdout


def test_the_units_may_do_little(alone: Alone) -> None:
    for unit, most in ((REPORT, 2.5), (RENEW, 3.5), ("bulwark-certificates-alarm@report.service", 2.0)):
        told = alone.shell(f"systemd-analyze security --no-pager {unit}").stdout
        match = re.search(r"exposure level for \S+: ([0-9.]+)", told)
        assert match, told
        print(f"{alone.host.name}: {unit} {match[1]}")
        assert float(match[1]) <= most


def test_the_node_exporter_hands_on_what_is_true(alone: Alone) -> None:
    assert alone.shell(f"stat -c '%a %U:%G' {FILE}").stdout.split() == ["644", "root:root"]
    read = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9100/metrics').read().decode())"
    exported = alone.shell(f'python3 -c "{read}"').stdout
    assert re.search(r"^node_textfile_scrape_error 0$", exported, re.MULTILINE)
    samples = alone.samples()
    for name, values in samples.items():
        assert len(re.findall(rf"^{name}(?:{{| )", exported, re.MULTILINE)) == len(values)
    assert set(samples["bulwark_certificate_served"].values()) == {1}
    assert len(samples["bulwark_certificate_served"]) == 2
    assert samples["bulwark_certificates_findings"] == {(): 0}
    end = alone.shell(f"date -d \"$(openssl x509 -noout -enddate -in {STORE}/web/current/certificate.pem | "
                      "cut -d= -f2)\" +%s").stdout  # fmt: skip
    ends = {dict(labels)["name"]: value for labels, value in samples[
        "bulwark_certificate_not_after_timestamp_seconds"].items()}  # fmt: skip
    assert ends["web"] == int(end)


def test_prometheus_itself_has_nothing_to_say_against_the_metrics(alone: Alone) -> None:
    """With promtool out of its package, which is not installed: before Debian 13 it is the one of the server."""
    package = "prometheus" if alone.host.name == "debian12" else "promtool"
    alone.shell(
        "cd /root && [ -e tool/usr/bin/promtool ] || "
        f"{{ apt-get -qq update && apt-get -qq download {package} && dpkg -x {package}_*.deb tool; }}"
    )
    done = alone.shell(f"/root/tool/usr/bin/promtool check metrics < {FILE}", check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_server_that_serves_an_old_file_is_told_and_mended_by_the_timers_service(alone: Alone) -> None:
    host = alone.host
    served = host.proves()
    configuration = "/etc/nginx/conf.d/tls.conf"
    alone.shell(
        "cd /root && openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -subj /CN=o -days 1;"
        f"sed -i.keep -e 's#{STORE}/web/current/full_chain#/root/other#' {configuration};"
        f"sed -i -e 's#{STORE}/web/current/key.pem#/root/other.key#' {configuration};"
        f"systemctl restart nginx && mv {configuration}.keep {configuration}"
    )
    assert not alone.start(REPORT)
    (sentence,) = alone.alarm(REPORT)
    assert sentence.startswith(f"web: 127.0.0.1:443 ({WEB}) serves another one; systemctl start {RENEW} puts it right")
    assert sorted(alone.samples()["bulwark_certificate_served"].values()) == [0, 1]
    assert alone.start(RENEW)
    assert host.proves() == served
    assert alone.start(REPORT)
    assert "bulwark" not in alone.shell("systemctl --failed --plain --no-legend").stdout
    assert host.run(alone.policy)["changed"] is False


def test_a_link_that_somebody_turned_is_served_after_the_next_renewal(alone: Alone) -> None:
    host = alone.host
    host.run({**alone.policy, "renew": ["web"]})
    served = host.proves()
    versions = alone.shell(f"cd {STORE}/web && readlink current && ls -d v????").stdout.split()
    before = next(version for version in sorted(versions[1:]) if version != versions[0])
    alone.shell(f"ln -sfn {before} {STORE}/web/current")
    assert alone.start(RENEW), alone.said(RENEW)
    assert host.proves()[0] != served[0]
    assert alone.start(REPORT)


def test_a_service_that_cannot_load_makes_the_renewal_fail_and_says_so(alone: Alone) -> None:
    alone.shell(f"echo 'nonsense;' > /etc/nginx/conf.d/broken.conf; rm {STORE}/web/proven")
    try:
        assert not alone.start(RENEW)
        (sentence,) = alone.alarm(RENEW)
        assert sentence.startswith("web: nginx.service does not use it: /usr/sbin/nginx -t fails: ")
        assert "nonsense" in sentence
    finally:
        alone.shell("rm /etc/nginx/conf.d/broken.conf")
    assert alone.start(RENEW)


def aged(alone: Alone, days: float) -> None:
    """Deploy certificates of 30 days that were issued so many days ago."""
    policy = alone.host.policy((WEB, f"day{days}.example.org".replace(".", "-", 1)))
    assert attempt(alone.host, policy, age=timedelta(days=days))
    # The driver lets the host keep nothing; the kept policy has other names.
    alone.shell(f"python3 - {STORE}/policy.json", KEEP_NAMES.format(names=policy["certificates"]))


# Writes a policy with other certificates, as the role would have.
KEEP_NAMES = """
import json, sys
sys.path.insert(0, "/usr/local/lib/bulwark/certificates.pyz")
from bulwark.certificates import policy
kept = policy.read(sys.argv[1])
open(sys.argv[1], "wb").write(policy.pack({{**kept, "certificates": {names!r}}}))
"""


def test_a_certificate_that_nobody_renews_raises_the_alarm_while_there_is_time(alone: Alone) -> None:
    aged(alone, 22)
    assert alone.start(RENEW), "what waits for the controller is no failure"
    log = alone.journal(f"-u {RENEW}")
    assert "web: two thirds of its life are over" in log
    assert "this waits for the controller" in log
    assert alone.start(REPORT), alone.said(REPORT)
    aged(alone, 26)
    alone.forget()
    assert not alone.start(REPORT)
    found = alone.alarm(REPORT)
    assert [sentence.partition(":")[0] for sentence in found] == ["web", "database"]
    for sentence in found:
        assert re.fullmatch(
            r"\w+: it expires at \S+Z, in 3 days, and was not renewed; "
            "run the role tls from the controller, and see why it did not run or what it said", sentence,
        )  # fmt: skip
    assert alone.samples()["bulwark_certificates_findings"] == {(): 2}
    alone.host.proves()


def test_a_certificate_that_expired_is_told(alone: Alone) -> None:
    key = x509.make_key("ecdsa_p256")
    ca = alone.host.controller.ca
    pem = pki.leaf(ca, key, start=timedelta(days=-30), life=timedelta(days=29)).decode()
    current = f"{STORE}/web/current"
    alone.shell(f"cat > {current}/key.pem", key.decode())
    alone.shell(f"cat > {current}/certificate.pem", pem)
    alone.shell(f"cat > {current}/full_chain.pem; systemctl reload nginx", pem + ca.generation.chain.decode())
    alone.shell("sleep 1")
    assert not alone.start(REPORT)
    (sentence,) = alone.alarm(REPORT)
    assert re.match(r"web: it expired at \S+Z; run the role tls", sentence)
    end = dict(alone.samples()["bulwark_certificate_not_after_timestamp_seconds"])
    assert min(end.values()) < datetime.now(timezone.utc).timestamp()


@pytest.mark.parametrize("damage", ["truncate -s 300", "truncate -s 0", "sed -i s/www/xxx/", "rm"])
def test_a_damaged_policy_is_one_sentence_and_an_alarm_and_the_role_mends_it(alone: Alone, damage: str) -> None:
    alone.shell(f"{damage} {STORE}/policy.json")
    for unit in (REPORT, RENEW):
        alone.forget()
        assert not alone.start(unit)
        (sentence,) = alone.alarm(unit)
        alone.no_surprise(unit)
        assert sentence.startswith(f"{STORE}/policy.json ")
        assert sentence.endswith("; run the role tls, which writes it again")
    done = alone.host.run(alone.policy)
    assert done["reasons"] == [
        f"what lets the host look after its certificates alone is not as it should be: {STORE}/policy.json"
    ]
    assert alone.host.run(alone.policy)["changed"] is False


def test_a_program_that_cannot_start_raises_the_alarm_too(alone: Alone) -> None:
    alone.shell(f"truncate -s 100 {PROGRAM}")
    assert not alone.start(REPORT)
    assert alone.alarm(REPORT) == []
    assert PROGRAM in alone.host.run(alone.policy)["reasons"][0]
    assert alone.start(REPORT)


def test_a_full_disk_is_one_sentence_and_harms_nothing(alone: Alone) -> None:
    alone.shell(f"mount -t tmpfs -o size=32k,mode=0755 none {METRICS}")
    try:
        assert alone.start(REPORT)
        before = alone.shell(f"cat {FILE}").stdout
        alone.shell(f"head -c 1M /dev/zero > {METRICS}/filling 2>/dev/null", check=False)
        assert not alone.start(REPORT)
        (sentence,) = alone.alarm(REPORT)
        alone.no_surprise(REPORT)
        assert sentence.startswith(f"the metrics cannot be written to {METRICS}: No space left on device; make room")
        assert alone.shell(f"cat {FILE}").stdout == before
        assert alone.shell(f"ls -A {METRICS}").stdout.split() == ["bulwark_certificates.prom", "filling"]
    finally:
        alone.shell(f"umount {METRICS}")
    alone.forget()
    alone.shell(f"rm -rf /root/store; cp -a {STORE} /root/store; mount -t tmpfs -o size=512k,mode=0755 none {STORE}")
    alone.shell(
        f"cp -a /root/store/. {STORE}; rm {STORE}/web/proven; head -c 1M /dev/zero > {STORE}/filling", check=False
    )
    try:
        assert not alone.start(RENEW)
        (sentence,) = alone.alarm(RENEW)
        alone.no_surprise(RENEW)
        assert "No space left on device" in sentence
        assert alone.host.served("tls") == alone.host.deployed("web")
        alone.shell(f"rm {STORE}/filling")
        assert alone.start(RENEW)
    finally:
        alone.shell(f"umount {STORE}")


# Reads the metrics as often as it can, and says how often, and what it read that was not whole.
READER = """
import os, sys
reads, broken, names = 0, 0, set()
while os.path.exists("/root/reading"):
    text = open(sys.argv[1]).read()
    reads += 1
    broken += not text.endswith("\\n") or "bulwark_certificates_report_timestamp_seconds " not in text[-80:]
    names |= {name for name in os.listdir(os.path.dirname(sys.argv[1])) if name.endswith(".prom")}
print(reads, broken, *names)
"""


def test_nobody_ever_reads_half_of_the_metrics(alone: Alone) -> None:
    """While reports come one after the other, and every second one is killed somewhere."""
    alone.shell("touch /root/reading; cat > /root/reader.py", READER)
    alone.shell(f"systemd-run --quiet --unit=reader -p StandardOutput=file:/root/read python3 /root/reader.py {FILE}")
    kills = "; ".join(
        f"timeout -s KILL {delay / 100} python3 -I {PROGRAM} report >/dev/null" for delay in range(10, 50, 2)
    )
    alone.shell(f"{kills}; python3 -I {PROGRAM} report", check=False)
    read = alone.shell(
        "rm /root/reading; while systemctl is-active --quiet reader; do sleep 0.1; done; cat /root/read"
    ).stdout.split()
    print(f"{alone.host.name}: {read[0]} reads")
    assert int(read[0]) > 100
    assert read[1:] == ["0", "bulwark_certificates.prom"]
    alone.samples()


def test_a_host_that_has_no_certificates_any_more_keeps_nothing(alone: Alone) -> None:
    """The last one, because it takes away what the others look at."""
    policy = {**alone.policy, "certificates": []}
    done = alone.host.run(policy, "--check", "--diff")
    assert done["changed"] is True
    assert alone.shell(f"ls {PROGRAM}").returncode == 0
    done = alone.host.run(policy)
    assert (done["failed"], done["changed"]) == (False, True)
    assert alone.host.run(policy)["changed"] is False
    assert "bulwark" not in alone.shell("systemctl list-units --all --plain --no-legend 'bulwark*'").stdout
    units = "/etc/systemd/system"
    places = f"{units}/bulwark-certificates* {units}/timers.target.wants/bulwark* /run/bulwark-certificates"
    left = alone.shell(f"ls -d {FILE} {PROGRAM} {STORE}/policy.json {places}", check=False)
    assert left.stdout == ""
