# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two servers with nginx and PostgreSQL, a client on a host of its own, and a controller with CAs that follow."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import yaml

from tests.integration_hosts.test_certificates import (
    ANSIBLE,
    DATABASE,
    HOSTS,
    PACKAGES,
    PATIENCE_SECONDS,
    RELEASES,
    STORE,
    WEB,
    Controller,
    Host,
)
from tests.unit.plugins.module_utils.certificates import pki

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GROUP = "certificates"
CLIENT = "client"
CLIENT_DIRECTORY = f"{STORE}/{CLIENT}"
# Everything of the controller is in here, so that nothing of it outlives a kill.
CONTROLLER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
NGINX = f"""
server {{
  listen 443 ssl;
  listen [::]:443 ssl;
  server_name {WEB};
  ssl_certificate {STORE}/web/current/full_chain.pem;
  ssl_certificate_key {STORE}/web/current/key.pem;
  include {STORE}/nginx.conf;
  add_header Strict-Transport-Security "max-age=31536000";
  add_header Content-Security-Policy "default-src 'none'; frame-ancestors 'none'";
  add_header X-Content-Type-Options nosniff;
  location / {{ return 200 "served\\n"; }}
}}
"""
Run = subprocess.CompletedProcess[str]


class Failed(Exception):
    """Something is not as it should be; the text says what."""


class World:
    """All hosts and CAs. The last CA signs; all that are in `generations` are trusted."""

    def __init__(self, directory: Path, logs: Path, pause_seconds: float) -> None:
        self.directory, self.logs, self.pause_seconds = directory, logs, pause_seconds
        self.controller = Controller(directory)
        self.generations: list[dict[str, str]] = []
        self.names = itertools.count(1)
        self.runs = itertools.count(1)
        self.web_names = [WEB]
        # Certificates that only some parts have.
        self.further: list[dict[str, Any]] = []
        self.roots: dict[str, bytes] = {}
        install = [word for release in RELEASES for word in ("--install", f"{release}={PACKAGES},haproxy,socat")]
        names = [*(f"{release}={release}" for release in RELEASES), f"{CLIENT}=debian13"]
        self.remove()
        subprocess.run(
            [*HOSTS, "up", "--group", GROUP, *install, "--install", f"{CLIENT}=openssl,socat,testssl.sh", *names],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.ssh_config, self.inventory = (
            subprocess.run([*HOSTS, what, "--group", GROUP], capture_output=True, text=True, check=True).stdout.strip()
            for what in ("ssh-config", "inventory")
        )
        self.servers = [Host(name, self.ssh_config, self.inventory, self.controller) for name in RELEASES]

    def set_up(self) -> None:
        """Issue the first certificates, and let the services serve them."""
        self.generations = [self.new_authority()]
        self.trust_only_the_last()
        self.run()
        for server in self.servers:
            version = RELEASES[server.name]
            server.shell("cat > /etc/nginx/conf.d/tls.conf", NGINX)
            server.shell(
                f"cat > /etc/postgresql/{version}/main/conf.d/tls.conf", (HERE / "postgresql.conf").read_text()
            )
            # A login with a certificate, which PostgreSQL takes only while it trusts the CA that signed it.
            hba = f"/etc/postgresql/{version}/main/pg_hba.conf"
            server.shell(f"sed -i '1i hostssl postgres {CLIENT} all cert' {hba}")
            server.shell(f"runuser -u postgres -- psql -c 'create role {CLIENT} login'")
            server.shell(f"systemctl restart nginx.service {server.postgresql}")
        self.run()
        self.settled()
        self.prove()

    def remove(self) -> None:
        subprocess.run([*HOSTS, "down", "--group", GROUP], check=False, stdout=subprocess.DEVNULL)

    def new_authority(self) -> dict[str, str]:
        """Return a new CA below a new root."""
        name = f"ca{next(self.names)}"
        ca = pki.make_ca(self.directory, name, below=pki.make_ca(self.directory, f"{name}-root"))
        certificate = self.controller.file(f"{name}-chain.pem", ca.chain)
        self.roots[certificate] = ca.generation.root
        return {
            "certificate_file": certificate,
            "key_file": self.controller.vaulted(f"{name}-vaulted.key", ca.key),
        }

    def trust_only_the_last(self) -> None:
        """Let the controller's own looks trust nobody but the CA that signs."""
        self.controller.trust.write_bytes(self.roots[self.generations[-1]["certificate_file"]])

    def certificates(self, server: Host) -> list[dict[str, Any]]:
        web = {
            "unit": "nginx.service",
            "check": ["/usr/sbin/nginx", "-t"],
            "listeners": [{"port": 443, "protocol": "https"}, {"port": 443, "protocol": "https", "address": "::1"}],
        }
        database = {"unit": server.postgresql, "listeners": [{"port": 5432, "protocol": "postgresql"}]}
        return [
            {"name": "web", "issuer": "internal", "names": self.web_names, "services": [web]},
            {
                "name": "database", "issuer": "internal", "names": [DATABASE, *self.web_names[1:]], "group": "postgres",
                "key_type": "rsa_3072", "services": [database],
            },
            *self.further,
        ]  # fmt: skip

    def start(self, *options: str, renew: bool = False) -> subprocess.Popen[str]:
        """Start the role on all hosts."""
        issuers = [{"name": "internal", "kind": "private_ca", "generations": self.generations}]
        client = [{"name": CLIENT, "issuer": "internal", "names": [CLIENT], "usages": ["client"]}]
        hosts = {server.name: {"tls_certificates": self.certificates(server)} for server in self.servers}
        hosts[CLIENT] = {"tls_certificates": client}
        everything = {"tls_issuers": issuers, "tls_nginx_snippet": True}
        wishes = self.directory / "wishes.yml"
        wishes.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": everything}}))
        if renew:
            options = (
                *options,
                "-e",
                json.dumps({"tls_renew": "{{ tls_certificates | map(attribute='name') | list }}"}),
            )
        return subprocess.Popen(
            [*CONTROLLER, f"{ANSIBLE}-playbook", "-i", self.inventory, "-i", str(wishes), *options,
             "--vault-password-file", str(self.controller.password), str(HERE / "certificates.yml")],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def run(self, *options: str, renew: bool = False) -> str:
        """Run the role on all hosts and return what it printed."""
        process = self.start(*options, renew=renew)
        output, _none = process.communicate(timeout=2 * PATIENCE_SECONDS)
        log = self.logs / f"run-{next(self.runs):03}"
        log.write_text(output)
        if process.returncode:
            raise Failed(f"the role fails; see {log}")
        return output

    def settled(self) -> None:
        """Fail if a run still finds something to do."""
        changes = self.changes(self.run())
        if set(changes.values()) != {0}:
            raise Failed(f"a run that should have nothing to do changes something: {changes}")

    @staticmethod
    def changes(output: str) -> dict[str, int]:
        """Return how many tasks changed something, by host."""
        recap = output.rpartition("PLAY RECAP")[2]
        return {host: int(number) for host, number in re.findall(r"^(\S+) .*changed=(\d+)", recap, re.MULTILINE)}

    def prove(self) -> None:
        """Fail unless every listener serves what is deployed to whoever trusts the CA that signs, and only that."""
        for server in self.servers:
            server.proves()

    def client(self, *words: str, check: bool = False, **options: Any) -> Run:
        """Run a command on the client's host."""
        ssh = ["ssh", "-F", self.ssh_config, f"root@{CLIENT}"]
        return subprocess.run([*ssh, *words], capture_output=True, text=True, check=check, **options)

    def targets(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "address": server.address, "port": port, "server_name": server_name, "protocol": protocol}
            for server in self.servers
            for name, port, server_name, protocol in (
                ("nginx", 443, WEB, "https"), ("PostgreSQL", 5432, DATABASE, "postgresql")
            )
        ]  # fmt: skip


class Load:
    """New connections from the client's host, for as long as the context lasts."""

    def __init__(self, world: World, targets: list[dict[str, Any]]) -> None:
        self.world = world
        self.told = {"directory": CLIENT_DIRECTORY, "targets": targets, "pause_seconds": world.pause_seconds}
        self.answer: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Load:
        self.world.client("cat > /root/client.py", input=(HERE / "client.py").read_text(), check=True)
        self._process = subprocess.Popen(
            ["ssh", "-F", self.world.ssh_config, "-o", "ControlPath=none", f"root@{CLIENT}", "python3 /root/client.py"],
            # Not those of this program: ssh makes them non-blocking, and Ansible refuses such ones.
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdin
        self._process.stdin.write(json.dumps(self.told) + "\n")
        self._process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_exception: Any) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._reader.join(60)
        if self._process.wait(60):
            raise Failed("the client ended with an error")

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.answer = json.loads(line)

    def made(self, name: str) -> int:
        return int(self.answer.get(name, {}).get("made", 0))

    @property
    def failed(self) -> int:
        return sum(entry["failed"] for entry in self.answer.values())

    @property
    def failures(self) -> list[str]:
        return [f"{name}: {failure}" for name, entry in self.answer.items() for failure in entry["failures"]]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None


def directory_in_memory() -> tempfile.TemporaryDirectory[str]:
    """Return a directory for the controller's files, keys of CAs among them."""
    return tempfile.TemporaryDirectory(prefix="bulwark-certificates-", dir="/dev/shm")
