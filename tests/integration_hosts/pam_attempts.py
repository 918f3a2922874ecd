# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask PAM for a user, on a disposable host: SERVICE USER PASSWORD…, or --account SERVICE USER.

One line for each attempt: the code that PAM ended with, 0 being success, and the messages that it had for the user.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

PROMPTS = (1, 2)
PAM = ctypes.CDLL("libpam.so.0")
C = ctypes.CDLL("libc.so.6")
C.calloc.restype = ctypes.c_void_p
C.strdup.restype = ctypes.c_void_p


class Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class Answer(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


Messages = ctypes.POINTER(ctypes.POINTER(Message))
Answers = ctypes.POINTER(ctypes.POINTER(Answer))
Function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, Messages, Answers, ctypes.c_void_p)


class Conversation(ctypes.Structure):
    _fields_ = (("function", Function), ("data", ctypes.c_void_p))


def attempt(service: str, user: str, password: str, account_only: bool) -> str:
    """Authenticate once, or ask about the account, and return the line."""
    said: list[str] = []

    def converse(count: int, messages: Any, answers: Any, _data: Any) -> int:
        made = ctypes.cast(C.calloc(count, ctypes.sizeof(Answer)), ctypes.POINTER(Answer))
        for number in range(count):
            message = messages[number].contents
            if message.style in PROMPTS:
                made[number].text = C.strdup(password.encode())
            else:
                said.append(message.text.decode())
        answers[0] = made
        return 0

    conversation = Conversation(Function(converse), None)
    handle = ctypes.c_void_p()
    PAM.pam_start(service.encode(), user.encode(), ctypes.byref(conversation), ctypes.byref(handle))
    code = PAM.pam_acct_mgmt(handle, 0) if account_only else PAM.pam_authenticate(handle, 0)
    PAM.pam_end(handle, code)
    return f"{code} {' '.join(said)}"


def main() -> None:
    words = sys.argv[1:]
    account_only = words[0] == "--account"
    service, user, *passwords = words[1:] if account_only else words
    for password in passwords or [""]:
        sys.stdout.write(f"{attempt(service, user, password, account_only)}\n")


if __name__ == "__main__":
    main()
