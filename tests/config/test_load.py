"""A configuration file: what it becomes, and every way that it can be wrong."""

from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest
import trustme

from ainf.config import Address, Config, ConfigError, RoutingConfig, load_config
from ainf.pricing import FREE, Price
from ainf.providers.registry import PROVIDERS
from ainf.routing.ruleset import Quality

KEY = "sk-canary-4711"
ENVIRON = {"OPENAI_API_KEY": KEY}
VENDORS = " or ".join(f'"{name}"' for name in PROVIDERS)

WHOLE = """\
[server]
bind = ["127.0.0.1:8080"]
public_url = "http://127.0.0.1:8080"
drain_s = 20
[store]
url = "sqlite:ainf.db"
[limits]
first_byte_s = 300
silence_s = 120
exchange_s = 900
write_s = 20
[providers.openai]
format = "openai-compatible"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
[models.gpt-4o-mini]
provider = "openai"
max_output_tokens = 16384
price = { input = "0.15", cached_input = "0.075", output = "0.60" }
"""


def load(folder: Path, text: str, environ: dict[str, str] | None = ENVIRON) -> Config:
    path = folder / "ainf.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ)


def faults(folder: Path, text: str, environ: dict[str, str] | None = ENVIRON) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, environ)
    return str(caught.value).replace(str(folder / "ainf.toml"), "ainf.toml").split("\n")


def test_the_spool_stands_beside_the_database(tmp_path):
    """Also where a link leads there: whoever uses the database by another path finds what waits for it."""
    (tmp_path / "big").mkdir()
    assert load(tmp_path, WHOLE).store.spool == tmp_path / "ainf.db.spool"
    (tmp_path / "ainf.db").symlink_to("big/data")
    store = load(tmp_path, WHOLE).store
    assert (store.url, store.spool) == (f"sqlite:{tmp_path}/ainf.db", tmp_path / "big" / "data.spool")


def test_the_issues_example(tmp_path):
    """The example of the documentation is read as it stands, defaults filled in from one place."""
    config = load(tmp_path, WHOLE)
    assert config.server.bind == (Address("127.0.0.1", 8080),)
    assert config.store.url == f"sqlite:{tmp_path}/ainf.db"
    assert config.limits.connect_s == 10.0
    provider, model = config.providers["openai"], config.models["gpt-4o-mini"]
    assert provider.base_url == "https://api.openai.com/v1"
    assert provider.api_key is not None
    assert provider.api_key.reveal() == KEY.encode()
    assert (model.name, model.upstream_model, model.min_output_tokens) == ("gpt-4o-mini", "gpt-4o-mini", 16)
    assert model.prices.at(0) == Price(
        input=150_000_000, cached_input=75_000_000, output=600_000_000, reasoning=600_000_000
    )
    assert model.bytes_per_token_milli == 4000
    assert (model.quality, model.attachments) == (Quality(default=500), ("image", "audio", "video", "file"))
    assert (model.context_tokens, model.latency_ms) == (None, None)
    assert config.routing == RoutingConfig()
    assert (model.first_byte_s, model.silence_s, model.exchange_s) == (300.0, 120.0, 900.0)


def test_models_inherit_the_limits_and_may_override_them(tmp_path):
    """A model's clocks are the limits' unless it names its own."""
    text = WHOLE.replace("silence_s = 120", "silence_s = 99.5") + "exchange_s = 60\n"
    model = load(tmp_path, text).models["gpt-4o-mini"]
    assert (model.first_byte_s, model.silence_s, model.exchange_s) == (300.0, 99.5, 60.0)


def test_every_kind_of_value(tmp_path):
    """Lists, networks, addresses, flags, words, thousandths, files and prices in a table of their own are read."""
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    config = load(
        tmp_path,
        """\
        [server]
        bind = [
            "[::1]:0",     # a free port
            "localhost:81",
        ]
        trusted_proxies = ["10.0.0.0/8", "::1"]
        tls_cert = "cert.pem"
        tls_key = "key.pem"
        drain_s = 0
        [providers.local]
        format = "openai-compatible"
        base_url = "http://127.0.0.1:9/v1/"
        proxy = "http://127.0.0.1:3128"
        ca_file = "ca.pem"
        max_tokens_field = "max_tokens"
        [models."org/llama 3"]
        [models.free]
        provider = "local"
        max_output_tokens = 10
        min_output_tokens = 1
        price = "free"
        hidden_reasoning = "always"
        bytes_per_token = 3.25
        input_bytes_per_token_low = 1
        streaming = "reject"
        tools = false
        finish_reasons = "loud"
        money_refusal = "429"
        quality = 0.725
        context_tokens = 128_000
        attachments = ["image", "file"]
        latency_ms = 350
        [models.priced]
        provider = "local"
        upstream_model = "llama"
        max_output_tokens = 100
        [models.priced.price]
        input = "1"
        output = "2"
        reasoning = "3"
        request = "0.000000001"
        """.replace('[models."org/llama 3"]\n', ""),
        environ={},
    )
    assert config.server.bind == (Address("::1", 0), Address("localhost", 81))
    assert [str(address) for address in config.server.bind] == ["[::1]:0", "localhost:81"]
    assert config.server.public_url == "https://[::1]:0"
    assert config.server.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert (config.server.tls_cert, config.server.tls_key) == (tmp_path / "cert.pem", tmp_path / "key.pem")
    assert config.server.drain_s == 0
    local = config.providers["local"]
    assert (local.base_url, local.proxy, local.api_key) == ("http://127.0.0.1:9/v1", "http://127.0.0.1:3128", None)
    assert (local.ca_file, local.max_tokens_field) == (tmp_path / "ca.pem", "max_tokens")
    free, priced = config.models["free"], config.models["priced"]
    assert free.prices.at(0) == FREE
    assert (free.bytes_per_token_milli, free.input_bytes_per_token_low_milli) == (3250, 1000)
    assert (free.streaming, free.tools, free.hidden_reasoning) == ("reject", False, "always")
    assert (free.finish_reasons, free.money_refusal) == ("loud", "429")
    assert (free.quality, free.context_tokens) == (Quality(default=725), 128_000)
    assert (free.attachments, free.latency_ms) == (("image", "file"), 350)
    price = priced.prices.at(0)
    assert (price.request, price.cached_input, price.reasoning) == (1, 10**9, 3 * 10**9)
    assert priced.upstream_model == "llama"


# Each row: what is put in the place of what, the environment, and the whole of the faults.
FAULTS = [
    ("write_s = 20", "write_s = 0", "11: limits.write_s: must be a number of seconds from 0.01 to 1,000,000"),
    ("write_s = 20", "write_s = -1.5", "11: limits.write_s: must be a number of seconds from 0.01 to 1,000,000"),
    ("write_s = 20", "write_s = true", "11: limits.write_s: must be a number of seconds from 0.01 to 1,000,000"),
    ("write_s = 20", "write_s = inf", "11: limits.write_s: must be a number of seconds from 0.01 to 1,000,000"),
    ("write_s = 20", "write_s = nan", "11: limits.write_s: must be a number of seconds from 0.01 to 1,000,000"),
    ("write_s = 20", 'write_s = "20"', "11: limits.write_s: must be a number of seconds from 0.01 to 1,000,000"),
    ("write_s = 20", "writes_s = 20", "11: limits.writes_s: is unknown; did you mean 'write_s'?"),
    (
        "write_s = 20",
        "body_bytes = 1.5",
        "11: limits.body_bytes: must be a whole number of bytes from 1 to 1,073,741,824",
    ),
    (
        "write_s = 20",
        "body_bytes = false",
        "11: limits.body_bytes: must be a whole number of bytes from 1 to 1,073,741,824",
    ),
    ("write_s = 20", "running = 0", "11: limits.running: must be a whole number of items from 1 to 1,000,000,000"),
    ("write_s = 20", "write_s = 1e9", "11: limits.write_s: must be a number of seconds from 0.01 to 1,000,000"),
    ("write_s = 20", "progress_s = 0.01", "11: limits.progress_s: must be a number of seconds from 0.1 to 1,000,000"),
    ("write_s = 20", "heartbeat_s = 1e-9", "11: limits.heartbeat_s: must be a number of seconds from 0.1 to 1,000,000"),
    ('sqlite:ainf.db"', 'sqlite:ainf.db"\nwait_s = 1e-6', "7: store.wait_s: must be a number of seconds from 0.01 to"),
    ('provider = "openai"', 'provider = "openai"\nsilence_s = 0', "18: models.gpt-4o-mini.silence_s: must be a number"),
    (
        "write_s = 20",
        "body_bytes = 2_000_000_000",
        "11: limits.body_bytes: must be a whole number of bytes from 1 to 1,",
    ),
    (
        "write_s = 20",
        "upstream_read_bytes = 1",
        "11: limits.upstream_read_bytes: must be a whole number of bytes from 1,024 to 16,777,216",
    ),
    (
        "write_s = 20",
        "upstream_dead_peer_s = 40_000",
        "11: limits.upstream_dead_peer_s: must be a whole number of seconds from 1 to 32,767",
    ),
    (
        "write_s = 20",
        "body_min_bytes_per_s = 0.5",
        "11: limits.body_min_bytes_per_s: must be a whole number of bytes per",
    ),
    (
        "write_s = 20",
        "write_s = 20\nsse_line_bytes = 2_000_000",
        "12: limits.sse_line_bytes: must be at most sse_event_bytes (1048576)",
    ),
    (
        "write_s = 20",
        "write_s = 20\nsse_line_bytes = 2000\nsse_event_bytes = 1000",
        "13: limits.sse_event_bytes: must be at least sse_line_bytes (2000)",
    ),
    ("drain_s = 20", "drain_s = -1", "4: server.drain_s: must be a number of seconds from 0 to 1,000,000"),
    ("[limits]", "[limit]", "7: limit: is unknown; did you mean 'limits'?"),
    ("[server]", "zzz = 1\n[server]", "1: zzz: is unknown; known are server, store, limits, routing, providers,"),
    ("[limits]", "[[limits]]", "7: limits: must be a table"),
    ("[server]", "store = 3\n[server]", "6: is not TOML: "),
    ('["127.0.0.1:8080"]', '"127.0.0.1:8080"', "2: server.bind: must be a list of addresses"),
    ('["127.0.0.1:8080"]', "[]", "2: server.bind: must name at least one address"),
    (
        '["127.0.0.1:8080"]',
        '["127.0.0.1"]',
        '2: server.bind: must be "host:port", such as "127.0.0.1:8080" or "[::1]:8080"',
    ),
    (
        '["127.0.0.1:8080"]',
        '["127.0.0.1:65536"]',
        '2: server.bind: must be "host:port", such as "127.0.0.1:8080" or "[::1]:8080"',
    ),
    ('"http://127.0.0.1:8080"', '"ftp://x"', "3: server.public_url: must be http:// or https:// and a host"),
    ('"http://127.0.0.1:8080"', '"http://"', "3: server.public_url: must be http:// or https:// and a host"),
    ('"http://127.0.0.1:8080"', '"http://a:99999"', "3: server.public_url: must be http:// or https:// and a host"),
    (
        "drain_s = 20",
        'trusted_proxies = ["ten"]',
        '4: server.trusted_proxies: must be an address or network, such as "10.0.0.0/8"',
    ),
    ("drain_s = 20", 'tls_key = "no.pem"', "4: server.tls_key: tls_cert and tls_key go together"),
    ("sqlite:ainf.db", "postgres://x", '6: store.url: must be "sqlite:" and a path, such as "sqlite:ainf.db"'),
    ("sqlite:ainf.db", "sqlite:///x.db", '6: store.url: must be "sqlite:" and a path, such as "sqlite:ainf.db"'),
    ("sqlite:ainf.db", "sqlite::memory:", '6: store.url: must be "sqlite:" and a path, such as "sqlite:ainf.db"'),
    ('format = "openai-compatible"', 'format = "opnai"', f"13: providers.openai.format: must be {VENDORS}"),
    (
        'format = "openai-compatible"\n',
        "",
        "12: providers.openai.format: is required: Which vendor's API it speaks; what is declared of it is the "
        "default.",
    ),
    (
        'base_url = "https://api.openai.com/v1"\n',
        "",
        "12: providers.openai.base_url: is required: Where it is, with its version prefix.",
    ),
    ("https://api", "https://me:pw@api", "14: providers.openai.base_url: must not hold credentials"),
    ("openai.com/v1", "openai.com/v1?a=b", "14: providers.openai.base_url: must not hold a query or fragment"),
    (
        '"OPENAI_API_KEY"',
        '"sk-12345"',
        "15: providers.openai.api_key_env: must be the name of an environment variable",
    ),
    ('"OPENAI_API_KEY"', '"NO_KEY"', "15: providers.openai.api_key_env: the environment has no NO_KEY, or it is empty"),
    ('api_key_env = "OPENAI_API_KEY"', 'ca_file = "none.pem"', "15: providers.openai.ca_file: there is no file"),
    ('api_key_env = "OPENAI_API_KEY"', 'proxy = "http://a/b"', "15: providers.openai.proxy: must not hold a path"),
    ('api_key_env = "OPENAI_API_KEY"', 'api_key = "x"', "15: providers.openai.api_key: is unknown; did you mean"),
    (
        'api_key_env = "OPENAI_API_KEY"',
        'max_tokens_field = "n"',
        '15: providers.openai.max_tokens_field: must be "max_completion_tokens" or "max_tokens"',
    ),
    ('provider = "openai"', 'provider = "opnai"', "17: models.gpt-4o-mini.provider: no provider 'opnai': known are"),
    ('provider = "openai"\n', "", "16: models.gpt-4o-mini.provider: is required"),
    ("max_output_tokens = 16384", "max_output_tokens = 8", "min_output_tokens: must be at most max_output_tokens (8)"),
    ('"0.15"', "0.15", '19: models.gpt-4o-mini.price.input: must be a string such as "0.15", so that it is exact'),
    ('"0.15"', '"a lot"', "19: models.gpt-4o-mini.price.input: 'a lot' is not a decimal amount of US dollars"),
    ('"0.15"', '"0.0000000001"', "19: models.gpt-4o-mini.price.input: '0.0000000001' is finer than a nano-dollar"),
    ('input = "0.15", cached_input', "cached_input", "19: models.gpt-4o-mini.price.input: is required"),
    ("cached_input =", "chached_input =", "price.chached_input: is unknown; did you mean 'cached_input'?"),
    ("price = {", "prize = {", "19: models.gpt-4o-mini.prize: is unknown; did you mean 'price'?"),
    ("max_output_tokens = 16384", "max_output_tokens = 16384\nbytes_per_token = 3.1415", "19: models.gpt-4o-mini.byt"),
    ("max_output_tokens = 16384", "max_output_tokens = 16384\nbytes_per_token = 1", "low: must be at most bytes_per_"),
    ("[models.gpt-4o-mini]", '[models."gpt 4"]', '16: models."gpt 4": must be a name of 1 to 128 visible ASCII'),
    ("[limits]", "[routing]\nattempts = 0\n[limits]", "8: routing.attempts: must be a whole number of items from 1"),
    ("[limits]", "[routing]\nhedging = 1\n[limits]", "8: routing.hedging: must be true or false"),
    ("[limits]", "[routing]\nhedge = true\n[limits]", "8: routing.hedge: is unknown; did you mean 'hedging'?"),
    ("[models.gpt-4o-mini]", '[models."gpt/4"]\ntools = 1', '17: models."gpt/4".tools: must be true or false'),
]


@pytest.mark.parametrize(("old", "new", "expected"), FAULTS)
def test_faults(tmp_path, old, new, expected):
    """Each fault is told with its line, its dotted key and what it must be."""
    assert old in WHOLE
    told = faults(tmp_path, WHOLE.replace(old, new, 1))
    assert any(expected in line and line.startswith("ainf.toml") for line in told), told


def test_all_faults_at_once_in_the_order_of_the_file(tmp_path):
    """One run tells everything that is wrong, from the top of the file to its end."""
    text = (
        WHOLE
        .replace("drain_s = 20", 'drain_s = "20"')
        .replace("write_s = 20", "writes_s = 0")
        .replace('"0.60"', '"-1"')
        .replace("[store]", "[storage]")
    )
    assert faults(tmp_path, text, {}) == [
        "ainf.toml:4: server.drain_s: must be a number of seconds from 0 to 1,000,000",
        "ainf.toml:5: storage: is unknown; did you mean 'store'?",
        "ainf.toml:11: limits.writes_s: is unknown; did you mean 'write_s'?",
        "ainf.toml:15: providers.openai.api_key_env: the environment has no OPENAI_API_KEY, or it is empty",
        "ainf.toml:19: models.gpt-4o-mini.price.output: '-1' is not between 0 and 1,000,000,000 US dollars",
    ]


BUNDLED = """\
[providers.openai]
format = "openai"
api_key_env = "OPENAI_API_KEY"
[models.gpt-5-mini]
provider = "openai"
max_output_tokens = 16384
[models.small]
provider = "openai"
upstream_model = "gpt-5-nano"
max_output_tokens = 16384
price = "bundled"
"""


def test_a_price_that_is_bundled(tmp_path):
    """It is that of the vendor and the name there, whether asked for or not; it says where it is from."""
    models = load(tmp_path, BUNDLED).models
    mini, nano = models["gpt-5-mini"].prices, models["small"].prices
    assert (mini.at(0).input, mini.at(0).output) == (250_000_000, 2_000_000_000)
    assert (nano.at(0).input, nano.at(0).output) == (50_000_000, 400_000_000)
    assert mini.source is not None
    assert mini.source.startswith("https://developers.openai.com/")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "gpt-5-nano",
            "gpt-5-nine",
            "ainf.toml:11: models.small.price: is required: no price of 'gpt-5-nine' is bundled for 'openai'; give a "
            'table, or "free"',
        ),
        (
            "[models.gpt-5-mini]",
            "[models.mine]",
            "ainf.toml:4: models.mine.price: is required: no price of 'mine' is bundled for 'openai'; give a table, or "
            '"free"',
        ),
        (
            '"bundled"',
            '[{ from = 2030-01-01, input = "1", output = "1" }, { from = 2031-01-01, input = "2", output = "2" }]',
            "ainf.toml:11: models.small.price: has none that is in force yet; give one without `from`, or from an "
            "earlier day",
        ),
    ],
)
def test_a_model_without_a_price(tmp_path, old, new, expected):
    """No model is served whose price is not known: not one that is bundled, nor its own, nor only a coming one."""
    assert faults(tmp_path, BUNDLED.replace(old, new, 1)) == [expected]


def test_when_a_price_is_in_force(tmp_path):
    """Whether one is, is asked of the clock, or of the moment that is given."""
    text = BUNDLED.replace('"bundled"', '[{ from = 2030-01-01, input = "1", output = "1" }]')
    (tmp_path / "ainf.toml").write_text(text)
    begins = 1_893_456_000_000_000  # 2030-01-01
    assert load_config(tmp_path / "ainf.toml", ENVIRON, now=begins).models["small"].prices.at(begins).input == 10**9
    with pytest.raises(ConfigError, match="has none that is in force yet"):
        load_config(tmp_path / "ainf.toml", ENVIRON, now=begins - 1)


def test_the_faults_of_dated_prices(tmp_path):
    """Each is told with the line of its own table, and its number."""
    text = (
        BUNDLED.replace('price = "bundled"\n', "")
        + """\
[[models.small.price]]
input = "1"
output = "1"
[[models.small.price]]
from = "tomorrow"
input = "1"
[models.small.price.tiers]
"""
    )
    assert faults(tmp_path, text) == [
        "ainf.toml:14: models.small.price[1].output: is required",
        "ainf.toml:15: models.small.price[1].from: must be a date or a time, such as 2026-12-01, without quotes",
        "ainf.toml:17: models.small.price[1].tiers: must be a list of tables",
    ]
    again = text.replace('"tomorrow"', "2027-01-01").replace("[models.small.price.tiers]", 'output = "1"')
    again += '[[models.small.price]]\nfrom = 2027-01-01T00:00:00Z\ninput = "2"\noutput = "2"\n'
    assert faults(tmp_path, again) == [
        "ainf.toml:19: models.small.price[2].from: another price begins at the same moment; leave one of them out"
    ]


def test_line_ends_of_windows(tmp_path):
    """A file with CRLF line ends has its faults on the same lines."""
    text = WHOLE.replace("write_s = 20", "write_s = 0").replace("\n", "\r\n")
    (tmp_path / "ainf.toml").write_bytes(text.encode())
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "ainf.toml", ENVIRON)
    assert [(fault.line, fault.key) for fault in caught.value.faults] == [(11, "limits.write_s")]


def test_a_wildcard_address_needs_a_public_url(tmp_path):
    """Links on 0.0.0.0 lead nowhere, so the public address must be named."""
    text = WHOLE.replace("127.0.0.1:8080", "0.0.0.0:80", 1).replace('public_url = "http://127.0.0.1:8080"\n', "")
    assert faults(tmp_path, text) == [
        "ainf.toml:1: server.public_url: is required, because 0.0.0.0:80 is no address to send a client to"
    ]


def test_no_model_is_a_fault(tmp_path):
    """A gateway that serves nothing is most likely started with the wrong file."""
    assert faults(tmp_path, "") == ["ainf.toml: models: there is none; add a [models.NAME] table"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[server\n", "ainf.toml:1: is not TOML: "),
        ("a = 1\nb = = 2\n", "ainf.toml:2: is not TOML: "),
        ('a = 1\nb = """\n\n', "ainf.toml:4: is not TOML: "),
        ("\ufeff[server]\n", "ainf.toml:1: is not TOML: "),
        (f"a = {'[' * 10_000}", "ainf.toml: is not TOML: "),
        (f"{'a.' * 2_000}a = 1", "ainf.toml: is not TOML: "),
        (f"a = {'9' * 5_000}", "ainf.toml: is not TOML: "),
    ],
)
def test_not_toml(tmp_path, text, expected):
    """What is not TOML at all is told with the parser's own place."""
    (told,) = faults(tmp_path, text)
    assert told.startswith(expected)


def test_a_file_that_cannot_be_read(tmp_path):
    """A missing file, a folder and a file that is not UTF-8 are faults of the configuration, not tracebacks."""
    with pytest.raises(ConfigError, match="there is no such file; name yours with --config"):
        load_config(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="cannot be read: "):
        load_config(tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config(tmp_path / "latin.toml", {})


def test_without_an_environment_no_secret_and_no_file_is_looked_for(tmp_path):
    """A command that only keeps the books runs where the provider's key and certificates are not."""
    config = load(tmp_path, WHOLE + '[providers.other]\nformat="vllm"\nbase_url="http://x"\nca_file="no.pem"\n', None)
    assert config.providers["openai"].api_key is None


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\x00"])
def test_a_file_of_certificates_that_holds_none(tmp_path, text):
    """It is found before a connection needs it."""
    (tmp_path / "ca.pem").write_text(text)
    (told,) = faults(tmp_path, WHOLE.replace('api_key_env = "OPENAI_API_KEY"', 'ca_file = "ca.pem"'))
    assert (
        told == f"ainf.toml:15: providers.openai.ca_file: {tmp_path}/ca.pem is no readable file of certificates (PEM)"
    )


@pytest.mark.threat("C10")
@pytest.mark.parametrize("value", ["", "sk with space", "sk-line\n", "sk-\u00e9"])
def test_a_key_that_is_none(tmp_path, value):
    """An empty or mangled key is found at start, and is not shown."""
    (told,) = faults(tmp_path, WHOLE, {"OPENAI_API_KEY": value})
    assert told.startswith("ainf.toml:15: providers.openai.api_key_env: ")
    assert "sk" not in told.removeprefix("ainf.toml:15: providers.openai.api_key_env: ")


def test_secrets_are_never_printed(tmp_path):
    """No way of printing a configuration, whole or in part, shows a provider's key."""
    config = load(tmp_path, WHOLE)
    secret = config.providers["openai"].api_key
    shown = [repr(config), str(config), f"{secret}", f"{secret!r}", str(attrs.asdict(config)), str([secret])]
    assert not [text for text in shown if KEY in text]
