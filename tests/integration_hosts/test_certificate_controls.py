# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controls of TLS on real hosts with nginx and PostgreSQL: weak before, proven after, and each fails alone.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.filter.baseline_policy import baseline_policy
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from tests.integration_hosts import controls_program
from tests.integration_hosts.test_certificates import (
    ANSIBLE,
    HOSTS,
    PACKAGES,
    PATIENCE_SECONDS,
    RELEASES,
    REPOSITORY,
    STORE,
    Controller,
    Host,
    keep_timers_waiting,
)
from tests.unit.plugins.module_utils.certificates import pki

WEB, MACHINES, DATABASE = "www.example.org", "machines.example.org", "db.example.org"
SUITES = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
NGINX_FILE = "/etc/nginx/conf.d/tls.conf"
NGINX = f"""
server {{
  listen 443 ssl;
  server_name {WEB};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ciphers {SUITES};
  ssl_certificate {STORE}/web/current/full_chain.pem;
  ssl_certificate_key {STORE}/web/current/key.pem;
  location / {{ return 200 "served\\n"; }}
}}
server {{
  listen 8443 ssl;
  server_name {MACHINES};
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ciphers {SUITES};
  ssl_certificate {STORE}/machines/current/full_chain.pem;
  ssl_certificate_key {STORE}/machines/current/key.pem;
  ssl_client_certificate {STORE}/machines/trust.pem;
  ssl_verify_client on;
  ssl_verify_depth 2;
  location / {{ return 200 "served\\n"; }}
}}
"""
POSTGRESQL = f"""
listen_addresses = '*'
ssl = on
ssl_min_protocol_version = 'TLSv1.2'
ssl_ciphers = '{SUITES}'
ssl_cert_file = '{STORE}/database/current/full_chain.pem'
ssl_key_file = '{STORE}/database/current/key.pem'
ssl_ca_file = '{STORE}/database/trust.pem'
"""
ACCESS = "local all all peer\\nhostssl all all all scram-sha-256 clientcert=verify-ca\\n"
# What a careless operator has: certificates of their own, and whatever any client speaks.
WEAK_NGINX = "".join(
    f"""
server {{
  listen {port} ssl;
  server_name {name};
  ssl_protocols TLSv1 TLSv1.1 TLSv1.2;
  ssl_ciphers ALL:@SECLEVEL=0;
  ssl_certificate /root/other/full_chain.pem;
  ssl_certificate_key /root/other/key.pem;
}}
"""
    for port, name in ((443, WEB), (8443, MACHINES))
)
TRIES = 30
# Gives a file a list of more users: the owner as before, user 65534 reads, and a mask for it.
ACCESS_LIST = (
    "import os, struct; entries = [(1, 6, -1), (2, 4, 65534), (4, 0, -1), (16, 4, -1), (32, 0, -1)];"
    " os.setxattr('{path}', 'system.posix_acl_access', struct.pack('<I', 2)"
    " + b''.join(struct.pack('<HHI', tag, rights, who & 0xffffffff) for tag, rights, who in entries))"
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


class Observed:
    """A host with its certificates and the controls that the catalogue has for them."""

    def __init__(self, host: Host, ssh_config: str) -> None:
        self.host = host
        self.directory = f"/etc/postgresql/{RELEASES[host.name]}/main"
        self._ssh = ["ssh", "-F", ssh_config, f"root@{host.name}"]

    def policy(self) -> dict[str, Any]:
        controller = self.host.controller
        generation = {"certificate_file": controller.chain, "key_file": controller.key}
        both = ["server", "client"]

        def certificate(name: str, server_name: str, unit: str, **listener: Any) -> dict[str, Any]:
            service = {"unit": unit, "listeners": [listener]}
            return {"name": name, "issuer": "internal", "names": [server_name], "usages": both, "services": [service]}

        database = certificate(
            "database",
            DATABASE,
            self.host.postgresql,
            port=5432,
            protocol="postgresql",
            require_client_certificate=True,
        )
        return {
            "issuers": [{"name": "internal", "kind": "private_ca", "generations": [generation]}],
            "certificates": [
                certificate("web", WEB, "nginx.service", port=443, protocol="https"),
                certificate(
                    "machines", MACHINES, "nginx.service", port=8443, protocol="https", require_client_certificate=True
                ),
                {**database, "group": "postgres", "key_type": "rsa_3072"},
            ],
        }

    def controls(self, **variables: Any) -> list[dict[str, Any]]:
        """Return the rows of TLS as the baseline makes them of the operator's variables."""
        declared = variables or {f"tls_{name}": value for name, value in self.policy().items()}
        version = self.host.name.removeprefix("debian")
        facts = {"os_family": "Debian", "distribution": "Debian", "distribution_version": version}
        policy = baseline_policy(declared, facts)
        assert policy["problems"] == []
        return [entry for entry in policy["controls"] if entry["id"].startswith("TLS-")]

    def install(self) -> None:
        program = controls_program.packed()
        subprocess.run([*self._ssh, controls_program.UNPACK], input=program, check=True, timeout=PATIENCE_SECONDS)

    def observe(self, controls: list[dict[str, Any]] | None = None) -> dict[str, dict[str, str]]:
        given = json.dumps(self.controls() if controls is None else controls)
        answer = json.loads(self.host.shell(f"{controls_program.DRIVER} evaluate", given).stdout)
        return {control["id"]: control for control in answer["controls"]}

    def becomes(self, expected: dict[str, str]) -> dict[str, dict[str, str]]:
        """Return the controls once only these have another verdict than pass; a reload takes a moment."""
        seen: dict[str, dict[str, str]] = {}
        for _try in range(TRIES):
            seen = self.observe()
            if other(seen) == expected:
                break
            time.sleep(1)
        assert other(seen) == expected, seen
        return seen

    def reload(self) -> None:
        self.host.shell(f"systemctl reload nginx.service {self.host.postgresql}")

    def write(self) -> None:
        """Bring the configuration of both servers to what it should be."""
        self.host.shell(f"cat > {NGINX_FILE}", NGINX)
        self.host.shell(f"cat > {self.directory}/conf.d/tls.conf", POSTGRESQL)
        self.host.shell(f"printf '{ACCESS}' > {self.directory}/pg_hba.conf")


def other(seen: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: control["verdict"] for name, control in seen.items() if control["verdict"] != "pass"}


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Observed]]:
    group = f"tls-controls-{os.getpid()}"
    controller = Controller(tmp_path_factory.mktemp("controller"))
    try:
        install = [word for release in RELEASES for word in ("--install", f"{release}={PACKAGES},python3-cryptography")]
        names = [f"{release}={release}" for release in RELEASES]
        subprocess.run([*HOSTS, "up", "--group", group, *install, *names], check=True, timeout=900)
        ssh_config, inventory = (
            subprocess.run([*HOSTS, what, "--group", group], capture_output=True, text=True, check=True).stdout.strip()
            for what in ("ssh-config", "inventory")
        )
        made = {release: Observed(Host(release, ssh_config, inventory, controller), ssh_config) for release in RELEASES}
        for host in made.values():
            host.install()
            keep_timers_waiting(host.host)
            set_up(host)
        yield made
    finally:
        subprocess.run([*HOSTS, "down", "--group", group], check=True, timeout=300)


def set_up(observed: Observed) -> None:
    """Look at a weak host, then let the role and its operator do their work."""
    host = observed.host
    bring_others(host)
    host.shell(f"cat > {NGINX_FILE}", WEAK_NGINX)
    host.shell(
        f"printf \"ssl_min_protocol_version = 'TLSv1'\\nssl_ciphers = 'ALL:@SECLEVEL=0'\\n\""
        f" > {observed.directory}/conf.d/tls.conf && systemctl restart nginx.service {host.postgresql}"
    )
    names = ("TLS-01", "TLS-02", "TLS-03", "TLS-04", "TLS-05")
    weak = observed.becomes(dict.fromkeys(names, "fail"))
    assert "TLS 1.0: spoken" in weak["TLS-01"]["observed"]
    assert "with no certificate is let in" in weak["TLS-03"]["observed"]
    # Unless something is declared there is nothing to say.
    nothing = observed.observe(observed.controls(tls_certificates=[]))
    assert {name: control["verdict"] for name, control in nothing.items()} == dict.fromkeys(names, "not_applicable")
    assert all("declared" in control["reason"] for control in nothing.values())
    first = host.run(observed.policy())
    assert "certificates" in first, first
    observed.write()
    host.shell(f"systemctl restart nginx.service {host.postgresql}")
    assert host.run(observed.policy())["failed"] is False
    # Two versions of each, so that there is an old one too.
    assert host.run({**observed.policy(), "renew": ["web", "machines", "database"]})["failed"] is False


def bring_others(host: Host) -> None:
    """Put certificates for the same names where the role does not look, as good as any, but others."""
    for name, server_name, key_type in (("other", WEB, "ecdsa_p256"), ("database", DATABASE, "rsa_3072")):
        key = x509.make_key(key_type)
        pair = {
            "full_chain.pem": pki.leaf(host.controller.ca, key, (server_name,)) + host.controller.ca.generation.chain,
            "key.pem": key,
        }
        for file, content in pair.items():
            host.shell(f"umask 077; mkdir -p /root/{name} && cat > /root/{name}/{file}", content.decode())
    host.shell("cp -r /root/database /var/lib/postgresql/other && chown -R postgres: /var/lib/postgresql/other")


@pytest.fixture(params=RELEASES)
def observed(hosts: dict[str, Observed], request: pytest.FixtureRequest) -> Observed:
    return hosts[str(request.param)]


def test_a_hardened_host_passes_in_one_call(observed: Observed) -> None:
    observed.becomes({})
    done = subprocess.run(
        [ANSIBLE, observed.host.name, "-i", observed.host.inventory, "--become", "--one-line",
         "-m", "bulwark.hardening.controls", "-a", json.dumps({"controls": observed.controls()})],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout[done.stdout.index("{") :])
    print(f"{observed.host.name}: 5 controls of 3 certificates in {result['seconds']} s")
    assert result["counts"]["pass"] == 5


@dataclass(frozen=True)
class Breakage:
    """What breaks one control and no other, and a word of what is then observed."""

    name: str
    control: str
    spoil: str
    word: str
    verdict: str = "fail"


def nginx(before: str, after: str) -> str:
    return f"sed -i 's#{before}#{after}#' {NGINX_FILE}"


def postgresql(line: str) -> str:
    return f'echo "{line}" >> DIRECTORY/conf.d/tls.conf'


BREAKAGES = (
    Breakage(
        "a suite that is not wished, at nginx",
        "TLS-01",
        nginx(" ssl_ciphers ", " ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:"),
        "443 (www.example.org) TLS 1.2 with another suite: spoken, ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    Breakage(
        "TLS 1.1, at nginx",
        "TLS-01",
        nginx("TLSv1.2 TLSv1.3", "TLSv1.1 TLSv1.2 TLSv1.3")
        + "; "
        + nginx("ECDHE-RSA-CHACHA20-POLY1305;", "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0;"),
        "TLS 1.1: spoken",
    ),
    Breakage("no TLS 1.3, at nginx", "TLS-01", nginx("TLSv1.2 TLSv1.3", "TLSv1.2"), "TLS 1.3: refuses it: "),
    Breakage(
        "TLS 1.0, at PostgreSQL",
        "TLS-01",
        postgresql("ssl_min_protocol_version = 'TLSv1'\nssl_ciphers = 'ALL:@SECLEVEL=0'"),
        "5432 (db.example.org) TLS 1.0: spoken",
    ),
    Breakage(
        "no TLS 1.3, at PostgreSQL",
        "TLS-01",
        postgresql("ssl_max_protocol_version = 'TLSv1.2'"),
        "5432 (db.example.org) TLS 1.3: refuses it: ",
    ),
    Breakage(
        "clients are not asked, at nginx",
        "TLS-03",
        nginx("ssl_verify_client on", "ssl_verify_client off"),
        "8443 (machines.example.org) a client with no certificate is let in",
    ),
    Breakage(
        "a stranger is let in, at nginx",
        "TLS-03",
        nginx("ssl_verify_client on", "ssl_verify_client optional_no_ca"),
        "8443 (machines.example.org) a client with a certificate of nobody is let in",
    ),
    Breakage(
        "clients need no certificate, at PostgreSQL",
        "TLS-03",
        "sed -i 's/ clientcert=verify-ca//' DIRECTORY/pg_hba.conf",
        "5432 (db.example.org) a client with no certificate is let in",
    ),
    Breakage(
        "another certificate is served, by nginx",
        "TLS-04",
        nginx("/etc/bulwark/tls/web/current", "/root/other"),
        "443 (www.example.org) serves ",
    ),
    Breakage(
        "another certificate is served, by PostgreSQL",
        "TLS-04",
        postgresql(
            "ssl_cert_file = '/var/lib/postgresql/other/full_chain.pem'\n"
            "ssl_key_file = '/var/lib/postgresql/other/key.pem'"
        ),
        "5432 (db.example.org) serves ",
    ),
    Breakage("everybody reads the key", "TLS-05", f"chmod 0644 {STORE}/web/current/key.pem", "/key.pem root:root 0644"),
    Breakage(
        "everybody reads an old key",
        "TLS-05",
        f"chmod 0644 $(ls -d {STORE}/web/v* | head -1)/key.pem",
        "/key.pem root:root 0644",
    ),
    Breakage(
        "one more user reads the key",
        "TLS-05",
        f'python3 -c "{ACCESS_LIST.format(path=f"{STORE}/machines/current/key.pem")}"',
        "/key.pem has an access list",
    ),
    Breakage(
        "everybody changes what is there",
        "TLS-05",
        f"chmod 0777 {STORE}/machines",
        "/machines directory root:root 0777",
    ),
    Breakage(
        "a copy of a key",
        "TLS-05",
        f"cp {STORE}/web/current/key.pem {STORE}/web/saved; chmod 0644 {STORE}/web/saved",
        "/web/saved root:root 0644",
    ),
    Breakage(
        "a key of another group",
        "TLS-05",
        f"chgrp games {STORE}/database/current/key.pem",
        "/key.pem root:games 0640",
    ),
)


@pytest.mark.parametrize("breakage", BREAKAGES, ids=[breakage.name for breakage in BREAKAGES])
def test_a_control_fails_alone_when_exactly_that_is_broken(observed: Observed, breakage: Breakage) -> None:
    host = observed.host
    host.shell(f"tar -C / -cpf /root/keep.tar {STORE[1:]}")
    try:
        host.shell(breakage.spoil.replace("DIRECTORY", observed.directory))
        observed.reload()
        seen = observed.becomes({breakage.control: breakage.verdict})
        assert breakage.word in seen[breakage.control]["observed"]
    finally:
        host.shell(f"rm -r {STORE} && tar -C / -xpf /root/keep.tar")
        observed.write()
        observed.reload()
    observed.becomes({})


@pytest.mark.parametrize("word", ["is not renewed yet", "days of life: 100", "is not: unable to get local issuer"])
def test_a_certificate_that_should_not_be_served_any_more_fails_alone(observed: Observed, word: str) -> None:
    """It is deployed and served as any other, so that nothing else is amiss."""
    host, controller = observed.host, observed.host.controller
    key = x509.make_key("ecdsa_p256")
    certificate = {
        "is not renewed yet": pki.leaf(controller.ca, key, (WEB,), start=timedelta(days=-21)),
        "days of life: 100": pki.leaf(controller.ca, key, (WEB,), life=timedelta(days=100)),
        "is not: unable to get local issuer": pki.leaf(controller.stranger, key, (WEB,)),
    }[word]
    place = f"{STORE}/web/current"
    host.shell(f"cp -a $(readlink -f {place}) /root/kept")
    files = {
        "certificate.pem": certificate,
        "full_chain.pem": certificate + controller.ca.generation.chain,
        "key.pem": key,
    }
    try:
        for file, content in files.items():
            host.shell(f"cat > {place}/{file}", content.decode())
        observed.reload()
        seen = observed.becomes({"TLS-02": "fail"})
        assert word in seen["TLS-02"]["observed"]
    finally:
        host.shell(f"cp -a /root/kept/. {place}/; rm -r /root/kept")
        observed.reload()
    observed.becomes({})


def test_what_cannot_be_reached_is_unknown_and_says_why(observed: Observed) -> None:
    observed.host.shell("systemctl stop nginx.service")
    try:
        seen = observed.becomes(dict.fromkeys(("TLS-01", "TLS-02", "TLS-03", "TLS-04"), "unknown"))
        assert all("nobody answers there: connection refused" in seen[name]["reason"] for name in other(seen))
    finally:
        observed.host.shell("systemctl start nginx.service")
    observed.becomes({})


def test_observing_leaves_no_trace(observed: Observed) -> None:
    traces = observed.host.traces()
    observed.observe()
    assert observed.host.traces() == traces
