# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controls have to know of the certificates that the role tls is given: nothing secret; pure."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import Certificate, Listener, build
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.validate import problems as all_problems

# The variables of the role tls that are read.
VARIABLES = ("tls_certificates", "tls_issuers")


def problems(variables: Mapping[str, t.Any]) -> list[str]:
    """Return what is wrong with them, in the words of the role."""
    return all_problems({name.partition("_")[2]: variables.get(name) for name in VARIABLES})


def declared(variables: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the certificates as readers take them; variables as problems() accepts them."""
    certificates = build({"certificates": variables.get("tls_certificates")})
    issuers: Sequence[Mapping[str, t.Any]] = variables.get("tls_issuers") or ()
    kinds = {str(issuer["name"]): str(issuer["kind"]) for issuer in issuers}
    return [_declared(certificate, kinds) for certificate in certificates]


def _declared(certificate: Certificate, kinds: Mapping[str, str]) -> dict[str, t.Any]:
    return {
        "name": certificate.name,
        "issuer_kind": kinds[certificate.issuer],
        "owner": certificate.owner,
        "group": certificate.group,
        "mode": f"{certificate.mode:04o}",
        "listeners": [_listener(listener) for listener in dict.fromkeys(certificate.listeners)],
    }


def _listener(listener: Listener) -> dict[str, t.Any]:
    return {
        "address": listener.address,
        "port": listener.port,
        "server_name": listener.server_name,
        "protocol": listener.protocol,
        "require_client_certificate": listener.require_client_certificate,
    }
