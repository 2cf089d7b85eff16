"""What all vendors' checks of request fields share: the reasons, the hosts, and how a field is refused by name.

Whatever a client sends is judged here before its shape is: a field of a wrong type says nothing, and is its vendor's
to refuse. A field that is null, false or an empty list asks for nothing.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from ainf.inference.conversation import CacheMark
from ainf.inference.errors import DownstreamError
from ainf.pricing import FREE, Price

PRICE: Final = "it changes the price beyond what this model is configured with"
MODEL: Final = "the gateway's configuration decides which model answers"
MODERATION: Final = "it runs another model beside this one"
LATER: Final = "an answer that outlives its request cannot be settled with it"
SHARED: Final = "what the provider stores belongs to the operator's whole account"
HOSTED_TOOL: Final = f"a tool that the provider runs itself is refused: {PRICE}"
_HOST: Final = "no request can name a host, a credential or a transport"

HOST_FIELDS: Final[Mapping[str, str]] = MappingProxyType({
    "api_base": _HOST,
    "api_key": _HOST,
    "api_version": _HOST,
    "base_url": _HOST,
    "custom_host": _HOST,
    "custom_llm_provider": MODEL,
    "deployment_id": MODEL,
    "extra_body": _HOST,
    "extra_headers": _HOST,
    "extra_query": _HOST,
    "headers": _HOST,
    "kv_transfer_params": _HOST,
    "organization": _HOST,
    "proxies": _HOST,
    "proxy": _HOST,
})
"""The client libraries' own arguments, which gateways before this one took from the body (LiteLLM CVE-2024-6587), and
vLLM's ``kv_transfer_params``, which names the host that a cache is fetched from."""


def asks(value: Any) -> bool:  # noqa: ANN401 - whatever a client sends
    """Whether a field's value asks for anything.

    An empty object does: ``web_search_options: {}`` is how a search is asked for with everything as usual.
    """
    return value is not None and value is not False and value != []


def refusal(param: str, reason: str) -> DownstreamError:
    """Return the refusal of a field."""
    return DownstreamError("unsupported_parameter", f"`{param}` is not supported: {reason}.", param=param)


def check_refused(fields: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """Refuse the first of these fields, by name, that asks for anything.

    Args:
        fields: of the request.
        refused: name -> reason.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    for name in sorted(fields.keys() & refused.keys()):
        if asks(fields[name]):
            raise refusal(name, refused[name])


def check_word(fields: Mapping[str, Any], name: str, *allowed: str, reason: str = PRICE) -> None:
    """Refuse a field whose value is none of the allowed words.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    value = fields.get(name)
    if value is not None and not (isinstance(value, str) and value in allowed):
        raise refusal(name, f"with this value {reason}")


def objects_in(value: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401 - judged here
    """Yield the objects of a list, each with its own path; nothing where it is no list."""
    if isinstance(value, list):
        for number, each in enumerate(value):
            if isinstance(each, dict):
                yield f"{path}[{number}]", each


class Coverage:
    """What a price covers of what a request asks for; found while its fields are gone through.

    Args:
        price: of the model; a wish that has a rate of its own is refused where the price lacks it.
        caches_unasked: whether the provider writes input to its cache without being asked.
    """

    def __init__(self, price: Price, *, caches_unasked: bool = False) -> None:
        self._price = price
        self.cache_write = CacheMark.SHORT if caches_unasked and price.cache_write is not None else None
        """For how long, at most, input may be written to the provider's cache; None: not at all."""

    def ask_write(self, param: str, *, is_long: bool) -> None:
        """Take the wish, which stands at ``param``, that input be written to the provider's cache.

        Raises:
            DownstreamError: ``unsupported_parameter``: the price does not cover it.
        """
        price = self._price
        if is_long:
            self._check("long_cache_write", price.long_cache_write, param)
            self.cache_write = CacheMark.LONG
        else:
            self._check("cache_write", price.cache_write, param)
            self.cache_write = self.cache_write or CacheMark.SHORT

    def ask_audio(self, param: str) -> None:
        """Take the wish, which stands at ``param``, that the model hear something.

        Raises:
            DownstreamError: ``unsupported_parameter``: the price does not cover it.
        """
        self._check("audio_input", self._price.audio_input, param)

    def _check(self, name: str, rate: int | None, param: str) -> None:
        if rate is None and self._price != FREE:
            raise refusal(param, f"the model's price has no `{name}`, which it would be charged with")


def check_cache_control(holder: Mapping[str, Any], path: str, coverage: Coverage) -> None:
    """Refuse Anthropic's mark of what to cache, if it stands in ``holder`` and the price does not cover it.

    Args:
        holder: a message's part, a tool, or the request.
        path: of the holder; "" is the request.
        coverage: takes the wish.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    mark = holder.get("cache_control")
    if mark is not None:
        ttl = mark.get("ttl") if isinstance(mark, dict) else None
        param = f"{path}.cache_control" if path else "cache_control"
        coverage.ask_write(param, is_long=ttl not in {None, "5m"} if isinstance(ttl, str | None) else True)
