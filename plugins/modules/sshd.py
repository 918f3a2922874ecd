#!/usr/bin/python
# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring one sshd policy to a host as a transaction."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: sshd
short_description: Harden sshd without locking anyone out
version_added: 0.1.0
author:
  - bulwark.hardening contributors (@bulwark-hardening)
description:
  - Plans the whole sshd policy against what the host is like, and lets the host's own sshd read the result in a private
    copy of C(/etc/ssh) before anything is touched.
  - Refuses a policy after which no named administrator, or the connecting user, could log in, and says why for each.
  - With a difference, the candidate is tried as a second sshd on loopback, then applied as a transaction whose rollback
    is armed on the host. The action plugin confirms it by new logins from the controller, or it is rolled back and the
    task fails. Sessions that exist stay.
  - The settings go to C(/etc/ssh/sshd_config.d/00-bulwark.conf), which is read first; sshd keeps the first
    value it meets.
    Where the main file does not read the directory before all else, an Include line is put at its top. Lines of other
    files that would add to the policy (ports, addresses, host keys, allowed users and groups) are commented out.
  - Everything else that is made lies in C(/etc/ssh/bulwark), where files that the policy does not ask for are removed.
requirements:
  - OpenSSH server and client 8.7 or later
  - systemd as the running init
  - root
notes:
  - A running sshd that is older than its files counts as a difference and is reloaded.
attributes:
  check_mode:
    support: full
    description: Plans and examines the candidate in a private copy; starts nothing and changes nothing.
  diff_mode:
    support: full
    description: Shows each file, host keys to be generated and revocations. There are no secrets in it.
  platform:
    support: full
    platforms: linux
    description: Debian 12 and 13 are tested.
options:
  ports:
    description:
      - Ports to listen on. Empty keeps the ports that sshd has now.
      - 'When no port stays, the action plugin makes two transactions: both listen, the new one is proven, then
        the old one goes.'
    type: list
    elements: int
    default: []
  listen_addresses:
    description:
      - IPv4 and IPv6 addresses to listen on, without ports. Empty leaves this to the other configuration files.
    type: list
    elements: str
    default: []
  socket_activation:
    description:
      - V(enabled) lets systemd hold the listening sockets, V(disabled) starts sshd as a service, V(keep) changes
        nothing.
      - With socket activation, ports and addresses also go to a drop-in of the socket unit, since sshd ignores
        its own.
      - A socket unit with C(Accept=yes) stays so. It starts an sshd for each connection, none of which counts the
        others, so O(max_startups), O(per_source_max_startups) and O(per_source_penalties) have no effect; the run
        warns of it.
    type: str
    default: keep
    choices:
      - keep
      - enabled
      - disabled
  administrators:
    description:
      - Users of whom at least one must be able to log in by key or certificate, or the policy is refused before
        anything is touched.
      - Empty stands for the connecting user, who must be able to log in in any case.
    type: list
    elements: str
    default: []
  permit_root_login:
    description:
      - 'Whether root may log in. V(auto) keeps an access that works and opens none: V(prohibit-password) if root
        is an administrator or connected, or if root has an authorized key and was not shut out before; what is
        stricter stays.'
      - V(prohibit-password) allows root by key or certificate only.
    type: str
    default: auto
    choices:
      - auto
      - 'no'
      - prohibit-password
  allow_users:
    description:
      - Patterns USER or USER@HOST. If there are any, everybody else is refused, and lines of other files are replaced.
      - Empty leaves this to the other configuration files.
    type: list
    elements: str
    default: []
  allow_groups:
    description:
      - Patterns of groups. If there are any, who is in none of them is refused, and lines of other files are replaced.
      - Empty leaves this to the other configuration files.
    type: list
    elements: str
    default: []
  deny_users:
    description:
      - Patterns USER or USER@HOST that are refused, in addition to what other files refuse.
    type: list
    elements: str
    default: []
  deny_groups:
    description:
      - Patterns of groups that are refused, in addition to what other files refuse.
    type: list
    elements: str
    default: []
  password_authentication:
    description:
      - Whether passwords are accepted.
    type: bool
    default: false
  keyboard_interactive_authentication:
    description:
      - Whether keyboard-interactive authentication, such as a one-time code through PAM, is accepted.
    type: bool
    default: false
  authentication_methods:
    description:
      - Chains of methods of which one must be passed, such as V(publickey,keyboard-interactive). Empty leaves this
        to the other configuration files.
      - An administrator needs a chain that a key alone passes, or the policy is refused.
    type: list
    elements: str
    default: []
  use_pam:
    description:
      - Whether account and session checks go through PAM. Debian and the RHEL family rely on it.
    type: bool
    default: true
  max_auth_tries:
    description:
      - Authentication attempts for a connection, 1 to 20.
    type: int
    default: 3
  max_sessions:
    description:
      - Sessions over one connection, 1 to 1000. Ansible's multiplexing needs some.
    type: int
    default: 4
  max_startups:
    description:
      - 'START:PERCENT:FULL, how unauthenticated connections are dropped: PERCENT of them from START on, all of
        them at FULL.'
    type: str
    default: 10:30:60
  login_grace_seconds:
    description:
      - Seconds to authenticate in, 10 to 600. There is no value for no limit, which would let idle connections
        use up O(max_startups).
    type: int
    default: 60
  client_alive_interval_seconds:
    description:
      - Seconds without data after which sshd asks whether the client is still there, 0 for never.
    type: int
    default: 300
  client_alive_count_max:
    description:
      - Questions without an answer after which the connection ends.
    type: int
    default: 2
  per_source_max_startups:
    description:
      - Unauthenticated connections from one address at a time, 0 for no limit of its own.
    type: int
    default: 0
  per_source_penalties:
    description:
      - Seconds for which an address is refused after it misbehaved. Empty leaves OpenSSH's own values. Left out
        where sshd does not know it (before OpenSSH 9.8).
    type: dict
    default: {}
    suboptions:
      crash_seconds:
        description:
          - For a connection that crashed sshd.
        type: int
      authentication_failure_seconds:
        description:
          - For a failed authentication.
        type: int
      no_authentication_seconds:
        description:
          - For a connection that did not try to authenticate.
        type: int
      grace_exceeded_seconds:
        description:
          - For running into the login grace time.
        type: int
      minimum_seconds:
        description:
          - Penalty that must add up before it is enforced.
        type: int
      maximum_seconds:
        description:
          - Longest penalty.
        type: int
      exempt_sources:
        description:
          - Addresses or CIDR networks that are never penalized.
        type: list
        elements: str
        default: []
  allow_tcp_forwarding:
    description:
      - Whether TCP ports may be forwarded. Bastions need it.
    type: bool
    default: false
  allow_agent_forwarding:
    description:
      - Whether the authentication agent may be forwarded.
    type: bool
    default: false
  allow_x11_forwarding:
    description:
      - Whether X11 may be forwarded.
    type: bool
    default: false
  allow_stream_local_forwarding:
    description:
      - Whether Unix sockets may be forwarded.
    type: bool
    default: false
  use_dns:
    description:
      - Whether sshd looks up the client's name.
    type: bool
    default: false
  compression:
    description:
      - Whether compression is offered, after authentication.
    type: bool
    default: false
  tcp_keep_alive:
    description:
      - Whether TCP keep-alive is used beside the alive messages inside the encrypted channel.
    type: bool
    default: false
  print_last_log:
    description:
      - Whether the last login is shown.
    type: bool
    default: true
  log_level:
    description:
      - How much is logged. V(VERBOSE) adds the fingerprint of the key that was used. V(DEBUG) violates the users'
        privacy.
    type: str
    default: VERBOSE
    choices:
      - INFO
      - VERBOSE
      - DEBUG
  banner:
    description:
      - Text shown before authentication, empty for none. It goes to C(/etc/ssh/bulwark/banner).
    type: str
    default: "Authorized use only. All activity is recorded.\n"
  key_exchange_algorithms:
    description:
      - Key exchanges, most wanted first. This and the next five lists are intersected with what OpenSSH on the
        host knows; nothing left is an error.
      - 'The default is hybrid post-quantum only: clients need OpenSSH 8.5 or later.'
    type: list
    elements: str
    default:
      - mlkem768x25519-sha256
      - sntrup761x25519-sha512
      - sntrup761x25519-sha512@openssh.com
  ciphers:
    description:
      - Ciphers, most wanted first.
    type: list
    elements: str
    default:
      - aes256-gcm@openssh.com
      - aes128-gcm@openssh.com
      - aes256-ctr
      - aes192-ctr
      - aes128-ctr
  macs:
    description:
      - Message authentication codes, most wanted first.
    type: list
    elements: str
    default:
      - hmac-sha2-512-etm@openssh.com
      - hmac-sha2-256-etm@openssh.com
      - umac-128-etm@openssh.com
  host_key_algorithms:
    description:
      - Signatures with host keys, most wanted first.
    type: list
    elements: str
    default:
      - ssh-ed25519-cert-v01@openssh.com
      - ssh-ed25519
      - rsa-sha2-512-cert-v01@openssh.com
      - rsa-sha2-256-cert-v01@openssh.com
      - rsa-sha2-512
      - rsa-sha2-256
  public_key_algorithms:
    description:
      - Signatures with user keys and certificates, most wanted first.
    type: list
    elements: str
    default:
      - ssh-ed25519-cert-v01@openssh.com
      - sk-ssh-ed25519-cert-v01@openssh.com
      - sk-ecdsa-sha2-nistp256-cert-v01@openssh.com
      - ecdsa-sha2-nistp521-cert-v01@openssh.com
      - ecdsa-sha2-nistp384-cert-v01@openssh.com
      - ecdsa-sha2-nistp256-cert-v01@openssh.com
      - rsa-sha2-512-cert-v01@openssh.com
      - rsa-sha2-256-cert-v01@openssh.com
      - ssh-ed25519
      - sk-ssh-ed25519@openssh.com
      - sk-ecdsa-sha2-nistp256@openssh.com
      - ecdsa-sha2-nistp521
      - ecdsa-sha2-nistp384
      - ecdsa-sha2-nistp256
      - rsa-sha2-512
      - rsa-sha2-256
  ca_signature_algorithms:
    description:
      - Signatures that a CA may have put under certificates.
    type: list
    elements: str
    default:
      - ssh-ed25519
      - sk-ssh-ed25519@openssh.com
      - sk-ecdsa-sha2-nistp256@openssh.com
      - ecdsa-sha2-nistp521
      - ecdsa-sha2-nistp384
      - ecdsa-sha2-nistp256
      - rsa-sha2-512
      - rsa-sha2-256
  required_rsa_bits:
    description:
      - Smallest RSA key that is accepted and offered, 2048 to 16384 bits. Left out where sshd does not know it
        (before OpenSSH 9.1).
    type: int
    default: 3072
  host_key_types:
    description:
      - Host keys to offer. A missing one is generated; an RSA key that is too small is offered no more; none is
        ever replaced or deleted.
    type: list
    elements: str
    default:
      - ed25519
      - rsa
    choices:
      - ed25519
      - rsa
      - ecdsa
  host_certificates:
    description:
      - Host certificates, each in one line as a CA signs it with C(ssh-keygen -h), at most one for each type of key.
      - Refused is a certificate that is not for a host key offered here, which sshd would pass over without a word,
        and a new one that is not valid at this time; one in place that has expired is warned about.
    type: list
    elements: str
    default: []
  trusted_user_ca_keys:
    description:
      - Public keys of the CAs whose user certificates are accepted, each in one line.
    type: list
    elements: str
    default: []
  authorized_principals:
    description:
      - Which principals in a certificate admit to which user. If there are any, a user who is not listed cannot
        log in with a certificate; if there are none, the certificate must hold the user's own name.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description:
          - Name of the user on the host.
        type: str
        required: true
      principals:
        description:
          - Principals, one of which the certificate must hold.
        type: list
        elements: str
        required: true
  revoked_keys:
    description:
      - Keys and certificates that are refused. Each entry has exactly one of C(public_key), C(fingerprint), C(serial),
        C(key_id).
    type: list
    elements: dict
    default: []
    suboptions:
      public_key:
        description:
          - Public key in one line; certificates for it are refused as well.
        type: str
      fingerprint:
        description:
          - SHA-256 fingerprint of a key, as C(ssh-keygen -l) prints it.
        type: str
      serial:
        description:
          - Serial number of a certificate of O(revoked_keys[].ca).
        type: int
      key_id:
        description:
          - Key id of a certificate of O(revoked_keys[].ca).
        type: str
      ca:
        description:
          - Public key of the CA that signed the certificate, in one line.
        type: str
  allow_match_overrides:
    description:
      - Whether Match blocks of other files may weaken the policy for an administrator. V(false) refuses and names
        the line, V(true) warns.
    type: bool
    default: false
  main_file:
    description:
      - Whether the keywords are written into C(/etc/ssh/sshd_config) as well, before any Match block, for scanners
        that read nothing else. Lines that they replace are commented out, and come back when this is switched off.
    type: bool
    default: false
  operation:
    description:
      - Step of the transaction. Set by the action plugin; playbooks use V(apply), or V(validate) to check the policy
        on the controller only.
    type: str
    default: apply
    choices:
      - validate
      - stage
      - unstage
      - apply
      - commit
      - rollback
      - status
  window_seconds:
    description:
      - Seconds after which the host goes back by itself unless the change was confirmed, 30 to 600.
    type: int
    default: 90
  confirm_logins:
    description:
      - New logins on each port that must succeed before the change is confirmed, 0 to 20. V(0) is what the action
        plugin uses for connections that are no login.
    type: int
    default: 3
  confirm_seconds:
    description:
      - Seconds over which the new logins are spread, 0 to 120.
    type: float
    default: 10.0
  transaction:
    description:
      - Proof or reason for the later operations. Set by the action plugin.
    type: dict
    suboptions:
      id:
        description:
          - Transaction to work on.
        type: str
      nonce:
        description:
          - Shows that the caller is who began the transaction.
        type: str
      reason:
        description:
          - Why to roll back.
        type: str
      logins:
        description:
          - New logins that were made.
        type: list
        elements: dict
        suboptions:
          client_address:
            description:
              - Client's address as the host saw it.
            type: str
          client_port:
            description:
              - Client's port as the host saw it.
            type: int
          server_address:
            description:
              - Address on which the login arrived.
            type: str
          server_port:
            description:
              - Port on which the login arrived.
            type: int
          port:
            description:
              - Port that the controller dialled.
            type: int
"""

EXAMPLES = r"""
- name: Harden sshd and keep access for those who have it by key
  bulwark.hardening.sshd: {}

- name: Let in who is in one group, or holds a certificate
  bulwark.hardening.sshd:
    administrators: [admin]
    allow_groups: [ssh-users]
    permit_root_login: "no"
    trusted_user_ca_keys:
      - "{{ lookup('ansible.builtin.file', 'user_ca.pub') }}"
    authorized_principals:
      - user: admin
        principals: [platform-team]

- name: Move sshd to another port
  bulwark.hardening.sshd:
    ports: [2222]
"""

RETURN = r"""
administrators:
  description: For each administrator whether a login would succeed, why, and by which keys or certificates.
  returned: when planned
  type: list
  elements: dict
  sample:
    - {user: admin, able: true, reason: "can log in by key SHA256:…", ways: ["key SHA256:…"]}
current_ports:
  description: Ports that sshd listened on before.
  returned: when planned
  type: list
  elements: int
  sample: [22]
ports:
  description: Ports that sshd listens on under the policy.
  returned: when planned
  type: list
  elements: int
  sample: [22]
socket_activation:
  description: Whether systemd holds the listening sockets under the policy.
  returned: when planned
  type: bool
  sample: false
notes:
  description: What was left out or decided on this host, and why.
  returned: when planned
  type: list
  elements: str
  sample: ["this sshd does not know persourcepenalties, so it is left out"]
stage:
  description: The second sshd on loopback. Port 0 means that there is none, for the given reason.
  returned: when operation is stage and there is a difference
  type: dict
  sample: {port: 40123, reason: "", unit: bulwark-sshd-rehearsal-0a1b2c3d.service}
rolled_back:
  description: Whether a change that failed was taken back.
  returned: when a change failed after it was begun
  type: bool
  sample: true
transaction:
  description: The transaction and its state.
  returned: when one was begun or asked for
  type: dict
  sample: {id: 20260101T120000Z-0a1b2c3d, phase: COMMITTED, pending: false, ports: []}
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.bulwark.hardening.plugins.module_utils.sshd import service
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.options import ARGUMENT_SPEC
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.planner import Refused
from ansible_collections.bulwark.hardening.plugins.module_utils.sshd.validate import validate_policy


def operate(parameters: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """Run one operation; raises one of service.USER_ERRORS with the sentence for the user."""
    problems = validate_policy(parameters)
    if problems:
        raise Refused("; ".join(problems))
    operation = parameters["operation"]
    if operation == "validate":
        return {"changed": False, "msg": "the policy is valid"}
    if os.geteuid() != 0:
        raise Refused("sshd can be configured by root only; set become to true")
    if operation == "stage":
        return service.stage(parameters, check_mode)
    if operation == "unstage":
        return service.unstage()
    if operation == "apply":
        return service.apply(parameters, check_mode)
    if operation == "status":
        return service.status(parameters)
    if check_mode:
        raise Refused(f"there is no transaction to {operation} in check mode")
    return service.commit(parameters) if operation == "commit" else service.rollback(parameters)


def main() -> None:
    """Entry point."""
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    # sshd reads some of the files as the user who logs in, whatever mask the login that runs this has.
    os.umask(0o022)
    try:
        result = operate(module.params, module.check_mode)
    except service.RolledBack as error:
        undone = error.transaction.get("phase") == "ROLLED_BACK"
        module.fail_json(msg=str(error), rolled_back=undone, transaction=error.transaction)
    except service.USER_ERRORS as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename or 'a file'}: {error.strerror or error}; nothing stays half-applied")
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
