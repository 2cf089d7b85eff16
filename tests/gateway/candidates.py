"""Routing targets whose models fail as told, and what must hold of every routed exchange.

The models of a target are tried in the order in which they are given: they cost the same, and their names are in order.
"""

import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import trio

from ainf.simulator.books import Entry
from ainf.store.base import AttemptOpened, AttemptOpening
from tests.gateway.backends import FORMATS, model_table
from tests.gateway.dialects import CHAT, PROMPT, Dialect
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.leaks import check_no_leak
from tests.gateway.world import Client, World

GOOD: Final = "sim-tokens-7"
LIMITS: Final = "silence_s = 3\nfirst_byte_s = 4\nexchange_s = 30\nconnect_s = 5"

_PROVIDER: Final = """
[providers.{name}]
format = "{vendor}"
base_url = "{origin}{path}"
api_key_env = "SIM_KEY"
"""
_TARGET: Final = """
[targets."{name}"]
models = [{models}]
"""


@attrs.frozen
class Candidate:
    """One model of a target."""

    behaviour: str = GOOD
    format: str = "chat"
    """The wire format of its provider."""
    origin: str = ""
    """Where its provider is, if not where all are."""
    more: str = ""
    """What else stands in its table."""


def name_of(target: str, number: int) -> str:
    """The name of the model that is tried as the ``number``-th, as long as the target's."""
    return f"{target[:-1]}{number}"


def target_text(*candidates: Candidate, name: str = "target-0") -> str:
    """The tables of a target and its models."""
    names = [name_of(name, number) for number in range(1, len(candidates) + 1)]
    tables = [_candidate_text(model, candidate) for model, candidate in zip(names, candidates, strict=True)]
    return "".join([*tables, _TARGET.format(name=name, models=", ".join(f'"{model}"' for model in names))])


def _candidate_text(name: str, candidate: Candidate) -> str:
    provider, vendor, path = FORMATS[candidate.format]
    if not candidate.origin:
        return model_table(name, provider, candidate.behaviour, candidate.more)
    own = _PROVIDER.format(name=f"at-{name}", vendor=vendor, origin=candidate.origin, path=path)
    return own + model_table(name, f"at-{name}", candidate.behaviour, candidate.more)


async def reach(host: str) -> None:
    """Reach a host, unless its name says that it cannot be."""
    match host.partition(".")[0]:
        case "refuses":
            raise ConnectionRefusedError(111, "Connection refused")
        case "unknown":
            raise socket.gaierror(-2, "Name or service not known")
        case "nowhere":
            await trio.sleep_forever()
        case _:
            pass


class Order:
    """In which order a world's attempts were opened and its provider asked."""

    def __init__(self, here: World):
        self.steps: list[str] = []
        self._here = here
        self._open_attempt = here.store.open_attempt
        self._open_entry = here.simulator.books.open_entry
        here.store.open_attempt = self.open_attempt  # type: ignore[method-assign]
        here.simulator.books.open_entry = self.open_entry  # type: ignore[method-assign]

    async def open_attempt(self, opening: AttemptOpening) -> AttemptOpened:
        opened = await self._open_attempt(opening)
        self.steps.append(f"opened {opening.number}")
        return opened

    def open_entry(self, **asked: Any) -> Entry:
        self.steps.append("asked")
        return self._open_entry(**asked)

    def stop(self) -> None:
        """Look no longer."""
        self._here.store.open_attempt = self._open_attempt  # type: ignore[method-assign]
        self._here.simulator.books.open_entry = self._open_entry  # type: ignore[method-assign]


async def ask_target(
    here: World, *, stream: bool = True, dialect: Dialect = CHAT, target: str = "target-0", **fields: Any
) -> Client:
    """Ask a target."""
    return await here.speak(dialect, target, stream=stream, **fields)


async def outcomes(here: World, inference_id: str | None = None) -> list[dict[str, Any]]:
    """The outcomes of an exchange, or of all that was routed."""
    names = ("inference_id", "status", "code", "model", "provider", "attempts", "cost_nusd", "target", "decision")
    rows = await here.rows(f"SELECT {', '.join(names)} FROM routing_outcomes ORDER BY outcome_id")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [one for one in found if inference_id in {None, one["inference_id"]}]


async def check_routed(
    here: World, client: Client, status: str, codes: Sequence[str | None], *, served: int | None = None
) -> dict[str, Any]:
    """The law of one routed exchange; return its receipt.

    Args:
        here: where it ran.
        client: whose it was.
        status: of its outcome.
        codes: the errors of its attempts, in their order; None for one that did not fail.
        served: the attempt that answered, or was tried last; the last one where it is not given.
    """
    receipt = await here.receipt(client.inference_id)
    lines = receipt["attempts"]
    target = receipt["requested_model"]
    assert [line["error_code"] for line in lines] == list(codes)
    assert [line["model"] for line in lines] == [name_of(target, number) for number in range(1, len(codes) + 1)]
    number = served or len(codes)
    assert (receipt["model"], receipt["provider"]) == (lines[number - 1]["model"], lines[number - 1]["provider"])
    assert receipt["settled_nusd"] + receipt["overrun_nusd"] == sum(line["cost_nusd"] for line in lines)
    assert receipt["router"] == target
    assert (receipt["routing"]["status"], receipt["routing"]["served"]) == (status, number)
    (outcome,) = await outcomes(here, client.inference_id)
    assert (outcome["status"], outcome["code"], outcome["attempts"]) == (status, receipt["error_code"], len(codes))
    later = await here.rows(
        "SELECT model, provider, price_version FROM later_attempts WHERE inference_id = ? ORDER BY number",
        client.inference_id,
    )
    assert later == [(line["model"], line["provider"], line["price_version"]) for line in lines[1:]]
    for entry in entries(here, client):
        assert PROMPT.encode() in (entry.request_body or b""), "each is asked all of it"
    await check_transcript(here, client)
    check_no_leak(here, client)
    await check_provider(here)
    await check_ledger(here)
    return receipt


def entries(here: World, client: Client) -> list[Entry]:
    """What the simulator was asked for an exchange."""
    ours = client.headers["x-ainf-inference-id"]
    return [entry for entry in here.simulator.books.entries if entry.headers.get("x-client-request-id") == ours]


def counter(here: World, name: str, **labels: str) -> float:
    """The value of a counter; 0 where it has not counted."""
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    head = f"ainf_{name}_total" + (f"{{{shown}}}" if labels else "")
    for line in here.telemetry.exposition().decode().splitlines():
        found, _, value = line.rpartition(" ")
        if found == head:
            return float(value)
    return 0.0


OnOpening = Callable[[AttemptOpening], Any]


def before_opening(here: World, act: OnOpening) -> None:
    """Let ``act`` happen before each later attempt is opened; what it returns is awaited."""
    opened = here.store.open_attempt

    async def open_attempt(opening: AttemptOpening) -> AttemptOpened:
        waiting = act(opening)
        if waiting is not None:
            await waiting
        return await opened(opening)

    here.store.open_attempt = open_attempt  # type: ignore[method-assign]
