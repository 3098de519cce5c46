# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""A sheriff: closes a tree when builders fail on tests that passed before, and opens it when these pass again."""

import argparse
import re
import subprocess

from sourcepulse import Consumer, Event

TOPICS = ["hg.push.#", "hg.tree.#", "test.case.failed.#", "build.finished.#"]
BUG = re.compile(r"\bbug\s+(\d+)", re.IGNORECASE)
#: The other outcomes mean that the tests did not run to their end.
OUTCOMES = ("success", "warnings", "failure")
HG_SECONDS = 60


class Sheriff:
    """What is known of one tree; it decides, and does nothing itself."""

    def __init__(self, tree: str, builders: int) -> None:
        self.tree, self.builders = tree, builders
        self.pushes: dict[str, tuple[int, str]] = {}  # changeset -> number and words of its push
        self.failed: dict[tuple[str, int], dict[str, str]] = {}  # build that runs -> test id -> name
        self.last: dict[str, tuple[int, dict[str, str]]] = {}  # builder -> its last push, and what failed there
        self.broken: dict[str, dict[str, str]] = {}  # builder -> id of a test that broke -> name and push
        self.is_closed = self.is_ours = False

    def decide(self, event: Event) -> str | None:
        """Return a reason to close the tree, "" to open it, or None to leave it as it is."""
        data = event.data
        if event.type == "hg.push.v1" and data["repo"] == self.tree:
            bugs = dict.fromkeys(bug for change in data["changesets"] for bug in BUG.findall(change["desc"]))
            words = ", ".join([f"{data['last'][:12]} by {data['user']}", *(f"bug {bug}" for bug in bugs)])
            self.pushes |= {change["node"]: (len(self.pushes), words) for change in data["changesets"]}
        elif event.type in ("hg.tree.closed.v1", "hg.tree.approval.v1") and data["repo"] == self.tree:
            self.is_closed = True
        elif event.type == "hg.tree.opened.v1" and data["repo"] == self.tree:
            # Also by a person, who has seen what is broken.
            self.is_closed = self.is_ours = False
            self.broken.clear()
        elif event.type == "test.case.failed.v1":
            test = data["test_code_path"] or data["test_name"] or "a test"
            self.failed.setdefault((event.source, data["buildid"]), {})[data["testid"]] = test
        elif event.type == "build.finished.v1":
            failed = self.failed.pop((event.source, data["buildid"]), {})
            ran = data["outcome"] in OUTCOMES and (failed or data["outcome"] != "failure")
            if ran and data["revision"] in self.pushes:
                return self._judge(data["buildername"], self.pushes[data["revision"]], failed)
        return None

    def _judge(self, builder: str, push: tuple[int, str], failed: dict[str, str]) -> str | None:
        number, before = self.last.get(builder, (-1, failed))
        if push[0] < number:
            return None  # An older push, built late.
        self.last[builder] = (push[0], failed)
        new = {test: f"{failed[test]} since {push[1]}" for test in failed if test not in before}
        known = {test: words for test, words in self.broken.get(builder, {}).items() if test in failed}
        self.broken[builder] = new | known
        broken = sorted(name for name, tests in self.broken.items() if tests)
        if len(broken) >= self.builders and not self.is_closed:
            self.is_closed = self.is_ours = True
            words = next(iter(self.broken[broken[0]].values()))
            return f"{', '.join(broken)} broke: {words}"
        return "" if self.is_ours and not broken else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broker", help="a URL, or file:///path/of/log.db")
    parser.add_argument("tree", help="the repository in its events, such as integration/inbound")
    parser.add_argument("repository", help="its path here, such as /srv/hg/integration/inbound")
    parser.add_argument("--builders", type=int, default=2, help="how many must break")
    args = parser.parse_args()
    sheriff = Sheriff(args.tree, args.builders)
    for event in Consumer(args.broker, TOPICS):
        if (reason := sheriff.decide(event)) is not None:
            order = ["--close", reason] if reason else ["--open"]
            print("hg", "treestatus", *order, flush=True)
            subprocess.run(["hg", "-R", args.repository, "treestatus", *order], check=True, timeout=HG_SECONDS)
