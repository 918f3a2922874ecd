# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Merge the policy's items into what the host has, and name the difference; pure."""

from __future__ import annotations

import typing as t

Item = t.TypeVar("Item")


def merge(
    existing: t.Sequence[Item],
    desired: t.Sequence[Item],
    is_own: t.Callable[[Item], bool],
    key: t.Callable[[Item], t.Hashable],
) -> list[Item]:
    """Return the wished order: foreign items stay, in their order and place; own ones become exactly ``desired``.

    A foreign item ahead of the first own one stays ahead of the whole block. One that stands inside the block stays
    in front of the own item that follows it, as far as that survives. Without a block yet, it goes to the end.
    """
    position = {key(item): index for index, item in enumerate(desired)}
    own_indexes = [index for index, item in enumerate(existing) if is_own(item)]
    if not own_indexes:
        return [*existing, *desired]
    head = existing[: own_indexes[0]]
    before: dict[int, list[Item]] = {}
    anchor = 0
    # The next surviving own item behind each place, found once from the end.
    following = len(desired)
    anchors: dict[int, int] = {}
    for index in range(len(existing) - 1, own_indexes[0] - 1, -1):
        if is_own(existing[index]):
            following = position.get(key(existing[index]), following)
        else:
            anchors[index] = following
    for index in range(own_indexes[0], len(existing)):
        if index in anchors:
            anchor = max(anchor, anchors[index])
            before.setdefault(anchor, []).append(existing[index])
    merged: list[Item] = list(head)
    for index, item in enumerate(desired):
        merged += before.get(index, [])
        merged.append(item)
    return merged + before.get(len(desired), [])


def difference(
    before: t.Sequence[Item], after: t.Sequence[Item], key: t.Callable[[Item], t.Hashable]
) -> tuple[list[Item], list[Item], list[Item]]:
    """Return (added, removed, kept) by key, each in its own order; repetitions count."""

    def surplus(items: t.Sequence[Item], others: t.Sequence[Item]) -> tuple[list[Item], list[Item]]:
        counts: dict[t.Hashable, int] = {}
        for other in others:
            counts[key(other)] = counts.get(key(other), 0) + 1
        extra: list[Item] = []
        common: list[Item] = []
        for item in items:
            if counts.get(key(item), 0):
                counts[key(item)] -= 1
                common.append(item)
            else:
                extra.append(item)
        return extra, common

    added, kept = surplus(after, before)
    removed, _common = surplus(before, after)
    return added, removed, kept
