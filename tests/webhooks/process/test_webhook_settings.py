# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The table [webhooks]: what it may say, what is named, and where the parts of the webhooks are."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from sourcepulse.config import load
from sourcepulse.errors import ConfigError
from sourcepulse_web.settings import web_settings
from sourcepulse_web.webhooks.place import place_of
from sourcepulse_web.webhooks.settings import (
    SCHEDULE_KEYS,
    WEBHOOK_KEYS,
    Schedule,
    WebhookSettings,
    webhook_settings,
)
from support.fenced_blocks import ROOT


def read(text: str) -> WebhookSettings:
    return webhook_settings(tomllib.loads(text), hosts=("tree.example.org:8443",))


def test_every_key_and_what_it_becomes() -> None:
    text = """
file = "/var/lib/sourcepulse-web/hooks.db"
keep_days = 14
keep_bytes = 1_000_000
allow = ["Chat.internal", "127.0.0.1:8065", "[::1]:99"]
ports = [443, 8443]
http = true
ca_file = "/etc/ssl/certs/site.pem"
hooks_max = 500
owner_hooks_max = 5
proxy_header = "X-Remote-User"
proxies = ["10.0.0.1", "0:0::1"]
broker_file = "/etc/sourcepulse/webhook-broker"
bugzilla_outbox = "/var/lib/sourcepulse/bugzilla.db"
origin = "Pulse.example.org"
post_seconds = 7.5
retry_seconds = [0, 60]
poison_tries = 3
poison_minutes = 0.5
poison_again_minutes = 0.1
park_hours = 24
retry_after_hours = 2
"""
    assert read(text) == WebhookSettings(
        file=Path("/var/lib/sourcepulse-web/hooks.db"),
        keep_days=14.0,
        keep_bytes=1_000_000,
        allow=("chat.internal", "127.0.0.1:8065", "[::1]:99"),
        ports=(443, 8443),
        http=True,
        ca_file=Path("/etc/ssl/certs/site.pem"),
        hooks_max=500,
        owner_hooks_max=5,
        proxy_header="X-Remote-User",
        proxies=("10.0.0.1", "::1"),
        broker_file=Path("/etc/sourcepulse/webhook-broker"),
        bugzilla_outbox=Path("/var/lib/sourcepulse/bugzilla.db"),
        origin="pulse.example.org",
        post_seconds=7.5,
        schedule=Schedule(
            retry_s=(0.0, 60.0),
            poison_tries=3,
            poison_s=30.0,
            poison_again_s=6.0,
            park_s=86_400.0,
            retry_after_max_s=7_200.0,
        ),
    )
    assert read("") == WebhookSettings(origin="tree.example.org")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('file = "webhooks.db"', r"file in \[webhooks\] must be an absolute path"),
        ("keep_day = 1", r"unknown key 'keep_day' in \[webhooks\]; did you mean 'keep_days'"),
        ("park_hour = 1", "did you mean 'park_hours'"),
        ("keep_days = 0", "must be a number of days above 0, at most 833"),
        ("keep_days = nan", "must be a number of days"),
        ('allow = ["https://chat.internal"]', "must be a host and perhaps a port, such as 'chat.internal:8065'"),
        ('allow = ["chat.internal:0"]', "must be a host and perhaps a port"),
        ('allow = "chat.internal"', "must be a list of strings"),
        ("ports = []", r"must be a list of ports, such as \[443, 80\]"),
        ("ports = [70000]", "each of ports in .* must be a whole number from 1 to 65535"),
        ('http = "yes"', "true or false"),
        ("hooks_max = 5\nowner_hooks_max = 6", "owner_hooks_max in .* is more than hooks_max"),
        ('proxy_header = "X Remote"', "must be the name of a header"),
        ('proxy_header = "Cookie"', "Cookie is set by browsers"),
        ('proxy_header = "X-Forwarded-For"', "must be a header that only the proxy sets"),
        ('proxies = ["proxy.internal"]', "must be the address of a proxy"),
        ('origin = "https://tree.example.org"', "must be the DNS name of this system"),
        ("post_seconds = 61", "at most 60"),
        ("retry_seconds = []", "must be a list of 1 to 20 pauses in seconds"),
        ("retry_seconds = [0, -1]", "from 0 to 86400"),
        ("retry_seconds = [5, 0]", "the last of retry_seconds in .* must be at least 1 second"),
        ("poison_tries = 0", "from 1 to 100"),
        ("poison_minutes = true", "number of minutes"),
        ("park_hours = 9000", "at most 8760"),
        ("retry_after_hours = 0", "number of hours above 0"),
    ],
)
def test_a_mistake_is_named_with_its_key(line: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(line)


def test_webhooks_are_on_with_the_table_alone_and_never_for_restricted_events() -> None:
    def web(webhooks: dict[str, object] | None, *, restricted: bool = False) -> WebhookSettings | None:
        return web_settings({}, {}, {}, exchange="e", restricted=restricted, webhooks=webhooks).webhooks

    assert web(None) is None
    assert web({}) is not None
    with pytest.raises(ConfigError, match="refused with --restricted, because restricted events are never POSTed"):
        web({}, restricted=True)


def test_the_gateways_own_log_keeps_events_for_hooks_and_never_less_than_for_streams() -> None:
    def keeps(text: str) -> tuple[float, int]:
        tables = tomllib.loads(text)
        found = web_settings(
            tables.get("web", {}), {}, {}, exchange="e", restricted=False, webhooks=tables.get("webhooks")
        )
        return found.log_keep_s / 3600, found.log_keep_bytes >> 30

    assert keeps("") == (24, 1)
    assert keeps("[webhooks]") == (7 * 24, 8)
    assert keeps("[web]\nkeep_hours = 1000\n[webhooks]\nkeep_bytes = 2147483648") == (1000, 2)


def test_the_parts_are_beside_the_log_unless_the_store_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    log = tmp_path / "log.db"

    def place(text: str) -> tuple[Path, Path, Path]:
        file.write_text(text, encoding="utf-8")
        found = place_of(load(file=file, environ={}), {"STATE_DIRECTORY": str(tmp_path)})
        return found.log, found.store, found.outbox

    beside = (log, tmp_path / "webhooks.db", tmp_path / "webhooks-outbox.db")
    # The broker is the log, or the gateway has its own.
    assert place(f'broker = "file://{log}"\n[webhooks]') == beside
    assert place('broker = "amqp://mq"\n[webhooks]') == beside
    named = place(f'broker = "file://{log}"\n[webhooks]\nfile = "/srv/private/hooks.db"')
    assert named == (log, Path("/srv/private/hooks.db"), Path("/srv/private/hooks-outbox.db"))
    with pytest.raises(ConfigError, match=r"webhooks are off; write the table \[webhooks\]"):
        place(f'broker = "file://{log}"')
    with pytest.raises(ConfigError, match=r"did you mean 'keep_days'\? \(webhooks is set in .*c\.toml\)"):
        place(f'broker = "file://{log}"\n[web]\n[webhooks]\nkep_days = 1')


def test_the_example_configuration_has_every_key_with_its_default() -> None:
    text = (ROOT / "shared" / "deploy" / "config.toml.example").read_text(encoding="utf-8")
    table = text[text.index("# [webhooks]\n") : text.index("# [trees.")]
    lines = [line.removeprefix("# ") for line in table.splitlines() if not line.startswith("# #")]
    settings = webhook_settings(tomllib.loads("\n".join(lines).strip("#"))["webhooks"])
    defaults = WebhookSettings()
    named = {"file", "allow", "ca_file", "proxy_header", "broker_file", "bugzilla_outbox", "origin"}
    for name in {each.name for each in fields(WebhookSettings)} - named:
        assert getattr(settings, name) == getattr(defaults, name)
    assert [key for key in (*WEBHOOK_KEYS, *SCHEDULE_KEYS) if f"# {key} = " not in table] == []
