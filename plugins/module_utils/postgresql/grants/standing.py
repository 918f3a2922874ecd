# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who will be what, and a member of whom, when a wish has been brought to a cluster; pure."""

from __future__ import annotations

from .model import Wish
from .state import Cluster


class Standing:
    """Who will be what when the wish has been brought to the cluster."""

    def __init__(self, wish: Wish, cluster: Cluster) -> None:
        self.named = {role.name: role for role in wish.roles}
        self._states = cluster.roles
        self.roles = {*cluster.roles, *self.named}
        self._groups: dict[str, set[str]] = {role.name: set(role.member_of) for role in wish.roles}
        for found in cluster.memberships:
            if found.member not in self.named:
                self._groups.setdefault(found.member, set()).add(found.role)
        self._reached: dict[str, set[str]] = {}

    def has(self, role: str, attribute: str) -> bool:
        """Return whether the role has LOGIN, SUPERUSER and so on."""
        state = self.named.get(role) or self._states.get(role)
        return bool(state and getattr(state, attribute))

    def reach(self, role: str) -> set[str]:
        """Return the role and all that it is a member of, whatever the way; also without INHERIT, by SET ROLE."""
        if role not in self._reached:
            reached, waiting = {role}, [role]
            while waiting:
                new = self._groups.get(waiting.pop(), set()) - reached
                reached |= new
                waiting += new
            self._reached[role] = reached
        return self._reached[role]
