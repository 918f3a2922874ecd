# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates on real hosts with nginx and PostgreSQL, seen from outside with openssl.

Makes its own disposable hosts (root on Linux).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import build
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.probe import SSL_REQUEST
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.timers import TIMERS
from tests.unit.plugins.module_utils.certificates import pki

REPOSITORY = Path(__file__).resolve().parents[2]
HOSTS = [sys.executable, str(REPOSITORY / "molecule/shared/hosts.py")]
ANSIBLE = str(Path(sys.executable).with_name("ansible"))
PACKAGE = REPOSITORY / "plugins/module_utils"
RELEASES = {"debian12": "15", "debian13": "17"}
PACKAGES = "nginx,postgresql"
PATIENCE_SECONDS = 180
WEB, DATABASE = "www.example.org", "db.example.org"
STORE = "/etc/bulwark/tls"
NGINX = f"""
server {{
  listen 443 ssl;
  server_name {WEB};
  ssl_certificate {STORE}/web/current/full_chain.pem;
  ssl_certificate_key {STORE}/web/current/key.pem;
  location / {{ return 200 "served\\n"; }}
}}
"""
POSTGRESQL = f"""
listen_addresses = '*'
ssl = on
ssl_cert_file = '{STORE}/database/current/full_chain.pem'
ssl_key_file = '{STORE}/database/current/key.pem'
"""

# A program of nobody's that reads its certificate only when it starts, from where systemd has put it.
KEYLESS = """
import os, socket, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
place = os.environ["CREDENTIALS_DIRECTORY"]
context.load_cert_chain(place + "/keyless-full_chain.pem", place + "/keyless-key.pem")
with context.wrap_socket(socket.create_server(("", 9443)), server_side=True) as listener:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            pass
"""
KEYLESS_UNIT = """
[Service]
User=nobody
ExecStart=/usr/bin/python3 /usr/local/lib/keyless.py
Restart=on-failure
"""

# Looks, as often as it can, for keys where they should not be: in arguments, environments, temporary files, or in a
# file of the store that others may read. Ends when it is told to, and prints how often it looked and what it found.
WATCHER = """
import os, sys, time
mark, looks, found = sys.argv[1].encode(), 0, set()
def holds(path):
    try:
        with open(path, "rb") as file:
            return mark in file.read(1 << 20) if mark else b"PRIVATE KEY" in file.read(1 << 20)
    except OSError:
        return False
while os.path.exists("/root/watching"):
    looks += 1
    for process in os.listdir("/proc"):
        if process.isdigit() and int(process) != os.getpid():
            for name in ("cmdline", "environ"):
                if holds("/proc/%s/%s" % (process, name)):
                    found.add("process " + name)
    for top in ("/etc/bulwark", "/tmp", "/var/tmp", "/root/.ansible", "/home", "/run"):
        for directory, _names, files in os.walk(top):
            for name in files:
                path = os.path.join(directory, name)
                try:
                    mode = os.lstat(path).st_mode
                except OSError:
                    continue
                if (not top.startswith("/etc") or mode & 0o007) and (mode & 0o170000) == 0o100000 and holds(path):
                    found.add("%s %o" % (path, mode & 0o7777))
print(looks, *sorted(found))
"""

# An empty time takes back those of the unit.
LATER = "[Timer]\nOnCalendar=\nOnCalendar=2099-01-01\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="disposable hosts need root")


class Controller:
    """The files of a controller: a CA below a root, its key encrypted with Ansible's vault."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = pki.make_ca(directory, "signing", below=pki.make_ca(directory, "root"))
        self.stranger = pki.make_ca(directory, "stranger")
        self.trust = directory / "trust.pem"
        self.trust.write_bytes(self.ca.generation.root)
        self.password = directory / "password"
        self.password.write_text("vault-word")
        self.chain = self.file("ca.pem", self.ca.chain)
        self.key = self.vaulted("ca.key", self.ca.key)

    def file(self, name: str, content: bytes) -> str:
        (self.directory / name).write_bytes(content)
        return str(self.directory / name)

    def vaulted(self, name: str, content: bytes) -> str:
        path = self.file(name, content)
        vault = str(Path(sys.executable).with_name("ansible-vault"))
        subprocess.run([vault, "encrypt", "--vault-password-file", str(self.password), path], check=True, timeout=60)
        return path


class Host:
    def __init__(self, name: str, ssh_config: str, inventory: str, controller: Controller) -> None:
        self.name = name
        self.inventory = inventory
        self.controller = controller
        self.address = str(_variables(inventory, name)["ansible_host"])
        self.postgresql = f"postgresql@{RELEASES.get(name)}-main.service"
        self._ssh = ["ssh", "-F", ssh_config, f"root@{name}"]

    def shell(self, script: str, given: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self._ssh, script], input=given, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert done.returncode == 0 or not check, f"{script}: {done.stderr}"
        return done

    def policy(self, web: tuple[str, ...] = (WEB,), **values: Any) -> dict[str, Any]:
        generation = {"certificate_file": self.controller.chain, "key_file": self.controller.key}
        nginx = {"unit": "nginx.service", "check": ["/usr/sbin/nginx", "-t"], "listeners": [{"port": 443}]}
        database = {"unit": self.postgresql, "listeners": [{"port": 5432, "protocol": "postgresql"}]}
        return {
            "issuers": [{"name": "internal", "kind": "private_ca", "generations": [generation]}],
            "certificates": [
                {"name": "web", "issuer": "internal", "names": list(web), "services": [nginx]},
                {
                    "name": "database", "issuer": "internal", "names": [DATABASE, *web[1:]], "group": "postgres",
                    "key_type": "rsa_3072", "services": [database],
                },
            ],
            **values,
        }  # fmt: skip

    def run(self, policy: dict[str, Any], *options: str) -> dict[str, Any]:
        """Run the action as a task does; `words` is all that was printed, as talkative as Ansible can be."""
        done = subprocess.run(
            [ANSIBLE, self.name, "-i", self.inventory, "--become", "--one-line", "-vvv", *options,
             "--vault-password-file", str(self.controller.password),
             "-m", "bulwark.hardening.certificates", "-a", json.dumps(policy)],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        line = next((line for line in done.stdout.splitlines() if line.startswith(f"{self.name} | ")), "")
        assert "=> {" in line, done.stdout + done.stderr
        result: dict[str, Any] = json.loads(line[line.index("{") :])
        return {**result, "failed": " | FAILED" in line[: line.index("{")], "words": done.stdout + done.stderr}

    def role(self, policy: dict[str, Any], *options: str) -> str:
        """Run the role and return all that was printed."""
        play = {
            "hosts": self.name,
            "gather_facts": False,
            "vars": {f"tls_{key}": value for key, value in policy.items()},
            "roles": ["bulwark.hardening.tls"],
        }
        path = self.controller.file(f"{self.name}.yml", yaml.safe_dump([play]).encode())
        done = subprocess.run(
            [f"{ANSIBLE}-playbook", "-i", self.inventory, *options,
             "--vault-password-file", str(self.controller.password), path],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def watched(self, mark: str = "") -> Iterator[None]:
        """Fail if a key, or a given one, is ever seen where it should not be."""
        self.shell("touch /root/watching; cat > /root/watcher.py", WATCHER)
        watcher = subprocess.Popen(
            [*self._ssh, f"python3 /root/watcher.py '{mark}'"],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        try:
            yield
        finally:
            self.shell("rm -f /root/watching")
            looks, *found = watcher.communicate(timeout=PATIENCE_SECONDS)[0].split()
        assert found == []
        assert int(looks) > 5, "it looked too seldom"

    def install_driver(self) -> None:
        place = "/root/bulwark-test/ansible_collections/bulwark/hardening/plugins/module_utils"
        pack = subprocess.run(
            ["tar", "-C", str(PACKAGE), "--exclude=__pycache__", "-cf", "-", "transaction", "certificates",
             "-C", str(Path(__file__).parent), "certificates_driver.py"],
            capture_output=True, check=True,
        )  # fmt: skip
        unpack = f"mkdir -p {place} && tar -C {place} -xf - && mv {place}/certificates_driver.py /root/bulwark-test"
        subprocess.run([*self._ssh, unpack], input=pack.stdout, check=True, timeout=PATIENCE_SECONDS)

    def drive(self, operation: str, arguments: dict[str, Any], kill_at: int = -1) -> dict[str, Any] | None:
        """Call the package itself; None if it was killed."""
        done = self.shell(
            f"python3 /root/bulwark-test/certificates_driver.py {operation} {kill_at}",
            json.dumps(arguments),
            check=False,
        )
        if kill_at >= 0 and done.returncode != 0:
            return None
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def served(self, protocol: str) -> str:
        """Return the fingerprint that a client from outside is served, which trusts the root only; as openssl says."""
        name, port, words = (WEB, 443, []) if protocol == "tls" else (DATABASE, 5432, ["-starttls", "postgres"])
        shown = pki.openssl(
            "s_client", "-connect", f"{self.address}:{port}", "-servername", name, "-verify_hostname", name,
            "-CAfile", str(self.controller.trust), "-verify_return_error", "-x509_strict", *words,
        )  # fmt: skip
        text = pki.openssl("x509", "-noout", "-fingerprint", "-sha256", given=shown).decode()
        return text.partition("=")[2].strip().replace(":", "").lower()

    def deployed(self, name: str) -> str:
        """Return the fingerprint of what is deployed; fails unless openssl says that the key belongs to it."""
        directory = f"{STORE}/{name}/current"
        public = [
            self.shell(f"openssl {words}").stdout
            for words in (
                f"pkey -pubout -in {directory}/key.pem",
                f"x509 -noout -pubkey -in {directory}/certificate.pem",
            )
        ]
        assert public[0] == public[1]
        text = self.shell(f"openssl x509 -noout -fingerprint -sha256 -in {directory}/certificate.pem").stdout
        return text.partition("=")[2].strip().replace(":", "").lower()

    def proves(self) -> tuple[str, str]:
        """Return what is served by both services, which is what is deployed."""
        served = self.served("tls"), self.served("postgresql")
        assert served == (self.deployed("web"), self.deployed("database"))
        return served

    def traces(self) -> str:
        """Return what tells a run that did something from one that did not: files, links, loads."""
        return self.shell(
            f"find {STORE} ! -name .lock -printf '%p %l %m %u:%g %C@\\n' | sort; "
            f"systemctl show -p StateChangeTimestampMonotonic,ExecReload,MainPID nginx.service {self.postgresql}"
        ).stdout


def _variables(inventory: str, name: str) -> dict[str, Any]:
    words = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", inventory, "--host", name]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=REPOSITORY, timeout=60)
    variables: dict[str, Any] = yaml.safe_load(done.stdout)
    return variables


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    with disposable(f"tls-{os.getpid()}", tmp_path_factory.mktemp("controller"), PACKAGES) as hosts:
        yield hosts


@contextlib.contextmanager
def disposable(
    group: str, directory: Path, packages: str, prepare: Callable[[Host], None] | None = None
) -> Iterator[dict[str, Host]]:
    """Make hosts that serve certificates which the role has issued."""
    controller = Controller(directory)
    try:
        install = [word for release in RELEASES for word in ("--install", f"{release}={packages}")]
        names = [f"{release}={release}" for release in RELEASES]
        subprocess.run([*HOSTS, "up", "--group", group, *install, *names], check=True, timeout=900)
        ssh_config, inventory = (
            subprocess.run([*HOSTS, what, "--group", group], capture_output=True, text=True, check=True).stdout.strip()
            for what in ("ssh-config", "inventory")
        )
        hosts = {release: Host(release, ssh_config, inventory, controller) for release in RELEASES}
        for host in hosts.values():
            keep_timers_waiting(host)
            (prepare or set_up)(host)
        yield hosts
    finally:
        subprocess.run([*HOSTS, "down", "--group", group], check=True, timeout=300)


def keep_timers_waiting(host: Host) -> None:
    """Put off what the host's own timers start: at some hours of the day it would renew in the middle of a test."""
    for timer in TIMERS:
        directory = f"/run/systemd/system/{timer}.d"
        host.shell(f"mkdir -p {directory}; cat > {directory}/later.conf", LATER)


def set_up(host: Host) -> None:
    """Issue certificates before the services know of them, then let them serve these."""
    # In check mode not even the package is there that reads certificates.
    assert host.shell("python3 -c 'import cryptography'", check=False).returncode != 0
    assert "changed=2 " in host.role(host.policy(), "--check", "--diff")
    assert host.shell(f"ls -d {STORE}", check=False).returncode != 0
    # PostgreSQL serves the certificate that Debian made; nothing is amiss with that yet.
    assert "changed=2 " in host.role(host.policy())
    host.shell("cat > /etc/nginx/conf.d/tls.conf", NGINX)
    host.shell(f"cat > /etc/postgresql/{RELEASES[host.name]}/main/conf.d/tls.conf", POSTGRESQL)
    host.shell(f"systemctl restart nginx.service {host.postgresql}")
    assert "changed=1 " in host.role(host.policy())
    assert "changed=0 " in host.role(host.policy())
    host.install_driver()


@pytest.fixture(params=RELEASES)
def host(hosts: dict[str, Host], request: pytest.FixtureRequest) -> Host:
    return hosts[str(request.param)]


def test_what_is_served_is_what_is_deployed_and_a_second_run_does_nothing(host: Host) -> None:
    host.proves()
    assert host.shell(f"stat -c '%a %U:%G' {STORE}/web/current/key.pem").stdout.strip() == "600 root:root"
    assert host.shell(f"stat -c '%a %U:%G' {STORE}/database/current/key.pem").stdout.strip() == "640 root:postgres"
    traces = host.traces()
    for options in ((), ("--check",)):
        done = host.run(host.policy(), *options)
        assert (done["changed"], done["reasons"]) == (False, [])
    assert host.traces() == traces


class Load:
    """Makes new TLS connections, each verified, until it is told to stop."""

    def __init__(self, host: Host, protocol: str) -> None:
        self.address, self.protocol = host.address, protocol
        self.port, self.name = (443, WEB) if protocol == "tls" else (5432, DATABASE)
        self.context = ssl.create_default_context(cafile=str(host.controller.trust))
        self.made = 0
        self.seen: set[str] = set()
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_exception: Any) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._connect()
                self.made += 1
            except OSError as error:
                self.failures.append(f"{self.protocol}: {error!r}")

    def _connect(self) -> None:
        with socket.create_connection((self.address, self.port), 10) as connection:
            if self.protocol == "postgresql":
                connection.sendall(SSL_REQUEST)
                if connection.recv(1) != b"S":
                    raise OSError("no TLS offered")
            with self.context.wrap_socket(connection, server_hostname=self.name) as session:
                self.seen.add(hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest())
                if self.protocol == "tls":
                    session.sendall(f"GET / HTTP/1.0\r\nHost: {self.name}\r\n\r\n".encode())
                    if b"served" not in b"".join(iter(lambda: session.recv(4096), b"")):
                        raise OSError("no answer")


def test_renewals_refuse_no_connection(host: Host) -> None:
    served = [host.proves()]
    with host.watched(), Load(host, "tls") as web, Load(host, "postgresql") as database:
        for _renewal in range(3):
            done = host.run(host.policy(renew=["web", "database"]))
            assert done["failed"] is False, done
            served.append(host.proves())
    assert web.failures == []
    assert database.failures == []
    print(f"{host.name}: {web.made} connections to nginx and {database.made} to PostgreSQL, 0 failed")
    assert web.made > 200
    assert database.made > 200
    assert len(set(served)) == 4
    assert web.seen == {fingerprints[0] for fingerprints in served}
    assert database.seen == {fingerprints[1] for fingerprints in served}
    assert host.run(host.policy())["changed"] is False


def test_a_wrong_certificate_is_refused_before_the_swap(host: Host) -> None:
    controller = host.controller
    served, traces = host.proves(), host.traces()
    key, other = (x509.make_key("ecdsa_p256") for _number in range(2))
    ca, chain = controller.ca, controller.ca.generation.chain
    cases = {
        "the private key belongs to another certificate": pki.leaf(ca, other),
        "it expired at": pki.leaf(ca, key, life=timedelta(minutes=30)),
        "it does not stand for www.example.org": pki.leaf(ca, key, names=("www.example.com",)),
        "it is not valid before": pki.leaf(ca, key, start=timedelta(minutes=10)),
        "refuses it: unable to get local issuer certificate": pki.leaf(controller.stranger, key),
        "is not allowed for use as server": pki.leaf(ca, key, usages=("client",)),
    }
    key_file = controller.vaulted(f"{host.name}.key", key)
    for word, certificate in cases.items():
        policy = host.policy()
        policy["issuers"].append({"name": "bought", "kind": "files", "trust_file": str(controller.trust)})
        policy["certificates"][0].update(
            issuer="bought", certificate_file=controller.file("brought.pem", certificate + chain), key_file=key_file
        )
        done = host.run(policy)
        assert done["failed"] is True
        assert word in done["msg"], done["msg"]
        assert "the old one stays" in done["msg"]
        assert_no_secret(done["words"], key)
    assert host.proves() == served
    assert [line for line in host.traces().splitlines() if "/current" in line or "Timestamp" in line] == [
        line for line in traces.splitlines() if "/current" in line or "Timestamp" in line
    ]
    # The same way with a good one, which is then replaced by the CA's again.
    policy["certificates"][0]["certificate_file"] = controller.file("brought.pem", pki.leaf(ca, key) + chain)
    with host.watched(secret_line(key)):
        done = host.run(policy)
    assert done["failed"] is False, done
    assert_no_secret(done["words"], key)
    assert host.proves()[0] != served[0]
    assert host.run(policy)["changed"] is False
    assert host.run(host.policy())["failed"] is False
    assert host.run(host.policy())["changed"] is False


def secret_line(key: bytes) -> str:
    """Return the middle line of a key; the others may be public, and are in its certificate too."""
    lines = key.decode().splitlines()
    return lines[len(lines) // 2]


def assert_no_secret(words: str, *keys: bytes) -> None:
    for key in keys:
        assert secret_line(key) not in words
    assert "PRIVATE KEY" not in words


def test_a_configuration_that_nginx_refuses_keeps_the_old_certificate(host: Host) -> None:
    served = host.proves()
    host.shell("echo 'nonsense;' > /etc/nginx/conf.d/broken.conf")
    try:
        done = host.run(host.policy((WEB, "new.example.org")))
        assert done["failed"] is True
        assert "/usr/sbin/nginx -t fails" in done["msg"]
        assert "nonsense" in done["msg"]
        assert host.served("tls") == served[0]
    finally:
        host.shell("rm /etc/nginx/conf.d/broken.conf")
    assert host.run(host.policy((WEB, "new.example.org")))["failed"] is False
    host.proves()


def test_a_listener_that_serves_an_older_certificate_is_reloaded(host: Host) -> None:
    configuration = "/etc/nginx/conf.d/tls.conf"
    host.shell(
        "cd /root && openssl req -x509 -newkey rsa:2048 -nodes -keyout other.key -out other.pem -subj /CN=o -days 1;"
        f"sed -i.keep -e 's#{STORE}/web/current/full_chain#/root/other#' {configuration};"
        f"sed -i -e 's#{STORE}/web/current/key.pem#/root/other.key#' {configuration};"
        f"systemctl reload nginx && mv {configuration}.keep {configuration}"
    )
    policy = host.policy((WEB, "new.example.org"))
    done = host.run(policy)
    assert done["failed"] is False, done
    assert any("serves another one" in reason for reason in done["reasons"])
    host.proves()
    assert host.run(policy)["changed"] is False


KILLS = 24


def told(host: Host, policy: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return what the action would tell the module."""
    ca = host.controller.ca
    authority = {
        "name": "internal", "kind": "private_ca", "key_identifier": ca.generation.key_identifier, "trust": ca.trust,
    }  # fmt: skip
    return {**policy, "authorities": [authority], **values}


def attempt(
    host: Host, policy: dict[str, Any], plan_at: int = -1, deploy_at: int = -1, age: timedelta | None = None
) -> list[int] | None:
    """Plan, sign and deploy; returns the steps of each, None once it was killed. age: of what is issued."""
    ca = host.controller.ca
    planned = host.drive("plan", told(host, policy), plan_at)
    if planned is None:
        return None
    wished = {certificate.name: certificate for certificate in build(policy)}
    issued = []
    for request in planned["requests"]:
        pem, name = request["request"].encode(), request["name"]
        certificate, chain = ca.sign(pem, wished[name])
        if age:
            certificate = pki.leaf(ca, pem, wished[name].names, start=-age)
        issued.append({"name": name, "certificate": certificate.decode(), "chain": chain.decode()})
    done = host.drive("deploy", told(host, policy, issued=issued), deploy_at)
    if done is None:
        return None
    assert "failed" not in done, done
    return [planned["steps"], done["steps"]]


def kill_and_finish(host: Host, points: int) -> tuple[int, int, int]:
    """Kill a run at so many steps, or at each if there are fewer, and let the next one finish it.

    Returns how often it was killed, how often it should have been, and the number of steps.
    """
    wishes = [host.policy((WEB, name)) for name in ("one.example.org", "two.example.org")]
    attempt(host, wishes[0])
    steps = attempt(host, wishes[1])
    assert steps
    total = sum(steps)
    points = min(points, total)
    killed = 0
    for number in range(points):
        policy = wishes[number % 2]
        point = number * total // points
        plan_at, deploy_at = (point, -1) if point < steps[0] else (-1, point - steps[0])
        killed += attempt(host, policy, plan_at, deploy_at) is None
        if (number + 1) % 10 == 0:
            print(f"{host.name}: {killed} of {number + 1} killed, the last at step {point} of {total}", flush=True)
        # Whatever was interrupted: what is served is valid, and what is deployed belongs together.
        host.served("tls")
        host.served("postgresql")
        host.deployed("web")
        host.deployed("database")
        assert attempt(host, policy), (number, point)
        host.proves()
        again = host.drive("plan", told(host, policy))
        assert again is not None
        assert again["changed"] is False, (number, point, again["reasons"])
        assert host.shell(f"find {STORE} -name '.bulwark-*'").stdout == ""
    # The driver lets the host keep nothing, so the action has that to do.
    policy = wishes[(points - 1) % 2]
    (reason,) = host.run(policy)["reasons"]
    assert "policy.json" in reason
    assert host.run(policy)["changed"] is False
    return killed, points, total


def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(host: Host) -> None:
    """As many on both releases together as there must be; tests/certificates/run.py has more of them."""
    killed, points, total = kill_and_finish(host, KILLS // len(RELEASES))
    print(f"{host.name}: killed at {killed} of {points} points of {total} steps")
    # How often a listener is asked differs, so the last points may be behind the end.
    assert killed >= points * 5 // 6


MANY = 200


def test_many_certificates_take_as_many_calls_as_few(host: Host) -> None:
    """What each call costs is in the benchmark."""
    policy = host.policy()
    assert host.run(policy)["failed"] is False
    few = host.run(policy)
    assert few["changed"] is False
    del policy["certificates"][0]["services"], policy["certificates"][1:]
    policy["certificates"] = [
        {**policy["certificates"][0], "name": f"many{number}", "names": [f"many{number}.example.org"]}
        for number in range(MANY)
    ]
    assert host.run(policy)["failed"] is False
    done = host.run(policy)
    assert done["changed"] is False
    assert len(done["certificates"]) == MANY
    calls = [answer["words"].count("SSH: EXEC") for answer in (few, done)]
    print(f"{host.name}: {calls[0]} remote commands for {len(few['certificates'])} certificates, {calls[1]} for {MANY}")
    assert calls[0] == calls[1] > 0
    host.shell(f"rm -r {STORE}/many*")


def test_a_service_that_may_not_read_the_key_gets_it_from_systemd(host: Host) -> None:
    host.shell("mkdir -p /usr/local/lib; cat > /usr/local/lib/keyless.py", KEYLESS)
    host.shell("cat > /etc/systemd/system/keyless.service; systemctl daemon-reload", KEYLESS_UNIT)
    policy = host.policy()
    service = {
        "unit": "keyless.service", "on_change": "restart", "credentials": True, "listeners": [{"port": 9443}],
    }  # fmt: skip
    policy["certificates"].append({"name": "keyless", "issuer": "internal", "names": [WEB], "services": [service]})
    asked = f"openssl s_client -connect 127.0.0.1:9443 -servername {WEB} </dev/null 2>/dev/null"
    served = f"{asked} | openssl x509 -noout -fingerprint -sha256 | cut -d= -f2 | tr -d : | tr A-F a-f"
    # It does not run yet, and is to find what it needs when it starts.
    assert host.run(policy)["failed"] is False
    host.shell("systemctl start keyless.service")
    assert host.run(policy)["failed"] is False
    assert host.run(policy)["changed"] is False
    first = host.deployed("keyless")
    assert host.shell(served).stdout.strip() == first
    assert host.shell(f"stat -Lc '%U %a' {STORE}/keyless/current/key.pem").stdout == "root 600\n"
    assert host.shell(f"runuser -u nobody -- cat {STORE}/keyless/current/key.pem", check=False).returncode != 0
    # A new one is served once it was handed over.
    done = host.run({**policy, "renew": ["keyless"]})
    assert done["failed"] is False, done["msg"]
    assert host.shell(served).stdout.strip() == host.deployed("keyless") != first
    # Somebody takes the setting away: whether the service runs or not, it finds all again when it starts.
    host.shell("systemctl stop keyless.service; rm -r /etc/systemd/system/keyless.service.d; systemctl daemon-reload")
    done = host.run(policy)
    assert "keyless: systemd does not give keyless.service the credentials that it should" in done["reasons"]
    host.shell("systemctl start keyless.service; sleep 2")
    assert host.shell(served).stdout.strip() == host.deployed("keyless")
    assert host.run(policy)["changed"] is False
    host.shell("systemctl disable --now keyless.service")
    host.shell(f"rm -r /etc/systemd/system/keyless.service* {STORE}/keyless")


def test_no_key_is_where_it_should_not_be(host: Host) -> None:
    """Modes of all keys, and no key in the logs, below /tmp or in Ansible's directories."""
    modes = host.shell(f"find {STORE} -name key.pem -printf '%m %h\\n'").stdout.splitlines()
    assert modes
    assert {line.split()[0] for line in modes} <= {"600", "640"}
    # Their middle lines: the others may be public, and are in certificates too.
    middle = 'sed -n "$(( $(wc -l < $key) / 2 + 1 ))p" $key | cut -c1-40'
    marks = host.shell(f"for key in {STORE}/*/v*/key.pem; do {middle}; done | sort -u").stdout.split()
    assert all(len(mark) == 40 for mark in marks)
    host.shell("cat > /root/marks", "\n".join(marks) + "\n")
    searched = "/tmp /var/tmp /var/log /home /root/.ansible /run"
    assert host.shell(f"grep -rlF -f /root/marks {searched}", check=False).stdout == ""
    assert host.shell("journalctl --no-pager --all | grep -F -f /root/marks | cut -c1-400", check=False).stdout == ""
