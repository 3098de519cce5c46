# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The event: a frozen value, with an id that is the same however often the same fact is published."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from json.encoder import JSONEncoder, encode_basestring_ascii
from typing import Any, Self

from sourcepulse.errors import EventError, quoted
from sourcepulse.events.record import Record
from sourcepulse.events.topics import routing_key

#: The namespace of every event id; it never changes.
ID_NAMESPACE = bytes.fromhex("85de643d108953fe920cbc4790a56371")

# No regular expressions here: compiling one takes longer than all checks of a push.
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WORD = _LETTERS + "0123456789_-"
_SCHEME = _LETTERS + "0123456789+.-"
_TIME_DIGITS = 20
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)

#: Numbers are written with 20 digits; this is the highest integer of SQLite, in which outbox and consumer count.
SEQUENCE_MAX = 2**63 - 1
#: The most bytes of an event as sent; a larger one is buried when it is stored.
EVENT_MAX_BYTES = 256 * 1024
#: The lowest limit that can be configured: ids, counts and one item of each list always fit in this.
EVENT_LEAST_MAX_BYTES = 16 * 1024
#: What a consumer records of every event must be bounded; 255 bytes are the limit of an AMQP short string.
ID_MAX_BYTES = 255
SOURCE_MAX_BYTES = 1024
TYPE_MAX_BYTES = 255
EPOCH_MAX_BYTES = 255

#: Writes JSON as it is sent: compact, not escaped to ASCII, no NaN. (json.dumps would make a new encoder each time.)
to_json = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

PUBLIC = "public"
RESTRICTED = "restricted"
#: The suffix of the source of a restricted stream.
RESTRICTED_SUFFIX = "?restricted"


def event_id(scope: str, type_: str, *key: str) -> str:
    """Return the deterministic id of a fact: UUIDv5 over `[scope, type, key...]`.

    The hashed name is the array as compact ASCII JSON, so that no element can run into the next.
    """
    # What json.dumps would return, without the encoder that it makes each time.
    name = f"[{','.join(map(encode_basestring_ascii, (scope, type_, *key)))}]"
    # RFC 9562, section 5.5; importing the module uuid would add a millisecond to every push.
    digest = bytearray(hashlib.sha1(ID_NAMESPACE + name.encode("ascii"), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def format_time(seconds: float) -> str:
    """Write seconds since 1970 as RFC 3339 in UTC with six decimals: `2026-11-22T10:59:21.482913Z`.

    EventError outside the years 1 to 9999, which RFC 3339 cannot express.
    """
    try:
        moment = _EPOCH_START + timedelta(microseconds=round(seconds * 1_000_000))
    except (OverflowError, ValueError):
        raise EventError(f"{seconds!r} seconds since 1970 lie outside the years 1 to 9999") from None
    # strftime writes early years with fewer than four digits.
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _is_type(text: str) -> bool:
    """Return whether a text is two or more lower-case words and a version: `hg.push.v1`."""
    *words, version = text.split(".")
    number = version[1:]
    return (
        len(words) > 1
        and words[0][:1] not in ("", *"0123456789")
        and all(word and word[0] not in "_-" and not word.strip(_WORD) for word in words)
        and version[:1] == "v"
        and number.isascii()
        and number.isdigit()
        and number[0] != "0"
    )


def _is_source(text: str) -> bool:
    """Return whether a text is a URI without white space and control characters."""
    scheme, _, rest = text.partition("://")
    return (
        scheme[:1] in (*_LETTERS,)
        and not scheme.strip(_SCHEME)
        and rest.split() == [rest]
        and min(rest) > " "
        and "\x7f" not in rest
    )


def _is_time(text: str) -> bool:
    parts = (text[:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:19], text[20:26])
    digits = "".join(parts)
    if text != "{}-{}-{}T{}:{}:{}.{}Z".format(*parts) or len(digits) != _TIME_DIGITS:
        return False
    if not (digits.isascii() and digits.isdigit()):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def routing_words(type_: str) -> list[str]:
    """Return the words of a type without its version: `hg.push.v1` -> `["hg", "push"]`."""
    return type_.split(".")[:-1]


def stream_of(source: str) -> str:
    """Return the stream of a source; a restricted stream has its own source."""
    return RESTRICTED if source.endswith(RESTRICTED_SUFFIX) else PUBLIC


class Numbers(Record):
    """What the outbox adds: its epoch and the gapless numbers of the event in that epoch."""

    epoch: str
    sequence: int
    typesequence: int


def _check_numbers(numbers: Numbers) -> None:
    if not numbers.epoch:
        raise EventError("the epoch is empty")
    _check_size("epoch", numbers.epoch, EPOCH_MAX_BYTES)
    for number in (numbers.sequence, numbers.typesequence):
        if not 1 <= number <= SEQUENCE_MAX:
            raise EventError(f"the sequence number {number} is not between 1 and {SEQUENCE_MAX}")


def _check_size(name: str, value: str, most: int) -> None:
    # A character takes at most four bytes.
    if len(value) * 4 > most and len(value.encode("utf-8", "surrogatepass")) > most:
        raise EventError(f"the {name} {quoted(value)} has more than {most} bytes")


class _Attributes(Record):
    type: str
    source: str
    subject: str | None
    time: str
    data: Mapping[str, Any]
    id: str
    routing_key: str
    numbers: Numbers | None
    replayed: bool


class Event(_Attributes):
    """A fact that a source committed, complete before its first copy is written.

    `numbers` is None until an outbox stored the event; `replayed` marks a copy that was sent again on request and is
    ignored by the order and gap checks. EventError if an attribute is not valid.
    """

    __slots__ = ()

    def __new__(
        cls,
        *,
        type: str,  # noqa: A002 - the name in CloudEvents
        source: str,
        subject: str | None,
        time: str,
        data: Mapping[str, Any],
        id: str,  # noqa: A002 - the name in CloudEvents
        routing_key: str,
        numbers: Numbers | None = None,
        replayed: bool = False,
    ) -> Self:
        """Check the attributes."""
        _check_size("type", type, TYPE_MAX_BYTES)
        if not _is_type(type):
            raise EventError(f"{quoted(type)} is not an event type; one looks like 'hg.push.v1'")
        _check_size("source", source, SOURCE_MAX_BYTES)
        if not _is_source(source):
            raise EventError(f"{quoted(source)} is not a source; one looks like 'hg://host/repository'")
        if subject == "":
            raise EventError("the subject is empty; an event without a subject has None")
        if not id:
            raise EventError("the id is empty")
        _check_size("id", id, ID_MAX_BYTES)
        if not _is_time(time):
            raise EventError(f"{quoted(time)} is not a time; one looks like '2026-11-22T10:59:21.482913Z'")
        if numbers is not None:
            _check_numbers(numbers)
        return tuple.__new__(cls, (type, source, subject, time, data, id, routing_key, numbers, replayed))

    @property
    def stream(self) -> str:
        """The stream that the event belongs to."""
        return stream_of(self.source)

    @classmethod
    def of(
        cls,
        type_: str,
        *,
        source: str,
        key: Sequence[str],
        subject: str | None,
        time: float,
        data: Mapping[str, Any],
        words: Sequence[str] = (),
        scope: str | None = None,
    ) -> Event:
        """Make an event from a fact.

        `key` is the natural key of the fact, `words` the variable words of the routing key, unescaped;
        `time` is in seconds since 1970; `scope` replaces the source in the id if several emitters report one fact.
        EventError names the part that is not valid.
        """
        try:
            key_on_the_wire = routing_key(*routing_words(type_), variable=words)
        except UnicodeEncodeError:
            raise EventError(f"a word of the routing key of {type_!r} is neither text nor bytes") from None
        return cls(
            type=type_,
            source=source,
            subject=subject,
            time=format_time(time),
            data=data,
            id=event_id(scope or source, type_, *key),
            routing_key=key_on_the_wire,
        )

    def numbered(self, numbers: Numbers) -> Event:
        """Return the same event with the numbers of an outbox."""
        _check_numbers(numbers)
        return self._replace(numbers=numbers)
