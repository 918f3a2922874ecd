# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates seen from where a client and a stranger stand."""

from __future__ import annotations

import time
from typing import Any

import pytest

SERVERS = ["server12", "server13"]
CLIENT = "/etc/bulwark/tls/client"
TRUST = f"{CLIENT}/trust.pem"
SUITES = ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
OTHER_SUITES = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES128-SHA256",
    "ECDHE-ECDSA-AES256-SHA",
)
PORTS = {"web": (443, "www.example.org", ""), "database": (5432, "db.example.org", "-starttls postgres")}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def shakes_hands(scenario: Any, source: str, server: str, words: str, port: int = 443, family: int = 4) -> Any:
    """Return what openssl says of a handshake."""
    address = scenario.address(server, family)
    target = f"[{address}]:{port}" if family == 6 else f"{address}:{port}"
    return scenario.host(source).run(f"openssl s_client -connect {target} -verify_return_error {words} </dev/null 2>&1")


@pytest.mark.parametrize("name", PORTS)
def test_a_client_of_the_ca_is_served_what_is_deployed(scenario: Any, server: str, name: str) -> None:
    port, server_name, start = PORTS[name]
    words = f"-CAfile {TRUST} -servername {server_name} -verify_hostname {server_name} -x509_strict {start}"
    said = shakes_hands(scenario, "client", server, words, port)
    assert said.rc == 0, said.stdout
    fingerprint = "openssl x509 -noout -fingerprint -sha256"
    directory = f"/etc/bulwark/tls/{name}/current"
    served = scenario.host("client").check_output(f"{fingerprint} <<'END'\n{said.stdout}\nEND")
    assert served == scenario.host(server).check_output(f"{fingerprint} -in {directory}/certificate.pem")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", ["www.example.org", "any.apps.example.org"])
def test_every_name_is_served(scenario: Any, server: str, name: str, family: int) -> None:
    words = f"-CAfile {TRUST} -servername {name} -verify_hostname {name}"
    assert shakes_hands(scenario, "client", server, words, family=family).rc == 0


def test_programs_that_read_the_trust_of_the_system_accept_it(scenario: Any, server: str) -> None:
    words = f"--silent --resolve www.example.org:443:{scenario.address(server)} https://www.example.org/"
    assert scenario.host("client").check_output(f"curl {words}") == "served"
    assert scenario.host("stranger").run(f"curl {words}").rc == 60


def test_a_name_that_is_not_in_it_is_refused(scenario: Any, server: str) -> None:
    said = shakes_hands(scenario, "client", server, f"-CAfile {TRUST} -verify_hostname mail.example.org")
    assert said.rc != 0
    assert "ostname mismatch" in said.stdout


@pytest.mark.parametrize("name", PORTS)
def test_who_trusts_another_ca_refuses_it(scenario: Any, server: str, name: str) -> None:
    port, _server_name, start = PORTS[name]
    said = shakes_hands(scenario, "stranger", server, f"-CAfile /root/unknown.pem {start}", port)
    assert said.rc != 0
    assert "unable to get local issuer certificate" in said.stdout or "self-signed" in said.stdout


@pytest.mark.parametrize(("days", "words"), [(31, "certificate has expired"), (-1, "certificate is not yet valid")])
@pytest.mark.parametrize("name", PORTS)
def test_nobody_accepts_it_at_another_time(scenario: Any, server: str, name: str, days: int, words: str) -> None:
    """A client whose clock shows the day after its end, or the day before its beginning."""
    port, _server_name, start = PORTS[name]
    then = int(time.time()) + days * 86400
    said = shakes_hands(scenario, "client", server, f"-CAfile {TRUST} -attime {then} {start}", port)
    assert said.rc != 0
    assert words in said.stdout


@pytest.mark.parametrize("name", PORTS)
def test_only_the_suites_that_are_wished_are_spoken(scenario: Any, server: str, name: str) -> None:
    port, _server_name, start = PORTS[name]
    for suite in SUITES:
        words = f"-CAfile {TRUST} -tls1_2 -cipher {suite} {start}"
        assert shakes_hands(scenario, "client", server, words, port).rc == 0, suite
    assert shakes_hands(scenario, "client", server, f"-CAfile {TRUST} -tls1_3 {start}", port).rc == 0
    for suite in OTHER_SUITES:
        words = f"-CAfile {TRUST} -tls1_2 -cipher {suite} {start}"
        assert shakes_hands(scenario, "client", server, words, port).rc != 0, suite
    words = f"-CAfile {TRUST} -tls1_1 -cipher DEFAULT@SECLEVEL=0 {start}"
    assert shakes_hands(scenario, "client", server, words, port).rc != 0


def fetch(scenario: Any, source: str, server: str, words: str) -> str:
    address = scenario.address(server)
    resolve = f"--resolve machines.example.org:8443:{address}"
    done = scenario.host(source).run(f"curl --silent {resolve} {words} https://machines.example.org:8443/")
    return str(done.stdout)


def test_machines_get_in_with_a_certificate_of_the_ca_only(scenario: Any, server: str) -> None:
    own = f"--cert {CLIENT}/current/full_chain.pem --key {CLIENT}/current/key.pem"
    assert fetch(scenario, "client", server, f"--cacert {TRUST} {own}") == "served to CN=client.example.org\n"
    assert "served" not in fetch(scenario, "client", server, f"--cacert {TRUST}")
    intruder = "--cacert /root/root.pem --cert /root/intruder.pem --key /root/intruder.key"
    assert "served" not in fetch(scenario, "stranger", server, intruder)
    assert "served" not in fetch(scenario, "stranger", server, "--cacert /root/root.pem")
    expired = "--cacert /root/root.pem --cert /root/expired.pem --key /root/expired.key"
    assert "served" not in fetch(scenario, "stranger", server, expired)


def connect(scenario: Any, source: str, server: str, words: str) -> str:
    """Return what PostgreSQL says to somebody who has no password."""
    settings = f"host=db.example.org hostaddr={scenario.address(server)} user=alice dbname=postgres sslmode=verify-full"
    done = scenario.host(source).run(f"psql --no-password '{settings} {words}' -c 'select 1' 2>&1")
    return str(done.stdout)


def test_postgresql_asks_for_a_password_only_with_a_certificate(scenario: Any, server: str) -> None:
    own = f"sslrootcert={TRUST} sslcert={CLIENT}/current/full_chain.pem sslkey={CLIENT}/current/key.pem"
    assert "no password supplied" in connect(scenario, "client", server, own)
    none = f"sslrootcert={TRUST} sslcert=/none"
    assert "requires a valid client certificate" in connect(scenario, "client", server, none)
    intruder = "sslrootcert=/root/root.pem sslcert=/root/intruder.pem sslkey=/root/intruder.key"
    said = connect(scenario, "stranger", server, intruder)
    assert "unknown ca" in said.lower()
    assert "no password supplied" not in said
    expired = "sslrootcert=/root/root.pem sslcert=/root/expired.pem sslkey=/root/expired.key"
    said = connect(scenario, "stranger", server, expired)
    assert "certificate expired" in said.lower()
    assert "no password supplied" not in said
    wrong = "sslrootcert=/root/unknown.pem"
    assert "certificate verify failed" in connect(scenario, "stranger", server, wrong)


@pytest.mark.parametrize(
    ("name", "mode", "group"), [("web", 0o600, "root"), ("machines", 0o600, "root"), ("database", 0o640, "postgres")]
)
def test_only_the_consumer_reads_a_key(scenario: Any, server: str, name: str, mode: int, group: str) -> None:
    key = scenario.host(server).file(f"/etc/bulwark/tls/{name}/current/key.pem")
    assert (key.mode, key.user, key.group) == (mode, "root", group)
    assert scenario.host(server).file(f"/etc/bulwark/tls/{name}/trust.pem").mode == 0o644


def test_a_life_is_as_short_as_wished(scenario: Any, server: str) -> None:
    for name, days in (("web", 30), ("database", 10)):
        certificate = f"/etc/bulwark/tls/{name}/current/certificate.pem"
        check = f"openssl x509 -noout -in {certificate} -checkend"
        assert scenario.host(server).run(f"{check} {days * 86400 + 60}").rc == 1
        assert scenario.host(server).run(f"{check} {days * 86400 - 3600}").rc == 0
