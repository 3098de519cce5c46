# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Write the trouble-shooting page from the table: `python -m sourcepulse.operations.doctor.page`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sourcepulse.operations.doctor.table import Entry, table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "troubleshooting.md"

#: The first digit of an id.
GROUPS = {
    "1": "Settings and outbox",
    "2": "The way to the broker",
    "3": "What the broker allows",
    "4": "The relay, and the web gateway",
    "5": "Mercurial",
    "6": "Buildbot",
    "7": "Bugzilla",
    "8": "Clocks",
    "9": "The probe",
}

#: Which the doctor prints with a path, or so that they run as the owner of a file.
_PROGRAMS = {"sourcepulse", "hg", "tee", "buildbot"}

_HEAD = """# Trouble-shooting

`sourcepulse doctor` checks the whole installation within 15 seconds, changes nothing, and prints for each fault its
cause, its consequence and the command that repairs it, with the real paths. Run it as the user of the relay, or as
root. It finds by itself the outbox (from the settings), and the repositories and Bugzillas that this outbox knows;
`--repository REPO`, `--master BASEDIR` and `--bugzilla DIR` name others. With `--probe` it also publishes one event,
`system.probe.v1`, and waits until it comes back; `--reader-file FILE` names the URL of a consumer, if the relay's own
user may not read.

Exit code 0: all is well. 1: something is broken. 2: nothing is known to be broken, but something is doubtful, or could
not be checked, for the reason that is printed. SP416 does not count: a receiver of a webhook is somebody else's.
`--json` prints one object, which `sourcepulse schema doctor` describes.

This page has everything that it can find. It is made from the same table, `operations/doctor/checks.toml`; words in
capitals stand for what the doctor prints. For root it prints `runuser -u OWNER --` before commands that the owner of a
repository or of a master must run. Commands of rabbitmqctl are for the broker's host, as root.

## By symptom

| what you see | id |
|---|---|
"""


def page() -> str:
    """Return the page."""
    entries = list(table().values())
    symptoms = "".join(f"| {_cell(entry.symptom)} | {_link(entry)} |\n" for entry in entries)
    return _HEAD + symptoms + "".join(_groups(entries))


def _groups(entries: list[Entry]) -> Iterator[str]:
    for digit, title in GROUPS.items():
        yield f"\n## {title}\n"
        for entry in entries:
            if entry.id[2] == digit:
                yield _section(entry)


def _section(entry: Entry) -> str:
    lines = [
        f"\n### {entry.id}: {entry.title}\n",
        f"- Symptom: {entry.symptom}.",
        f"- Cause: {entry.cause}",
        f"- Consequence: {entry.consequence}",
    ]
    if entry.advice:
        lines.append(f"- Repair: {_capitals(entry, entry.advice)}")
    elif entry.repair:
        lines.append("- Repair:")
    lines += [f"  - {_code(_capitals(entry, command))}" for command in entry.repair]
    return "\n".join(lines) + "\n"


def _capitals(entry: Entry, text: str) -> str:
    return text.format_map({name: name if name in _PROGRAMS else name.upper() for name in entry.names()})


def _code(text: str) -> str:
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _link(entry: Entry) -> str:
    anchor = "".join(c for c in f"{entry.id}: {entry.title}".lower() if c.isalnum() or c in " -_").replace(" ", "-")
    return f"[{entry.id}](#{anchor})"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
