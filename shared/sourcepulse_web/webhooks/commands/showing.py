# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The actions that show hooks and try them: list, show, test."""

from __future__ import annotations

import argparse
import logging
import time

from sourcepulse.cli.common import add_json, positive, print_json, print_table
from sourcepulse.errors import EXIT_FAILURE, EXIT_OK, NothingThereError
from sourcepulse.events.event import format_time
from sourcepulse.events.safe_text import plain
from sourcepulse_web.webhooks.commands.arguments import Actions, add_hook_action, open_desk
from sourcepulse_web.webhooks.commands.hints import after_test, span, warn_if_not_running
from sourcepulse_web.webhooks.desk.card import Card, Look, Refused, attempt_json, card_json, whole_json
from sourcepulse_web.webhooks.desk.sights import Sight
from sourcepulse_web.webhooks.hook import Attempt, Handshake
from sourcepulse_web.webhooks.send.outcome import Outcome

logger = logging.getLogger(__name__)

TEST_POLL_SECONDS = 0.1
ATTEMPTS = 20
#: How many events that are set aside `show` prints.
SET_ASIDE_SHOWN = 20
_COLUMNS = ("NAME", "STATE", "WAITING", "OLDEST", "SET ASIDE", "LAST ANSWER", "OWNER", "TOPICS", "URL")
_ATTEMPT_COLUMNS = ("NUMBER", "TIME (UTC)", "TRY", "ANSWER", "TOOK", "OUTCOME", "ID", "EVENT")
_SET_ASIDE_COLUMNS = ("ID", "SINCE (UTC)", "ANSWER", "REASON", "EVENT")
_NONE = "-"
#: What helps out of a state.
_WAY_BACK = {
    Look.PAUSED: "sourcepulse webhook resume {}",
    Look.PARKED: "sourcepulse webhook test {}, and once the receiver works: sourcepulse webhook resume {}",
    Look.OFF: "sourcepulse webhook resume {}, or sourcepulse webhook remove {} --apply",
}


def add_showing_actions(actions: Actions[argparse.ArgumentParser]) -> None:
    """Add these actions."""
    listing = add_hook_action(actions, "list", _list, "list the hooks: state, what waits, the last answer", named=False)
    listing.add_argument("--owner", metavar="USER", help="only the hooks of this owner")
    add_json(listing, "one JSON object per line (schema: webhooks.v1)")
    show = add_hook_action(actions, "show", _show, "show one hook with its attempts and what is set aside")
    show.add_argument(
        "--attempts", type=positive, default=ATTEMPTS, metavar="N", help=f"the last N of them (default: {ATTEMPTS})"
    )
    add_json(show, "one JSON object (schema: webhooks.v1)")
    test = add_hook_action(
        actions, "test", _test, "POST a test event now and print the answer; exit code 1 if it is not 2xx"
    )
    add_json(test, "the attempt as one JSON object")


def _list(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        cards, running = desk.list(args.owner), desk.sender_runs()
    if cards:
        warn_if_not_running(running)
    if args.json:
        for card in cards:
            print_json(card_json(card))
        return EXIT_OK
    if not cards:
        print("no webhook" if args.owner is None else f"no webhook of {plain(args.owner)}")
    now = time.time()
    print_table(_COLUMNS, [_row(card, now) for card in cards])
    for card in cards:
        if hint := after_test(card):
            logger.info("%s: %s", card.hook.name, hint)
    return EXIT_OK


def _row(card: Card, now: float) -> tuple[str, ...]:
    hook = card.hook
    return (
        hook.name,
        card.look.value,
        str(card.figures.waiting),
        ago(card.figures.oldest_at, now) if card.figures.waiting else _NONE,
        str(card.figures.set_aside),
        _NONE if card.last is None else answer(card.last) if card.last.position else f"{answer(card.last)} to a test",
        hook.owner or _NONE,
        ",".join(hook.topics),
        hook.url,
    )


def _show(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        card, running = desk.show(args.name, attempts=args.attempts), desk.sender_runs()
    warn_if_not_running(running)
    if args.json:
        print_json(whole_json(card))
        return EXIT_OK
    now = time.time()
    for word, text in _lines(card, now):
        print(f"{word:<10} {plain(text)}")
    if card.set_aside:
        more = len(card.set_aside) > SET_ASIDE_SHOWN
        print(f"\nset aside, the last {SET_ASIDE_SHOWN} (--json has all):" if more else "\nset aside:")
        print_table(_SET_ASIDE_COLUMNS, [_set_aside_row(each) for each in card.set_aside[-SET_ASIDE_SHOWN:]])
        last = card.set_aside[-1].attempt
        if last is not None and last.excerpt:
            print(f"\nthe answer to {plain(last.id)}:")
            _print_excerpt(last)
    if card.attempts:
        print("\nattempts, the newest first:")
        print_table(_ATTEMPT_COLUMNS, [_attempt_row(*each) for each in zip(card.attempts, card.sights, strict=True)])
        newest = card.attempts[0]
        if newest.excerpt and newest.outcome != Outcome.DELIVERED:
            print(f"\nthe answer to attempt {newest.number}:")
            _print_excerpt(newest)
    return EXIT_OK


def _lines(card: Card, now: float) -> list[tuple[str, str]]:
    hook, standing = card.hook, card.standing
    lines = [("name", hook.name), ("url", hook.url), ("topics", " ".join(hook.topics)), ("owner", hook.owner or _NONE)]
    state = card.look.value
    if card.look is Look.NOT_TRIED and card.failed_test is not None:
        state += f"; the last test failed: {answer(card.failed_test)}"
    since = standing.failing_since if card.look is Look.FAILING else standing.since
    if card.look not in (Look.NOT_TRIED, Look.WORKING) and since:
        state += f" for {ago(since, now)}"
    if standing.reason:
        state += f", because {standing.reason}"
    lines.append(("state", state))
    if card.look is Look.FAILING:
        lines.append(("trouble", _trouble(card, now)))
    if card.accepted_test is not None:
        lines.append(("test", after_test(card)))
    if card.look in _WAY_BACK:
        lines.append(("way back", _WAY_BACK[card.look].format(hook.name, hook.name)))
    figures = card.figures
    oldest = f", the oldest for {ago(figures.oldest_at, now)}" if figures.oldest_at is not None else ""
    lines.append(("waiting", f"{figures.waiting}{oldest}"))
    if card.oldest is not None:
        lines.append(("oldest", _event(card.oldest)))
    if card.refused:
        due = "" if card.refused_next_at is None else f", the first of them in {span(card.refused_next_at - now)}"
        lines.append(("refused", f"{card.refused} of them, tried again{due}; other sources go on"))
    counts = f"{standing.delivered} delivered, {figures.set_aside} set aside, {standing.withheld} withheld"
    lines.append(("events", f"{counts}, {figures.lost} lost" if figures.lost else counts))
    success = standing.last_success_at
    lines.append(("success", "never yet" if success is None else f"{ago(success, now)} ago"))
    if card.old_secret_until is not None:
        lines.append(("secrets", f"two; the former one signs until {_second(card.old_secret_until)}Z"))
    if hook.bearer_file:
        lines.append(("bearer", hook.bearer_file))
    if hook.handshake is not Handshake.OFF:
        lines.append(("handshake", f"{hook.handshake.value}; {_consent(card, now)}"))
    if standing.interrupted_at is not None:
        replaced = _second(standing.interrupted_at)
        lines.append(("missed", f"perhaps some events before {replaced}Z, when the log was replaced"))
    return lines


def _trouble(card: Card, now: float) -> str:
    next_at, last = card.standing.next_at, card.trouble
    due = [] if next_at is None else [f"the next attempt is due in {span(next_at - now)}"]
    if card.refuses_all is not None:
        why = [f"the receiver refuses every event, at last with {card.refuses_all}"]
    else:
        why = [] if last is None else [last.reason or answer(last)]
    return "; ".join([*why, *due])


def _consent(card: Card, now: float) -> str:
    consent = card.consent
    if consent is None:
        return "the receiver was not asked yet"
    rate = f", at most {consent.rate} POSTs a minute" if consent.rate not in ("", "*") else ""
    words = f"granted{rate}" if consent.granted else f"not granted: {consent.reason}"
    return f"{words}, {ago(consent.asked_at, now)} ago"


def _set_aside_row(refused: Refused) -> tuple[str, ...]:
    event, attempt, sight = refused
    return (
        event.id,
        _second(event.dead_at),
        _NONE if attempt is None else answer(attempt),
        event.reason,
        event.type if sight is None else _event(sight, event.type),
    )


def _attempt_row(attempt: Attempt, sight: Sight) -> tuple[str, ...]:
    return (
        str(attempt.number),
        _second(attempt.at),
        str(attempt.tries),
        answer(attempt),
        f"{attempt.took_s:.2f} s",
        attempt.outcome,
        attempt.id,
        _event(sight, attempt.type),
    )


def _event(sight: Sight, type_: str = "") -> str:
    """Return the time and the sentence of an event and where it leads; if it may not be seen, why, and its type."""
    if sight.at is None:
        return f"{sight.absence}{type_ and f' ({type_})'}"
    return f"{_second(sight.at)} {sight.sentence}{sight.link and f' <{sight.link}>'}"


def answer(attempt: Attempt) -> str:
    """Return the status of an answer, or why there was none."""
    return attempt.reason if attempt.status is None else str(attempt.status)


def ago(moment: float | None, now: float) -> str:
    """Return how long ago something was."""
    return "?" if moment is None else span(now - moment)


def _second(moment: float) -> str:
    return format_time(moment)[:19].replace("T", " ")


def _test(args: argparse.Namespace) -> int:
    with open_desk(args) as desk:
        # A test that no sender sees now would be POSTed by a later one.
        desk.check_sender(args.name)
        number, limit_s = desk.test(args.name), desk.test_seconds(args.name)
        deadline = time.monotonic() + limit_s
        while (attempt := desk.test_result(number)) is None:
            if time.monotonic() > deadline:
                desk.check_test(args.name)
                raise NothingThereError(
                    f"the sender did not answer within {limit_s:.0f} s; sourcepulse webhook show {args.name} "
                    "shows the test once it was POSTed"
                )
            time.sleep(TEST_POLL_SECONDS)
        card = desk.show(args.name, attempts=1)
    if args.json:
        print_json(attempt_json(attempt))
    else:
        print(f"{plain(answer(attempt))} after {attempt.took_s:.2f} s{_detail(attempt)}")
        _print_excerpt(attempt)
        if hint := after_test(card):
            print(hint)
    return EXIT_OK if is_success(attempt) else EXIT_FAILURE


def is_success(attempt: Attempt) -> bool:
    """Return whether the answer was 2xx."""
    return attempt.status is not None and 200 <= attempt.status < 300


def _print_excerpt(attempt: Attempt) -> None:
    for line in attempt.excerpt.splitlines():
        print(f"  {plain(line)}")


def _detail(attempt: Attempt) -> str:
    return f": {plain(attempt.reason)}" if attempt.status is not None and attempt.reason else ""
