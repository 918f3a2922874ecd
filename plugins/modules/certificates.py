#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All certificates of a host: issued for keys that it makes itself, judged, swapped in, and proven where served."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificates
short_description: Issue, renew and prove the TLS certificates of a host
version_added: "0.1.0"
author: bulwark.hardening contributors (@bulwark-hardening)
description:
  - Brings all certificates of a host to what is wished, in one call when nothing is due and in two when something is.
  - A private key is made on the host and never leaves it. The CA signs a request on the controller, where its key is
    opened in memory only; an ACME server is asked by certbot on the host, which sees the request and not the key.
  - A certificate is swapped in only if key, chain, names, usage and validity are right, and OpenSSL takes it. Key and
    certificate change together, by one symbolic link.
  - Each service that runs is then reloaded until every listener serves what is deployed. If one does not, the
    certificate before it is put back, that one is proven, and the task fails.
  - What was interrupted at any point is finished by the next run.
  - The host keeps the policy, without any secret, and a program. Its own timers let services serve what is deployed,
    report what needs a person, and raise an alarm, without the controller.
notes:
  - An action plugin of the same name checks the options on the controller, opens the CA and signs. The module alone
    issues nothing.
  - Services name C(/etc/bulwark/tls/NAME/current/key.pem) and C(full_chain.pem) beside it, and
    C(/etc/bulwark/tls/NAME/trust.pem) for whom they trust.
  - A service need not name a certificate yet in the run that deploys it for the first time. After that, a listener that
    serves another one fails the task.
requirements:
  - python3-cryptography 38 or newer on the host, with systemd
  - certbot 2.1 or newer on the host for issuers of the kind V(acme)
attributes:
  check_mode:
    support: full
    description: Shows what is due and why, without making a key, and changes nothing.
  diff_mode:
    support: full
    description: Shows each certificate that changes, before and after, as data; never a key.
  idempotent:
    support: full
    description: >-
      A second run reports no change. A listener that serves anything but what is deployed is a difference.
  platform:
    support: full
    platforms: posix
    description: Target operating system families.
    details: Debian family and RedHat family.
options:
  certificates:
    description: The certificates of this host.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the certificate, a letter and up to 62 of a-z, 0-9, C(_) and C(-).
        type: str
        required: true
      issuer:
        description: Who issues it, one of O(issuers).
        type: str
        required: true
      names:
        description: DNS names and addresses that it stands for, such as V(www.example.org) or V(192.0.2.1).
        type: list
        elements: str
        required: true
      usages:
        description: Whether it is for a server, for a client, or for both. Unset means V(server).
        type: list
        elements: str
        choices: [server, client]
      life_days:
        description:
          - Days that it is valid, 1 to 90. Unset means 30. It is renewed at two thirds, or a little earlier. An ACME
            server decides it itself.
        type: int
      key_type:
        description:
          - Type of its key. Unset means V(ecdsa_p256). For an issuer of the kind V(files), the key is as it is.
        type: str
        choices: [ecdsa_p256, ecdsa_p384, rsa_3072, rsa_4096]
      owner:
        description: User to whom the key belongs. Unset means V(root).
        type: str
      group:
        description: Group to which the key belongs. Unset means V(root).
        type: str
      mode:
        description:
          - Mode of the key, V(0400), V(0440), V(0600) or V(0640). Unset means V(0640) if O(certificates[].group) is
            given, else V(0600).
        type: str
      certificate_file:
        description:
          - With an issuer of the kind V(files), the certificate on the controller, and behind it those of the CAs
            between it and the root.
        type: str
      key_file:
        description:
          - With an issuer of the kind V(files), the key on the controller, encrypted with ansible-vault or with a
            passphrase.
        type: str
      key_passphrase:
        description: The passphrase of O(certificates[].key_file), if it has one.
        type: str
      services:
        description: The services that read it.
        type: list
        elements: dict
        suboptions:
          unit:
            description: The systemd unit, such as V(nginx.service).
            type: str
            required: true
          check:
            description: A command that checks the configuration of the service, such as V([/usr/sbin/nginx, -t]).
            type: list
            elements: str
          on_change:
            description:
              - How the service reads a new certificate. Unset means V(reload); a unit that cannot reload is
                restarted.
            type: str
            choices: [reload, restart]
          before_restart:
            description:
              - A command that takes this instance out of use before it is restarted, and ends when nobody uses it any
                more, within 120 seconds; no shell reads it. If it fails, the service is not restarted and the task
                fails.
            type: list
            elements: str
          after_restart:
            description:
              - A command that puts it in again, and ends when it is used. It runs after
                O(certificates[].services[].before_restart), whatever came of that and of the restart; what a run that
                died has left out of use, the next one puts in.
            type: list
            elements: str
          credentials:
            description:
              - Whether systemd hands them over, as C(NAME-key.pem), C(NAME-full_chain.pem) and C(NAME-trust.pem) in
                C($CREDENTIALS_DIRECTORY), so that the user of the service need not read the files of root. Unset means
                no. Needs V(restart).
            type: bool
          listeners:
            description: Where the service serves it, which is asked for proof.
            type: list
            elements: dict
            suboptions:
              port:
                description: The port.
                type: int
                required: true
              address:
                description: The address on this host. Unset means V(127.0.0.1).
                type: str
              server_name:
                description: The name that the client asks for. Unset means the first of O(certificates[].names).
                type: str
              protocol:
                description:
                  - V(postgresql) if TLS is asked for as PostgreSQL does, V(https) if the service answers to HTTP.
                    Unset means V(tls).
                type: str
                choices: [tls, https, postgresql]
              require_client_certificate:
                description:
                  - Whether the service must refuse clients without a certificate of its CA, which is tried with none
                    and with one of nobody. This certificate must be let in, so its usages hold V(client) too.
                type: bool
  issuers:
    description: Who issues certificates.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the issuer.
        type: str
        required: true
      kind:
        description:
          - V(private_ca) for a CA whose key is on the controller, V(files) for certificates that you bring, V(acme) for
            an ACME server that the host asks itself, with certbot.
        type: str
        required: true
        choices: [private_ca, files, acme]
      generations:
        description:
          - The CAs of a private CA, the oldest first. Consumers trust all of them; the last one signs, once every host
            of the inventory that uses the issuer trusts it. One that is left out is dropped, which is refused while
            anything still chains to it.
        type: list
        elements: dict
        suboptions:
          certificate_file:
            description:
              - File on the controller with the certificate of the CA that signs, and behind it those above it up to
                the root.
            type: str
            required: true
          key_file:
            description:
              - File on the controller with the key of the CA that signs, encrypted with ansible-vault or with a
                passphrase.
            type: str
            required: true
          key_passphrase:
            description: The passphrase of the key, if it has one.
            type: str
      directory:
        description:
          - With the kind V(acme), the URL of the server's directory, such as
            V(https://acme-v02.api.letsencrypt.org/directory).
        type: str
      email:
        description:
          - With the kind V(acme), whom the server may write to. Unset means nobody. The server is told when the account
            is made.
        type: str
      terms_of_service_agreed:
        description: With the kind V(acme), must be V(true), by which you agree to the terms of the server.
        type: bool
      server_trust_file:
        description:
          - With the kind V(acme), the file on the controller with the CAs that vouch for the server itself. Unset means
            those of the system of the host.
        type: str
      challenge:
        description: With the kind V(acme), how the server sees that the names are of this host.
        type: dict
        suboptions:
          kind:
            description: V(http) if the server reads a file on port 80 of each name.
            type: str
            required: true
            choices: [http]
          webroot:
            description:
              - The directory, root's own, of which a web server on this host shows C(.well-known/acme-challenge) on
                port 80.
            type: str
          port:
            description:
              - The port where certbot listens itself instead while it orders, V(80) unless something leads that one
                there.
            type: int
      trust_file:
        description:
          - With the kinds V(files) and V(acme), the CAs that consumers trust. Unset means those of the system.
        type: str
      system_trust:
        description: Whether the system shall trust the roots too, for programs that read nothing else. Unset means no.
        type: bool
  renew:
    description: Names of certificates that are renewed with a new key although they are not due. Not for inventories.
    type: list
    elements: str
    default: []
  compromised:
    description:
      - Names of issuers whose CA was stolen. The new CA signs at once and nobody trusts another one, without waiting
        for the other hosts, which refuse each other until all of them had their run. Not for inventories.
    type: list
    elements: str
    default: []
  alarm_days:
    description:
      - Days before its end at which the host raises an alarm about a certificate that was not renewed, but not before
        two thirds of its life. Unset means a sixth of its life, at most 30 days.
    type: int
  alarm_units:
    description:
      - Units that systemd starts when a report or a renewal on the host fails, beside the one that writes to the
        journal, such as V(mail-alarm@%n.service).
    type: list
    elements: str
    default: []
  metrics_directory:
    description:
      - Directory of the node exporter's textfile collector, to which reports write metrics. The default is used only
        if it exists. Empty means that no metrics are written.
    type: str
    default: /var/lib/prometheus/node-exporter
  operation:
    description:
      - Step of the work. Playbooks use V(apply), V(validate) to check the options on the controller only, V(observe) to
        learn which CAs a host trusts and presents, or V(outage) to learn what O(compromised) will interrupt. The others
        are for the action plugin.
      - To replace a CA safely, V(apply) has to know what every host shows. It reads that from the variable
        C(__tls_observed) of each of them, in which V(observe) has to be registered before, as the role C(tls) does.
    type: str
    default: apply
    choices: [apply, validate, observe, outage, plan, deploy]
  authorities:
    description: What the host has to know about the issuers. Set by the action plugin.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the issuer.
        type: str
        required: true
      kind:
        description: Kind of the issuer.
        type: str
        required: true
      key_identifier:
        description: Key identifier of the CA that signs.
        type: str
      trust:
        description: Certificates that consumers trust, in PEM.
        type: str
      fingerprints:
        description: Fingerprints of the certificates that were brought, by name.
        type: dict
      directory:
        description: An ACME server and how it is asked.
        type: dict
        suboptions:
          url:
            description: The URL of its directory.
            type: str
            required: true
          email:
            description: Whom the server may write to.
            type: str
          server_trust:
            description: Certificates of the CAs that vouch for the server, in PEM.
            type: str
          webroot:
            description: The directory that a web server shows on port 80.
            type: str
          port:
            description: Where certbot listens itself instead.
            type: int
      system_trust:
        description: Whether the system shall trust them too.
        type: bool
  issued:
    description: Certificates for what is due. Set by the action plugin.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the certificate.
        type: str
        required: true
      certificate:
        description: The certificate, in PEM.
        type: str
        required: true
      chain:
        description: The CAs between it and the root, in PEM.
        type: str
        required: true
  private_keys:
    description: Keys that were brought, by the name of the certificate. Set by the action plugin.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Serve a certificate of the private CA with nginx
  bulwark.hardening.certificates:
    issuers:
      - name: internal
        kind: private_ca
        generations:
          - {certificate_file: internal_ca.pem, key_file: internal_ca.key}
    certificates:
      - name: web
        issuer: internal
        names: [www.example.org]
        services:
          - unit: nginx.service
            check: [/usr/sbin/nginx, -t]
            listeners: [{port: 443}]

- name: Have one issued by an ACME server
  bulwark.hardening.certificates:
    issuers:
      - name: public
        kind: acme
        directory: https://acme-v02.api.letsencrypt.org/directory
        terms_of_service_agreed: true
        challenge: {kind: http, webroot: /var/www/acme}
    certificates:
      - {name: web, issuer: public, names: [www.example.org]}
"""

RETURN = r"""
reasons:
  description: One clause for each difference that is removed. Empty when nothing changes.
  returned: always
  type: list
  elements: str
  sample: ["web: two thirds of its life are over; it expires at 2026-12-24T12:00:00Z"]
replacements:
  description: For each issuer whose CA is being replaced, who signs on this host, and why the last one does not yet.
  returned: when the operation is V(apply)
  type: list
  elements: dict
  sample: [{issuer: internal, signs: CN=Example CA 1, waits: ["database1 does not trust it for database"]}]
outage:
  description: One sentence for each host on which something is interrupted.
  returned: when the operation is V(outage)
  type: list
  elements: str
  sample: ["database1 was not observed in this run: it trusts the stolen CA of internal until it has a run of its own"]
system_trust:
  description: Files with roots of this collection in the trust store of the system.
  returned: when the operation is V(observe)
  type: list
  elements: str
  sample: [bulwark-internal-5f1c0de54e2a9b77.crt]
certificates:
  description:
    - Each certificate as it is deployed. Version 0 means that none is.
    - With the operation V(observe), whom each one's consumers trust, and what it chains to.
  returned: always
  type: list
  elements: dict
  sample:
    - {name: web, issuer: internal, version: 7, names: [www.example.org], usages: [server], key_type: ecdsa_p256,
       fingerprint: 5f1c0de5, serial: 4e2a9b77, not_before: "2026-11-27T11:59:00Z", not_after: "2026-12-27T11:59:00Z",
       renewal: "2026-12-16T03:20:00Z"}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.change import Change
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.installation import Installation
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.policy import METRICS_DIRECTORY
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.program import pack

STRINGS: dict[str, t.Any] = {"type": "list", "elements": "str"}
LISTENER: dict[str, t.Any] = {
    "port": {"type": "int", "required": True},
    "address": {"type": "str"},
    "server_name": {"type": "str"},
    "protocol": {"type": "str", "choices": ["tls", "https", "postgresql"]},
    "require_client_certificate": {"type": "bool"},
}
SERVICE: dict[str, t.Any] = {
    "unit": {"type": "str", "required": True},
    "check": STRINGS,
    "on_change": {"type": "str", "choices": ["reload", "restart"]},
    "credentials": {"type": "bool"},
    "before_restart": STRINGS,
    "after_restart": STRINGS,
    "listeners": {"type": "list", "elements": "dict", "options": LISTENER},
}
CERTIFICATE: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "issuer": {"type": "str", "required": True},
    "names": {"type": "list", "elements": "str", "required": True},
    "usages": {"type": "list", "elements": "str", "choices": ["server", "client"]},
    "life_days": {"type": "int"},
    "key_type": {"type": "str", "choices": ["ecdsa_p256", "ecdsa_p384", "rsa_3072", "rsa_4096"]},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
    "certificate_file": {"type": "str"},
    "key_file": {"type": "str", "no_log": False},
    "key_passphrase": {"type": "str", "no_log": True},
    "services": {"type": "list", "elements": "dict", "options": SERVICE},
}
GENERATION: dict[str, t.Any] = {
    "certificate_file": {"type": "str", "required": True},
    "key_file": {"type": "str", "required": True, "no_log": False},
    "key_passphrase": {"type": "str", "no_log": True},
}
CHALLENGE: dict[str, t.Any] = {
    "kind": {"type": "str", "required": True, "choices": ["http"]},
    "webroot": {"type": "str"},
    "port": {"type": "int"},
}
ISSUER: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True, "choices": ["private_ca", "files", "acme"]},
    "generations": {"type": "list", "elements": "dict", "options": GENERATION},
    "directory": {"type": "str"},
    "email": {"type": "str"},
    "terms_of_service_agreed": {"type": "bool"},
    "server_trust_file": {"type": "str"},
    "challenge": {"type": "dict", "options": CHALLENGE},
    "trust_file": {"type": "str"},
    "system_trust": {"type": "bool"},
}
DIRECTORY: dict[str, t.Any] = {
    "url": {"type": "str", "required": True},
    "email": {"type": "str"},
    "server_trust": {"type": "str"},
    "webroot": {"type": "str"},
    "port": {"type": "int"},
}
AUTHORITY: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "kind": {"type": "str", "required": True},
    "key_identifier": {"type": "str", "no_log": False},
    "trust": {"type": "str"},
    "fingerprints": {"type": "dict"},
    "directory": {"type": "dict", "options": DIRECTORY},
    "system_trust": {"type": "bool"},
}
ISSUED: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "certificate": {"type": "str", "required": True},
    "chain": {"type": "str", "required": True},
}
ARGUMENT_SPEC: dict[str, t.Any] = {
    "certificates": {"type": "list", "elements": "dict", "default": [], "options": CERTIFICATE},
    "issuers": {"type": "list", "elements": "dict", "default": [], "options": ISSUER},
    "renew": {"type": "list", "elements": "str", "default": []},
    "compromised": {"type": "list", "elements": "str", "default": []},
    "alarm_days": {"type": "int"},
    "alarm_units": {"type": "list", "elements": "str", "default": []},
    "metrics_directory": {"type": "str", "default": METRICS_DIRECTORY},
    "operation": {
        "type": "str",
        "default": "apply",
        "choices": ["apply", "validate", "observe", "outage", "plan", "deploy"],
    },
    "authorities": {"type": "list", "elements": "dict", "default": [], "options": AUTHORITY},
    "issued": {"type": "list", "elements": "dict", "default": [], "options": ISSUED},
    "private_keys": {"type": "dict", "default": {}, "no_log": True},
}


def main() -> None:
    """Arguments in, one domain call, result out."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        change = Change(module.params, module.check_mode, keeper=Installation(pack()))
        operations = {"observe": change.observe_authorities, "deploy": change.deploy}
        result = operations.get(module.params["operation"], change.plan)()
    except CertificateError as error:
        module.fail_json(msg=str(error))
        return
    for warning in result.pop("warnings"):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
        return
    module.exit_json(**result)


if __name__ == "__main__":
    main()
