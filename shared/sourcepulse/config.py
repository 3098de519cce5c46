# SPDX-FileCopyrightText: The sourcepulse developers
# SPDX-License-Identifier: MPL-2.0
"""Settings: one table of keys, read from TOML files, the environment and the arguments; later ones win."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sourcepulse.brokers.exchange_names import DEFAULT_EXCHANGE, DEFAULT_RESTRICTED_EXCHANGE, check_exchange
from sourcepulse.brokers.url import BrokerUrl
from sourcepulse.errors import ConfigError
from sourcepulse.events.event import EVENT_LEAST_MAX_BYTES, EVENT_MAX_BYTES

ENVIRONMENT_PREFIX = "SOURCEPULSE_"
#: Names the configuration file. An empty value means none: a program that passes all settings itself sets that.
FILE_VARIABLE = f"{ENVIRONMENT_PREFIX}CONFIG"

#: The configuration of the machine; that of the user is in the same place below `~/.config`.
SYSTEM_FILE = Path("/etc/sourcepulse/config.toml")
DEFAULT_FILES = f"{SYSTEM_FILE}, then ~/.config/sourcepulse/config.toml"
#: Each setting that is a URL, which may contain a password, with what parses it; `..._file` is its other form.
URLS = {
    "broker": BrokerUrl.parse,
    "restricted_broker": BrokerUrl.parse,
    "management_url": BrokerUrl.parse_management,
}
_URL_KEYS = (*URLS, *(f"{name}_file" for name in URLS))
#: Tables of a file that are passed on as they are; who uses one checks it.
TABLES = ("web", "trees", "webhooks")

#: node_exporter reads no other files.
METRICS_SUFFIX = ".prom"

#: The group may read a password, because every pusher is in it.
_OTHERS_READ = 0o004
_GROUP_AND_OTHERS_READ = 0o044
_SECRET_FILE_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its default, its type, and one line for the reference."""

    default: str | int | None
    kind: type
    help: str
    choices: tuple[str, ...] = ()
    lowest: int = 0
    highest: int = 2**53


#: All keys; `SOURCEPULSE_<KEY>` sets one from the environment.
KEYS: dict[str, Key] = {
    "outbox": Key(None, str, "the outbox file"),
    "broker": Key(None, str, "the URL of the broker for public events"),
    "broker_file": Key(None, str, "a file that contains this URL, for a URL with a password"),
    "exchange": Key(DEFAULT_EXCHANGE, str, "the exchange of public events"),
    "restricted_broker": Key(
        None, str, "the URL of the broker for restricted events; without it they stay in the outbox"
    ),
    "restricted_broker_file": Key(None, str, "a file that contains this URL"),
    "restricted_exchange": Key(
        DEFAULT_RESTRICTED_EXCHANGE, str, "the exchange of restricted events, different from that of public ones"
    ),
    "management_url": Key(
        None, str, "the URL of RabbitMQ's management API: https://user@host:15671; without it its queues cannot be seen"
    ),
    "management_url_file": Key(None, str, "a file that contains this URL"),
    "format": Key("cloudevents", str, "the format of published events", choices=("cloudevents", "pulse")),
    "max_event_bytes": Key(
        EVENT_MAX_BYTES,
        int,
        "a larger event is buried when it is stored",
        lowest=EVENT_LEAST_MAX_BYTES,
        highest=EVENT_MAX_BYTES,
    ),
    "schemas_dir": Key(None, str, "a folder with the JSON Schemas of event types of your own"),
    "heartbeat_s": Key(
        30,
        int,
        "seconds between heartbeats of a relay that runs as a service; 0 for none, and for no status events",
        highest=86_400,
    ),
    "on_change": Key(
        None, str, "a command that a relay runs, without a shell, when a stream is degraded and when it has recovered"
    ),
    "metrics_file": Key(
        None, str, "a file that the relay writes for the textfile collector of Prometheus; its name ends in .prom"
    ),
    "metrics_per_source": Key(
        "no", str, "whether the metrics name up to 100 sources, and the sum of the others", choices=("no", "yes")
    ),
    "keep_days": Key(30, int, "days that a delivered event is kept for replay"),
    "keep_bytes": Key(2**30, int, "bytes of delivered events that are kept for replay"),
}


class Origin(NamedTuple):
    """Where settings were read from; the parameters of `load`."""

    arguments: Mapping[str, Any]
    file: Path | None
    environ: Mapping[str, str]
    default_files: Sequence[Path]
    uses: Collection[str]


class Layer(NamedTuple):
    """What was set in one place: a file, a variable of the environment, or the arguments."""

    values: Mapping[str, Any]
    #: None for the arguments, which the user sees.
    where: str | None = None
    is_default_file: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one run, checked; `warnings` are sentences for the log."""

    values: Mapping[str, Any] = field(repr=False)
    warnings: tuple[str, ...] = ()
    origin: Origin | None = field(default=None, repr=False, compare=False)
    #: Where each setting that is not a default was set.
    layers: Mapping[str, Layer] = field(default_factory=dict, repr=False, compare=False)
    #: The default files that could not be read, each with the reason.
    unread: tuple[str, ...] = ()

    def again(self) -> Config:
        """Read the settings again, so that corrections in files take effect; raises like `load`."""
        return self if self.origin is None else load(**self.origin._asdict())

    def text(self, key: str) -> str | None:
        """Return a text setting, None if it is not set."""
        value = self.values[key]
        return None if value is None else str(value)

    def number(self, key: str) -> int:
        return int(self.values[key])

    def table(self, name: str) -> Mapping[str, Any]:
        """Return one of TABLES, of the last file that has it; empty if none has."""
        return self.values.get(name) or {}

    def require(self, key: str) -> str:
        """Return a text setting, or raise ConfigError that says how to set it."""
        value = self.text(key)
        if not value:
            looked = f" (looked in {', '.join(self.unread)})" if self.unread else ""
            form = " or --broker-file" if key == "broker" else ""
            raise ConfigError(
                f"no {key} is set; use --{key.replace('_', '-')}{form}, "
                f"{ENVIRONMENT_PREFIX}{key.upper()} or `{key} = ...` in the configuration file{looked}"
            )
        return value

    def is_from_default_file(self, key: str) -> bool:
        """Return whether a setting is from a default file."""
        return key in self.layers and self.layers[key].is_default_file

    def sources(self, keys: Collection[str]) -> str:
        """Return where those of these settings were set that are not arguments, for an error message; "" for none."""
        found = [(key, self.layers[key].where) for key in keys if key in self.layers and self.layers[key].where]
        return ", ".join(f"{key} is set in {where}" for key, where in found)

    def broker(self, stream_prefix: str = "") -> BrokerUrl | None:
        """Return the broker of the public stream, or with "restricted_" of the restricted one; None if not set."""
        url = self.text(f"{stream_prefix}broker")
        return BrokerUrl.parse(url) if url else None

    def management(self) -> BrokerUrl | None:
        """Return the URL of the broker's management API, None if not set; ConfigError if its file cannot be read.

        The file is read only here, because a relay publishes whether or not it can see its queues.
        """
        url, file = self.text("management_url"), self.text("management_url_file")
        if file:
            url = _read_url_file("management_url", Path(file))
        return BrokerUrl.parse_management(url) if url else None


def default_files(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return the files that are read if none is named: the system's, then the user's, which overrides it."""
    folder = Path(environ.get("XDG_CONFIG_HOME", ""))
    if not folder.is_absolute():
        folder = Path(environ.get("HOME", "")) / ".config"
    return (SYSTEM_FILE, folder / "sourcepulse" / "config.toml") if folder.is_absolute() else (SYSTEM_FILE,)


def load(
    arguments: Mapping[str, Any] | None = None,
    *,
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    default_files: Sequence[Path] = (),
    uses: Collection[str] = KEYS.keys(),
) -> Config:
    """Read the settings: `arguments` override the environment, which overrides the files.

    The file is `file`, or else the one that SOURCEPULSE_CONFIG names. Only if there is neither, each of `default_files`
    that exists is read; later ones override earlier ones, and brokers that are not in `uses` are left out. ConfigError
    for a named file that cannot be read, an unknown key or a value of the wrong kind.
    """
    warnings: list[str] = []
    unread: list[str] = []
    path = file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    layers: list[Layer] = []
    if path:
        layers.append(Layer(_read_file(path, warnings), str(path)))
    elif FILE_VARIABLE not in environ:
        layers += _read_default_files(default_files, uses, warnings, unread)
    layers.append(_read_environment(environ))
    layers.append(Layer({key: value for key, value in (arguments or {}).items() if value is not None}))
    values: dict[str, Any] = {name: key.default for name, key in KEYS.items()}
    where: dict[str, Layer] = {}
    for layer in layers:
        # `broker` and `broker_file` are two forms of one setting: a layer that sets either replaces both.
        for name in URLS:
            forms = (name, f"{name}_file")
            if any(form in layer.values for form in forms):
                values.update(dict.fromkeys(forms))
                where = {key: set_in for key, set_in in where.items() if key not in forms}
        values.update(layer.values)
        where.update(dict.fromkeys(layer.values, layer))
    for name, parse in URLS.items():
        _resolve_url_file(values, name, warnings)
        if values[name]:
            parse(values[name])
    origin = Origin(dict(arguments or {}), file, dict(environ), default_files, uses)
    return Config(values, tuple(warnings), origin, where, tuple(unread))


def check_value(name: str, value: Any, where: str) -> Any:
    """Return a value converted to its key's type; ConfigError names where it was set."""
    if name in TABLES:
        if not isinstance(value, dict):
            raise ConfigError(f"{name} in {where} is a table: write [{name}], and its keys below")
        return value
    if name not in KEYS:
        near = difflib.get_close_matches(name, [*KEYS, *TABLES], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KEYS)}"
        raise ConfigError(f"unknown key {name!r} in {where}; {hint}")
    key = KEYS[name]
    if key.kind is int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if type(number) is not int or not key.lowest <= number <= key.highest:
            raise ConfigError(f"{name} in {where} must be a whole number from {key.lowest} to {key.highest}")
        return number
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{name} in {where} must be a non-empty string")
    if key.choices and value not in key.choices:
        raise ConfigError(f"{name} in {where} must be one of {', '.join(key.choices)}, not {value!r}")
    if name == "metrics_file" and not value.endswith(METRICS_SUFFIX):
        raise ConfigError(f"metrics_file in {where} must end in {METRICS_SUFFIX}, or the collector does not read it")
    if name in ("exchange", "restricted_exchange"):
        try:
            check_exchange(value)
        except ConfigError as error:
            raise ConfigError(f"{name} in {where}: {error}") from None
    return value


def readable_by_others(path: Path, bits: int = _GROUP_AND_OTHERS_READ) -> bool:
    """Return whether group or world may read a file."""
    try:
        return bool(path.stat().st_mode & bits)
    except OSError:
        return False


def _read_file(path: Path, warnings: list[str]) -> dict[str, Any]:
    where = f"the configuration file {path}"
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from None
    values = {name: check_value(name, value, where) for name, value in table.items()}
    for name, parse in URLS.items():
        if name in values and parse(values[name]).has_password and readable_by_others(path, _OTHERS_READ):
            warnings.append(f"{where} contains a password and others can read it: chmod o-r it, or use {name}_file")
    return values


def _read_default_files(
    paths: Sequence[Path], uses: Collection[str], warnings: list[str], unread: list[str]
) -> Iterator[Layer]:
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            # A user who passes every setting must not depend on a file of the admin.
            unread.append(f"{path}: {error.strerror}")
            continue
        values = _read_file(path, warnings)
        # The relay's broker_file is often unreadable for those who only look at the outbox.
        kept = {key: value for key, value in values.items() if key in uses or key not in _URL_KEYS}
        yield Layer(kept, str(path), is_default_file=True)


def _read_environment(environ: Mapping[str, str]) -> Layer:
    values = {}
    for variable, value in environ.items():
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if variable.startswith(ENVIRONMENT_PREFIX) and variable != FILE_VARIABLE:
            values[name] = check_value(name, value, f"the environment ({variable})")
    return Layer(values, "the environment")


def _resolve_url_file(values: dict[str, Any], key: str, warnings: list[str]) -> None:
    name = values[f"{key}_file"]
    if not name:
        return
    if values[key]:
        raise ConfigError(f"{key} and {key}_file are both set; keep one")
    path = Path(name)
    # `management` reads its file itself.
    text = "" if key == "management_url" else _read_url_file(key, path)
    if readable_by_others(path, _OTHERS_READ) and (not text or URLS[key](text).has_password):
        warnings.append(f"the {key}_file {path} contains a password and others can read it: chmod o-r {path}")
    values[key] = text or None


def _read_url_file(key: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_SECRET_FILE_MAX_BYTES)
        text = raw.decode("utf-8").strip()
    except OSError as error:
        raise ConfigError(f"the {key}_file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the {key}_file {path} is not UTF-8 text") from None
    if not text or "\n" in text:
        owner = "management API" if key == "management_url" else "broker"
        raise ConfigError(f"the {key}_file {path} must contain one line, the {owner}'s URL")
    return text
