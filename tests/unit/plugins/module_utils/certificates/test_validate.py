# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every wrong value is refused with the path to it, and no secret is in the sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.validate import problems

SERVICE: dict[str, Any] = {"unit": "nginx.service", "check": ["/usr/sbin/nginx", "-t"], "listeners": [{"port": 443}]}
MUTUAL = {"port": 443, "protocol": "https", "require_client_certificate": True}
GENERATION = {"certificate_file": "ca.pem", "key_file": "ca.key", "key_passphrase": "hidden-word"}
ISSUER: dict[str, Any] = {"name": "internal", "kind": "private_ca", "generations": [GENERATION]}
BROUGHT: dict[str, Any] = {"name": "brought", "kind": "files"}
CERTIFICATE: dict[str, Any] = {
    "name": "web", "issuer": "internal", "names": ["www.example.org", "*.example.net", "192.0.2.1"],
    "services": [SERVICE],
}  # fmt: skip
SERVER: dict[str, Any] = {
    "name": "public", "kind": "acme", "directory": "https://acme.example.org:14000/dir", "email": "ops@example.org",
    "terms_of_service_agreed": True, "challenge": {"kind": "http", "webroot": "/var/www/acme"},
}  # fmt: skip
FILES = {"issuer": "brought", "certificate_file": "a.pem", "key_file": "a.key"}


def policy(**values: Any) -> dict[str, Any]:
    return {"issuers": [ISSUER, BROUGHT], "certificates": [{**CERTIFICATE, **values}]}


def service(**values: Any) -> dict[str, Any]:
    return policy(services=[{**SERVICE, **values}])


def listener(**values: Any) -> dict[str, Any]:
    return service(listeners=[{"port": 443, **values}])


def issuer(**values: Any) -> dict[str, Any]:
    return {"issuers": [{**ISSUER, **values}], "certificates": []}


def server(**values: Any) -> dict[str, Any]:
    return {"issuers": [{**SERVER, **values}], "certificates": []}


def challenge(**values: Any) -> dict[str, Any]:
    return server(challenge={"kind": "http", **values})


def ordered(**values: Any) -> dict[str, Any]:
    return {
        "issuers": [SERVER], "certificates": [{"name": "web", "issuer": "public", "names": ["a.example.org"], **values}]
    }  # fmt: skip


GOOD = [
    {},
    server(email=None, server_trust_file="server.pem", trust_file="roots.pem", system_trust=True),
    server(directory="https://[2001:db8::1]/acme/private/directory"),
    challenge(port=8080),
    {**ordered(usages=["server", "client"], key_type="rsa_4096", services=[]), "renew": ["web"]},
    policy(),
    policy(life_days=90, usages=["server", "client"], key_type="rsa_4096", owner="a", group="ssl-cert", mode="0440"),
    policy(**FILES, key_passphrase="hidden-word"),
    listener(protocol="postgresql", address="::1", server_name="any.example.net"),
    policy(usages=["server", "client"], services=[{**SERVICE, "listeners": [MUTUAL]}]),
    service(on_change="restart", check=[]),
    service(on_change="restart", before_restart=["/bin/drain", "a"], after_restart=["/bin/ready"]),
    service(on_change="restart", credentials=True),
    service(credentials=False),
    {**policy(), "renew": ["web"]},
    issuer(generations=[GENERATION, GENERATION]),
]

# What is wrong, the path to it, and a word of what to do.
BAD = [
    ({"certificate": []}, "tls_certificate: unknown option", "tls_certificates"),
    ({"certificates": "web"}, "tls_certificates: 'web' is not a list", "[web]"),
    ({"certificates": ["web"]}, "tls_certificates[0]: 'web' is no dictionary", "issuer"),
    (policy(name="Web"), "tls_certificates[0].name: 'Web'", "a-z"),
    (policy(name="../etc"), "tls_certificates[0].name: '../etc'", "a-z"),
    (policy(name=None), "tls_certificates[0].name: is missing", ""),
    (policy(issuer="other"), "tls_certificates[0].issuer: 'other'", "internal, brought"),
    (policy(names=[]), "tls_certificates[0].names: is missing", ""),
    (policy(names="www.example.org"), "tls_certificates[0].names: 'www.example.org' is not a list", ""),
    (policy(names=["www.example.org", "a b"]), "tls_certificates[0].names[1]: 'a b'", "192.0.2.1"),
    (policy(names=["WWW.example.org"]), "tls_certificates[0].names[0]: write www.example.org", ""),
    (policy(names=["bücher.example.org"]), "tls_certificates[0].names[0]", "xn--"),
    (policy(names=["*.org"]), "tls_certificates[0].names[0]: '*.org'", "*.example.org"),
    (policy(names=["*"]), "tls_certificates[0].names[0]: '*'", ""),
    (policy(names=["a.*.example.org"]), "tls_certificates[0].names[0]", ""),
    (policy(names=["192.0.2.0/24"]), "tls_certificates[0].names[0]", ""),
    (policy(names=["192.0.2.300"]), "tls_certificates[0].names[0]", ""),
    (policy(names=["2001:db8:0::1"]), "tls_certificates[0].names[0]: write 2001:db8::1", ""),
    (policy(names=["www.example.org."]), "tls_certificates[0].names[0]", ""),
    (policy(names=[f"{'a' * 64}.example.org"]), "tls_certificates[0].names[0]", ""),
    (policy(names=[443]), "tls_certificates[0].names[0]: 443 is not a name", ""),
    (policy(names=["a.example.org", "a.example.org"]), "tls_certificates[0].names: a.example.org is there twice", ""),
    (policy(life_days=91), "tls_certificates[0].life_days: 91", "1 to 90 days"),
    (policy(life_days=0), "tls_certificates[0].life_days: 0", "1 to 90 days"),
    (policy(life_days="30d"), "tls_certificates[0].life_days: '30d'", "1 to 90 days"),
    (policy(life_days=True), "tls_certificates[0].life_days: True", "1 to 90 days"),
    (policy(usages=["email"]), "tls_certificates[0].usages[0]: 'email'", "server, client"),
    (policy(key_type="dsa"), "tls_certificates[0].key_type: 'dsa'", "ecdsa_p256"),
    (policy(owner="a:b"), "tls_certificates[0].owner: 'a:b'", "account"),
    (policy(mode="0644"), "tls_certificates[0].mode: '0644'", "0640"),
    (policy(mode=0o640), "tls_certificates[0].mode: 416", "in quotes"),
    (policy(key_file="a.key"), "tls_certificates[0].key_file: is for an issuer of the kind files", "internal"),
    (policy(issuer="brought"), "tls_certificates[0].certificate_file: is missing", ""),
    (policy(**{**FILES, "key_file": None}), "tls_certificates[0].key_file: is missing", ""),
    (policy(**FILES, key_passphrase=["hidden-word"]), "tls_certificates[0].key_passphrase: is not accepted", "text"),
    (policy(colour="red"), "tls_certificates[0].colour: there is no such key", "names"),
    (service(unit="nginx"), "tls_certificates[0].services[0].unit: 'nginx'", "nginx.service"),
    (service(unit="-a.timer"), "tls_certificates[0].services[0].unit", ""),
    (service(check="nginx -t"), "tls_certificates[0].services[0].check: 'nginx -t' is not a list", ""),
    (
        service(before_restart=["drain"], after_restart=["/bin/ready"]),
        "tls_certificates[0].services[0].before_restart[0]: 'drain'",
        "absolute",
    ),
    (
        service(before_restart=["/bin/drain"], after_restart="/bin/ready a"),
        "tls_certificates[0].services[0].after_restart: '/bin/ready a' is not a list",
        "",
    ),
    (service(before_restart=["/bin/drain"]), "tls_certificates[0].services[0].after_restart: is missing", "together"),
    (service(after_restart=["/bin/ready"]), "tls_certificates[0].services[0].before_restart: is missing", "together"),
    (service(check=["nginx", "-t"]), "tls_certificates[0].services[0].check[0]: 'nginx'", "absolute"),
    (service(check=["/usr/sbin/nginx", 7]), "tls_certificates[0].services[0].check[1]: 7", "text"),
    (service(on_change="ignore"), "tls_certificates[0].services[0].on_change: 'ignore'", "reload, restart"),
    (listener(port=0), "tls_certificates[0].services[0].listeners[0].port: 0", "1 to 65535"),
    (listener(port=None), "tls_certificates[0].services[0].listeners[0].port: is missing", ""),
    (listener(address="localhost"), "tls_certificates[0].services[0].listeners[0].address: 'localhost'", "::1"),
    (listener(protocol="smtp"), "tls_certificates[0].services[0].listeners[0].protocol: 'smtp'", "postgresql"),
    (
        listener(require_client_certificate=True),
        "listeners[0].require_client_certificate: is tried",
        "[server, client]",
    ),
    (listener(require_client_certificate="yes"), "listeners[0].require_client_certificate: 'yes'", "true and false"),
    (listener(server_name="example.org"), "listeners[0].server_name: the certificate does not stand", "192.0.2.1"),
    (listener(server_name="*.example.net"), "listeners[0].server_name: the certificate does not stand", ""),
    (issuer(name="CA 1"), "tls_issuers[0].name: 'CA 1'", "a-z"),
    (issuer(kind="acme2"), "tls_issuers[0].kind: 'acme2'", "private_ca, files, acme"),
    (issuer(generations=[]), "tls_issuers[0].generations: is missing", "last signs"),
    (issuer(generations=GENERATION), "tls_issuers[0].generations: a dictionary", "first entry"),
    (issuer(generations=[{"key_file": "a"}]), "tls_issuers[0].generations[0].certificate_file: is missing", ""),
    (issuer(generations=[{**GENERATION, "key_passphrase": 5}]), "generations[0].key_passphrase: is not", "text"),
    (service(credentials="yes"), "services[0].credentials: 'yes'", "true and false"),
    (service(credentials=True), "services[0].on_change: must be restart", "at a start only"),
    (issuer(system_trust="yes"), "tls_issuers[0].system_trust: 'yes'", "true and false"),
    ({"issuers": [{**BROUGHT, "system_trust": True}]}, "tls_issuers[0].system_trust: there is nothing", "trust_file"),
    (issuer(trust_file="a.pem"), "tls_issuers[0].trust_file: is for the kinds files and acme", "generations"),
    (issuer(kind="files"), "tls_issuers[0].generations: is for the kind private_ca", ""),
    ({**policy(), "alarm_days": 0}, "tls_alarm_days: 0", "1 to 90 days"),
    ({**policy(), "alarm_units": "mail.service"}, "tls_alarm_units: 'mail.service' is not a list", ""),
    ({**policy(), "alarm_units": ["mail"]}, "tls_alarm_units[0]: 'mail'", "mail-alarm@%n.service"),
    ({**policy(), "alarm_units": ["a.service\nExecStart=/bin/sh"]}, "tls_alarm_units[0]", "mail-alarm@%n.service"),
    ({**policy(), "alarm_units": ["%h.service"]}, "tls_alarm_units[0]", ""),
    ({**policy(), "metrics_directory": "metrics"}, "tls_metrics_directory: 'metrics'", "absolute path"),
    ({**policy(), "metrics_directory": "/var/../etc"}, "tls_metrics_directory", "absolute path"),
    ({**policy(), "metrics_directory": "/srv/my metrics"}, "tls_metrics_directory", "absolute path"),
    (issuer(email="ops@example.org"), "tls_issuers[0].email: is for the kind acme", ""),
    (issuer(challenge=SERVER["challenge"]), "tls_issuers[0].challenge: is for the kind acme", ""),
    (server(directory=None), "tls_issuers[0].directory: is missing", ""),
    (server(directory="http://acme.example.org/dir"), "tls_issuers[0].directory: 'http://acme", "https://"),
    (server(directory="acme.example.org"), "tls_issuers[0].directory: 'acme.example.org'", "https://"),
    (server(directory="https://a.example.org/dir --quiet"), "tls_issuers[0].directory", "https://"),
    (server(directory="https://me:hidden-word@a.example.org/"), "tls_issuers[0].directory: holds an account", "URL"),
    (server(directory=["https://a.example.org/"]), "tls_issuers[0].directory", "https://"),
    (server(email="ops"), "tls_issuers[0].email: 'ops'", "ops@example.org"),
    (server(email="--quiet@example.org"), "tls_issuers[0].email: '--quiet@example.org'", "one address"),
    (server(email="a@example.org,b@example.org"), "tls_issuers[0].email", "one address"),
    (server(terms_of_service_agreed=None), "tls_issuers[0].terms_of_service_agreed: must be true", "agree"),
    (server(terms_of_service_agreed=False), "tls_issuers[0].terms_of_service_agreed: must be true", "read the terms"),
    (server(terms_of_service_agreed="yes"), "tls_issuers[0].terms_of_service_agreed: must be true", ""),
    (server(server_trust_file=7), "tls_issuers[0].server_trust_file: 7", "text"),
    (server(generations=[GENERATION]), "tls_issuers[0].generations: is for the kind private_ca", "for acme"),
    (server(system_trust=True), "tls_issuers[0].system_trust: there is nothing to trust", "trust_file"),
    (server(challenge=None), "tls_issuers[0].challenge: is missing", ""),
    (server(challenge="http"), "tls_issuers[0].challenge: 'http' is no dictionary", "webroot"),
    (server(challenge={"webroot": "/a"}), "tls_issuers[0].challenge.kind: is missing", ""),
    (challenge(kind="dns", webroot="/a"), "tls_issuers[0].challenge.kind: 'dns'", "http"),
    (challenge(), "tls_issuers[0].challenge: set webroot", "not both"),
    (challenge(webroot="/a", port=80), "tls_issuers[0].challenge: set webroot", "not both"),
    (challenge(webroot="acme"), "tls_issuers[0].challenge.webroot: 'acme'", "/var/www/acme"),
    (challenge(webroot="/var/../etc"), "tls_issuers[0].challenge.webroot: '/var/../etc'", "/var/www/acme"),
    (challenge(webroot="/"), "tls_issuers[0].challenge.webroot: '/'", "/var/www/acme"),
    (challenge(port=0), "tls_issuers[0].challenge.port: 0", "1 to 65535"),
    (challenge(port="http"), "tls_issuers[0].challenge.port: 'http'", "1 to 65535"),
    (challenge(command="x", webroot="/a"), "tls_issuers[0].challenge.command: there is no such key", "webroot"),
    (ordered(life_days=30), "tls_certificates[0].life_days: the server of public decides", "leave life_days out"),
    (ordered(names=["192.0.2.1"]), "tls_certificates[0].names[0]: 192.0.2.1 cannot be ordered", "www.example.org"),
    (ordered(names=["*.example.org"]), "tls_certificates[0].names[0]: *.example.org cannot be", "another kind"),
    (ordered(key_file="a.key"), "tls_certificates[0].key_file: is for an issuer of the kind files", "public"),
    ({**policy(), "renew": ["mail"]}, "tls_renew[0]: 'mail'", "web"),
    ({**policy(**FILES), "renew": ["web"]}, "tls_renew[0]: 'web'", "accepted are"),
    (
        {**policy(), "certificates": [CERTIFICATE, {**CERTIFICATE, "name": "other"}]},
        "tls_certificates[1].services: 127.0.0.1:443 (www.example.org) serves web already",
        "one certificate for a name",
    ),
    ({**policy(), "certificates": [CERTIFICATE, CERTIFICATE]}, "tls_certificates: web is there twice", "own name"),
    ({**policy(), "issuers": [ISSUER, ISSUER]}, "tls_issuers: internal is there twice", "own name"),
]


@pytest.mark.parametrize("raw", GOOD)
def test_a_good_policy_is_accepted(raw: dict[str, Any]) -> None:
    assert problems(raw) == []


@pytest.mark.parametrize(("raw", "path", "advice"), BAD)
def test_a_wrong_value_is_refused_with_its_path(raw: dict[str, Any], path: str, advice: str) -> None:
    found = problems(raw)
    assert any(path in problem and advice in problem for problem in found), found
    assert len(found) <= 3
    assert "hidden-word" not in " ".join(found)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*CERTIFICATE, *ISSUER, "x"]), inner),
    max_leaves=8,
)


@given(ANYTHING, ANYTHING, st.sampled_from(["names", "services", "usages", "generations", "mode", "check", *SERVER]))
def test_no_value_ends_in_an_exception(one: Any, other: Any, key: str) -> None:
    problems({"certificates": one, "issuers": other, "renew": one})
    problems({"issuers": [{**ISSUER, key: one}], "certificates": [{**CERTIFICATE, key: other}]})
    problems({"issuers": [{**SERVER, key: one}], "certificates": [{**CERTIFICATE, "issuer": "public", key: other}]})
    problems(service(**{key: one}))
