# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What testssl.sh says of nginx and PostgreSQL from another host: nothing above low that is not explained here."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.integration_hosts.test_certificates import DATABASE, WEB

from .world import CLIENT_DIRECTORY, Failed, World

EXPLAINED = {
    "cert_revocation": "nobody asks a private CA for revocations; a short life takes their place",
    "engine_problem": "is about OpenSSL on the host of the scanner",
    "sessionresumption_ticket": "the scanner does not wait for the tickets of TLS 1.3; none is of any use",
    "sessionresumption_ID": "the same, since OpenSSL gives such tickets the name of session IDs",
}
# What begins in clear is never graded; nobody can talk a client out of TLS that insists on it, as sslmode=verify-full.
STARTS_IN_CLEAR = "STARTTLS is prone to MITM"
ABOVE_LOW = ("MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL")
# All that it knows but the simulation of clients, which takes most of the time and is not judged.
ASPECTS = ("--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--headers", "--vulnerable")
SUITES = {
    "nginx": {"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"},
    "PostgreSQL": {"ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"},
}
OFFERED = {"SSLv2": False, "SSLv3": False, "TLS1": False, "TLS1_1": False, "TLS1_2": True, "TLS1_3": True}
PORTS = {"nginx": 443, "PostgreSQL": 5432}
TARGETS = {
    "nginx": f"https://{WEB}:{PORTS['nginx']}",
    "PostgreSQL": f"--starttls postgres {DATABASE}:{PORTS['PostgreSQL']}",
}
CLIENTS = {"nginx": f"-servername {WEB}", "PostgreSQL": f"-servername {DATABASE} -starttls postgres"}
# The Debian package brings the program without its ending.
PROGRAM = "testssl --quiet --warnings off --color 0 --nodns none"
# Its own limits are for certificates of a year. Ours live 30 days: a third is left when they are due, a sixth at the
# alarm.
WARNED_DAYS = "DAYS2WARN1=9 DAYS2WARN2=5"


def scan(world: World, count: int) -> None:
    """Scan so many listeners, first each service on another server."""
    services = list(TARGETS)
    jobs = [
        (server.name, server.address, services[(number + turn) % len(services)])
        for turn in range(len(services))
        for number, server in enumerate(world.servers)
    ][:count]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda job: findings(world, *job), jobs))
    faults = []
    for (name, address, service), found in zip(jobs, answers, strict=True):
        wrong = judge(service, found) + resumptions(world, service, address)
        severities = [entry["severity"] for entry in found]
        counts = ", ".join(f"{severities.count(kind)} {kind}" for kind in dict.fromkeys(severities))
        print(f"testssl.sh of {service} on {name}: {counts}", flush=True)
        for identifier in sorted({entry["id"] for entry in found if above_low(entry)} & set(EXPLAINED)):
            print(f"    {identifier}: {EXPLAINED[identifier]}")
        faults += [f"{service} on {name}: {fault}" for fault in wrong]
    if faults:
        raise Failed("; ".join(faults))


def findings(world: World, name: str, address: str, service: str) -> list[dict[str, Any]]:
    """Return what the scanner finds, which is given the CA that a client of it has."""
    file = f"/root/{service}-{name}.json"
    words = f"--jsonfile {file} --add-ca {CLIENT_DIRECTORY}/trust.pem --ip {address}"
    done = world.client(f"rm -f {file}; {WARNED_DAYS} {PROGRAM} {words} {' '.join(ASPECTS)} {TARGETS[service]}")
    (world.logs / f"testssl-{service}-{name}.txt").write_text(done.stdout + done.stderr)
    content = world.client(f"cat {file}", check=True).stdout
    found: list[dict[str, Any]] = json.loads(content)
    return found


def resumptions(world: World, service: str, address: str) -> list[str]:
    """Return the protocols whose sessions are resumed, which would be worth as much as the keys of their tickets."""
    connect = f"openssl s_client -connect {address}:{PORTS[service]} {CLIENTS[service]}"
    faults = []
    for protocol in ("tls1_2", "tls1_3"):
        file = f"/root/{service}-{address}-{protocol}.session"
        words = f"rm -f {file}; sleep 0.5 | {connect} -{protocol} -sess_out {file} >/dev/null 2>&1; test -s {file} && "
        told = world.client(f"{words}{connect} -{protocol} -sess_in {file} </dev/null 2>/dev/null").stdout
        # Without a session that could be resumed, nothing is told.
        if "\nReused, " in told:
            faults.append(f"a session of {protocol} is resumed")
        elif told and "\nNew, " not in told:
            faults.append(f"whether a session of {protocol} is resumed cannot be told")
    return faults


def above_low(entry: dict[str, Any]) -> bool:
    return entry["severity"] in ABOVE_LOW


def judge(service: str, found: list[dict[str, Any]]) -> list[str]:
    """Return what is above low and not explained, and where protocols and suites are not exactly the wished ones."""
    faults = [
        f"{entry['severity']} {entry['id']}: {entry['finding']}"
        for entry in found
        if above_low(entry) and entry["id"] not in EXPLAINED and entry["id"] != "overall_grade"
    ]
    by_name = {entry["id"]: str(entry["finding"]) for entry in found}
    caps = [said for name, said in by_name.items() if name.startswith("grade_cap_reason")]
    if by_name.get("overall_grade") not in ("A+", "A") and not (len(caps) == 1 and STARTS_IN_CLEAR in caps[0]):
        faults.append(f"the grade is {by_name.get('overall_grade')}: {'; '.join(caps)}")
    for protocol, wished in OFFERED.items():
        said = by_name.get(protocol, "nothing")
        if not said.startswith("offered" if wished else "not offered"):
            faults.append(f"{protocol} is {said}")
    if not by_name.get("cert_chain_of_trust", "").startswith("passed"):
        faults.append(f"the chain of trust is {by_name.get('cert_chain_of_trust')}")
    spoken = {
        match[0] for name, said in by_name.items() if name.startswith("cipher-tls1_2_") and (match := suite(said))
    }
    if spoken != SUITES[service]:
        faults.append(f"the suites of TLS 1.2 are {', '.join(sorted(spoken)) or 'not told'}")
    return faults


def suite(said: str) -> re.Match[str] | None:
    """Return OpenSSL's name of a suite."""
    return re.search(r"\b(?:ECDHE|DHE|AES|RSA|PSK|CAMELLIA|ARIA|DES|NULL|ADH|AECDH)[A-Z0-9]*-[A-Z0-9-]+", said)
