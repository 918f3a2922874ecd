# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look whether a cluster is as it was made: one sentence for each difference."""

from __future__ import annotations

import typing as t

from ..grants import change as grants
from ..grants import model as grants_model
from ..server import Refused, Server
from ..transition_log import change as transition_log
from ..transition_log import model as log_model
from . import policy as kept


def findings(policy: t.Mapping[str, t.Any], databases: t.Collection[str] = ()) -> dict[str, list[str]]:
    """Return what differs by database, and under an empty name what is about all of them. Changes nothing.

    databases: those to look at; all of the policy if none is named. Raises Refused if the cluster cannot be read.
    """
    wished = [entry for entry in policy["databases"] if not databases or entry["name"] in databases]
    logs = [log for log in policy["transition_logs"] if not databases or log["database"] in databases]
    unknown = sorted(
        {*databases} - {entry["name"] for entry in (*wished, *({"name": log["database"]} for log in logs))}
    )
    if unknown:
        known = sorted({entry["name"] for entry in policy["databases"]})
        raise Refused(f"there is no policy for the database {unknown[0]!r}; known are {', '.join(known) or 'none'}")
    place, accept_missing = kept.place_of(dict(policy)), policy.get("missing_objects") == "report"
    found: dict[str, list[str]] = {name: [] for name in ("", *sorted(entry["name"] for entry in wished))}
    absent: set[str] = set()
    if policy["roles"] or wished:
        wish = grants_model.parse({"roles": policy["roles"], "databases": wished})
        found[""], absent = grants.prove(place, wish, accept_missing=accept_missing)
    for log in logs:
        name = log["database"]
        if name not in absent:
            with Server(place, name, "bulwark proof") as server:
                outcome = transition_log.verify(server, log_model.parse(log))
                found.setdefault(name, []).extend(f"transition log: {difference}" for difference in outcome.differences)
    return {name: sentences for name, sentences in found.items() if sentences}


def sentences(found: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Return all as one list, each with its database."""
    return [f"database {name!r}: {text}" if name else text for name, texts in found.items() for text in texts]
