# Copyright (c) 2026, bulwark.hardening contributors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Public keys of one throw-away user; fingerprints are what ssh-keygen -l prints for them."""

from __future__ import annotations

from textwrap import dedent

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEG9XOwL4/N0jZ0R82x9W8JoReDQHQbOjz6rt2vR5qOF"
ED25519_FINGERPRINT = "SHA256:Buqr01rTqaKkYy8Vl7SCaOTfd6fWPNY+hX+OgH8h3uI"
RSA_2048 = "".join(
    dedent(
        """\
        ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDZ49atue0ePBISl4WYNkGmumgR6jB3CUkTwnn3xheYvJ2nEBO7mV+HBmwGL4qN
        T2w4zY+MmF98iw2y/ZBiJsXAypn4QHfRrcNW/PjAIiON2Z3In/Tq8i0ddwdSDDfwhVq9PjwIWaH66NsIvLbFSoPMvUrKifkViD9P
        vVKIz6fzbIzTtXWvxVf3hRoYdAA50SgnKgvPTIczfAtGXG0uBnjcg0G5x6ad5qwVlxDiKNurgi/XGGW36wnrLkSew+6mqaLkqLhh
        wilvDnOuzu7h0Wziw/rNez09+kiO2Po+bJccDHYOrZO36Ltvv+y8nWM5NdA0x+z3kjvHjpE51FZUlilj
        """
    ).splitlines()
)
RSA_2048_FINGERPRINT = "SHA256:5ElcBPlgxG1rpaS56uN+p1vYBt1Jzz1HKZqBzklb5fc"
CERTIFICATE = "".join(
    dedent(
        """\
        ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIBz5FrdGmhZQWCP
        Qo1iDjaYF4Cj6gq8G33VQK0cnPgIXAAAAIEPE11co4vWgaBHInxWCX6KJsVjaTJsuS//0Y1uJJGGrAAAAAAAAAAcAAAABAAAABWF
        saWNlAAAACAAAAAR0ZWFtAAAAAAAAAAD//////////wAAAAAAAACCAAAAFXBlcm1pdC1YMTEtZm9yd2FyZGluZwAAAAAAAAAXcGV
        ybWl0LWFnZW50LWZvcndhcmRpbmcAAAAAAAAAFnBlcm1pdC1wb3J0LWZvcndhcmRpbmcAAAAAAAAACnBlcm1pdC1wdHkAAAAAAAA
        ADnBlcm1pdC11c2VyLXJjAAAAAAAAAAAAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIMk+pPBITSV/HuWMWUHnJNBGXgJDcygpiqn6C4i
        Vmk++AAAAUwAAAAtzc2gtZWQyNTUxOQAAAEBar83eOMG/xUGt34/WF5o0lGWXiomEmtetJ5kBR91tuyLDWezFvbguZnqgK8074y+
        NKN6l1udIsi7eVfnGhPMN
        """
    ).splitlines()
)
# For ED25519, for ever; and for RSA_2048, through the year 2026.
HOST_CERTIFICATE = "".join(
    dedent(
        """\
        ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIBu2pg8yG3SRIyAwtY
        t+hoauF2GamKI7/aAuljVN4NoEAAAAIEG9XOwL4/N0jZ0R82x9W8JoReDQHQbOjz6rt2vR5qOFAAAAAAAAAAUAAAACAAAAA3dlYgAAA
        CAAAAAPd2ViLmV4YW1wbGUub3JnAAAACTE5Mi4wLjIuNwAAAAAAAAAA//////////8AAAAAAAAAAAAAAAAAAAAzAAAAC3NzaC1lZDI1
        NTE5AAAAIN98zqWvUhRKyZlceLV3f2Hs6jsbeFbL8o0kOXiy82gqAAAAUwAAAAtzc2gtZWQyNTUxOQAAAEAU/0sNUJeg4hrfnVHClsk
        old/PMN8rnsRtb3M4FkidFl8N6yF35Cfeq+MA0rpwQb2Z2u9SheqPMTHWZDdtL5wH
        """
    ).splitlines()
)
RSA_HOST_CERTIFICATE = "".join(
    dedent(
        """\
        ssh-rsa-cert-v01@openssh.com AAAAHHNzaC1yc2EtY2VydC12MDFAb3BlbnNzaC5jb20AAAAge+7+W8uvfqxIW1lI9SKBKuDmer
        BMDH5AJkK42pCb/xwAAAADAQABAAABAQDZ49atue0ePBISl4WYNkGmumgR6jB3CUkTwnn3xheYvJ2nEBO7mV+HBmwGL4qNT2w4zY+Mm
        F98iw2y/ZBiJsXAypn4QHfRrcNW/PjAIiON2Z3In/Tq8i0ddwdSDDfwhVq9PjwIWaH66NsIvLbFSoPMvUrKifkViD9PvVKIz6fzbIzT
        tXWvxVf3hRoYdAA50SgnKgvPTIczfAtGXG0uBnjcg0G5x6ad5qwVlxDiKNurgi/XGGW36wnrLkSew+6mqaLkqLhhwilvDnOuzu7h0Wz
        iw/rNez09+kiO2Po+bJccDHYOrZO36Ltvv+y8nWM5NdA0x+z3kjvHjpE51FZUliljAAAAAAAAAAAAAAACAAAAA3dlYgAAABMAAAAPd2
        ViLmV4YW1wbGUub3JnAAAAAGlVuQAAAAAAazbsgAAAAAAAAAAAAAAAAAAAADMAAAALc3NoLWVkMjU1MTkAAAAg33zOpa9SFErJmVx4t
        Xd/YezqOxt4VsvyjSQ5eLLzaCoAAABTAAAAC3NzaC1lZDI1NTE5AAAAQC+g31dWQdPe1k60imECijV3aT1n5DI7I+BBkEFcxON01Ow8
        q3n+90rs7Y4QtM26NmA78DxexRg5u4mS9LB6cAw=
        """
    ).splitlines()
)
