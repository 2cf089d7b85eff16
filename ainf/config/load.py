"""``load_config``: a file and the environment become a ``Config``, or every fault of theirs at once."""

import os
import re
import ssl
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from ainf.config.bundled import bundled_price
from ainf.config.declared import settings_of
from ainf.config.lines import KeyPath, dotted, key_lines
from ainf.config.prices import BUNDLED
from ainf.config.process import Limits, ServerConfig, StoreConfig
from ainf.config.routing import DEFAULT_ALIASES, RoutingConfig, TargetConfig
from ainf.config.schema import TABLES, Config, ModelConfig, ProviderConfig
from ainf.config.targets import resolve_targets
from ainf.config.values import NAME, Address, UnfitError, UnfitPartsError, unknown
from ainf.inference.secret import Secret
from ainf.pricing import PriceSchedule
from ainf.providers.base import Facts
from ainf.providers.registry import PROVIDERS

T = TypeVar("T")

_KEY = re.compile(r"[!-~]+")
_TOML_PLACE = re.compile(r" ?\((?:at line (?P<line>\d+), column (?P<column>\d+)|at end of document)\)$")


@attrs.frozen
class Fault:
    """One thing that is wrong with a configuration."""

    file: str
    line: int | None
    """From 1; None where the fault is no line's."""
    key: str | None
    """Dotted; None where the fault is no key's."""
    text: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.text}" if self.key is None else f"{place}: {self.key}: {self.text}"


class ConfigError(Exception):
    """The configuration has faults; ``str`` gives one to a line, in the order of the file."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults)
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line or 0))

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


def load_config(path: Path, environ: Mapping[str, str] | None, *, now: int | None = None) -> Config:
    """Read and check a configuration, whole.

    Relative paths in it are relative to the file's own folder.

    Args:
        path: the file.
        environ: where provider keys are found; None for a command that calls no provider and serves nobody: then
            neither the keys nor the files that the configuration names are looked for.
        now: microseconds since 1970 UTC, to tell which prices are in force; None: what the clock says.

    Raises:
        ConfigError: with every fault that was found.
    """
    text = _text_of(path)
    try:
        document, lines = tomllib.loads(text), key_lines(text)
    except (ValueError, RecursionError) as error:  # as the parser says it; a number too long, tables too deep
        raise ConfigError([_not_toml(path, text, str(error))]) from None
    reader = _Reader(path, lines, environ, time.time_ns() // 1000 if now is None else now)
    config = reader.config(document)
    if reader.faults or config is None:
        raise ConfigError(reader.faults)
    return config


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = "there is no such file; name yours with --config"
    except UnicodeDecodeError:
        text = "is not UTF-8"
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
    raise ConfigError([Fault(str(path), None, None, text)])


def _not_toml(path: Path, text: str, message: str) -> Fault:
    place = _TOML_PLACE.search(message)
    if place is None:
        return Fault(str(path), None, None, f"is not TOML: {message}")
    message = message[: place.start()]
    if place["line"] is None:
        return Fault(str(path), text.count("\n") + 1, None, f"is not TOML: {message} at the end of the file")
    return Fault(str(path), int(place["line"]), None, f"is not TOML: {message} at column {place['column']}")


class _Reader:
    """Reads a document against the schema, noting faults as it goes; what it cannot read it leaves as None."""

    def __init__(self, path: Path, lines: Mapping[KeyPath, int], environ: Mapping[str, str] | None, now: int) -> None:
        self.faults: list[Fault] = []
        self._path = path
        self._lines = lines
        self._environ = environ
        self._now = now

    def fault(self, at: KeyPath, text: str) -> None:
        """Note a fault at a key, or at the nearest table above it that stands in the file."""
        line = next((self._lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in self._lines), None)
        self.faults.append(Fault(str(self._path), line, dotted(at), text))

    def config(self, document: Mapping[str, Any]) -> Config | None:
        """Read the whole document."""
        for name in document:
            if name not in TABLES:
                self.fault((name,), unknown(name, TABLES))
        tables = {name: self._table((name,), document.get(name, {})) for name in TABLES}
        server = self._server(tables["server"])
        store = self._store(tables["store"])
        limits = self._limits(tables["limits"])
        routing = self._read(RoutingConfig, ("routing",), tables["routing"], {})
        providers = {name: self._provider(name, table) for name, table in self._named("providers", tables)}
        models = {
            name: self._model(name, table, limits or Limits(), providers)
            for name, table in self._named("models", tables)
        }
        if not tables["models"]:
            self.fault(("models",), "there is none; add a [models.NAME] table")
        targets = self._targets(tables, models)
        if server is None or store is None or limits is None or routing is None:
            return None
        return Config(
            server=server,
            store=store,
            limits=limits,
            routing=routing,
            providers={name: provider for name, provider in providers.items() if provider is not None},
            models={name: model for name, model in models.items() if model is not None},
            targets=targets,
        )

    def _table(self, at: KeyPath, value: object) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        self.fault(at, "must be a table")
        return {}

    def _named(self, kind: str, tables: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
        for name in tables[kind]:
            try:
                NAME.parse(name)
            except UnfitError as error:
                self.fault((kind, name), str(error))
        return [(name, self._table((kind, name), value)) for name, value in tables[kind].items()]

    def _read(self, cls: type[T], at: KeyPath, table: Mapping[str, Any], given: Mapping[str, Any]) -> T | None:
        """Read one table into its class; ``given`` holds fields that are not in the file, or their defaults."""
        declared = {key: (setting, field) for key, setting, field in settings_of(cls)}
        for key in table:
            if key not in declared:
                self.fault((*at, key), unknown(key, declared))
        before = len(self.faults)
        fields = dict(given)
        for key, (setting, field) in declared.items():
            if key in table:
                try:
                    fields[field.name] = self._located(setting.kind.parse(table[key]))
                except UnfitError as error:
                    self.fault((*at, key), str(error))
                except UnfitPartsError as error:
                    self._fault_parts((*at, key), error)
            elif field.default is attrs.NOTHING and field.name not in fields:
                self.fault((*at, key), f"is required: {setting.meaning}")
        return cls(**fields) if len(self.faults) == before else None

    def _fault_parts(self, at: KeyPath, error: UnfitPartsError) -> None:
        for part, text in error.parts:
            self.fault((*at, *part), text)

    def _located(self, value: object) -> object:
        return self._path.parent.absolute() / value if isinstance(value, Path) else value

    def _server(self, table: Mapping[str, Any]) -> ServerConfig | None:
        at = ("server",)
        server = self._read(ServerConfig, at, table, {"public_url": ""})
        if server is None:
            return None
        if not server.bind:
            self.fault((*at, "bind"), "must name at least one address")
            return None
        if (server.tls_cert is None) != (server.tls_key is None):
            self.fault((*at, "tls_cert" if server.tls_cert else "tls_key"), "tls_cert and tls_key go together")
        self._find_files(at, server, "tls_cert", "tls_key")
        if server.public_url:
            return server
        if server.bind[0].wildcard:
            self.fault((*at, "public_url"), f"is required, because {server.bind[0]} is no address to send a client to")
        return attrs.evolve(server, public_url=_url_of(server.bind[0], tls=server.tls_cert is not None))

    def _store(self, table: Mapping[str, Any]) -> StoreConfig | None:
        store = self._read(StoreConfig, ("store",), table, {"spool": Path()})
        if store is None:
            return None
        if store.lease_s < 3 * store.heartbeat_s:
            key = "heartbeat_s" if "heartbeat_s" in table else "lease_s"
            self.fault(("store", key), "lease_s must be at least three times heartbeat_s")
        scheme, _, path = store.url.partition(":")
        database = self._path.parent.absolute() / path
        # By whichever link a process comes to a database, it is to find what waits for it.
        spool = store.spool if "spool" in table else Path(f"{os.path.realpath(database)}.spool")
        return attrs.evolve(store, url=f"{scheme}:{database}", spool=spool)

    def _limits(self, table: Mapping[str, Any]) -> Limits | None:
        limits = self._read(Limits, ("limits",), table, {})
        if limits is not None and limits.sse_event_bytes < limits.sse_line_bytes:
            if "sse_event_bytes" in table:
                self.fault(("limits", "sse_event_bytes"), f"must be at least sse_line_bytes ({limits.sse_line_bytes})")
            else:
                self.fault(("limits", "sse_line_bytes"), f"must be at most sse_event_bytes ({limits.sse_event_bytes})")
        return limits

    def _provider(self, name: str, table: Mapping[str, Any]) -> ProviderConfig | None:
        at = ("providers", name)
        vendor = PROVIDERS.get(str(table.get("format")))
        given: dict[str, Any] = {"name": name}
        if vendor is None:
            # The fault is the format's; the rest is still looked at.
            given |= {"base_url": "", "max_tokens_field": ""}
        else:
            given["max_tokens_field"] = vendor.facts.max_tokens_field
            if vendor.facts.base_url is not None:
                given["base_url"] = vendor.facts.base_url
        provider = self._read(ProviderConfig, at, table, given)
        if provider is None:
            return None
        if vendor is not None and vendor.facts.needs_key and provider.api_key_env is None:
            self.fault((*at, "api_key_env"), f"is required: {provider.format!r} takes no request without a key")
        self._find_files(at, provider, "ca_file")
        if self._environ is not None and provider.ca_file is not None and not _may_be_trusted(provider.ca_file):
            self.fault((*at, "ca_file"), f"{provider.ca_file} is no readable file of certificates (PEM)")
        return attrs.evolve(provider, api_key=self._secret(at, provider.api_key_env))

    def _secret(self, at: KeyPath, variable: str | None) -> Secret | None:
        if variable is None or self._environ is None:
            return None
        text = self._environ.get(variable, "")
        if not text:
            named = variable if variable.isupper() else "such variable"  # or else it may be the key itself
            self.fault((*at, "api_key_env"), f"the environment has no {named}, or it is empty")
        elif not _KEY.fullmatch(text):
            self.fault((*at, "api_key_env"), f"{variable} holds a space, line break or other character no key has")
        else:
            return Secret(text.encode())
        return None

    def _model(
        self, name: str, table: Mapping[str, Any], limits: Limits, providers: Mapping[str, ProviderConfig | None]
    ) -> ModelConfig | None:
        at = ("models", name)
        given = {
            "name": name,
            "upstream_model": name,
            "first_byte_s": limits.first_byte_s,
            "silence_s": limits.silence_s,
            "exchange_s": limits.exchange_s,
            "prices": BUNDLED,
            **_declared(providers.get(str(table.get("provider")))),
        }
        if table.get("kind") == "embeddings":
            given["max_output_tokens"] = 0
        model = self._read(ModelConfig, at, table, given)
        if model is None:
            return None
        if model.provider not in providers:
            self.fault((*at, "provider"), f"no provider {model.provider!r}: " + _known(providers))
        if model.kind == "text" and model.min_output_tokens > model.max_output_tokens:
            self.fault((*at, "min_output_tokens"), f"must be at most max_output_tokens ({model.max_output_tokens})")
        if model.input_bytes_per_token_low_milli > model.bytes_per_token_milli:
            self.fault((*at, "input_bytes_per_token_low"), "must be at most bytes_per_token")
        return attrs.evolve(model, prices=self._prices(at, model, providers.get(model.provider)))

    def _prices(self, at: KeyPath, model: ModelConfig, provider: ProviderConfig | None) -> PriceSchedule:
        """Return a model's prices: its own, or those that are bundled; one must be in force."""
        prices = model.prices
        if prices is BUNDLED and provider is not None:
            bundled = bundled_price(provider.format, model.upstream_model)
            if bundled is None:
                self.fault(
                    (*at, "price"),
                    f"is required: no price of {model.upstream_model!r} is bundled for {provider.format!r}; "
                    'give a table, or "free"',
                )
                return prices
            prices = bundled.prices
        if prices.entries and prices.entries[0][0] > self._now:
            self.fault((*at, "price"), "has none that is in force yet; give one without `from`, or from an earlier day")
        return prices

    def _targets(
        self, tables: Mapping[str, Mapping[str, Any]], models: Mapping[str, ModelConfig | None]
    ) -> Mapping[str, TargetConfig]:
        written = {
            name: self._read(
                TargetConfig, ("targets", name), table, {"name": name, "aliases": DEFAULT_ALIASES.get(name, ())}
            )
            for name, table in self._named("targets", tables)
        }
        try:
            return resolve_targets(written, models)
        except UnfitPartsError as error:
            self._fault_parts((), error)
            return {}

    def _find_files(self, at: KeyPath, holder: object, *names: str) -> None:
        for name in names:
            path: Path | None = getattr(holder, name)
            if self._environ is not None and path is not None and not path.is_file():
                self.fault((*at, name), f"there is no file {path}")


def _declared(provider: ProviderConfig | None) -> dict[str, Any]:
    """Return what the vendor of a provider declares for its models (a plain one's, where it is none)."""
    facts = PROVIDERS[provider.format].facts if provider is not None else Facts()
    return {
        "streaming": "native" if facts.streams else "wrap",
        "tools": facts.tools,
        "hidden_reasoning": facts.hidden_reasoning,
        "reports_usage": facts.reports_usage,
        "aborted_billing": facts.aborted_billing,
    }


def _may_be_trusted(path: Path) -> bool:
    """Whether a file holds certificates; one that is not there is another fault."""
    try:
        ssl.create_default_context(cafile=path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _known(names: Mapping[str, object]) -> str:
    return f"known are {', '.join(names)}" if names else "none is configured"


def _url_of(address: Address, *, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{address}"
