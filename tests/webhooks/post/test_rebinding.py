# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A public receiver is reached with the usual settings, and once its name leads inside, nothing is."""

from __future__ import annotations

from pathlib import Path

from support.component import require
from support.webhooks import public_network


def test_a_name_that_changes_between_attempts_never_leads_inside(tmp_path: Path) -> None:
    require(public_network.can_be_made(), "needs a kernel with user namespaces, and apt-get install iproute2")
    found = public_network.run(tmp_path)
    answers = {look: (answer["status"], answer["problem"]) for look, answer in found["answers"].items()}
    assert answers == {
        "public": (204, "none"),
        "loopback": (None, "address"),
        "both": (None, "address"),
        "mapped": (None, "address"),
        "metadata": (None, "address"),
        "public again": (204, "none"),
        "IPv6": (204, "none"),
        "redirect": (302, "none"),
        "silent": (None, "name"),
    }
    # The resolver of the system would wait for its servers much longer.
    assert found["answers"]["silent"]["took_s"] < 4
    assert found["answers"]["silent"]["reason"] == "the name other.example.org could not be looked up in time"
    assert found["inside"] == [0, 0]
    assert found["seen"] == [["hooks.example.org", "hooks.example.org"]] * 4
