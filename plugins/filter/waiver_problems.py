# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check waivers on the controller, before any host is touched."""

from __future__ import annotations

import datetime
import typing as t

from ..plugin_utils import catalogue, waivers

DOCUMENTATION = r"""
name: waiver_problems
author:
  - bulwark.hardening contributors (@bulwark-hardening)
version_added: 0.1.0
short_description: Check waivers on the controller, before any host is touched
description:
  - Returns what is wrong with waivers, each with the path to the value. A waiver names a control of the catalogue, who
    answers for it, why, and the last day on which it holds; of one control there is at most one.
options:
  _input:
    description: Lists of waivers, by the names of the variables that hold them.
    type: dict
    required: true
  today:
    description: The day to judge by, as YYYY-MM-DD. Empty is today, in UTC.
    type: str
    default: ''
"""

EXAMPLES = r"""
- name: Refuse waivers that are wrong
  ansible.builtin.assert:
    that: problems | length == 0
    fail_msg: "{{ problems | join('; ') }}"
  vars:
    problems: "{{ {'controls_host_waivers': controls_host_waivers} | bulwark.hardening.waiver_problems }}"
"""

RETURN = r"""
_value:
  description: One sentence each.
  type: list
  elements: str
"""


def waiver_problems(lists: t.Mapping[str, t.Any], today: str = "") -> list[str]:
    """Return what is wrong with the waivers of these lists."""
    day = datetime.date.fromisoformat(today) if today else datetime.datetime.now(datetime.timezone.utc).date()
    return waivers.problems(lists, {row.id for row in catalogue.load()}, day)


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return the filters by name."""
        return {"waiver_problems": waiver_problems}
