# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a reader is made of.

A file in ``readers/`` exports ``READERS``, a dictionary of names and Reader; ``registry.py`` collects them. A new
reader needs its file and one line there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable

from .host import Host
from .model import Observation
from .parameters import Parameter, Parameters


def nothing(_host: Host, _parameters: Parameters) -> None:
    """Announce nothing."""


@dataclass(frozen=True)
class Reader:
    """``read`` observes; ``announce`` is called for all controls before, so that programs are asked together.

    ``read`` gets complete, checked parameters, and may raise Unreadable.
    """

    read: Callable[[Host, Parameters], Observation]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    announce: Callable[[Host, Parameters], None] = nothing
