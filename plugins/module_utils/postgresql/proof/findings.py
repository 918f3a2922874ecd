# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look whether a cluster is as it was made: one sentence for each difference."""

from __future__ import annotations

import typing as t

from ..grants import change as grants
from ..grants import model as grants_model
from ..server import Server
from ..transition_log import change as transition_log
from ..transition_log import model as log_model
from . import policy as kept


def findings(policy: t.Mapping[str, t.Any]) -> list[str]:
    """Return one sentence for each difference. Changes nothing. Raises Refused if the cluster cannot be read."""
    place, accept_missing = kept.place_of(policy), policy.get("missing_objects") == "report"
    found: list[str] = []
    absent: set[str] = set()
    if policy["roles"] or policy["databases"]:
        wish = grants_model.parse({"roles": policy["roles"], "databases": policy["databases"]})
        found, absent = grants.prove(place, wish, accept_missing=accept_missing)
    for log in policy["transition_logs"]:
        name = log["database"]
        if name not in absent:
            with Server(place, name, "bulwark proof") as server:
                outcome = transition_log.verify(server, log_model.parse(log))
            found += [f"transition log of database {name!r}: {difference}" for difference in outcome.differences]
    return found
