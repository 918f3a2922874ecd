# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller side of the certificates module: checks the policy, asks the host what is due, signs it, hands it back."""

from __future__ import annotations

import contextlib
import typing as t
from datetime import datetime, timezone
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.parsing.vault import is_encrypted
from ansible.plugins.action import ActionBase

from ansible_collections.bulwark.hardening.plugins.module_utils.certificates import x509
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.model import (
    ACME,
    FILES,
    CertificateError,
    build,
)
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.policy import PASSPHRASE
from ansible_collections.bulwark.hardening.plugins.module_utils.certificates.validate import problems
from ansible_collections.bulwark.hardening.plugins.plugin_utils import authority, authority_rotation

Result = dict[str, t.Any]
MODULE = "bulwark.hardening.certificates"
# Where the role registers what the operation observe says of each host.
OBSERVED = "__tls_observed"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core is not annotated
    """One call when nothing is due, two when something is. No key of a CA is written anywhere or sent to a host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: t.Any = None, task_vars: Result | None = None) -> Result:
        """Check, plan, sign and deploy."""
        result: Result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        operation = arguments.pop("operation", "apply")
        wrong = problems(arguments)
        if wrong:
            return {**result, "failed": True, "changed": False, "msg": "; ".join(wrong)}
        try:
            self.generations: dict[str, list[authority.Generation]] = {}
            # The place of the generation that signs on this host now.
            self.signers: dict[str, int] = {}
            self.replacements: list[Result] = []
            self.brought: dict[str, bytes] = {}
            arguments["authorities"] = [
                self.public(entry, f"tls_issuers[{index}]", arguments)
                for index, entry in enumerate(arguments.get("issuers") or ())
            ]
            if operation == "validate":
                return {**result, "changed": False, "msg": "the policy is valid"}
            if operation == "outage":
                return {**result, "changed": False, "outage": self.outage(arguments, task_vars or {})}
            if operation == "observe":
                return {**result, **self.call({**self.sent(arguments), "operation": "observe"}, task_vars or {})}
            self.decide(arguments, task_vars or {})
            return {**result, **self.execute(arguments, task_vars or {})}
        except CertificateError as error:
            return {**result, "failed": True, "changed": False, "msg": str(error)}

    @staticmethod
    def sent(arguments: Result) -> Result:
        return {**arguments, **without_passphrases(arguments)}

    def execute(self, arguments: Result, variables: Result) -> Result:
        sent = self.sent(arguments)
        planned = self.call({**sent, "operation": "plan"}, variables)
        requests, due = planned.pop("requests", ()), planned.pop("due", ())
        planned["replacements"] = self.replacements
        for entry in self.replacements:
            if entry["waits"]:
                text = f"{entry['issuer']}: its new CA does not sign yet: {', '.join(entry['waits'])}"
                planned.setdefault("warnings", []).append(text)
        if planned.get("failed") or planned.get("unreachable") or self._task.check_mode or not planned.get("changed"):
            return planned
        issued = [*self.sign(requests, arguments), *self.hand_over(due)]
        keys = self.private_keys(due, arguments)
        if keys:
            self.keep_in_memory()
        done = self.call({**sent, "operation": "deploy", "issued": issued, "private_keys": keys}, variables)
        return {**done, "reasons": planned["reasons"], "replacements": self.replacements}

    def call(self, arguments: Result, variables: Result) -> Result:
        result: Result = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=variables)
        # What the controller and the host say to each other is of no use to anybody else.
        result.pop("invocation", None)
        return result

    def keep_in_memory(self) -> None:
        """Let the next call go through the standard input of Python: a key must not be in a temporary file."""
        self._connection.set_option("pipelining", True)
        if not self._is_pipelining_enabled("new"):
            raise CertificateError(
                "a private key can be sent to this host through a temporary file only, because pipelining is not "
                "possible; unset ANSIBLE_KEEP_REMOTE_FILES and use a connection and become method with pipelining"
            )

    # What is public

    def public(self, issuer: t.Mapping[str, t.Any], path: str, arguments: Result) -> Result:
        """Return what the host has to know about an issuer; reads no secret."""
        told: Result = {"name": issuer["name"], "kind": issuer["kind"]}
        if issuer.get("system_trust"):
            told["system_trust"] = True
        if issuer["kind"] in (FILES, ACME):
            told["trust"] = self.trusted(issuer, "trust_file", path)
        if issuer["kind"] == ACME:
            told["directory"] = {
                "url": issuer["directory"],
                "email": issuer.get("email") or "",
                "server_trust": self.trusted(issuer, "server_trust_file", path),
                "webroot": issuer["challenge"].get("webroot") or "",
                "port": int(issuer["challenge"].get("port") or 0),
            }
            return told
        if issuer["kind"] == FILES:
            told["fingerprints"] = {
                entry["name"]: self.fingerprint(entry, f"tls_certificates[{index}]")
                for index, entry in enumerate(arguments.get("certificates") or ())
                if entry["issuer"] == issuer["name"]
            }
            return told
        generations = []
        for index, entry in enumerate(issuer["generations"]):
            place = f"{path}.generations[{index}]"
            content = self.content(entry["certificate_file"], f"{place}.certificate_file")
            generations.append(authority.read_generation(content, f"{place}.certificate_file"))
            self.refuse_plain_key(entry["key_file"], f"{place}.key_file")
        self.generations[issuer["name"]] = generations
        self.signers[issuer["name"]] = len(generations) - 1
        told["key_identifier"] = generations[-1].key_identifier
        told["trust"] = b"".join(dict.fromkeys(generation.root for generation in generations)).decode()
        return told

    # Which CA signs

    def decide(self, arguments: Result, variables: Result) -> None:
        """Let a new CA sign once every host trusts it, and refuse to drop one that is in use."""
        own = observation(variables.get(OBSERVED))
        for index, told in enumerate(arguments["authorities"]):
            name = told["name"]
            if name not in self.generations:
                continue
            path = f"tls_issuers[{index}].generations"
            candidates = [
                authority_rotation.Candidate(
                    generation.all_facts[-1].fingerprint, generation.key_identifier, generation.facts.subject
                )
                for generation in self.generations[name]
            ]
            if name in (arguments.get("compromised") or ()):
                for refusal in authority_rotation.unsafe_replacement(candidates, name, own):
                    raise CertificateError(f"{path}: {refusal}")
                continue
            if not authority_rotation.under_way(candidates, name, own):
                continue
            system_trust = bool(told.get("system_trust"))
            decision = authority_rotation.decide(candidates, name, system_trust, own, self.others(name, variables))
            if decision.refusals:
                raise CertificateError(f"{path}: {'; '.join(decision.refusals)}")
            self.signers[name] = decision.signer
            told["key_identifier"] = candidates[decision.signer].key_identifier
            signs = candidates[decision.signer].subject
            self.replacements.append({"issuer": name, "signs": signs, "waits": list(decision.waits)})

    @staticmethod
    def others(issuer: str, variables: Result) -> dict[str, t.Any]:
        """Return what each host of the inventory that uses an issuer showed in this run, None if nobody looked."""
        found = {}
        for host in variables["groups"]["all"]:
            try:
                its = variables["hostvars"][host]
                if authority_rotation.uses(its.get("tls_certificates"), its.get("tls_issuers"), issuer):
                    found[host] = observation(its.get(OBSERVED))
            except AnsibleError:
                # Nobody can tell whether it uses the issuer, so it is taken for one that does.
                found[host] = None
        return found

    def outage(self, arguments: Result, variables: Result) -> list[str]:
        """Return what the replacement of a stolen CA interrupts, asking no host."""
        found = []
        for issuer in arguments.get("compromised") or ():
            hosts = self.others(issuer, variables)
            wished = {}
            for host in hosts:
                with contextlib.suppress(AnsibleError):
                    wished[host] = variables["hostvars"][host].get("tls_certificates")
            found += authority_rotation.outage(issuer, hosts, wished)
        return found

    def trusted(self, issuer: t.Mapping[str, t.Any], key: str, path: str) -> str:
        """Return the certificates of a file that an issuer names, none if it names no file."""
        file = issuer.get(key)
        return self.certificates(file, f"{path}.{key}").decode() if file else ""

    def fingerprint(self, entry: t.Mapping[str, t.Any], path: str) -> str:
        content = self.certificates(entry["certificate_file"], f"{path}.certificate_file")
        self.refuse_plain_key(entry["key_file"], f"{path}.key_file")
        self.brought[entry["name"]] = content
        return x509.parse_chain(content)[0].fingerprint

    def certificates(self, file: str, path: str) -> bytes:
        """Return the certificates of a file on the controller."""
        blocks = x509.split_certificates(self.content(file, path))
        if not blocks:
            raise CertificateError(f"{path}: there is no certificate in {file}; accepted is PEM")
        try:
            x509.parse_chain(b"".join(blocks))
        except CertificateError as error:
            raise CertificateError(f"{path}: {error}") from error
        return b"".join(blocks)

    # Files of the controller

    def find(self, file: str, path: str) -> str:
        try:
            return str(self._find_needle("files", file))
        except AnsibleError as error:
            raise CertificateError(f"{path}: there is no file {file} on the controller") from error

    def content(self, file: str, path: str) -> bytes:
        """Return a file as it is after decryption by Ansible's vault, which happens in memory."""
        found = self.find(file, path)
        try:
            return str(self._loader.get_text_file_contents(found)).encode()
        except AnsibleError as error:
            raise CertificateError(
                f"{path}: {file} cannot be opened; give the vault password that encrypted it ({error.message})"
            ) from error

    def refuse_plain_key(self, file: str, path: str) -> None:
        """Refuse a private key that lies in clear on the controller, before anything is asked of a host."""
        try:
            raw = Path(self.find(file, path)).read_bytes()
        except OSError as error:
            raise CertificateError(f"{path}: {file} cannot be read: {error.strerror}") from error
        if not is_encrypted(raw) and not authority.encrypted_pem(raw):
            raise CertificateError(f"{path}: the key in {file} lies there in clear; run ansible-vault encrypt {file}")

    def secret(self, entry: t.Mapping[str, t.Any], path: str) -> tuple[bytes, str | None]:
        """Return the key file's content and the passphrase; a vault-encrypted key needs none."""
        content = self.content(entry["key_file"], f"{path}.key_file")
        if not authority.encrypted_pem(content):
            return content, None
        if entry.get(PASSPHRASE) is None:
            raise CertificateError(f"{path}.{PASSPHRASE}: is missing, and {entry['key_file']} is encrypted with one")
        return content, str(entry[PASSPHRASE])

    # What is due

    def sign(self, requests: t.Sequence[t.Mapping[str, str]], arguments: Result) -> list[Result]:
        """Return a certificate for each request."""
        wished = {certificate.name: certificate for certificate in build(arguments)}
        keys: dict[str, t.Any] = {}
        issued = []
        for request in requests:
            certificate = wished[request["name"]]
            name = certificate.issuer
            generation = self.generations[name][self.signers[name]]
            if name not in keys:
                keys[name] = self.authority_key(name, generation, arguments)
            pem = authority.sign(
                generation, keys[name], request["request"].encode(), certificate, datetime.now(timezone.utc)
            )
            issued.append({"name": certificate.name, "certificate": pem.decode(), "chain": generation.chain.decode()})
        return issued

    def authority_key(self, name: str, generation: authority.Generation, arguments: Result) -> t.Any:
        index, issuer = next((i, entry) for i, entry in enumerate(arguments["issuers"]) if entry["name"] == name)
        signer = self.signers[name]
        path = f"tls_issuers[{index}].generations[{signer}]"
        content, passphrase = self.secret(issuer["generations"][signer], path)
        return authority.open_authority_key(generation, content, passphrase, f"{path}.key_file")

    def hand_over(self, due: t.Sequence[str]) -> list[Result]:
        """Return the certificates that the user brought, each without the root, which clients have already."""
        issued = []
        for name in due:
            if name in self.brought:
                first, *rest = x509.split_certificates(self.brought[name])
                chain = [block for block in rest if not x509.parse_chain(block)[0].self_issued]
                issued.append({"name": name, "certificate": first.decode(), "chain": b"".join(chain).decode()})
        return issued

    def private_keys(self, due: t.Sequence[str], arguments: Result) -> dict[str, str]:
        """Return the keys that the user brought for what is due."""
        keys = {}
        for index, entry in enumerate(arguments.get("certificates") or ()):
            if entry["name"] in due and entry["name"] in self.brought:
                path = f"tls_certificates[{index}]"
                content, passphrase = self.secret(entry, path)
                key = authority.open_key(content, passphrase, f"{path}.key_file")
                keys[entry["name"]] = x509.plain_key(key).decode()
        return keys


def observation(registered: t.Any) -> authority_rotation.Observation | None:
    """Return what the operation observe said, None if it did not run or failed."""
    return registered if isinstance(registered, t.Mapping) and "system_trust" in registered else None


def without_passphrases(arguments: t.Mapping[str, t.Any]) -> Result:
    """Return certificates and issuers as a host may see them."""
    return {
        "certificates": [_open(entry) for entry in arguments.get("certificates") or ()],
        "issuers": [
            {**entry, "generations": [_open(generation) for generation in entry["generations"]]}
            if entry.get("generations")
            else dict(entry)
            for entry in arguments.get("issuers") or ()
        ],
    }


def _open(entry: t.Mapping[str, t.Any]) -> Result:
    return {key: value for key, value in entry.items() if key != PASSPHRASE}
