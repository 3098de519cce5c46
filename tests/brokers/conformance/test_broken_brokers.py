# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
# ruff: noqa: E501 - the names of the tests are sentences
"""Tests of the tests: at a broker that breaks one promise, the test of that promise fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from brokers.conformance import test_acknowledgement as acknowledgement
from brokers.conformance import test_admin as admins
from brokers.conformance import test_dead_letters as dead
from brokers.conformance import test_durable as durable
from brokers.conformance import test_exchanges as exchanges
from brokers.conformance import test_limits as limits
from brokers.conformance import test_messages as messages
from brokers.conformance import test_order as order
from brokers.conformance import test_patterns as patterns
from brokers.conformance import test_publisher as publisher
from brokers.conformance import test_sharing as sharing
from sourcepulse.brokers.file import publisher as local_publisher
from sourcepulse.brokers.file import subscription as local
from sourcepulse.consumer.memory.state import ConsumerState
from sourcepulse.consumer.order.ordering import Ordering
from sourcepulse.consumer.report import ConsumerReport
from sourcepulse.errors import BrokerError
from support.brokers import broken_pieces as broken
from support.brokers import messages as broker_messages
from support.brokers.broker_file import FileBroker
from support.brokers.child import Child

pytestmark = pytest.mark.soak

Test = Callable[..., None]

#: How long a broken broker is waited for.
PATIENCE_SECONDS = 1.0
MATRIX = {"patterns": patterns.PATTERNS, "keys": patterns.KEYS, "durable": True}

#: A broken subscription, and the tests that must notice.
SUBSCRIPTIONS: tuple[tuple[type[local.LocalSubscription], Test, dict[str, Any]], ...] = (
    (broken.TakesEverything, patterns.test_the_port_gives_what_the_usual_patterns_match_and_nothing_else, {}),
    (broken.TakesEverything, patterns.test_several_patterns_are_one_or_the_other, {}),
    (broken.TakesTheFirstPatternOnly, patterns.test_several_patterns_are_one_or_the_other, {}),
    (broken.TakesTheFirstPatternOnly, patterns.test_every_pattern_takes_the_keys_that_the_matcher_says, MATRIX),
    (broken.TakesAStarForAnyNumberOfWords, patterns.test_the_port_gives_what_the_usual_patterns_match_and_nothing_else, {}),
    (broken.TakesAHashForOneWordOrMore, patterns.test_every_pattern_takes_the_keys_that_the_matcher_says, MATRIX),
    (broken.LosesSomeDeliveries, patterns.test_an_event_that_several_patterns_match_comes_once, {}),
    (broken.ForgetsTheLastWord, patterns.test_words_of_any_text_can_be_asked_for_exactly, {}),
    (broken.ForgetsTheLastWord, messages.test_key_and_content_type_come_with_the_body, {}),
    (broken.KeepsNothing, durable.test_what_is_published_while_the_consumer_is_away_comes_in_order, {}),
    (broken.KeepsNothing, durable.test_a_crash_of_the_consumer_leaves_the_queue_as_it_is, {}),
    (broken.IsAlwaysInterrupted, durable.test_a_crash_of_the_consumer_leaves_the_queue_as_it_is, {}),
    (broken.IsAlwaysInterrupted, durable.test_what_is_published_while_the_consumer_is_away_comes_in_order, {}),
    (broken.BeginsAtTheStart, durable.test_nothing_from_before_the_first_subscription_comes, {}),
    (broken.KeepsTemporaryQueues, durable.test_a_temporary_subscription_ends_with_its_consumer, {}),
    (broken.KeepsTemporaryQueues, durable.test_a_temporary_subscription_leaves_no_queue_behind, {}),
    (broken.HasOneQueueForAll, durable.test_every_queue_gets_every_event, {}),
    (broken.HasOneQueueForAll, durable.test_a_queue_name_may_have_dots, {"name": "a.b"}),
    (broken.TakesTheFirstPatternOnly, durable.test_after_changed_topics_only_the_new_ones_are_given_and_what_matches_both_is_kept, {}),
    (broken.SharesNoQueue, sharing.test_consumers_of_a_shared_queue_split_the_events, {}),
    (broken.SharesNoQueue, sharing.test_a_slow_consumer_does_not_hold_up_the_other, {}),
    (broken.IgnoresThePrefetch, sharing.test_no_more_than_the_prefetch_is_with_one_consumer_and_the_other_gets_the_rest, {}),
    (broken.IgnoresThePrefetch, sharing.test_an_acknowledgement_makes_room_for_one_more, {}),
    (broken.NeverAcknowledges, sharing.test_an_acknowledgement_makes_room_for_one_more, {}),
    (broken.SharesEveryQueue, sharing.test_one_consumer_of_a_queue_is_served_at_a_time_in_order, {}),
    (broken.SharesEveryQueue, sharing.test_the_next_consumer_takes_over_from_one_that_was_killed, {}),
    (broken.SharesEveryQueue, sharing.test_the_next_consumer_takes_over_the_whole_order, {"patterns": ("hg.#",)}),
    (broken.AcknowledgesOnReceipt, sharing.test_the_next_consumer_takes_over_the_whole_order, {"patterns": ("hg.#",)}),
    (broken.AcknowledgesOnReceipt, sharing.test_what_a_dead_consumer_of_a_shared_queue_held_goes_to_the_others, {}),
    (broken.AcknowledgesOnReceipt, acknowledgement.test_what_was_not_acknowledged_comes_again_marked_and_nothing_else, {}),
    (broken.AcknowledgesOnReceipt, acknowledgement.test_leaving_the_loop_leaves_the_event_to_the_next_loop_and_process, {}),
    (broken.AcknowledgesOnReceipt, acknowledgement.test_an_exception_in_the_loop_leaves_the_event_to_the_next_process, {}),
    (broken.AcknowledgesAllBefore, acknowledgement.test_what_was_not_acknowledged_comes_again_marked_and_nothing_else, {}),
    (broken.NeverMarksRepeats, acknowledgement.test_what_was_not_acknowledged_comes_again_marked_and_nothing_else, {}),
    (broken.MarksEverything, acknowledgement.test_what_was_not_acknowledged_comes_again_marked_and_nothing_else, {}),
    (broken.MarksEverything, messages.test_key_and_content_type_come_with_the_body, {}),
    (broken.NeverAcknowledges, acknowledgement.test_what_was_not_acknowledged_comes_again_marked_and_nothing_else, {}),
    (broken.AcknowledgesWhenItLeaves, acknowledgement.test_what_was_acknowledged_before_a_crash_does_not_come_again, {}),
    (broken.NeverAcknowledges, acknowledgement.test_what_was_acknowledged_before_a_crash_does_not_come_again, {}),
    (broken.TakesOldAcknowledgements, acknowledgement.test_what_came_by_an_older_connection_cannot_be_acknowledged_or_rejected, {}),
    (broken.NeedsTimeToGive, acknowledgement.test_what_has_arrived_is_given_though_there_is_no_time_to_wait, {}),
    (broken.RaisesWhenLeftTwice, acknowledgement.test_closing_twice_or_before_opening_is_not_an_error, {}),
    (broken.ForgetsWhatIsRejected, dead.test_what_is_rejected_is_set_aside_with_body_key_and_reason, {}),
    (broken.KeepsWhatIsRejected, dead.test_what_is_rejected_is_set_aside_with_body_key_and_reason, {}),
    (broken.ForgetsTheReason, dead.test_what_is_rejected_is_set_aside_with_body_key_and_reason, {}),
    (broken.ForgetsTheReason, dead.test_a_reason_of_any_text_puts_the_message_aside, {"reason": "abc"}),
    (broken.KeepsWhatIsRejected, dead.test_many_messages_are_set_aside_one_after_the_other, {}),
    (broken.KeepsTemporaryQueues, durable.test_every_queue_gets_every_event, {}),
    (broken.ForgetsWhatIsRejected, dead.test_an_event_that_the_program_rejects_leaves_no_gap, {}),
    (broken.ForgetsTheReason, dead.test_an_event_whose_callback_keeps_failing_is_set_aside_and_the_rest_goes_on, {}),
    (broken.ForgetsWhatIsRejected, dead.test_messages_that_are_not_events_are_reported_set_aside_and_stop_nothing, {}),
    (broken.ReadsText, dead.test_messages_that_are_not_events_are_reported_set_aside_and_stop_nothing, {}),
    (broken.ForgetsTheLastWord, dead.test_a_strangers_events_are_read_as_ours, {}),
    (broken.HasOneQueueForAll, dead.test_dead_letters_of_one_queue_are_not_anothers, {}),
    (broken.ReadsText, messages.test_bodies_of_any_bytes_are_kept, {}),
    (broken.EndsAtAZeroByte, messages.test_bodies_of_any_bytes_are_kept, {}),
    (broken.ForgetsTheContentType, messages.test_key_and_content_type_come_with_the_body, {}),
    (broken.SwapsDeliveries, publisher.test_every_message_is_settled_once_and_arrives_in_order, {}),
    (broken.HasNoLimits, limits.test_a_full_queue_drops_its_oldest_messages_and_blocks_no_publisher, {}),
    (broken.HasNoLimits, limits.test_the_consumer_gets_a_gap_for_what_its_full_queue_dropped, {}),
    (broken.HasNoLimits, limits.test_what_is_too_old_is_not_given_and_leaves_a_gap, {}),
    (broken.IsNeverInterrupted, admins.test_a_removed_queue_is_created_again_and_its_consumer_notified_if_possible, {}),
    (broken.IsNeverInterrupted, limits.test_a_queue_unused_for_too_long_is_removed_and_its_consumer_notified, {}),
)  # fmt: skip

#: A broken publisher, and the tests that must notice.
PUBLISHERS: tuple[tuple[type[local_publisher.LocalPublisher], Test, dict[str, Any]], ...] = (
    (broken.LosesSomeMessages, publisher.test_every_message_is_settled_once_and_arrives_in_order, {}),
    (broken.SendsTwice, publisher.test_every_message_is_settled_once_and_arrives_in_order, {}),
    (broken.SendsTheLastFirst, publisher.test_every_message_is_settled_once_and_arrives_in_order, {}),
    (broken.SettlesTwice, publisher.test_every_message_is_settled_once_and_arrives_in_order, {}),
    (broken.SettlesBeforeItIsStored, publisher.test_every_message_is_settled_once_and_arrives_in_order, {}),
    (broken.SettlesTwice, publisher.test_a_whole_window_may_wait_to_be_settled, {}),
    (broken.SettlesWrongTags, publisher.test_tags_come_back_as_they_were_given, {}),
    (broken.NeverSaysUnroutable, publisher.test_a_message_that_no_queue_takes_is_unroutable_if_the_broker_reports_it, {}),
    (broken.NeverSaysUnroutable, publisher.test_an_exchange_without_any_queue_takes_messages_too, {}),
    (broken.WaitsThoughItHasNoTime, publisher.test_settling_without_time_to_wait_returns_at_once_and_settles_in_the_end, {}),
    (broken.WaitsForNews, publisher.test_settling_with_nothing_to_settle_waits_no_longer_than_its_limit, {}),
    (broken.RaisesWhenAbandonedTwice, publisher.test_leaving_never_raises_whatever_the_state, {"leave": "abandon"}),
    (broken.RaisesWhenAbandonedTwice, publisher.test_leaving_never_raises_whatever_the_state, {"leave": "close"}),
    (broken.RemembersAfterAbandon, publisher.test_what_was_unsettled_when_the_publisher_was_abandoned_is_not_settled_later, {}),
    (broken.SettlesBeforeItIsStored, publisher.test_a_publisher_that_was_left_is_of_no_more_use_until_it_is_opened_again, {}),
    (broken.LeavesAThread, publisher.test_leaving_ends_every_thread_that_was_started, {}),
    (broken.SendsTheLastFirst, publisher.test_many_publishers_write_to_one_exchange, {}),
    (broken.LosesSomeMessages, order.test_events_of_several_sources_come_in_the_order_of_each_through_restarts_of_the_publisher, {}),
    (broken.LosesSomeMessages, order.test_consumers_that_keep_leaving_handle_everything_once_in_order, {}),
    (broken.CutsBodies, messages.test_bodies_of_any_bytes_are_kept, {}),
    (broken.CutsBodies, messages.test_the_largest_events_pass_in_a_row, {}),
    (broken.CutsBodies, messages.test_an_event_of_every_character_arrives_as_it_was, {"as_escapes": False}),
    (broken.CutsKeys, patterns.test_a_key_of_the_greatest_length_arrives_whole, {"pattern": "#"}),
    (broken.WritesSmallLetters, patterns.test_words_of_any_text_can_be_asked_for_exactly, {}),
    (broken.WritesSmallLetters, patterns.test_the_port_gives_what_the_usual_patterns_match_and_nothing_else, {}),
    (broken.RefusesEverythingAfterOne, messages.test_a_message_over_the_limit_is_refused_alone_and_the_rest_stays_in_order, {}),
    (broken.DropsWhatIsTooLarge, messages.test_a_message_over_the_limit_is_refused_alone_and_the_rest_stays_in_order, {}),
    (broken.RefusesEverythingAfterOne, messages.test_messages_over_the_limit_one_after_the_other_are_all_refused, {}),
)  # fmt: skip

#: A part of the consumer, what takes its place, and the tests that must notice.
CONSUMERS: tuple[tuple[type[Any], str, Any, Test], ...] = (
    (ConsumerState, "is_handled", lambda *_: False, order.test_a_message_that_is_published_twice_is_handled_once_also_by_the_next_process),
    (ConsumerState, "is_handled", lambda *_: False, order.test_a_replayed_event_is_handled_only_if_it_was_lost_before),
    (ConsumerState, "last", lambda *_: None, order.test_a_gap_is_reported_across_processes_and_by_type),
    (Ordering, "offer", "without_lanes", order.test_events_published_out_of_order_are_put_in_order),
    (Ordering, "offer", "without_lanes", order.test_a_temporary_subscription_drops_repeats_and_keeps_order_too),
    (Ordering, "offer", "without_lanes", order.test_a_gap_is_reported_between_its_neighbours),
    (Ordering, "offer", "without_lanes", order.test_a_new_epoch_is_reported_as_a_reset_and_not_as_a_gap),
    (Ordering, "offer", "without_lanes", limits.test_the_consumer_gets_a_gap_for_what_its_full_queue_dropped),
    (ConsumerReport, "reset", lambda *_: None, order.test_a_new_epoch_is_reported_as_a_reset_and_not_as_a_gap),
    (ConsumerReport, "gap", lambda *_: None, order.test_a_gap_is_reported_between_its_neighbours),
    (ConsumerReport, "bad", lambda *_: None, dead.test_messages_that_are_not_events_are_reported_set_aside_and_stop_nothing),
    (Child, "kill", lambda *_: None, sharing.test_the_next_consumer_takes_over_from_one_that_was_killed),
    (Child, "kill", lambda *_: None, acknowledgement.test_an_event_of_a_killed_process_comes_again_and_what_it_handled_does_not),
)  # fmt: skip


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileBroker]:
    """The embedded log, with little patience for what will not come."""
    made = FileBroker(tmp_path)
    made.patience_s = PATIENCE_SECONDS
    monkeypatch.setattr(broker_messages, "WAIT_SECONDS", PATIENCE_SECONDS)
    yield made
    with suppress(BrokerError):
        made.close()


def fails(test: Test, broker: FileBroker, request: pytest.FixtureRequest, arguments: dict[str, Any]) -> None:
    """Run a test with a broken broker and expect it to fail."""
    wanted = inspect.signature(test).parameters
    given = {name: broker for name in ("broker", "narrow", "limited", "listed") if name in wanted} | arguments
    given |= {name: request.getfixturevalue(name) for name in wanted if name not in given}
    with pytest.raises((AssertionError, pytest.fail.Exception, BrokerError)):
        test(**given)


def _id(value: object) -> str | None:
    return getattr(value, "__name__", None) or (value if isinstance(value, str) else "-")


@pytest.mark.parametrize(("kind", "test", "arguments"), SUBSCRIPTIONS, ids=_id)
def test_a_broken_subscription_is_noticed(
    kind: type, test: Test, arguments: dict[str, Any], broker: FileBroker, request: pytest.FixtureRequest
) -> None:
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr(local, "LocalSubscription", kind)
    fails(test, broker, request, arguments)


@pytest.mark.parametrize(("kind", "test", "arguments"), PUBLISHERS, ids=_id)
def test_a_broken_publisher_is_noticed(
    kind: type, test: Test, arguments: dict[str, Any], broker: FileBroker, request: pytest.FixtureRequest
) -> None:
    monkeypatch = request.getfixturevalue("monkeypatch")
    monkeypatch.setattr(local, "LocalPublisher", kind)
    fails(test, broker, request, arguments)


@pytest.mark.parametrize(("owner", "name", "instead", "test"), CONSUMERS, ids=_id)
def test_a_broken_consumer_is_noticed(
    owner: type, name: str, instead: Any, test: Test, broker: FileBroker, request: pytest.FixtureRequest
) -> None:
    if instead == "without_lanes":
        whole = Ordering.offer
        instead = lambda ordering, item, _lane, _number: whole(ordering, item, None, 0)  # noqa: E731
    request.getfixturevalue("monkeypatch").setattr(owner, name, instead)
    fails(test, broker, request, {})


def test_exchanges_that_are_one_are_noticed(
    broker: FileBroker, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LocalSubscription", broken.HasOneExchangeForAll)
    monkeypatch.setattr(local, "LocalPublisher", broken.PublishesToOneExchange)
    for test in (
        exchanges.test_the_public_and_the_restricted_exchange_are_apart,
        exchanges.test_an_exchange_whose_name_goes_on_with_a_dot_is_another_one_or_refused,
        exchanges.test_queues_of_one_name_at_two_exchanges_do_not_mix,
        durable.test_a_queue_belongs_to_the_exchange_that_it_was_made_for,
    ):
        fails(test, broker, request, {})


def test_an_event_that_is_never_set_aside_is_noticed(
    broker: FileBroker, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = broker.child
    monkeypatch.setattr(broker, "child", lambda *topics, **options: whole(*topics, **{**options, "limits": {}}))
    fails(
        dead.test_an_event_that_kills_its_consumer_is_set_aside_after_the_limit_and_the_rest_goes_on,
        broker,
        request,
        {},
    )


def test_the_tests_pass_at_a_broker_that_is_whole(broker: FileBroker, request: pytest.FixtureRequest) -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        fails(order.test_events_published_out_of_order_are_put_in_order, broker, request, {})
