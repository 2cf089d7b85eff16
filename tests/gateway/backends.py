"""The settings of gateways under test: one simulated provider, reached as each of the four wire formats.

A model is named as its behaviour ("sim-tools"), or with the format of its provider before it ("gemini/sim-tools");
without one it is chat.
"""

from collections.abc import Mapping
from typing import Final

FORMATS: Final = {
    "chat": ("sim", "openai-compatible", "/v1"),
    "messages": ("messages", "anthropic", "/v1"),
    "responses": ("responses", "openai-responses", "/v1"),
    "gemini": ("gemini", "gemini", "/v1beta"),
}
"""Wire format -> the provider's name, its vendor, and where the simulator has it."""

INPUT_RATE, OUTPUT_RATE = 1000, 2000
"""Nano-dollars of a token."""

_PROVIDER = """
[providers.{name}]
format = "{vendor}"
base_url = "{base_url}"
api_key_env = "SIM_KEY"
"""

_MODEL = """
[models."{name}"]
provider = "{provider}"
{more}
"""

_PRICE = '{ input = "1.00", cached_input = "0.50", cache_write = "1.25", long_cache_write = "2.00", output = "2.00" }'

# What the vendors declare of themselves is tested by itself; here all formats behave alike.
_DEFAULTS = {
    "price": _PRICE,
    "max_output_tokens": "4096",
    "hidden_reasoning": '"never"',
    "aborted_billing": '"delivered"',
    "streaming": '"native"',
    "tools": "true",
}


def providers_text(origin: str) -> str:
    """The tables of the providers, all at ``origin`` ("http://host:port")."""
    return "".join(
        _PROVIDER.format(name=name, vendor=vendor, base_url=origin + path) for name, vendor, path in FORMATS.values()
    )


def vendors_text(origin: str, vendors: Mapping[str, str], models: tuple[str, ...]) -> str:
    """The tables of vendors as they are declared, each with one model: the first of ``models``."""
    known = {name for name, _, _ in FORMATS.values()}
    return "".join(
        ("" if vendor in known else _PROVIDER.format(name=vendor, vendor=vendor, base_url=origin + path))
        + _MODEL.format(
            name=f"{vendor}-model",
            provider=vendor,
            more=f'upstream_model = "{models[0]}"\nmax_output_tokens = 4096\nprice = {_PRICE}',
        )
        for vendor, path in vendors.items()
    )


def models_text(models: tuple[str, ...], more: str = "") -> str:
    """The tables of the models; ``more`` goes into each of them."""
    return "".join(_model_text(model, more) for model in models)


def _model_text(model: str, more: str) -> str:
    wire_format, found, behaviour = model.partition("/")
    if not found or wire_format not in FORMATS:
        wire_format, behaviour = "chat", model
    return model_table(model, FORMATS[wire_format][0], behaviour, more)


def model_table(name: str, provider: str, behaviour: str, more: str = "") -> str:
    """The table of a model whose name says nothing of its behaviour; ``more`` goes into it."""
    given = {line.partition("=")[0].strip() for line in more.splitlines()}
    defaults = _DEFAULTS | {"upstream_model": f'"{behaviour}"'}
    lines = [f"{key} = {value}" for key, value in defaults.items() if key not in given]
    return _MODEL.format(name=name, provider=provider, more="\n".join([*lines, more]))
