# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Writes the pages of the catalogue: `python -m sourcepulse.catalogue.generate`, in a checkout; commit the results."""

from __future__ import annotations

from pathlib import Path

from sourcepulse.catalogue.page import pages

#: The folder of the pages in a checkout.
FOLDER = Path(__file__).resolve().parents[2] / "docs" / "catalogue"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
