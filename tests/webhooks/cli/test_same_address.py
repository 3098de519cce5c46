# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""An address that an admin paused is held however its owner writes it, and the other rooms of a service are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sourcepulse.errors import ConfigError
from sourcepulse_web.webhooks.desk.addresses import is_same_address
from sourcepulse_web.webhooks.desk.desk import Desk
from sourcepulse_web.webhooks.desk.opening import open_desk
from sourcepulse_web.webhooks.place import Place
from sourcepulse_web.webhooks.settings import WebhookSettings

ALICE = "alice@example.org"
SEGMENTS = ("services", "T0.A_b~c-9", "7")
PATH = "/".join(("", *SEGMENTS))
HOST = "127.0.0.1:9"
#: What stands for one slash.
SLASHES = ("/", "//", "///", "/./", "/%2e/", "/x/../", "/x/%2E%2e//", "/;p=1/", "%2F", "//x//../../")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder: Path = tmp_path_factory.mktemp("same")
    settings = WebhookSettings(allow=(HOST, "localhost:9", "127.0.0.1:10"))
    place = Place(settings=settings, log=folder / "log.db", exchange="sourcepulse", store=folder / "webhooks.db")
    with open_desk(place) as desk:
        desk.add("held", f"http://{HOST}{PATH}", ["#"], owner=ALICE)
        desk.add("other", f"http://{HOST}/other", ["#"], owner=ALICE)
        desk.pause("held")
        yield desk


@st.composite
def variants(draw: st.DrawFn) -> str:
    """Return the URL that is held, written in another way."""
    text = draw(st.sampled_from(("http://", "HTTP://"))) + HOST
    for number, segment in enumerate(SEGMENTS):
        # Before the first one is the slash that ends the host.
        text += "/" + draw(st.sampled_from(SLASHES)) if number == 0 else draw(st.sampled_from(SLASHES))
        for character in segment:
            code = f"%{ord(character):02X}"
            text += draw(st.sampled_from((character, character, code, code.lower())))
    text += draw(st.sampled_from(("", "/", "//", "/.", "/x/..", ";p=1")))
    return text + draw(st.sampled_from(("", "?", "?x=1", "?/../other")))


@given(url=variants())
def test_no_spelling_of_an_address_gets_round_the_pause_of_an_admin(desk: Desk, url: str) -> None:
    with pytest.raises(ConfigError, match="an admin paused the webhook held, which leads to the same address"):
        desk.add("again", url, ["#"], owner=ALICE)
    with pytest.raises(ConfigError, match="an admin paused the webhook held, which leads to the same address"):
        desk.edit("other", url=url, owner=ALICE)


@pytest.mark.parametrize(
    "url",
    [
        f"http://{HOST}/services/T0.A_b~c-9/8",
        # Tokens of chat services differ in the case of letters.
        f"http://{HOST}/services/t0.A_b~c-9/7",
        f"http://{HOST}/services/T0.A_b~c-9",
        f"http://{HOST}{PATH}/8",
        f"http://{HOST}{PATH}/../8",
        # Decoded once, as receivers do.
        f"http://{HOST}/%2573ervices/T0.A_b~c-9/7",
        f"http://localhost:9{PATH}",
        f"http://127.0.0.1:10{PATH}",
        f"https://{HOST}{PATH}",
    ],
)
def test_another_room_host_port_or_scheme_is_another_address(desk: Desk, url: str) -> None:
    desk.add("another", url, ["#"], owner=ALICE)
    desk.remove("another", owner=ALICE)


def test_where_receivers_read_a_path_differently_each_of_the_readings_counts() -> None:
    held = "https://chat.example.org/a/b"
    # The empty segment is what the dots remove, or there is none to remove.
    assert is_same_address(held, "https://chat.example.org/a//../b")
    assert is_same_address(held, "https://chat.example.org/a/x//../b")
    assert not is_same_address(held, "https://chat.example.org/a/x/y/../b")
    assert is_same_address("https://chat.example.org/", "https://chat.example.org/?x=1")
