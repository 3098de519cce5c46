# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Fetch test reports for a step: files of the worker or the log of an earlier step, within a limit of bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from buildbot.process import remotecommand
from buildbot.worker.protocols.base import FileWriterImpl

BLOCK_BYTES = 64 * 1024
#: How many lines of a log are read from the database at once.
LOG_LINES = 2_000
#: At most this many names of steps or logs are listed if the requested one is missing.
NAMES_MOST = 10

_PATTERN_CHARACTERS = frozenset("*?[")
#: Each line of a `stdio` log begins with the letter of its stream.
_STREAMS, _OUTPUT = "s", "o"


class ReportFile(NamedTuple):
    """The content of one report."""

    name: str
    data: bytes
    #: Whether the report is larger than the limit.
    is_cut: bool = False


class _Writer(FileWriterImpl):
    """Receives what a worker sends, up to a limit that does not rely on the worker."""

    def __init__(self, most_bytes: int) -> None:
        self.data = bytearray()
        self.is_cut = False
        self._most_bytes = most_bytes

    def remote_write(self, data: bytes | str) -> None:
        raw = data.encode() if isinstance(data, str) else data
        self.data += raw[: self._most_bytes - len(self.data)]
        self.is_cut = self.is_cut or (len(raw) > 0 and len(self.data) >= self._most_bytes)

    def remote_close(self) -> None:
        """Do nothing, because the bytes are here already."""


async def read_worker_files(
    step: Any, paths: Sequence[str], most_bytes: int, most_files: int
) -> tuple[list[ReportFile], list[str]]:
    """Return the files of these paths or patterns, sorted, and the problems with them.

    A pattern follows the rules of Python's glob, `**` included. All files together have at most `most_bytes`.
    Raises WorkerSetupError if the worker is too old.
    """
    problems: list[str] = []
    files: list[ReportFile] = []
    left = most_bytes
    found = await _find(step, paths, problems)
    if len(found) > most_files:
        problems.append(f"only the first {most_files} of {len(found)} files are read")
        found = found[:most_files]
    for number, path in enumerate(found):
        if left <= 0:
            left_out = (
                f"{path} and {len(found) - number - 1} more files are" if number < len(found) - 1 else f"{path} is"
            )
            problems.append(f"{left_out} left out, the reports are larger than {most_bytes} bytes")
            break
        file = await _upload(step, path, left)
        if file is None:
            problems.append(f"{path} cannot be read")
            continue
        files.append(file)
        left -= len(file.data)
        if file.is_cut:
            problems.append(f"{path} is cut, the reports are larger than {most_bytes} bytes")
    return files, problems


async def _find(step: Any, paths: Sequence[str], problems: list[str]) -> list[str]:
    found: dict[str, None] = {}
    for path in paths:
        if not _PATTERN_CHARACTERS & set(path):
            found[path] = None
            continue
        step.checkWorkerHasCommand("glob")
        pattern = step.worker.path_module.join(step.workdir, path)
        command = remotecommand.RemoteCommand("glob", {"path": pattern, "logEnviron": False})
        await step.runCommand(command)
        matches = [] if command.didFail() else sorted(command.updates["files"][-1])
        if not matches:
            problems.append(f"nothing matches {path}")
        found.update(dict.fromkeys(matches))
    return list(found)


async def _upload(step: Any, path: str, most_bytes: int) -> ReportFile | None:
    """Return a file; None if it does not exist or cannot be read."""
    step.checkWorkerHasCommand("uploadFile")
    # One byte more than the limit distinguishes a file that is too large from one that just fits.
    writer = _Writer(most_bytes + 1)
    command = remotecommand.RemoteCommand(
        "uploadFile",
        {
            "workdir": step.workdir,
            "workersrc": path,
            "writer": writer,
            "maxsize": most_bytes + 1,
            "blocksize": BLOCK_BYTES,
        },
    )
    await step.runCommand(command)
    if command.didFail() and not writer.is_cut:
        return None
    return ReportFile(path, bytes(writer.data[:most_bytes]), writer.is_cut)


async def read_log(step: Any, step_name: str, log_name: str, most_bytes: int) -> tuple[list[ReportFile], list[str]]:
    """Return the content of a log of an earlier step of this build; of a `stdio` log, only the standard output."""
    label = f"log {log_name} of step {step_name}"
    data = step.master.data
    rows = [row for row in await data.get(("builds", step.build.buildid, "steps")) if row["stepid"] != step.stepid]
    steps = [row for row in rows if row["name"] == step_name]
    if not steps:
        return [], [f"there is no step {step_name} before this one; there is {_names(row['name'] for row in rows)}"]
    logs = [log for row in steps for log in await data.get(("steps", row["stepid"], "logs"))]
    wanted = [log for log in logs if log_name in (log["name"], log["slug"])]
    if not wanted:
        return [], [f"there is no {label}; there is {_names(log['name'] for log in logs)}"]
    log = wanted[-1]
    content = bytearray()
    for first in range(0, log["num_lines"], LOG_LINES):
        chunk = await data.get(("logs", log["logid"], "contents"), offset=first, limit=LOG_LINES)
        if chunk is None:
            break
        content += _output(chunk["content"], log["type"]).encode()
        if len(content) > most_bytes:
            problem = f"the {label} is cut, it is larger than {most_bytes} bytes"
            return [ReportFile(label, bytes(content[:most_bytes]), is_cut=True)], [problem]
    return [ReportFile(label, bytes(content))], []


def _names(names: Iterable[str]) -> str:
    found = list(dict.fromkeys(names))
    more = f" and {len(found) - NAMES_MOST} more" if len(found) > NAMES_MOST else ""
    return (", ".join(found[:NAMES_MOST]) or "none") + more


def _output(content: str, log_type: str) -> str:
    if log_type != _STREAMS:
        return content
    return "".join(f"{line[1:]}\n" for line in content.split("\n") if line.startswith(_OUTPUT))
