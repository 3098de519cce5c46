# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""The tables [web] and [trees.NAME]: what they may say, what is named, and corrections without a restart."""

from __future__ import annotations

import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from sourcepulse.cli.main import main
from sourcepulse.config import load
from sourcepulse.errors import EXIT_USAGE, ConfigError
from sourcepulse.testing import system_event
from sourcepulse_web.settings import TREE_KEYS, WEB_KEYS, BuilderSettings, TreeSettings, WebSettings, web_settings
from support.brokers.embedded_log import wait_until
from support.fenced_blocks import ROOT
from support.web.gateway import Gateway, MakeGateway, publish

CHANGE_LIMIT_SECONDS = 30.0


def read(text: str, **options: str) -> WebSettings:
    tables = tomllib.loads(text)
    return web_settings(
        tables.get("web", {}), tables.get("trees", {}), options, exchange="sourcepulse", restricted=False
    )


def test_every_key_and_what_it_becomes() -> None:
    text = """
[web]
listen = "127.0.0.1:9000"
log = "/var/lib/sourcepulse-web/log.db"
queue = "web.tree"
keep_hours = 1.5
hosts = ["tree.example.org"]
origins = ["https://Wiki.example.org"]
clients_max = 10
access_log = true
[trees.inbound]
repository = "/integration/inbound/"
repository_urls = ["ssh://hg@hg.example.org/integration/inbound"]
hg_web = "https://hg.example.org/integration/inbound/"
bugzilla = "https://bugzilla.example.org"
builders = ["linux64", {name = "linux64-unit-1", label = "unit 1", tier = 2}]
"""
    assert read(text) == WebSettings(
        listen="127.0.0.1:9000",
        log=Path("/var/lib/sourcepulse-web/log.db"),
        queue="web.tree",
        keep_s=5400.0,
        hosts=("tree.example.org",),
        origins=("https://wiki.example.org",),
        clients_max=10,
        access_log=True,
        trees={
            "inbound": TreeSettings(
                name="inbound",
                repository="integration/inbound",
                repository_urls=("ssh://hg@hg.example.org/integration/inbound",),
                hg_web="https://hg.example.org/integration/inbound",
                bugzilla="https://bugzilla.example.org",
                builders=(
                    BuilderSettings(name="linux64"),
                    BuilderSettings(name="linux64-unit-1", label="unit 1", tier=2),
                ),
            )
        },
    )
    assert read(text, listen="[::1]:1").listen == "[::1]:1"
    assert read("") == WebSettings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[web]\nlisten = 8080", r"listen in \[web\] must be a non-empty string"),
        ('[web]\nlisten = "8080"', "must be an address and a port, such as"),
        ('[web]\nlisten = "127.0.0.1:99999"', "must be an address and a port, such as"),
        ('[web]\nlissten = "x"', r"unknown key 'lissten' in \[web\]; did you mean 'listen'"),
        (
            '[web]\nproxy_header = "X-Remote-User"',
            r"unknown key 'proxy_header' in \[web\]; it belongs into \[webhooks\]",
        ),
        ("[web]\npark_hours = 1", r"it belongs into \[webhooks\]"),
        ("[web]\nzzz = 1", "known are listen, log"),
        ('[web]\nlog = "log.db"', "must be an absolute path"),
        ("[web]\nkeep_hours = 0", "above 0"),
        ("[web]\nkeep_hours = true", "number of hours"),
        ('[web]\nhosts = "tree.example.org"', "must be a list of strings"),
        ('[web]\nhosts = ["https://tree.example.org"]', "must be a name and perhaps a port"),
        ('[web]\norigins = ["*"]', "begins with http:// or https://"),
        ('[web]\norigins = ["https://a.example.org/path"]', "a scheme, a host and perhaps a port"),
        ("[web]\nclients_max = 0", "whole number from 1"),
        ("[web]\naccess_log = 1", "true or false"),
        ("[trees]\ninbound = 1", r"must be a table: write \[trees.inbound\]"),
        ("[trees.inbound]\n", "lacks its repository"),
        (
            '[trees.a]\nrepository = "x"\n[trees.b]\nrepository = "x/"',
            r"\[trees.a\] and \[trees.b\] have the same repository",
        ),
        ('[trees.inbound]\nrepository = "https://hg.example.org/x"', "is the path of the repository"),
        ('[trees.inbound]\nrepositry = "x"', "did you mean 'repository'"),
        ('[trees.a]\nrepository = "a"\nhg_web = "javascript:alert(1)"', "hg_web in .* begins with http:// or https://"),
        ('[trees.a]\nrepository = "a"\nbugzilla = "https://"', "begins with http:// or https://"),
        ('[trees.a]\nrepository = "a"\nbuilders = "linux"', "must be a list of names"),
        ('[trees.a]\nrepository = "a"\nbuilders = ["l", "l"]', "has 'l' twice"),
        ('[trees.a]\nrepository = "a"\nbuilders = [{label = "x"}]', "must be a name, or a table"),
        ('[trees.a]\nrepository = "a"\nbuilders = [{name = "x", teir = 1}]', "did you mean 'tier'"),
        ('[trees.a]\nrepository = "a"\nbuilders = [{name = "x", tier = 0}]', "whole number from 1 to 9"),
    ],
)
def test_a_mistake_is_named_with_its_table(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(text)


@pytest.mark.parametrize(
    "line", ['hg_web = "https://me:hunter2@hg.example.org"', 'repository_urls = ["https://me:hunter2@hg.example.org"]']
)
def test_a_password_in_an_address_is_refused_and_not_repeated(line: str) -> None:
    with pytest.raises(ConfigError, match="password") as raised:
        read(f'[trees.a]\nrepository = "a"\n{line}')
    assert "hunter2" not in str(raised.value)


def test_other_commands_accept_the_tables_and_name_one_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('exchange = "e"\n[web]\nlisten = "x"\n[trees.a]\nrepository = "a"\n')
    config = load(file=file, environ={})
    assert (config.text("exchange"), config.table("trees")) == ("e", {"a": {"repository": "a"}})
    for text, complaint in (
        ("web = 1", r"web in .* is a table: write \[web\]"),
        ("[wep]\na = 1", "did you mean 'web'"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=complaint):
            load(file=file, environ={})


def test_the_example_configuration_has_every_key_of_the_tables_with_its_default() -> None:
    text = (ROOT / "shared" / "deploy" / "config.toml.example").read_text(encoding="utf-8")
    tables = text[text.index("# [web]") :]
    settings = read("\n".join(line.removeprefix("# ") for line in tables.splitlines() if not line.startswith("# #")))
    defaults = WebSettings()
    for name in ("listen", "keep_s", "clients_max", "access_log"):
        assert getattr(settings, name) == getattr(defaults, name)
    assert [key for key in WEB_KEYS if f"# {key} = " not in tables] == []
    assert [key for key in TREE_KEYS if f"# {key} = " not in tables] == []
    assert list(settings.trees) == ["inbound"]


def test_a_correction_takes_effect_without_a_restart_and_a_mistake_leaves_the_former_settings(
    make_gateway: MakeGateway,
) -> None:
    gateway = make_gateway(configuration='[web]\nhosts = ["old.example.org"]\n')
    gateway.start()

    def status(host: str) -> int:
        return gateway.get("/live", headers={"Host": host}).status

    assert (status("old.example.org"), status("new.example.org")) == (200, 421)
    gateway.configuration.write_text('[web]\nhosst = ["new.example.org"]\n')

    def refused() -> list[str]:
        return [each for each in gateway.get("/ready").document["warnings"] if "former settings" in each]

    wait_until(refused, CHANGE_LIMIT_SECONDS)
    (warning,) = refused()
    named = f"(web is set in {gateway.configuration})"
    assert f"did you mean 'hosts'? {named}; the former settings stay" in warning
    assert warning in gateway.stderr()
    assert (gateway.get("/ready").status, status("old.example.org")) == (200, 200)
    assert "sourcepulse_web_settings_refused 1" in gateway.get("/metrics").text
    gateway.configuration.write_text('[web]\nhosts = ["new.example.org"]\nlisten = "127.0.0.1:1"\n')
    wait_until(lambda: status("new.example.org") == 200, CHANGE_LIMIT_SECONDS)
    wait_until(lambda: not gateway.get("/ready").document["warnings"], CHANGE_LIMIT_SECONDS)
    assert status("old.example.org") == 421
    # The option wins over the file, so nothing has changed there.
    assert "takes effect with the next start" not in gateway.stderr()


@pytest.fixture
def restricted(tmp_path: Path) -> Path:
    log = tmp_path / "restricted.db"
    publish(log, [system_event(1)], exchange="sourcepulse-restricted")
    return log


def test_a_log_of_restricted_events_is_refused_to_the_gateway_of_public_ones(
    restricted: Path, make_gateway: MakeGateway
) -> None:
    for configuration, options, words in (
        (f'broker = "file://{restricted}"\n', [], "has events of the exchange sourcepulse-restricted"),
        ('exchange = "sourcepulse-restricted"\nbroker = "file:///x.db"\n', [], "serve them with --restricted"),
    ):
        gateway = make_gateway(broker="file:", configuration=configuration, options=options)
        gateway.launch()
        assert gateway.wait() == EXIT_USAGE
        assert words in gateway.stderr()
    gateway = make_gateway(
        broker="file:", configuration=f'restricted_broker = "file://{restricted}"\n', options=["--restricted"]
    )
    gateway.start()
    assert str(restricted) in gateway.stderr()
    # Both in one file: positions would count restricted events, so neither gateway serves it, not even on.
    publish(restricted, [system_event(2)])
    assert gateway.wait() == EXIT_USAGE
    gateway.launch()
    assert gateway.wait() == EXIT_USAGE
    assert "has events of the exchange sourcepulse, and this gateway serves sourcepulse-restricted" in gateway.stderr()


def test_a_missing_folder_of_the_log_is_named(make_gateway: MakeGateway) -> None:
    gateway = make_gateway(
        broker="file:", configuration='broker = "amqp://localhost"\n', options=["--log", "/no/log.db"]
    )
    gateway.launch()
    assert gateway.wait() == EXIT_USAGE
    assert "the folder of the gateway's log /no/log.db does not exist; create it, or set --log FILE" in gateway.stderr()


def test_without_twisted_the_command_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "twisted", None)
    assert main(["web", "--broker", "file:///x.db"], files=[]) == EXIT_USAGE
    assert "pip install '.[web]' in the clone" in capsys.readouterr().err


def test_what_others_know_of_a_gateway_has_no_secret(tmp_path: Path) -> None:
    with closing(Gateway(tmp_path / "g", configuration="[web]\naccess_log = true\n")) as gateway:
        gateway.start()
        gateway.get("/nothing?token=hunter2")
        assert "GET /nothing 404" in gateway.stderr()
        assert "hunter2" not in gateway.stderr()
