# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What does not prove itself is taken back by the engine, and the reason tells what that has left."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ..transaction.engine import Transaction
from ..transaction.state import Phase, TransactionError
from .server import Refused


@contextlib.contextmanager
def taken_back(transaction: Transaction, what_is_left: t.Callable[[float], str], by_hand: str) -> t.Iterator[None]:
    """Roll back if what follows fails, and raise Refused with the reason and with what_is_left(when that began).

    by_hand says what a person has to do with the snapshot if the rollback fails as well.
    """
    try:
        yield
    except BaseException as error:
        reason = str(error) or type(error).__name__
        # A transaction that refuses to go on may have been rolled back already.
        moment = 0.0 if isinstance(error, TransactionError) else time.time()
        try:
            transaction.rollback(reason)
        except (OSError, TransactionError) as problem:
            raise Refused(f"{reason}; the rollback is left to its timer: {problem}") from error
        if not isinstance(error, (Refused, OSError, TransactionError)):
            raise
        if transaction.journal.phase is not Phase.ROLLED_BACK:
            snapshot = transaction.engine.store.path(transaction.id, "snapshot")
            raise Refused(
                f"{reason}; THE ROLLBACK FAILED ({transaction.journal.reason}): {by_hand} from {snapshot}"
            ) from error
        raise Refused(f"{reason}; {what_is_left(moment)}") from error
