"""``GET /v1/usage``: what an account used and spent, what its caps leave, and when they reset."""

from functools import partial
from typing import Any, Final

import attrs
import msgspec
from quart import Response, request

from ainf.http.credentials import peer_of
from ainf.http.gateway import Gateway
from ainf.inference.errors import DownstreamError
from ainf.ledger import CapState
from ainf.store.base import KeyRecord
from ainf.store.period import Period, parse_moment
from ainf.store.standing import caps_on_path
from ainf.store.transaction import Transaction
from ainf.store.usage import DIMENSIONS, UsageAsk, UsageReport, Whose, usage
from ainf.store.usage_document import cap_documents, usage_csv, usage_document

MOST_ROWS: Final = 10_000

_DEFAULTS: Final = {"since": "30d", "until": "", "by": "day", "scope": "account", "format": "json"}
_CHOICES: Final = {"scope": ("account", "tree"), "format": ("json", "csv")}


class UsageRoute:
    """Answers for the key's own account, and for those below it; never for what is above or beside."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def report(self) -> Response:
        """Show what was used and spent in a period.

        Raises:
            DownstreamError: ``unsupported_parameter``, ``invalid_value``: a parameter is not one, or asks for more rows
                than ``MOST_ROWS``.
            GatewayError: ``store_unavailable``.
        """
        gateway = self._gateway
        key = await gateway.authenticator.authenticate(request.scope["headers"], peer_of(request.scope))
        now = gateway.services.wall_clock()
        asked = _parameters()
        whose = Whose(key.account_id, with_below=asked["scope"] == "tree")
        ask = UsageAsk(whose, _period(asked, now), _dimensions(asked["by"]), MOST_ROWS)
        report, caps = await gateway.services.store.report(partial(_read, ask=ask, key=key, now=now))
        if asked["format"] == "csv":
            return Response(usage_csv(report), content_type="text/csv; charset=utf-8; header=present")
        document = usage_document(report) | _of_key(key, caps)
        return Response(msgspec.json.encode(document), content_type="application/json")


def _read(tx: Transaction, ask: UsageAsk, key: KeyRecord, now: int) -> tuple[UsageReport, list[CapState]]:
    return usage(tx, ask), caps_on_path(tx, key.key_id, now)


def _of_key(key: KeyRecord, caps: list[CapState]) -> dict[str, Any]:
    return {
        "account": key.account_name,
        "key_id": key.key_id,
        "caps": cap_documents(caps),
        "limits": attrs.asdict(key.limits),
    }


def _parameters() -> dict[str, str]:
    """Return every parameter, as given or by default."""
    given = request.args.to_dict(flat=False)
    for name, values in given.items():
        if name not in _DEFAULTS:
            known = ", ".join(f"`{known}`" for known in _DEFAULTS)
            raise DownstreamError(
                "unsupported_parameter", f"There is no parameter `{name[:40]}`; there are {known}.", param=name[:40]
            )
        if len(values) > 1:
            raise _invalid(name, "is given more than once")
    asked = _DEFAULTS | {name: value for name, (value,) in given.items()}
    for name, choices in _CHOICES.items():
        if asked[name] not in choices:
            raise _invalid(name, f"must be {' or '.join(f'`{choice}`' for choice in choices)}")
    return asked


def _period(asked: dict[str, str], now: int) -> Period:
    moments = {}
    for name in ("since", "until"):
        try:
            moments[name] = parse_moment(asked[name], now) if asked[name] else now
        except ValueError as error:
            raise _invalid(name, f"is wrong: {error}") from None
    if moments["since"] >= moments["until"]:
        raise _invalid("since", "must be before `until`, which is now where it is not given")
    return Period(**moments)


def _dimensions(text: str) -> tuple[str, ...]:
    by = tuple(text.split(","))
    if len(set(by)) < len(by) or not set(by) <= set(DIMENSIONS):
        raise _invalid("by", f"must be some of {', '.join(DIMENSIONS)}, each once, joined by commas")
    return by


def _invalid(name: str, what: str) -> DownstreamError:
    return DownstreamError("invalid_value", f"`{name}` {what}.", param=name)
