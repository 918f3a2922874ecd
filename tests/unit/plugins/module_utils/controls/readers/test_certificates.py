# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who can read the keys of the store: current, old, staged, forgotten, and under another name."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.controls.host import Host
from ansible_collections.bulwark.hardening.plugins.module_utils.controls.model import Verdict

from ..conftest import MakeHost

STORE = "/etc/bulwark/tls"
WEB = f"{STORE}/web"
POSTGRES = 111
LABEL = "-----BEGIN PRIVATE" + " KEY-----"
FILES = {
    "/etc/passwd": "root:x:0:0::/root:/bin/sh\npostgres:x:110:111::/:/bin/sh\ngames:x:5:60::/:/bin/sh\n",
    "/etc/group": f"root:x:0:\npostgres:x:{POSTGRES}:\ngames:x:60:\n",
    f"{WEB}/trust.pem": "-----BEGIN CERTIFICATE-----\n",
    f"{WEB}/v0001/key.pem": LABEL,
    f"{WEB}/v0002/key.pem": LABEL,
    f"{WEB}/v0002/certificate.pem": "-----BEGIN CERTIFICATE-----\n",
    f"{WEB}/v0003.staged/key.pem": LABEL,
    f"{STORE}/gone/v0001/key.pem": LABEL,
    f"{STORE}/.lock": "",
}
MODES = {
    f"{WEB}/v0001/key.pem": 0o600,
    f"{WEB}/v0002/key.pem": 0o640,
    f"{WEB}/v0003.staged": 0o700,
    f"{WEB}/v0003.staged/key.pem": 0o600,
    f"{STORE}/gone/v0001/key.pem": 0o600,
}
OWNERS = {f"{WEB}/v0002/key.pem": (0, POSTGRES)}
DECLARED = [{"name": "web", "group": "postgres", "mode": "0640"}]


def observe(make_host: MakeHost, **parts: Any) -> Any:
    host = make_host(
        {**FILES, **parts.get("files", {})},
        modes={**MODES, **parts.get("modes", {})},
        owners={**OWNERS, **parts.get("owners", {})},
        links={f"{WEB}/current": "v0002", **parts.get("links", {})},
    )
    return host.observe("key_files", certificates=DECLARED)


def test_a_store_as_the_role_leaves_it_passes(make_host: MakeHost) -> None:
    seen = observe(make_host)
    assert (seen.verdict, seen.reason) == (Verdict.PASS, "")


@pytest.mark.parametrize(
    ("parts", "observed"),
    [
        ({"modes": {f"{WEB}/v0002/key.pem": 0o644}}, f"{WEB}/v0002/key.pem root:postgres 0644"),
        ({"modes": {f"{WEB}/v0002/key.pem": 0o600}}, f"{WEB}/v0002/key.pem root:postgres 0600"),
        ({"owners": {f"{WEB}/v0002/key.pem": (0, 60)}}, f"{WEB}/v0002/key.pem root:games 0640"),
        ({"owners": {f"{WEB}/v0002/key.pem": (5, POSTGRES)}}, f"{WEB}/v0002/key.pem games:postgres 0640"),
        ({"modes": {f"{WEB}/v0001/key.pem": 0o604}}, f"{WEB}/v0001/key.pem root:root 0604"),
        ({"owners": {f"{WEB}/v0001/key.pem": (0, 60)}}, f"{WEB}/v0001/key.pem root:games 0600"),
        ({"modes": {f"{WEB}/v0003.staged/key.pem": 0o640}}, f"{WEB}/v0003.staged/key.pem root:root 0640"),
        ({"modes": {f"{WEB}/v0003.staged": 0o755}}, f"{WEB}/v0003.staged directory root:root 0755"),
        ({"modes": {f"{STORE}/gone/v0001/key.pem": 0o644}}, f"{STORE}/gone/v0001/key.pem root:root 0644"),
        ({"modes": {WEB: 0o775}}, f"{WEB} directory root:root 0775"),
        ({"modes": {STORE: 0o777}}, f"{STORE} directory root:root 0777"),
        ({"owners": {f"{WEB}/v0002": (5, 0)}}, f"{WEB}/v0002 directory games:root 0755"),
        ({"modes": {f"{WEB}/trust.pem": 0o666}}, f"{WEB}/trust.pem root:root 0666"),
        ({"files": {f"{WEB}/.bulwark-1a2b": LABEL}}, f"{WEB}/.bulwark-1a2b root:root 0644"),
        ({"files": {f"{STORE}/copy.txt": LABEL}}, f"{STORE}/copy.txt root:root 0644"),
        ({"links": {f"{WEB}/v0002/private.pem": "/root/x"}}, f"{WEB}/v0002/private.pem link"),
        ({"links": {f"{STORE}/other": "/srv"}}, f"{STORE}/other link"),
    ],
)
def test_each_weakness_fails_alone(make_host: MakeHost, parts: dict[str, Any], observed: str) -> None:
    seen = observe(make_host, **parts)
    assert (seen.verdict, seen.observed) == (Verdict.FAIL, observed)


def test_an_access_list_fails(make_host: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "has_access_list", lambda _host, path: path == f"{WEB}/v0002/key.pem")
    seen = observe(make_host)
    assert (seen.verdict, seen.observed) == (Verdict.FAIL, f"{WEB}/v0002/key.pem has an access list")


def test_a_key_that_is_not_there_fails_and_none_declared_is_not_applicable(make_host: MakeHost) -> None:
    missing = make_host({"/etc/bulwark/tls/web": None}).observe("key_files", certificates=DECLARED)
    assert missing.verdict is Verdict.FAIL
    assert f"{WEB}/current/key.pem not there" in missing.observed
    nothing = make_host(FILES).observe("key_files", certificates=[])
    assert (nothing.verdict, nothing.reason) == (
        Verdict.NOT_APPLICABLE,
        "no certificate is declared for this host",
    )


@pytest.mark.parametrize(("state", "verdict"), [("active\n", Verdict.PASS), ("inactive\n", Verdict.FAIL)])
def test_what_the_host_renews_by_itself_needs_its_timer(make_host: MakeHost, state: str, verdict: Verdict) -> None:
    dates = "notBefore=Jan  1 00:00:00 2020 GMT\nnotAfter=Jan  1 00:00:00 2099 GMT\n"
    host = make_host(
        {f"{WEB}/current/certificate.pem": "x", f"{WEB}/trust.pem": "y"},
        {"openssl x509": dates, "openssl verify": "OK\n", "systemctl is-active -- renew.timer": state},
    )
    parameters = {"life_days": {"at_least": 90}, "renewal_timers": {"acme": "renew.timer"}}
    seen = host.observe("certificate_lives", certificates=[{"name": "web", "issuer_kind": "acme"}], **parameters)
    assert seen.verdict is verdict
    other = host.observe("certificate_lives", certificates=[{"name": "web", "issuer_kind": "files"}], **parameters)
    assert other.verdict is Verdict.PASS
