# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host keeps of its policy: all that it needs, and nothing that is secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import policy
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import CertificateError
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.validate import problems
from ansible_collections.bulwark.hardening.plugins.modules.certificates import ARGUMENT_SPEC

WISHED: dict[str, Any] = {
    "issuers": [
        {
            "name": "internal", "kind": "private_ca", "trust_file": None,
            "generations": [{"certificate_file": "/home/alice/ca.pem", "key_file": "/home/alice/ca.key",
                             "key_passphrase": "hidden-word"}],
        },
        {"name": "bought", "kind": "files", "trust_file": "/home/alice/trust.pem"},
    ],
    "certificates": [
        {"name": "web", "issuer": "internal", "names": ["www.example.org"], "owner": None},
        {"name": "shop", "issuer": "bought", "names": ["shop.example.org"], "certificate_file": "/home/alice/shop.pem",
         "key_file": "/home/alice/shop.key", "key_passphrase": "hidden-word"},
    ],
    "renew": ["web"],
    "alarm_days": 4,
    "authorities": [{"name": "internal", "kind": "private_ca", "trust": "PEM"}],
    "issued": [{"name": "web", "certificate": "c", "chain": ""}],
    "private_keys": {"shop": "hidden-key"},
    "operation": "deploy",
}  # fmt: skip


def kept(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "policy.json"
    path.write_bytes(policy.pack(WISHED))
    return policy.read(str(path))


def test_what_is_kept_is_enough_and_holds_nothing_of_the_controller(tmp_path: Path) -> None:
    found = kept(tmp_path)
    assert problems(found) == []
    assert found["alarm_days"] == 4
    assert found["authorities"] == WISHED["authorities"]
    assert "owner" not in found["certificates"][0]
    words = policy.pack(WISHED).decode()
    for word in ("hidden", "alice", "renew", "issued", "private_keys", "operation"):
        assert word not in words


def test_another_controller_keeps_the_same() -> None:
    elsewhere = json.loads(json.dumps(WISHED).replace("/home/alice", "/srv/automation"))
    assert policy.pack(elsewhere) == policy.pack(WISHED)


def filled(options: dict[str, Any], mark: str) -> dict[str, Any]:
    """Return a value for every option, however deep; those that must not be logged are marked."""
    return {name: fill(option, mark) for name, option in options.items()}


def fill(option: dict[str, Any], mark: str) -> Any:
    if "options" in option:
        return [filled(option["options"], mark)]
    text = mark if option.get("no_log") else "text"
    return {"key": text} if option["type"] == "dict" else [text] if option["type"] == "list" else text


def test_no_option_that_is_secret_is_kept() -> None:
    everything = filled(ARGUMENT_SPEC, "very-secret")
    assert "very-secret" in json.dumps(everything)
    assert b"very-secret" not in policy.pack(everything)


DAMAGED: list[tuple[bytes, str]] = [
    (b"", "it is no JSON"),
    (b"{", "it is no JSON"),
    (b"\xff\xfe\x00", "it is no JSON"),
    (b"[]", "not what the role wrote"),
    (b"null", "not what the role wrote"),
    (b'{"policy": {}}', "not what the role wrote"),
    (b'{"policy": [], "digest": ""}', "not what the role wrote"),
    (policy.pack(WISHED).replace(b"www.example.org", b"www.example.com"), "not what the role wrote"),
    (policy.pack(WISHED)[:200], "it is no JSON"),
]


@pytest.mark.parametrize(("content", "word"), DAMAGED)
def test_a_damaged_policy_is_one_sentence(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(content)
    with pytest.raises(CertificateError, match=word) as error:
        policy.read(str(path))
    assert str(error.value).startswith(str(path))
    assert "run the role tls" in str(error.value)


def test_a_policy_that_is_not_there_or_is_a_link_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with pytest.raises(CertificateError, match="No such file"):
        policy.read(str(path))
    (tmp_path / "other").write_bytes(policy.pack(WISHED))
    path.symlink_to(tmp_path / "other")
    with pytest.raises(CertificateError, match="cannot be read"):
        policy.read(str(path))


def test_metrics_have_a_place_unless_they_are_not_wished() -> None:
    assert policy.metrics_directory({}) == "/var/lib/prometheus/node-exporter"
    assert policy.metrics_directory({"metrics_directory": ""}) == ""
    assert policy.metrics_directory({"metrics_directory": "/srv/metrics"}) == "/srv/metrics"
