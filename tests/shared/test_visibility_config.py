# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""No setting sends restricted events to where the public reads: every such one is refused before the first event."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse import Consumer
from sourcepulse.brokers import open_publisher
from sourcepulse.brokers.exchange_names import check_exchange
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.cli.main import main
from sourcepulse.config import load
from sourcepulse.errors import ConfigError
from sourcepulse.events.topics import check_pattern, matches
from sourcepulse.outbox.delivery_state import PLACES_MAX, bind_broker, bound_broker, places, remember_place
from sourcepulse.outbox.outbox import Outbox
from sourcepulse.outbox.queries import Selection, figures, rows
from sourcepulse.outbox.repair import repair
from sourcepulse.relay.streams import Place, check_apart, check_former, doubts
from sourcepulse.testing import system_event

PUBLIC = "amqps://relay:s3cret@mq.example.org/pulse"
RESTRICTED = "amqps://relay-restricted:other@mq.example.org/pulse"

#: One broker, as differently as it can be written.
SPELLINGS = (
    "amqp://{}@mq.example.org/pulse",
    "amqp://{}@MQ.Example.ORG:5672/pulse",
    "amqps://{}@mq.example.org:5671/pulse",
    "amqp://{}@192.0.2.7/pulse",
    "amqp://{}@[2001:db8::7]:5672/pulse",
    "amqp://{}@b.example.org,mq.example.org/pulse",
    "amqp://{}@mq.example.org,b.example.org/pulse?heartbeat=30",
    "stomp+rabbitmq://{}@mq.example.org/pulse",
    "stomps+rabbitmq://{}@mq.example.org:61614/pulse",
    "amqp://{}@mq.example.org/other-vhost",
    "stomp+activemq://{}@mq.example.org",
    "stomps+activemq://{}@mq.example.org",
)


def place(url: str, exchange: str) -> Place:
    return Place(BrokerUrl.parse(url), exchange)


OTHER = place(PUBLIC, "sourcepulse")


def refusal(public: Place, restricted: Place) -> str:
    with pytest.raises(ConfigError) as caught:
        check_apart(public, restricted)
    return str(caught.value)


def test_two_exchanges_and_two_users_on_one_broker_are_well() -> None:
    check_apart(place(PUBLIC, "sourcepulse"), place(RESTRICTED, "sourcepulse-restricted"))


def test_a_log_for_each_stream_is_well(tmp_path: Path) -> None:
    check_apart(place(f"file://{tmp_path}/a.db", "sourcepulse"), place(f"file://{tmp_path}/b.db", "internal"))


@pytest.mark.parametrize("public", SPELLINGS)
@pytest.mark.parametrize("restricted", SPELLINGS)
def test_one_name_for_both_exchanges_is_refused_however_the_broker_is_written(public: str, restricted: str) -> None:
    said = refusal(place(public.format("a:1"), "events"), place(restricted.format("b:2"), "events"))

    assert "restricted events would go to the public exchange" in said


@pytest.mark.parametrize("public", SPELLINGS)
@pytest.mark.parametrize("restricted", SPELLINGS)
def test_one_login_for_both_streams_is_refused_however_the_broker_is_written(public: str, restricted: str) -> None:
    said = refusal(place(public.format("a:s3cret"), "events"), place(restricted.format("a:s3cret"), "internal"))

    assert "log in as the same user" in said
    assert "create a separate user" in said
    assert "s3cret" not in said


def test_a_login_is_the_same_however_it_is_escaped() -> None:
    assert "same user" in refusal(
        place("amqp://relay:s%33cret@a", "sourcepulse"), place("amqp://rel%61y:s3cret@b", "internal")
    )


def test_one_name_at_one_host_is_one_user_whatever_the_password() -> None:
    assert "same user" in refusal(
        place("amqp://relay:a@x,mq", "sourcepulse"), place("stomp+rabbitmq://relay:b@MQ,y", "internal")
    )
    check_apart(place("amqp://relay:a@x", "sourcepulse"), place("amqp://relay:b@y", "internal"))


def test_the_guest_that_a_url_without_a_user_means_is_a_login_too() -> None:
    assert "same user" in refusal(place("amqp://a", "sourcepulse"), place("amqp://guest:guest@b", "internal"))


@pytest.mark.parametrize("login", ["", "relay@", "relay:@", ":s3cret@"])
@pytest.mark.parametrize("scheme", ["amqp", "amqps", "stomp+rabbitmq", "stomp+activemq"])
def test_restricted_events_need_a_user_with_a_password(scheme: str, login: str) -> None:
    said = refusal(place(PUBLIC, "sourcepulse"), place(f"{scheme}://{login}mq.example.org", "internal"))

    assert "restricted_broker has no user with a password" in said


def test_a_certificate_is_a_login_at_activemq_unless_both_streams_use_it() -> None:
    mine = place("stomps+activemq://mq?cert=/etc/restricted.pem&key=/etc/restricted.key", "internal")
    check_apart(place("stomps+activemq://mq?cert=/etc/public.pem&key=/etc/public.key", "sourcepulse"), mine)
    check_apart(place(PUBLIC, "sourcepulse"), mine)

    assert "same user" in refusal(place(str(mine.url) + "?cert=/etc/restricted.pem", "sourcepulse"), mine)


@pytest.mark.parametrize(
    ("public", "restricted"),
    [
        ("sourcepulse", "sourcepulse.restricted"),
        ("sourcepulse.public", "sourcepulse"),
        ("a.b", "a.b.c.d"),
        ("a.b.c", "A.B"),
        ("Events", "events"),
    ],
)
def test_an_exchange_below_the_other_is_refused(public: str, restricted: str) -> None:
    said = refusal(place(PUBLIC, public), place(RESTRICTED, restricted))

    assert "restricted events would go to the public exchange" in said


def test_the_name_that_consumers_read_by_default_is_never_that_of_restricted_events() -> None:
    # Both names swapped is the likeliest mistake of all.
    said = refusal(place(PUBLIC, "sourcepulse-restricted"), place(RESTRICTED, "sourcepulse"))

    assert "is the default exchange of every consumer" in said


WORDS = st.lists(st.sampled_from(["a", "b", "A", "sourcepulse", "restricted", "a-b"]), min_size=1, max_size=3)


@given(WORDS, WORDS)
def test_what_is_allowed_no_wide_pattern_of_activemq_reads_across(public_words: list[str], words: list[str]) -> None:
    public, restricted = ".".join(public_words), ".".join(words)
    try:
        check_apart(place(PUBLIC, public), place(RESTRICTED, restricted))
    except ConfigError:
        return

    # Our '#' at the end is ActiveMQ's '>'.
    assert not matches(f"VirtualTopic.{public}.#", f"VirtualTopic.{restricted}.hg.push.repo")
    assert not matches(f"VirtualTopic.{restricted}.#", f"VirtualTopic.{public}.hg.push.repo")


@pytest.mark.parametrize("way", ["same", "dots", "link", "hard link", "folder link", "escaped", "not there yet"])
def test_one_log_for_both_streams_is_refused_however_it_is_written(tmp_path: Path, way: str) -> None:
    log, other = tmp_path / "log.db", tmp_path / "other.db"
    if way != "not there yet":
        log.touch()
    (tmp_path / "folder").symlink_to(tmp_path)
    if way == "link":
        other.symlink_to(log)
    elif way == "hard link":
        os.link(log, other)
    written = {
        "dots": f"{tmp_path}/folder/../{tmp_path.name}/./log.db",
        "link": str(other),
        "hard link": str(other),
        "folder link": f"{tmp_path}/folder/log.db",
        "escaped": f"{tmp_path}/l%6Fg.db",
        "not there yet": f"{tmp_path}/folder/log.db",
    }.get(way, str(log))

    said = refusal(place(f"file://{log}", "sourcepulse"), place(f"file://{written}", "internal"))

    assert "restricted events would go to the public log" in said


@pytest.mark.parametrize(
    "name", ["", ".", "a.", ".a", "a..b", "a b", "a/b", "a,b", "a>b", "a*", "#", "a%2Fb", "a\n", "ä", "a:b", "x" * 256]
)
def test_an_exchange_has_a_name_that_means_the_same_everywhere(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid exchange name"):
        check_exchange(name)


@pytest.mark.parametrize("name", ["amq.topic", "AMQ.rabbitmq.trace"])
def test_the_exchanges_of_rabbitmq_itself_are_not_used(name: str) -> None:
    with pytest.raises(ConfigError, match="is reserved by RabbitMQ"):
        check_exchange(name)


@given(st.text(max_size=20))
def test_a_name_that_is_allowed_is_a_pattern_without_wildcards(name: str) -> None:
    try:
        check_exchange(name)
    except ConfigError:
        return
    assert check_pattern(name) == name
    assert not {"*", "#"} & set(name)


@pytest.mark.parametrize("name", ["", "a,b", "a b", "amq.topic", "AMQ.direct", "a..b", "*", "x" * 256])
@pytest.mark.parametrize("url", ["file:///x/log.db", "amqp://a", "stomp+rabbitmq://a", "stomp+activemq://a"])
def test_a_bad_name_is_refused_when_a_consumer_or_a_publisher_is_created(url: str, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid exchange name"):
        Consumer(url, ["hg.#"], exchange=name)
    with pytest.raises(ConfigError, match="is not a valid exchange name"):
        open_publisher(BrokerUrl.parse(url), exchange=name)


def test_a_name_with_slashes_as_pulses_own_have_is_rabbitmqs_alone() -> None:
    name = "exchange/hgpushes/v2"
    for url in ("file:///x/log.db", "stomp+activemq://a"):
        with pytest.raises(ConfigError, match="is not a valid exchange name"):
            Consumer(url, ["hg.#"], exchange=name)
    for url in ("amqp://a", "stomps+rabbitmq://a"):
        assert not Consumer(url, ["hg.#"], exchange=name).connected


def test_a_name_with_a_dot_is_refused_for_activemq_alone() -> None:
    with pytest.raises(ConfigError, match="cannot be used at ActiveMQ"):
        Consumer("stomp+activemq://a", ["hg.#"], exchange="a.b")
    with pytest.raises(ConfigError, match="cannot be used at ActiveMQ"):
        open_publisher(BrokerUrl.parse("stomps+activemq://a"), exchange="a.b")
    for url in ("amqp://a", "stomp+rabbitmq://a"):
        open_publisher(BrokerUrl.parse(url), exchange="a.b")
        assert not Consumer(url, ["hg.#"], exchange="a.b").connected


@pytest.mark.parametrize("key", ["exchange", "restricted_exchange"])
def test_the_error_for_a_bad_name_names_the_place_where_it_was_set(key: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"{key} in the environment \(SOURCEPULSE_{key.upper()}\): 'a,b' is not a valid exchange name",
    ):
        load(environ={f"SOURCEPULSE_{key.upper()}": "a,b"})


def test_restricted_events_do_not_go_where_public_ones_went_before(tmp_path: Path) -> None:
    former = str(place("amqp://relay:s3cret@mq.example.org/pulse", "events"))

    for restricted in ("events", "Events", "events.restricted"):
        with pytest.raises(ConfigError, match="where public ones went before"):
            check_former(former, place(RESTRICTED, restricted))
    with pytest.raises(ConfigError, match="public log"):
        check_former(
            str(place(f"file://{tmp_path}/a b.db", "events")), place(f"file://{tmp_path}/a%20b.db", "internal")
        )
    # What a version to come may have recorded.
    with pytest.raises(ConfigError, match="where public ones went before"):
        check_former("nats://host events", place(RESTRICTED, "events"))
    check_former(former, place(RESTRICTED, "internal"))


@pytest.mark.parametrize(
    ("url", "doubtful"),
    [
        ("amqp://u:p@mq.example.org", True),
        ("stomp+activemq://u:p@localhost,mq.example.org", True),
        ("amqps://u:p@mq.example.org", False),
        ("stomps+rabbitmq://u:p@mq.example.org", False),
        ("amqp://u:p@localhost,127.0.0.2,[::1]", False),
    ],
)
def test_restricted_events_that_cross_a_network_in_the_clear_are_warned_of(url: str, doubtful: bool) -> None:
    said = doubts(OTHER, place(url, "internal"))

    assert len(said) == doubtful
    assert not any(":p@" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("public", "doubtful"),
    [
        ("stomp+activemq://a@mq,b", True),
        ("stomps+activemq://mq:9", True),
        ("stomp+activemq://b", False),
        (PUBLIC, False),
    ],
)
def test_one_activemq_for_both_streams_is_warned_of(public: str, doubtful: bool) -> None:
    said = doubts(place(public, "sourcepulse"), place("stomps+activemq://u:p@c,mq", "internal"))

    assert bool(said) == doubtful
    assert all("shared/deploy/activemq.xml" in sentence for sentence in said)


def test_a_restricted_log_that_every_user_can_read_is_warned_of(tmp_path: Path) -> None:
    log = place(f"file://{tmp_path}/log.db", "internal")
    tmp_path.chmod(0o755)
    assert "every user of this machine can read" in doubts(OTHER, log)[0]
    Path(log.url.path).touch(0o640)
    assert not doubts(OTHER, log)
    Path(log.url.path).chmod(0o644)
    assert doubts(OTHER, log)
    tmp_path.chmod(0o750)
    assert not doubts(OTHER, log)
    assert not doubts(OTHER, place("file:///nowhere/at/all.db", "internal"))


def relay(outbox: Path, public: str, restricted: str, *more: str) -> int:
    brokers = ("--broker", public, "--restricted-broker", restricted)
    return main(["relay", "--once", "--outbox", str(outbox), *brokers, *more])


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    """An outbox with a restricted event and a public one."""
    path = tmp_path / "outbox.db"
    with Outbox.open(path) as opened:
        opened.append([system_event(1, source="system://t?restricted"), system_event(2)])
    return path


def states(outbox: Path) -> list[str]:
    with Outbox.open(outbox) as opened:
        return [row["state"] for row in rows(opened, Selection())]


def test_a_relay_with_a_wrong_configuration_sends_nothing_and_status_says_why(
    tmp_path: Path, outbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "log.db")

    assert relay(outbox, f"file://{tmp_path}/log.db", f"file://{tmp_path}/link.db") == 2

    assert "every user who can open that file can read all of it" in capsys.readouterr().err
    assert states(outbox) == ["pending", "pending"]
    assert not (tmp_path / "log.db").exists()
    with Outbox.open(outbox) as opened:
        assert "public log" in figures(opened)["streams"]["restricted"]["last_error"]


def test_restricted_events_do_not_go_to_any_place_of_former_public_ones(
    tmp_path: Path, outbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = (f"file://{tmp_path}/{number}.db" for number in range(4))
    for number, public in enumerate((first, *others)):
        rebind = ["--rebind"] if number else []
        assert main(["relay", "--once", "--outbox", str(outbox), "--broker", public, *rebind]) == 0
    with Outbox.open(outbox) as opened:
        assert len(places(opened, "public")) == 4
        # And also if the outbox had to be repaired meanwhile.
        epoch = figures(opened)["epoch"]
    repair(outbox)
    with Outbox.open(outbox) as opened:
        assert figures(opened)["epoch"] != epoch

    for restricted in (first, *others[:-1]):
        assert relay(outbox, others[-1], restricted) == 2
        assert "would go to the public log" in capsys.readouterr().err
    assert states(outbox) == ["pending", "delivered"]
    assert relay(outbox, others[-1], f"file://{tmp_path}/never.db") == 0


def test_places_are_bounded_and_kept_once(outbox: Path) -> None:
    with Outbox.open(outbox) as opened:
        assert places(opened, "public") == ()
        bind_broker(opened, "public", "recorded by an earlier version x")
        assert places(opened, "public") == ("recorded by an earlier version x",)
        for number in (*range(PLACES_MAX + 5), 0):
            remember_place(opened, "public", f"amqp://a {number % PLACES_MAX}")
        known = places(opened, "public")
    assert len(set(known)) == len(known)
    assert len(known) <= PLACES_MAX + 1


def test_rebinding_both_streams_at_once_does_not_hand_restricted_events_to_former_public_readers(
    tmp_path: Path, outbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = f"file://{tmp_path}/old.db", f"file://{tmp_path}/new.db"
    assert main(["relay", "--once", "--outbox", str(outbox), "--broker", old]) == 0

    assert relay(outbox, new, old, "--rebind") == 2

    assert "would go to the public log" in capsys.readouterr().err
    assert states(outbox) == ["pending", "delivered"]
    with Outbox.open(outbox) as opened:
        assert bound_broker(opened, "public") == f"{old} sourcepulse"


def test_a_right_configuration_sends_each_stream_to_its_own_log(tmp_path: Path, outbox: Path) -> None:
    assert relay(outbox, f"file://{tmp_path}/public.db", f"file://{tmp_path}/restricted.db") == 0

    assert states(outbox) == ["delivered", "delivered"]
    with Outbox.open(outbox) as opened:
        assert bound_broker(opened, "restricted") == f"file://{tmp_path}/restricted.db sourcepulse-restricted"


@pytest.mark.parametrize(
    ("scheme", "is_listed"), [("stomp+activemq", True), ("stomps+activemq", True), ("amqps", False)]
)
def test_status_says_where_limits_are_not_enforced(
    outbox: Path, scheme: str, is_listed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with Outbox.open(outbox) as opened:
        bind_broker(opened, "public", str(place(f"{scheme}://mq.example.org", "sourcepulse")))

    assert main(["status", "--outbox", str(outbox)]) == 0
    assert ("clients cannot limit their queues" in capsys.readouterr().out) == is_listed
