# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates from an ACME server: Pebble on one host, certbot and nginx on the others, seen from outside.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from tests.integration_hosts.test_certificates import (
    HOSTS,
    PATIENCE_SECONDS,
    STORE,
    Controller,
    Host,
    keep_timers_waiting,
)
from tests.unit.plugins.module_utils.certificates import pki

SERVER, RELEASES = "server", ("debian12", "debian13")
ACME_NAME, PORT, MANAGEMENT_PORT = "acme.example.org", 14000, 15000
DIRECTORY = f"https://{ACME_NAME}:{PORT}/dir"
WEBROOT = "/var/www/acme"
RENEWAL = "bulwark-certificates-renew.service"
DAYS_80, TWO_MINUTES = 80 * 24 * 3600, 120
ACCOUNT, LOGS = "/etc/bulwark/acme/public", "/var/log/bulwark/acme/public"
CHALLENGES = f"""
server {{
  listen 80 default_server;
  location /.well-known/acme-challenge/ {{ root {WEBROOT}; }}
}}
server {{
  listen 80;
  server_name ~^alone;
  location / {{ proxy_pass http://127.0.0.1:8080; }}
}}
"""
TLS = """
server {
  listen 443 ssl;
  ssl_certificate %(store)s/web/current/full_chain.pem;
  ssl_certificate_key %(store)s/web/current/key.pem;
}
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


class Pebble:
    """The ACME server. It forgets everything when it starts: accounts, orders, and its own root."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.controller = host.controller
        key = x509.make_key("ecdsa_p256")
        chain = pki.leaf(self.controller.ca, key, (ACME_NAME,)) + self.controller.ca.generation.chain
        host.shell("cat > /root/pebble.pem", chain.decode())
        host.shell("umask 077; cat > /root/pebble.key", key.decode())

    def start(self, life_seconds: int) -> None:
        configuration = {
            "listenAddress": f"0.0.0.0:{PORT}", "managementListenAddress": f"0.0.0.0:{MANAGEMENT_PORT}",
            "certificate": "/root/pebble.pem", "privateKey": "/root/pebble.key", "httpPort": 80, "tlsPort": 443,
            "certificateValidityPeriod": life_seconds,
        }  # fmt: skip
        self.host.shell("cat > /root/pebble.json", json.dumps({"pebble": configuration}))
        # It refuses every twentieth nonce unless it is told not to, and certbot tries again only once. What it was
        # shown before counts for nothing.
        settings = ("PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0", "PEBBLE_WFE_NONCEREJECT=0")
        environment = " ".join(f"--setenv={setting}" for setting in settings)
        run = f"systemd-run --quiet --unit=pebble {environment} /usr/bin/pebble -config /root/pebble.json"
        self.host.shell(f"systemctl stop pebble 2>/dev/null; {run}")
        context = ssl.create_default_context(cafile=str(self.controller.trust))
        context.check_hostname = False
        url = f"https://{self.host.address}:{MANAGEMENT_PORT}/roots/0"
        for _attempt in range(100):
            try:
                with urllib.request.urlopen(url, context=context, timeout=10) as answer:
                    (self.controller.directory / "roots.pem").write_bytes(answer.read())
                return
            except OSError:
                time.sleep(0.2)
        pytest.fail(self.host.shell("journalctl -u pebble").stdout)

    def stop(self) -> None:
        self.host.shell("systemctl stop pebble")

    def orders(self) -> int:
        """Return how many orders it has had, as it says itself."""
        return int(self.host.shell("journalctl -u pebble | grep -c 'Added order'", check=False).stdout)


class WebHost(Host):
    """A host with nginx, which orders its certificate itself."""

    pebble: Pebble

    @property
    def web(self) -> str:
        return f"www.{self.name}.example.org"

    @property
    def mail(self) -> str:
        return f"mail.{self.name}.example.org"

    @property
    def alone(self) -> str:
        return f"alone.{self.name}.example.org"

    def issuer(self, **values: Any) -> dict[str, Any]:
        directory = self.controller.directory
        return {
            "name": "public", "kind": "acme", "directory": DIRECTORY, "terms_of_service_agreed": True,
            "server_trust_file": str(self.controller.trust), "trust_file": str(directory / "roots.pem"),
            "challenge": {"kind": "http", "webroot": WEBROOT}, **values,
        }  # fmt: skip

    def wish(self, *names: str, issuer: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
        nginx = {"unit": "nginx.service", "check": ["/usr/sbin/nginx", "-t"], "listeners": [{"port": 443}]}
        web = {"name": "web", "issuer": "public", "names": [self.web, *names], "services": [nginx]}
        return {"issuers": [issuer or self.issuer()], "certificates": [web], **values}

    def told(self, policy: dict[str, Any]) -> dict[str, Any]:
        """Return what the host itself has to know, without anything of the controller."""
        (issuer,) = policy["issuers"]
        directory = {
            "url": issuer["directory"], "server_trust": self.controller.trust.read_text(),
            "webroot": issuer["challenge"]["webroot"],
        }  # fmt: skip
        trust = Path(issuer["trust_file"]).read_text()
        return {
            **policy,
            "authorities": [{"name": "public", "kind": "acme", "trust": trust, "directory": directory}],
        }

    def served_now(self) -> str:
        """Return the fingerprint that a client is served which trusts Pebble's root only; fails if it is not valid."""
        shown = pki.openssl(
            "s_client", "-connect", f"{self.address}:443", "-servername", self.web, "-verify_hostname", self.web,
            "-CAfile", str(self.controller.directory / "roots.pem"), "-verify_return_error",
        )  # fmt: skip
        text = pki.openssl("x509", "-noout", "-fingerprint", "-sha256", given=shown).decode()
        return text.partition("=")[2].strip().replace(":", "").lower()

    def shows(self) -> str:
        """Return what is served, which is what is deployed."""
        served = self.served_now()
        assert served == self.deployed("web")
        return served

    def keys(self, name: str = "web") -> list[str]:
        """Return the hashes of the keys that are staged or deployed."""
        return self.shell(f"sha256sum {STORE}/{name}/v*/key.pem | cut -d' ' -f1").stdout.split()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, WebHost]]:
    group = f"tls-acme-{os.getpid()}"
    controller = Controller(tmp_path_factory.mktemp("controller"))
    try:
        install = ["--install", f"{SERVER}=pebble"]
        install += [word for release in RELEASES for word in ("--install", f"{release}=nginx")]
        names = [f"{SERVER}=debian13", *(f"{release}={release}" for release in RELEASES)]
        subprocess.run([*HOSTS, "up", "--group", group, *install, *names], check=True, timeout=900)
        ssh_config, inventory = (
            subprocess.run([*HOSTS, what, "--group", group], capture_output=True, text=True, check=True).stdout.strip()
            for what in ("ssh-config", "inventory")
        )
        server = WebHost(SERVER, ssh_config, inventory, controller)
        hosts = {release: WebHost(release, ssh_config, inventory, controller) for release in RELEASES}
        known = "".join(f"{host.address} {host.web} {host.mail} {host.alone}\n" for host in hosts.values())
        server.shell("cat >> /etc/hosts", known)
        pebble = Pebble(server)
        pebble.start(DAYS_80)
        for host in hosts.values():
            host.pebble = pebble
            keep_timers_waiting(host)
            set_up(host)
        yield hosts
    finally:
        subprocess.run([*HOSTS, "down", "--group", group], check=True, timeout=300)


def set_up(host: WebHost) -> None:
    """Let nginx show the webroot, have the certificate issued, and let nginx serve it."""
    host.shell(f"echo {host.pebble.host.address} {ACME_NAME} >> /etc/hosts; mkdir -p {WEBROOT}")
    host.shell("rm -f /etc/nginx/sites-enabled/default; cat > /etc/nginx/conf.d/acme.conf", CHALLENGES)
    host.shell("systemctl restart nginx")
    host.role({})
    assert host.shell("command -v certbot", check=False).returncode != 0, "without an ACME server it is of no use"
    assert "changed=2 " in host.role(host.wish(), "--check", "--diff")
    assert host.shell(f"ls -d {STORE}/web /etc/bulwark/acme", check=False).stdout == ""
    assert "changed=2 " in host.role(host.wish())
    host.shell("cat > /etc/nginx/conf.d/tls.conf", TLS % {"store": STORE})
    host.shell("systemctl reload nginx")
    assert "changed=0 " in host.role(host.wish())
    host.install_driver()


@pytest.fixture(params=RELEASES)
def host(hosts: dict[str, WebHost], request: pytest.FixtureRequest) -> WebHost:
    return hosts[str(request.param)]


def test_what_the_server_issued_is_served_and_nothing_else_is_left(host: WebHost) -> None:
    served = host.shows()
    traces = host.traces()
    for options in ((), ("--check",)):
        done = host.run(host.wish(), *options)
        assert (done["changed"], done["reasons"]) == (False, [])
    # The packaged timer of certbot finds nothing to renew.
    host.shell("certbot --quiet renew")
    assert host.traces() == traces
    assert host.shows() == served
    assert host.shell(f"find {WEBROOT} -type f; ls -A /etc/letsencrypt/live 2>/dev/null", check=False).stdout == ""
    accounts = host.shell(f"find {ACCOUNT} -name private_key.json -printf '%m %u:%g\\n'").stdout.split("\n")[:-1]
    assert [line in ("400 root:root", "600 root:root") for line in accounts] == [True]
    for path in (ACCOUNT, LOGS, "/var/lib/bulwark/acme/public"):
        assert host.shell(f"stat -c '%a %U' {path}").stdout.strip() == "700 root"


def test_a_renewal_shows_no_key_anywhere(host: WebHost) -> None:
    before = host.shows()
    with host.watched():
        done = host.run(host.wish(renew=["web"]))
    assert done["failed"] is False, done["msg"]
    assert "PRIVATE KEY" not in done["words"]
    assert host.shows() != before
    # Neither the account's key nor that of a certificate is in a log.
    account = "import json,glob;print(json.load(open(glob.glob('%s/accounts/*/*/*/private_key.json')[0]))['d'])"
    middle = 'sed -n "$(( $(wc -l < $key) / 2 + 1 ))p" $key | cut -c1-40'
    host.shell(f'python3 -c "{account % ACCOUNT}" > /root/marks')
    host.shell(f"for key in {STORE}/web/v*/key.pem; do {middle}; done >> /root/marks")
    assert len(host.shell("cat /root/marks").stdout.split()) >= 3
    searched = f"/var/log /var/lib/bulwark /tmp /var/tmp {WEBROOT}"
    assert host.shell(f"grep -rlF -f /root/marks {searched}", check=False).stdout == ""
    assert host.shell("journalctl --no-pager --all | grep -cF -f /root/marks", check=False).stdout.strip() == "0"


def test_a_server_that_is_out_of_reach_leaves_the_old_one(host: WebHost) -> None:
    before = host.shows()
    other = DIRECTORY.replace(str(PORT), "1")
    for _run in range(2):
        done = host.run(host.wish(issuer=host.issuer(directory=other)))
        assert done["failed"] is True
        assert f"web: {other} cannot be reached: connection refused; the old one stays" in done["msg"]
        assert host.shows() == before
    staged = host.keys()
    stranger = host.controller.file("stranger.pem", host.controller.stranger.generation.root)
    done = host.run(host.wish(issuer=host.issuer(server_trust_file=stranger)))
    # What is deployed came from here, so nothing is due; the host only keeps the other policy.
    assert done["failed"] is False
    assert host.shows() == before
    done = host.run(host.wish(host.mail, issuer=host.issuer(server_trust_file=stranger)))
    assert done["failed"] is True
    assert f"{DIRECTORY} has a certificate that server_trust_file does not vouch for: unable to get" in done["msg"]
    done = host.run(host.wish(host.mail, issuer=host.issuer(server_trust_file=None)))
    assert "has a certificate that the trust store of the system does not vouch for" in done["msg"]
    assert host.shows() == before
    assert staged != host.keys(), "another name takes another key"
    staged = host.keys()
    done = host.run(host.wish(host.mail))
    assert done["failed"] is False, done["msg"]
    assert set(host.keys()) <= set(staged), "the key and the request that were there"
    assert host.shows() != before
    assert host.run(host.wish())["failed"] is False


def test_a_challenge_that_is_not_answered_is_told_in_the_words_of_the_server(host: WebHost) -> None:
    before, wrong = host.shows(), "/var/www/wrong"
    host.shell(f"mkdir -p {wrong}")
    policy = host.wish(issuer=host.issuer(challenge={"kind": "http", "webroot": wrong}), renew=["web"])
    done = host.run(policy)
    assert done["failed"] is True
    print(done["msg"])
    assert f"{DIRECTORY} did not issue it: {host.web}: " in done["msg"]
    assert "404" in done["msg"]
    assert "(urn:ietf:params:acme:error:unauthorized)" in done["msg"] or "(unauthorized)" in done["msg"]
    policy["issuers"] = [host.issuer(challenge={"kind": "http", "port": 80})]
    done = host.run(policy)
    assert "Could not bind TCP port 80" in done["msg"]
    assert host.shows() == before
    assert host.run(host.wish())["changed"] is False


WEBROOTS = {
    "true": "the webroot /srv/acme is not there; make it, root's own, and serve it",
    "install -d -o www-data /srv/acme": "/srv/acme can be written by others; a webroot must be root's own",
    "install -d -m 1777 /srv/acme": "/srv/acme can be written by others; a webroot must be root's own",
    f"ln -s {WEBROOT} /srv/acme": "/srv/acme is a link or no directory; a webroot must be a directory",
    "mkdir /srv/acme; ln -s /etc/cron.d /srv/acme/.well-known": "/srv/acme/.well-known is a link or no directory",
}


def test_a_webroot_that_somebody_could_lead_elsewhere_is_refused(host: WebHost) -> None:
    before, orders = host.shows(), host.pebble.orders()
    policy = host.wish(issuer=host.issuer(challenge={"kind": "http", "webroot": "/srv/acme"}), renew=["web"])
    for make, words in WEBROOTS.items():
        host.shell(f"rm -rf /srv/acme; {make}")
        done = host.drive("deploy", host.told(policy))
        assert done is not None
        assert done["failed"] is True
        assert f"web: {words}" in done["msg"]
    assert host.shows() == before
    assert host.pebble.orders() == orders
    host.shell("rm -rf /srv/acme")


def test_certbot_listens_itself_where_no_web_server_does(host: WebHost) -> None:
    alone = {"name": "alone", "issuer": "public", "names": [host.alone]}
    policy = {"issuers": [host.issuer(challenge={"kind": "http", "port": 8080})], "certificates": [alone]}
    done = host.run(policy)
    assert done["failed"] is False, done["msg"]
    assert done["certificates"][0]["names"] == alone["names"]
    assert host.run(policy)["changed"] is False


def test_what_was_issued_and_refused_is_not_ordered_again(host: WebHost) -> None:
    before, orders = host.shows(), host.pebble.orders()
    wrong = host.wish(host.mail, issuer=host.issuer(trust_file=str(host.controller.trust)))
    for _run in range(2):
        done = host.run(wrong)
        assert done["failed"] is True
        assert "the new certificate is refused: whoever trusts the CA refuses it: unable to get" in done["msg"]
        assert host.shows() == before
    assert host.pebble.orders() == orders + 1
    # Consumers trust the right CA: what lies there is taken.
    assert host.run(host.wish(host.mail))["failed"] is False
    assert host.shows() != before
    assert host.pebble.orders() == orders + 1
    assert host.run(host.wish())["failed"] is False


def test_a_run_that_is_killed_while_it_orders_is_finished_by_the_next(host: WebHost) -> None:
    before = host.shows()
    policy = host.told(host.wish(renew=["web"]))
    drive = "python3 /root/bulwark-test/certificates_driver.py"
    host.shell(f"{drive} plan -1 > /dev/null", json.dumps(policy))
    ordering = "pgrep -f '[c]ertbot certonly' > /dev/null"
    killed = host.shell(
        f"cat > /root/policy.json; {drive} deploy -1 < /root/policy.json > /dev/null & driver=$!; "
        f"for turn in $(seq 3000); do {ordering} && break; sleep 0.02; done; kill -9 $driver && echo killed; "
        f"for turn in $(seq 600); do {ordering} || break; sleep 0.1; done",
        json.dumps(policy),
    )
    assert "killed" in killed.stdout
    assert host.shows() == before
    done = host.drive("deploy", policy)
    assert done is not None
    assert "failed" not in done, done
    assert host.shows() != before
    assert host.run(host.wish())["changed"] is False


def test_it_is_renewed_without_the_controller_and_the_old_one_stays_without_the_server(
    hosts: dict[str, WebHost],
) -> None:
    pebble = next(iter(hosts.values())).pebble
    pebble.start(TWO_MINUTES)
    served = {}
    for name, host in hosts.items():
        # Without its memory the server does not know the account any more.
        done = host.run(host.wish(renew=["web"]))
        assert done["failed"] is True
        assert f"if it lost its accounts, remove {ACCOUNT}/accounts" in done["msg"]
        host.shell(f"rm -r {ACCOUNT}/accounts")
        done = host.run(host.wish(renew=["web"]))
        assert done["failed"] is False, done["msg"]
        served[name] = host.shows()
    with ThreadPoolExecutor(len(hosts)) as pool:
        assert all(pool.map(renews_when_due, hosts.values()))
        for name, host in hosts.items():
            renewed = host.shows()
            assert renewed != served[name]
            served[name] = renewed
        pebble.stop()
        assert not any(pool.map(renews_when_due, hosts.values()))
    for name, host in hosts.items():
        # systemd starts the alarm by itself.
        words = f"web: {DIRECTORY} cannot be reached: connection refused; the old one stays"
        look = f"journalctl -t bulwark-certificates -p err -o cat --no-pager | grep --fixed-strings '{words}'"
        host.shell(f"for turn in $(seq 100); do {look} && exit 0; sleep 0.2; done; exit 1")
        assert host.deployed("web") == served[name]
    pebble.start(DAYS_80)
    for host in hosts.values():
        host.shell(f"rm -r {ACCOUNT}/accounts")
        assert host.run(host.wish())["failed"] is False
        host.shows()


def renews_when_due(host: WebHost) -> bool:
    """Let the host's own unit run until two thirds of the life are over; returns whether it renewed then."""
    before, until = host.deployed("web"), time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if host.shell(f"systemctl start {RENEWAL}", check=False).returncode != 0:
            return False
        if host.deployed("web") != before:
            return True
        # More than five starts in ten seconds are too many for systemd.
        time.sleep(3)
    pytest.fail("it is never due")
