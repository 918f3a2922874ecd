# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pure part of a transaction: phases, legal moves, and the journal as data. No I/O."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

SCHEMA = 1
DEFAULT_WINDOW_SECONDS = 90
MINIMUM_WINDOW_SECONDS = 30
MAXIMUM_WINDOW_SECONDS = 600


class TransactionError(Exception):
    """The message is one sentence for the user."""


class IllegalMove(TransactionError):
    """A phase was asked for that does not follow from the present one."""


class Phase(str, Enum):
    PLANNED = "PLANNED"
    ARMED = "ARMED"
    APPLYING = "APPLYING"
    APPLIED = "APPLIED"
    COMMITTING = "COMMITTING"
    COMMITTED = "COMMITTED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"
    ROLLBACK_FAILED = "ROLLBACK_FAILED"


MOVES: Mapping[Phase, frozenset[Phase]] = {
    # Closed before anything was touched: there is nothing to restore.
    Phase.PLANNED: frozenset({Phase.ARMED, Phase.ROLLED_BACK}),
    Phase.ARMED: frozenset({Phase.APPLYING, Phase.ROLLING_BACK}),
    Phase.APPLYING: frozenset({Phase.APPLIED, Phase.ROLLING_BACK}),
    Phase.APPLIED: frozenset({Phase.COMMITTING, Phase.ROLLING_BACK}),
    Phase.COMMITTING: frozenset({Phase.COMMITTED, Phase.ROLLING_BACK}),
    Phase.COMMITTED: frozenset(),
    Phase.ROLLING_BACK: frozenset({Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.ROLLBACK_FAILED}),
    Phase.ROLLED_BACK: frozenset(),
    Phase.ROLLBACK_FAILED: frozenset({Phase.ROLLING_BACK, Phase.ROLLBACK_FAILED}),
}
CLOSED_PHASES = frozenset({Phase.COMMITTED, Phase.ROLLED_BACK})


@dataclass(frozen=True)
class FileState:
    """What was at a path: kind is "file", "absent", "link" or "directory".

    A directory stands for its complete listing: whatever is found in it later and has no state of its own is removed.
    mode is the permission bits; blob is the content's file name in the snapshot; target is a link's target.
    """

    path: str
    kind: str
    mode: int = 0
    uid: int = 0
    gid: int = 0
    modified_ns: int = 0
    blob: str = ""
    target: str = ""
    attributes: tuple[tuple[str, str], ...] = ()  # extended attributes, values in base64


@dataclass(frozen=True)
class Command:
    """One program run under LC_ALL=C.

    required: its failure makes the rollback ROLLBACK_FAILED, after every other command was tried.
    background: only for rehearsals; it is started and left running, stopped with the namespace.
    """

    argv: tuple[str, ...]
    timeout_seconds: float = 60.0
    required: bool = True
    background: bool = False
    environment: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "argv", tuple(self.argv))
        object.__setattr__(self, "environment", tuple((str(k), str(v)) for k, v in self.environment))
        if not self.argv or not all(isinstance(word, str) and "\0" not in word for word in self.argv):
            raise ValueError("a command needs a program and arguments that are text without NUL")


@dataclass(frozen=True)
class RestorePlan:
    files: tuple[FileState, ...] = ()
    live_commands: tuple[Command, ...] = ()
    boot_commands: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Moment:
    """One entry of a journal's history. at is UTC in ISO 8601."""

    phase: Phase
    at: str
    reason: str = ""


@dataclass(frozen=True)
class Journal:
    """All that is known about a transaction. Each write is a new generation.

    created_at and deadline are UTC in ISO 8601, for people. The deadline that counts is boottime_deadline, in seconds
    of CLOCK_BOOTTIME within boot_id, because the wall clock may be set at any time.
    """

    id: str
    domain: str
    generation: int
    phase: Phase
    nonce: str
    created_at: str
    deadline: str
    boottime_deadline: float
    boot_id: str
    window_seconds: int
    ports: tuple[int, ...] = ()
    session_client: str = ""
    restore: RestorePlan = RestorePlan()
    verdicts: tuple[Mapping[str, Any], ...] = ()
    reason: str = ""
    history: tuple[Moment, ...] = ()
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def pending(self) -> bool:
        """Whether a rollback may still come by itself."""
        return self.phase not in (*CLOSED_PHASES, Phase.PLANNED, Phase.ROLLBACK_FAILED)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Journal:
        """Return the journal in text; raises ValueError with the field that is wrong."""
        raw = json.loads(text)
        if isinstance(raw, dict) and raw.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {raw.get('schema')!r} and this version reads {SCHEMA}")
        decoded: Journal = _decode(cls, raw, "journal")
        return decoded


def advance(
    journal: Journal, phase: Phase, at: str, reason: str = "", verdicts: Sequence[Mapping[str, Any]] = ()
) -> Journal:
    """Return the next generation of journal in phase, or raise IllegalMove."""
    if phase not in MOVES[journal.phase]:
        raise IllegalMove(
            f"transaction {journal.id} is {journal.phase.value} and cannot become {phase.value}; "
            f"possible from here: {', '.join(sorted(p.value for p in MOVES[journal.phase])) or 'nothing, it is closed'}"
        )
    return dataclasses.replace(
        journal,
        phase=phase,
        generation=journal.generation + 1,
        reason=reason or journal.reason,
        verdicts=journal.verdicts + tuple(verdicts),
        history=(*journal.history, Moment(phase, at, reason)),
    )


# The only types that a journal is made of, by the annotation's text: annotations stay text on Python 3.9.
_SCALARS: Mapping[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


def _decode(kind: Any, raw: Any, path: str) -> Any:
    if not isinstance(raw, dict):
        raise ValueError(f"{path} is not an object")
    fields = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    if set(raw) != set(fields):
        different = ", ".join(sorted(set(raw) ^ set(fields)))
        raise ValueError(f"{path} has unknown or missing fields: {different}")
    return kind(**{name: _decode_value(fields[name], raw[name], f"{path}.{name}") for name in fields})


def _decode_value(annotation: str, raw: Any, path: str) -> Any:
    if annotation in _SCALARS:
        if not isinstance(raw, _SCALARS[annotation]) or (isinstance(raw, bool) and annotation != "bool"):
            raise ValueError(f"{path} is not {annotation}")
        return raw
    if annotation == "Phase":
        return Phase(raw)
    if annotation == "RestorePlan":
        return _decode(RestorePlan, raw, path)
    if annotation == "Mapping[str, Any]":
        if not isinstance(raw, dict):
            raise ValueError(f"{path} is not an object")
        return raw
    if not isinstance(raw, list):
        raise ValueError(f"{path} is not a list")
    return tuple(_decode_item(annotation, item, f"{path}[{index}]") for index, item in enumerate(raw))


def _decode_item(annotation: str, raw: Any, path: str) -> Any:
    inner = annotation[len("tuple[") : -len(", ...]")]
    if inner == "tuple[str, str]":
        if not (isinstance(raw, list) and len(raw) == 2 and all(isinstance(text, str) for text in raw)):
            raise ValueError(f"{path} is not a pair of texts")
        return tuple(raw)
    classes = {"FileState": FileState, "Command": Command, "Moment": Moment}
    if inner in classes:
        return _decode(classes[inner], raw, path)
    return _decode_value(inner, raw, path)
