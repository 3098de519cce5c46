# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Settings: three layers, one table, and a clear sentence for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from sourcepulse.brokers.url import NETWORK_OPTIONS, SCHEMES, TLS_OPTIONS
from sourcepulse.config import KEYS, load
from sourcepulse.errors import ConfigError


def test_arguments_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('outbox = "/f"\nexchange = "f"\nformat = "pulse"\n')
    config = load(
        {"outbox": "/a", "broker": None}, file=file, environ={"SOURCEPULSE_OUTBOX": "/e", "SOURCEPULSE_EXCHANGE": "e"}
    )
    assert (config.text("outbox"), config.text("exchange"), config.text("format")) == ("/a", "e", "pulse")


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("keep_days = 3\n")
    assert load(environ={"SOURCEPULSE_CONFIG": str(file)}).number("keep_days") == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('brokr = "x"', "did you mean 'broker'"),
        ("zzz = 1", "unknown key 'zzz'"),
        ("outbox = 7", "must be a non-empty string"),
        ('keep_days = "soon"', "whole number"),
        ("keep_days = true", "whole number"),
        ("keep_days = -1", "whole number from 0"),
        ("max_event_bytes = 100", "from 16384 to 262144"),
        ('format = "xml"', "one of cloudevents, pulse"),
        ('broker = "http://x"', "scheme is unknown"),
        ("broker = ", "not valid TOML"),
        ("[broker]\nurl = 1", "must be a non-empty string"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_the_file(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        load(file=file, environ={})


def test_a_file_that_cannot_be_read_or_is_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        load(file=tmp_path / "nowhere.toml", environ={})
    (tmp_path / "c.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(file=tmp_path / "c.toml", environ={})


def test_an_unknown_variable_of_ours_in_the_environment_is_an_error() -> None:
    with pytest.raises(ConfigError, match="SOURCEPULSE_BROKR"):
        load(environ={"SOURCEPULSE_BROKR": "x"})


def test_the_broker_file_gives_the_url_and_a_readable_one_with_a_password_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("amqp://u:s3cret@h/v\n")
    file.chmod(0o600)
    config = load({"broker_file": str(file)}, environ={})
    url = config.broker()
    assert url is not None
    assert (url.user, url.password, url.vhost) == ("u", "s3cret", "v")
    assert not config.warnings
    # The pushers start the relay, and are in the group.
    file.chmod(0o640)
    assert not load({"broker_file": str(file)}, environ={}).warnings
    file.chmod(0o644)
    (warning,) = load({"broker_file": str(file)}, environ={}).warnings
    assert "chmod o-r" in warning
    assert "s3cret" not in warning


def test_a_readable_configuration_with_a_password_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('broker = "amqp://u:s3cret@h"')
    file.chmod(0o604)
    assert "others can read" in load(file=file, environ={}).warnings[0]
    file.chmod(0o600)
    assert not load(file=file, environ={}).warnings


def test_a_broker_given_nearer_hides_the_broker_file_of_a_farther_layer(tmp_path: Path) -> None:
    url = load({"broker": "amqp://near"}, environ={"SOURCEPULSE_BROKER_FILE": "/nowhere"}).broker()
    assert url is not None
    assert url.hosts == (("near", 5672),)


def test_a_broker_and_a_broker_file_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep one"):
        load({"broker": "amqp://a", "broker_file": "/b"}, environ={})


def test_no_error_and_no_repr_contains_the_password(tmp_path: Path) -> None:
    for bad in ("amqp://u:s3cret@h:99999/", "amqp://u:s3cret@h/a/b", "amqp://u:s3cret@h?x=1", "ampq://u:s3cret@h"):
        with pytest.raises(ConfigError) as caught:
            load({"broker": bad}, environ={})
        assert "s3cret" not in str(caught.value)


def test_what_is_required_says_three_ways_to_set_it() -> None:
    with pytest.raises(ConfigError, match=r"--outbox, SOURCEPULSE_OUTBOX or .outbox = "):
        load(environ={}).require("outbox")


def test_every_key_has_a_line_of_help() -> None:
    assert all(key.help and "\n" not in key.help for key in KEYS.values())


def test_the_page_on_brokers_names_every_scheme_and_every_option() -> None:
    page = (Path(__file__).parents[2] / "shared" / "docs" / "brokers.md").read_text()
    for scheme in SCHEMES:
        assert f"`{scheme}://" in page, scheme
    for option in (*NETWORK_OPTIONS, *TLS_OPTIONS, "amqp_port"):
        assert f"`{option}=" in page, option
