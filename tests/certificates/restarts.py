# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two instances of a server that cannot reload, behind HAProxy, which passes TLS on: nobody may notice a restart."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from tests.integration_hosts.test_certificates import PATIENCE_SECONDS, STORE, Host

from .world import HERE, ROOT, Failed, Load, World

NAME = "daemon.example.org"
PORT = 8443
INSTANCES = {1: 8441, 2: 8442}
CLIENTS = 4
MOST_RUNS_WITHOUT = 5
LEAST_RENEWALS = 2
NOTE = f"{STORE}/.taken_out"
RENEWED = json.dumps({"tls_renew": ["daemon"]})
UNIT = """
[Unit]
Description=A server that reads certificates only when it starts, %i
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/daemon.py 844%i
"""
HAPROXY = """
global
    stats socket /run/haproxy/admin.sock mode 600 level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
frontend identity
    bind :8443
    default_backend identity
backend identity
    balance roundrobin
    option redispatch
    server instance1 127.0.0.1:8441 check inter 500ms
    server instance2 127.0.0.1:8442 check inter 500ms
"""


def pool() -> str:
    """Return the program that docs/tls.md gives its readers."""
    text = (ROOT / "docs/tls.md").read_text(encoding="utf-8")
    (program,) = (block for block in re.findall(r"```sh\n(.+?)```", text, re.DOTALL) if "# pool drain" in block)
    return str(program)


def restarts(world: World, connections: int, seed: int) -> None:
    """Renew the certificate of both instances again and again; first without taking them out, which has to hurt."""
    set_up(world)
    with Load(world, targets(world)) as load:
        for _run in range(MOST_RUNS_WITHOUT):
            renew(world, drained=False)
            if load.failed:
                break
    print(f"restarted under load:                    {line(load)}")
    if not load.failed:
        raise Failed("a restart under load drops nobody here, so this part shows nothing")
    world.further = [certificate(drained=True)]
    world.run()
    with Load(world, targets(world)) as load:
        runs = 0
        while runs < LEAST_RENEWALS or load.made(NAME) < connections:
            renew(world, drained=True)
            runs += 1
            if not load.alive:
                raise Failed("the client has ended")
        print(f"taken out of use before, {runs:>3} renewals:    {line(load)}", flush=True)
        died = [kill(world, server, wait) for server in world.servers for wait in waits(seed)]
    print(f"and killed {len(died)} times, {sum(died)} with an instance out: {line(load)}", flush=True)
    if load.failed:
        raise Failed(f"{load.failed} connections failed: {'; '.join(load.failures)}")
    if not any(died):
        raise Failed("no run was killed while an instance was out of use")
    seen = len(load.answer[NAME]["seen"])
    if seen < (runs + 1) * len(world.servers):
        raise Failed(f"{seen} certificates were served, after {runs} renewals")
    for server in world.servers:
        deployed = server.deployed("daemon")
        served = {fingerprint(world, server) for _instance in range(2 * len(INSTANCES))}
        if served != {deployed}:
            raise Failed(f"{server.name} serves {served}, and deployed is {deployed}")
    world.settled()


def waits(seed: int) -> list[float]:
    chance = random.Random(seed)
    return [round(chance.uniform(0, part), 2) for part in (0.3, 1, 3)]


def kill(world: World, server: Host, wait: float) -> bool:
    """Kill the module on the host a moment after an instance was taken out, and let the next run put it in.

    Returns whether one was out of use then.
    """
    process = world.start("--limit", server.name, "-e", RENEWED)
    module = f"$(cut -d ' ' -f 1 {STORE}/.lock)"
    server.shell(f"until test -s {NOTE}; do sleep 0.02; done; sleep {wait}; kill -9 {module}", check=False)
    process.communicate(timeout=PATIENCE_SECONDS)
    out = server.shell(f"test -s {NOTE}", check=False).returncode == 0
    world.run("--limit", server.name)
    if server.shell(f"test -e {NOTE}", check=False).returncode == 0:
        raise Failed(f"{server.name}: the next run leaves an instance out of use")
    return out


def line(load: Load) -> str:
    return f"{load.made(NAME):>6} connections, {load.failed} failed"


def set_up(world: World) -> None:
    for server in world.servers:
        server.shell("cat > /usr/local/lib/daemon.py", (HERE / "daemon.py").read_text())
        server.shell("cat > /usr/local/sbin/pool; chmod 755 /usr/local/sbin/pool", pool())
        server.shell("cat > /etc/haproxy/haproxy.cfg", HAPROXY)
        server.shell("cat > /etc/systemd/system/daemon@.service; systemctl daemon-reload", UNIT)
    world.further = [certificate(drained=False)]
    world.run()
    for server in world.servers:
        server.shell(f"systemctl start {' '.join(unit(number) for number in INSTANCES)}; systemctl restart haproxy")
    world.run()
    world.settled()


def unit(number: int) -> str:
    return f"daemon@{number}.service"


def certificate(drained: bool) -> dict[str, Any]:
    return {
        "name": "daemon",
        "issuer": "internal",
        "names": [NAME],
        "services": [
            {
                "unit": unit(number),
                "on_change": "restart",
                "listeners": [{"port": port}],
                **(
                    {
                        f"{when}_restart": ["/usr/local/sbin/pool", state, f"instance{number}"]
                        for when, state in (("before", "drain"), ("after", "ready"))
                    }
                    if drained
                    else {}
                ),
            }
            for number, port in INSTANCES.items()
        ],
    }


def renew(world: World, drained: bool) -> None:
    world.further = [certificate(drained)]
    servers = ",".join(server.name for server in world.servers)
    world.run("--limit", servers, "-e", RENEWED)


def targets(world: World) -> list[dict[str, Any]]:
    return [
        {"name": NAME, "address": server.address, "port": PORT, "server_name": NAME, "protocol": "https"}
        for server in world.servers
        for _client in range(CLIENTS)
    ]


def fingerprint(world: World, server: Host) -> str:
    """Return what somebody on another host is served through the proxy."""
    connect = f"openssl s_client -connect {server.address}:{PORT} -servername {NAME} </dev/null 2>/dev/null"
    shown = world.client(f"{connect} | openssl x509 -noout -fingerprint -sha256", check=True).stdout
    return shown.partition("=")[2].strip().replace(":", "").lower()
