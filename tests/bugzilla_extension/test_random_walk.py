# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Whatever is done to bugs, comments and attachments, the public stream never has a word that no visitor could read.

The extension and drain.pl are the real ones; Bugzilla is the fake one, or with BUGZILLA_HOME the real one there.
"""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sourcepulse.consumer.consumer import Consumer
from sourcepulse.errors import EXIT_OK
from sourcepulse.events.event import Event
from sourcepulse.outbox.outbox import WITHHELD_TYPE
from sourcepulse.relay.health.service_manager import ServiceManager
from sourcepulse_bugzilla.lifecycle.session import Work, open_session
from sourcepulse_bugzilla.lifecycle.stopping import Stop
from sourcepulse_bugzilla.perl.requests import command_for
from support.bugzilla.oracle import (
    assert_complete,
    assert_events_stand_for_something,
    assert_no_secret,
    assert_nothing_invented,
    assert_nothing_leaked,
    bug_of,
    events_by_stream,
)
from support.bugzilla.steps import KINDS, random_steps, steps_of
from support.bugzilla.tree import ENDS_WITHIN_SECONDS, BugzillaTree, open_tree
from support.streams.spine import receive

STEPS_MAX = 40
DAILY_EXAMPLES = 2
DAILY_SEEDS = (1,)
SOAK_SEEDS = tuple(range(100, 110))
STEPS_OF_A_SEED = 120


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> BugzillaTree:
    return open_tree(tmp_path_factory.mktemp("tree"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)


def drain(tree: BugzillaTree, outbox: Path, *, reconcile: bool = False) -> None:
    """Do what the sidecar does when it is nudged, and each hour."""
    work = Work(command=command_for(tree.home), folder=tree.home, outbox=outbox, max_bytes=262_144)
    with Stop() as stop, open_session(work, stop, ServiceManager({})) as session:
        session.drainer.lock()
        assert session.drain()
        if reconcile or session.marks_file.read() is None:
            session.reconcile()
        assert session.buried == 0


# Each example takes processes and a database: a failure is looked into by hand.
@settings(
    max_examples=DAILY_EXAMPLES,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_no_choice_of_steps_publishes_what_the_public_may_not_know(tree: BugzillaTree, data: st.DataObject) -> None:
    # What hypothesis chooses again has other words the second time.
    word = f"TOKEN{uuid.uuid4().hex}"
    count = data.draw(st.integers(1, STEPS_MAX))
    steps = itertools.islice(
        steps_of(lambda below: data.draw(st.integers(0, below - 1)), word, (*KINDS, "delete")), count
    )
    tree.begin()
    outbox = tree.journal.with_name(f"{uuid.uuid4()}.db")
    tree.do(list(steps))
    drain(tree, outbox)
    public, restricted = events_by_stream(outbox)
    assert_nothing_leaked(tree, public)
    assert_nothing_invented(tree, [*public, *restricted])
    assert_events_stand_for_something(tree.facts(), restricted)


@pytest.mark.parametrize("seed", [*DAILY_SEEDS, *(pytest.param(seed, marks=pytest.mark.soak) for seed in SOAK_SEEDS)])
def test_a_long_walk_is_published_completely_and_without_secrets(tree: BugzillaTree, folder: Path, seed: int) -> None:
    tree.begin()
    outbox = folder / "outbox.db"
    drain(tree, outbox)
    steps = list(itertools.islice(random_steps(seed), STEPS_OF_A_SEED))
    for begin in range(0, len(steps), 40):
        tree.do(steps[begin : begin + 40])
        drain(tree, outbox)
    # The other sides of dependencies have only the history.
    drain(tree, outbox, reconcile=True)
    drain(tree, outbox, reconcile=True)
    public, restricted = events_by_stream(outbox)
    facts = tree.facts()
    assert_nothing_leaked(tree, public)
    assert_nothing_invented(tree, [*public, *restricted])
    assert_complete(facts, public, restricted, tree.secret())
    assert_events_stand_for_something(facts, restricted)
    assert_no_secret(tree.secret(), [*public, *restricted])
    assert len(public) > 10

    sent = publish(tree, outbox, folder, len(public))
    assert [event.id for event in sent] == [event.id for event in public]
    assert_public_now(tree, sent)


def publish(tree: BugzillaTree, outbox: Path, folder: Path, count: int) -> list[Event]:
    """Make the sidecar send all public events to an embedded log, and return what arrived."""
    url = f"file://{folder}/log.db"
    with Consumer(url, topics=["#"], queue="walk", durable=True) as consumer:
        receive(consumer, 1, 0.1)
        command = [sys.executable, "-m", "sourcepulse.cli", "bugzilla-sidecar", "--once"]
        options = ["--bugzilla", str(tree.home), "--outbox", str(outbox), "--broker", url]
        ran = subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, timeout=ENDS_WITHIN_SECONDS
        )
        assert ran.returncode == EXIT_OK, ran.stderr
        return receive(consumer, count, ENDS_WITHIN_SECONDS)


def assert_public_now(tree: BugzillaTree, sent: list[Event]) -> None:
    """Check that what was sent is public at this moment, however it was when it was stored."""
    facts = tree.facts()
    private_bugs = set(facts["in_groups"])
    private_comments = {row["comment_id"] for row in facts["comments"] if row["isprivate"]}
    private_files = {row["attach_id"] for row in facts["attachments"] if row["isprivate"]}
    withheld = 0
    for event in sent:
        if event.type == WITHHELD_TYPE:
            withheld += 1
        elif not event.type.endswith(".hidden.v1"):
            assert bug_of(event) not in private_bugs, event.type
            assert event.data.get("comment", {}).get("id") not in private_comments
            assert event.data.get("attachment", {}).get("id") not in private_files
    assert withheld > 0
