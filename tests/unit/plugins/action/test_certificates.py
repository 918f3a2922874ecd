# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's side: what is refused before a host is asked, what is signed, and that no secret is handed on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.bulwark.hardening.plugins.action.certificates import ActionModule
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509

from ..module_utils.certificates import pki

PASSWORD, PASSPHRASE = b"vault-word", "hidden-word"
NAMES = ["www.example.org"]
HOST_KEY = x509.make_key("ecdsa_p256")


class Action(ActionModule):
    """The plugin without Ansible around it; `planned` is what the host says is due."""

    def __init__(self, directory: Path, check_mode: bool = False, pipelining: bool = True, **arguments: Any) -> None:
        self._task = SimpleNamespace(args=arguments, async_val=False, check_mode=check_mode, diff=False)
        self._loader = DataLoader()
        self._loader.set_vault_secrets([("default", VaultSecret(PASSWORD))])
        self._connection = SimpleNamespace(set_option=lambda name, value: self.options.update({name: value}))
        self.options: dict[str, Any] = {}
        self.pipelining = pipelining
        self.directory = directory
        self.calls: list[dict[str, Any]] = []
        self.due = [entry["name"] for entry in arguments.get("certificates") or ()]
        self.requests = [{"name": "web", "request": x509.make_request(HOST_KEY, NAMES).decode()}]

    def _find_needle(self, dirname: str, needle: str) -> str:
        if not (self.directory / needle).exists():
            raise AnsibleError("not there")
        return str(self.directory / needle)

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        return self.pipelining

    def _execute_module(self, module_name: str, module_args: dict[str, Any], task_vars: Any) -> dict[str, Any]:
        self.calls.append(module_args)
        if module_args["operation"] == "plan":
            requests = [request for request in self.requests if request["name"] in self.due]
            reasons = [f"{name}: due" for name in self.due]
            return {
                "changed": bool(self.due), "reasons": reasons, "due": self.due, "requests": requests,
                "invocation": {"module_args": module_args},
            }  # fmt: skip
        return {"changed": True, "certificates": []}


@pytest.fixture(autouse=True)
def _no_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda self, tmp=None, task_vars=None: {})


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> pki.TestCA:
    directory = tmp_path_factory.mktemp("ca")
    return pki.make_ca(directory, "signing", below=pki.make_ca(directory, "root"))


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> pki.TestCA:
    """Return the CA that is to take the place of the first one."""
    directory = tmp_path_factory.mktemp("following")
    return pki.make_ca(directory, "next", below=pki.make_ca(directory, "next_root"))


@pytest.fixture
def files(tmp_path: Path, ca: pki.TestCA, following: pki.TestCA) -> Path:
    vault = VaultLib([("default", VaultSecret(PASSWORD))])
    encrypted = pki.openssl("pkcs8", "-topk8", "-passout", f"pass:{PASSPHRASE}", given=ca.key)
    key = x509.make_key("rsa_3072")
    for name, content in {
        "ca.pem": ca.chain,
        "vaulted.key": vault.encrypt(ca.key),
        "passphrase.key": encrypted,
        "both.key": vault.encrypt(encrypted),
        "foreign.key": VaultLib([("default", VaultSecret(b"other"))]).encrypt(ca.key),
        "plain.key": ca.key,
        "other.key": vault.encrypt(HOST_KEY),
        "root.pem": ca.generation.root,
        "brought.pem": pki.leaf(ca, key) + ca.chain,
        "brought.key": vault.encrypt(key),
        "empty.pem": b"",
        "next.pem": following.chain,
        "next.key": vault.encrypt(following.key),
    }.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def policy(key_file: str = "vaulted.key", passphrase: str | None = None, **values: Any) -> dict[str, Any]:
    generation: dict[str, Any] = {"certificate_file": "ca.pem", "key_file": key_file, **values}
    if passphrase is not None:
        generation["key_passphrase"] = passphrase
    return {
        "issuers": [{"name": "internal", "kind": "private_ca", "generations": [generation]}],
        "certificates": [{"name": "web", "issuer": "internal", "names": NAMES}],
    }


def brought(**values: Any) -> dict[str, Any]:
    certificate = {"certificate_file": "brought.pem", "key_file": "brought.key", **values}
    return {
        "issuers": [{"name": "bought", "kind": "files", "trust_file": "root.pem"}],
        "certificates": [{"name": "shop", "issuer": "bought", "names": NAMES, **certificate}],
    }


@pytest.mark.parametrize(
    ("key_file", "passphrase"), [("vaulted.key", None), ("passphrase.key", PASSPHRASE), ("both.key", PASSPHRASE)]
)
def test_what_is_due_is_signed_with_a_key_that_is_encrypted(
    files: Path, ca: pki.TestCA, key_file: str, passphrase: str | None
) -> None:
    before = sorted(files.iterdir())
    action = Action(files, **policy(key_file, passphrase))
    done = action.run()
    assert done["reasons"] == ["web: due"]
    plan, deploy = action.calls
    (issued,) = deploy["issued"]
    (facts,) = x509.parse_chain(issued["certificate"].encode())
    assert facts.names == tuple(NAMES)
    assert facts.public_key == x509.public_key_of(HOST_KEY)
    assert issued["chain"].encode() == ca.generation.chain
    assert plan["authorities"] == [
        {"name": "internal", "kind": "private_ca", "key_identifier": ca.generation.key_identifier, "trust": ca.trust}
    ]
    # Neither the host nor the result nor a file has a secret.
    said = f"{action.calls} {done}"
    assert PASSPHRASE not in said
    assert "PRIVATE KEY" not in said
    assert "invocation" not in done
    assert sorted(files.iterdir()) == before
    assert deploy["private_keys"] == {}


def test_nothing_due_takes_one_call_and_opens_no_key(files: Path) -> None:
    action = Action(files, **policy("foreign.key"))
    action.due = []
    assert action.run()["changed"] is False
    assert [call["operation"] for call in action.calls] == ["plan"]


def test_check_mode_takes_one_call_and_opens_no_key(files: Path) -> None:
    action = Action(files, check_mode=True, **policy("foreign.key"))
    assert action.run()["changed"] is True
    assert [call["operation"] for call in action.calls] == ["plan"]


def test_what_the_user_brings_is_handed_over_in_memory_only(files: Path, ca: pki.TestCA) -> None:
    action = Action(files, **brought())
    action.run()
    plan, deploy = action.calls
    assert plan["authorities"][0]["trust"] == ca.trust
    (issued,) = deploy["issued"]
    (fingerprint,) = plan["authorities"][0]["fingerprints"].values()
    assert x509.parse_chain(issued["certificate"].encode())[0].fingerprint == fingerprint
    # The root is known to clients.
    assert [facts.subject for facts in x509.parse_chain(issued["chain"].encode())] == ["CN=signing"]
    facts = x509.parse_chain(issued["certificate"].encode())[0]
    assert x509.public_key_of(deploy["private_keys"]["shop"].encode()) == facts.public_key
    assert action.options == {"pipelining": True}
    assert "PRIVATE" not in str(plan)


def test_a_key_that_would_become_a_temporary_file_is_not_sent(files: Path) -> None:
    action = Action(files, pipelining=False, **brought())
    done = action.run()
    assert done["failed"] is True
    assert "pipelining is not possible" in done["msg"]
    assert len(action.calls) == 1


def ordered(**values: Any) -> dict[str, Any]:
    issuer = {
        "name": "public", "kind": "acme", "directory": "https://acme.example.org/dir", "email": "ops@example.org",
        "terms_of_service_agreed": True, "challenge": {"kind": "http", "webroot": "/var/www/acme"},
    }  # fmt: skip
    return {
        "issuers": [{**issuer, **values}],
        "certificates": [{"name": "web", "issuer": "public", "names": NAMES}],
    }


def test_an_acme_server_is_left_to_the_host(files: Path, ca: pki.TestCA) -> None:
    action = Action(files, **ordered(server_trust_file="root.pem"))
    action.requests = []
    assert action.run()["reasons"] == ["web: due"]
    plan, deploy = action.calls
    assert plan["authorities"] == deploy["authorities"]
    assert plan["authorities"] == [
        {
            "name": "public", "kind": "acme", "trust": "",
            "directory": {
                "url": "https://acme.example.org/dir", "email": "ops@example.org", "server_trust": ca.trust,
                "webroot": "/var/www/acme", "port": 0,
            },
        }
    ]  # fmt: skip
    assert deploy["issued"] == []
    assert deploy["private_keys"] == {}
    action = Action(files, **ordered(trust_file="root.pem", system_trust=True, challenge={"kind": "http", "port": 80}))
    action.requests = []
    action.run()
    (told,) = action.calls[0]["authorities"]
    assert (told["trust"], told["system_trust"]) == (ca.trust, True)
    assert (told["directory"]["webroot"], told["directory"]["port"]) == ("", 80)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (ordered(server_trust_file="missing.pem"), "tls_issuers[0].server_trust_file: there is no file missing.pem"),
        (ordered(trust_file="empty.pem"), "tls_issuers[0].trust_file: there is no certificate in empty.pem"),
        (ordered(directory="http://acme.example.org/dir"), "tls_issuers[0].directory: 'http://acme.example.org/dir'"),
        (ordered(terms_of_service_agreed=False), "tls_issuers[0].terms_of_service_agreed: must be true"),
        (policy("plain.key"), "tls_issuers[0].generations[0].key_file: the key in plain.key lies there in clear; run"),
        (policy("missing.key"), "generations[0].key_file: there is no file missing.key on the controller"),
        (policy(certificate_file="missing.pem"), "generations[0].certificate_file: there is no file missing.pem"),
        (policy(certificate_file="empty.pem"), "generations[0].certificate_file: there is no certificate in it"),
        (policy(certificate_file="brought.pem"), "may not sign certificates"),
        (brought(key_file="plain.key"), "tls_certificates[0].key_file: the key in plain.key lies there in clear"),
        (brought(certificate_file="empty.pem"), "tls_certificates[0].certificate_file: there is no certificate"),
        (brought(certificate_file="ca.key.pem"), "there is no file ca.key.pem"),
        ({**policy(), "colour": 1}, "tls_colour: unknown option"),
    ],
)  # fmt: skip
def test_a_wrong_policy_never_reaches_the_host(files: Path, arguments: dict[str, Any], message: str) -> None:
    for operation in ("validate", "apply"):
        action = Action(files, **arguments, operation=operation)
        done = action.run()
        assert done["failed"] is True
        assert message in done["msg"]
        assert action.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (policy("foreign.key"), "generations[0].key_file: foreign.key cannot be opened; give the vault password"),
        (policy("passphrase.key"), "generations[0].key_passphrase: is missing, and passphrase.key is encrypted"),
        (policy("passphrase.key", "wrong-word"), "generations[0].key_file: the private key cannot be opened"),
        (policy("other.key"), "generations[0].key_file: the key belongs to another CA than CN=signing"),
    ],
)
def test_a_ca_that_cannot_sign_deploys_nothing(files: Path, arguments: dict[str, Any], message: str) -> None:
    action = Action(files, **arguments)
    done = action.run()
    assert done["failed"] is True
    assert message in done["msg"]
    assert "word" not in done["msg"].replace("password", "")
    assert [call["operation"] for call in action.calls] == ["plan"]


def test_validation_asks_no_host(files: Path) -> None:
    action = Action(files, **policy(), operation="validate")
    assert action.run()["msg"] == "the policy is valid"
    assert action.calls == []


def observed(signer: pki.TestCA, *trusted: pki.TestCA) -> dict[str, Any]:
    """Return what a host shows after it has had a run."""
    roots = [x509.parse_chain(one.generation.root)[0] for one in trusted]
    return {
        "system_trust": [],
        "certificates": [
            {
                "name": "web", "issuer": "internal", "signer": signer.generation.key_identifier,
                "root": x509.parse_chain(signer.generation.root)[0].fingerprint, "faults": [],
                "trusted": [{"fingerprint": root.fingerprint, "subject": root.subject} for root in roots],
            }
        ],
    }  # fmt: skip


def run_on_first(action: Action, first: Any, second: Any) -> dict[str, Any]:
    """Run it for one of two hosts that use the issuer; a third one does not."""
    wished = {"tls_certificates": policy()["certificates"]}
    variables = {
        "groups": {"all": ["first", "second", "third"]},
        "hostvars": {
            "first": {**wished, "__tls_observed": first},
            "second": {**wished, "__tls_observed": second},
            "third": {},
        },
        "__tls_observed": first,
    }
    return action.run(task_vars=variables)


def both() -> dict[str, Any]:
    values = policy()
    values["issuers"][0]["generations"].append({"certificate_file": "next.pem", "key_file": "next.key"})
    return values


def signer_of(action: Action) -> str:
    (issued,) = action.calls[-1]["issued"]
    return x509.parse_chain(issued["certificate"].encode())[0].issuer


def test_a_new_ca_signs_when_every_host_trusts_it(files: Path, ca: pki.TestCA, following: pki.TestCA) -> None:
    action, ready = Action(files, **both()), observed(ca, ca, following)
    done = run_on_first(action, ready, ready)
    assert signer_of(action) == "CN=next"
    assert action.calls[0]["authorities"][0]["key_identifier"] == following.generation.key_identifier
    assert done["replacements"] == [{"issuer": "internal", "signs": "CN=next", "waits": []}]


@pytest.mark.parametrize("unseen", [None, {"skipped": True}, {"unreachable": True}])
def test_until_then_the_old_one_signs(files: Path, ca: pki.TestCA, following: pki.TestCA, unseen: Any) -> None:
    action = Action(files, **both())
    done = run_on_first(action, observed(ca, ca, following), unseen)
    assert signer_of(action) == "CN=signing"
    assert action.calls[0]["authorities"][0]["trust"] == ca.trust + following.trust
    assert done["replacements"][0]["waits"] == ["second was not observed in this run"]


def test_an_old_ca_that_is_in_use_is_not_dropped(files: Path, ca: pki.TestCA, following: pki.TestCA) -> None:
    values = policy("next.key", certificate_file="next.pem")
    action = Action(files, **values)
    done = run_on_first(action, observed(following, ca, following), observed(ca, ca, following))
    assert done["failed"] is True
    assert (
        "tls_issuers[0].generations: the CA CN=root cannot be dropped yet (second presents what it signed: web)"
        in done["msg"]
    )
    assert action.calls == []
    done = run_on_first(Action(files, **values), observed(following, ca, following), observed(following, following))
    assert "failed" not in done


def test_a_stolen_ca_is_replaced_at_once(files: Path, ca: pki.TestCA) -> None:
    values = {**policy("next.key", certificate_file="next.pem"), "compromised": ["internal"]}
    told = run_on_first(Action(files, **values, operation="outage"), observed(ca, ca), None)
    assert len(told["outage"]) == 3
    action = Action(files, **values)
    assert "failed" not in run_on_first(action, observed(ca, ca), None)
    assert signer_of(action) == "CN=next"
    refused = run_on_first(Action(files, **{**both(), "compromised": ["internal"]}), observed(ca, ca), None)
    assert "must not be trusted any longer" in refused["msg"]


def test_observing_sends_no_secret(files: Path) -> None:
    action = Action(files, **policy("passphrase.key", PASSPHRASE), operation="observe")
    action.run()
    (call,) = action.calls
    assert call["operation"] == "observe"
    assert PASSPHRASE not in str(call)
