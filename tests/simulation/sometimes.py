"""Rare branches, by name: each must be hit by some seed, or the simulation tries less than it seems to.

What is counted is what can be observed behind a seed: rows, metrics, what clients saw, what the weather did.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from tests.simulation.world import World

_NOTES: Final = "SELECT notes FROM settlements WHERE notes <> '{}'"
_ENDINGS: Final = "SELECT ending, coalesce(error_code, ''), count(*) FROM settlements GROUP BY 1, 2"
_STATUSES: Final = "SELECT status, count(*) FROM routing_outcomes GROUP BY 1"
_ENTRIES: Final = "SELECT kind, count(*) FROM entries GROUP BY 1"
_EVENTS: Final = "SELECT kind, count(*) FROM audit_events GROUP BY 1"
_FOLDED: Final = "SELECT count(*) FROM audit_events WHERE kind = 'rejected' AND json_extract(body, '$.count') > 1"
_FREED: Final = "SELECT count(*) FROM claims WHERE state = 'freed' OR retry_of IS NOT NULL"
_HELD: Final = "SELECT count(*) FROM attempts WHERE aborted_billing = 'held'"
_EMPTY: Final = "SELECT count(*) FROM settlements WHERE is_empty"
_LATE: Final = """
    SELECT s.ending, a.provider_request_id FROM settlements AS s JOIN attempts AS a ON a.inference_id = s.inference_id
    WHERE s.ending = 'completed' AND a.provider_request_id IS NOT NULL
"""


@attrs.frozen
class Facts:
    """What is known of a seed when it is over."""

    world: "World"
    samples: Mapping[str, float]
    """Of all processes together."""
    endings: Mapping[tuple[str, str], int]
    """By ending and error code."""
    notes: Mapping[str, int]
    """How many settlements bear a note of this name."""
    statuses: Mapping[str, int]
    """Of routing outcomes."""
    entries: Mapping[str, int]
    events: Mapping[str, int]
    codes: Mapping[str, int]
    """Of refusals that clients saw."""

    @classmethod
    def of(cls, world: "World") -> "Facts":
        rows = world.database.rows
        samples: Counter[str] = Counter()
        for process in world.processes:
            samples.update(process.samples())
        return cls(
            world,
            samples,
            {(ending, code): count for ending, code, count in rows(_ENDINGS)},
            Counter(name for (notes,) in rows(_NOTES) for name in json.loads(notes)),
            dict(rows(_STATUSES)),
            dict(rows(_ENTRIES)),
            dict(rows(_EVENTS)),
            Counter(_codes(world)),
        )

    def ended(self, *endings: str) -> int:
        return sum(count for (ending, _), count in self.endings.items() if ending in endings)

    def coded(self, code: str) -> int:
        return sum(count for (_, its_code), count in self.endings.items() if its_code == code)

    def counted(self, name: str) -> int:
        return int(self.samples.get(f"ainf_{name}", 0))

    def one(self, sql: str) -> int:
        ((count,),) = self.world.database.rows(sql)
        return int(count)

    def clients(self, is_so: Callable[[Any], bool]) -> int:
        return sum(1 for client in self.world.clients if is_so(client))


def _codes(world: "World") -> Iterator[str]:
    for client in world.clients:
        if client.status is not None and client.status >= 400 and client.ended and client.body:
            yield client.json()["error"]["code"]


def _usage_came_late(facts: Facts) -> int:
    behaved = facts.world.simulator.behaved
    numbers = [int(request_id.rpartition("_")[2]) for _, request_id in facts.world.database.rows(_LATE)]
    return sum("stall-after-finish" in behaved.get(number, "") for number in numbers)


def _had_no_end(client: Any) -> bool:
    return bool(client.aborted and not client.ended and not client.gone and not client.was_stopped)


BRANCHES: Final[Mapping[str, Callable[[Facts], int]]] = {
    "cap refused at the opening": lambda it: it.codes.get("spend_cap_exceeded", 0),
    "balance refused at the opening": lambda it: it.codes.get("insufficient_funds", 0),
    "cap in the middle of an answer": lambda it: it.ended("spend_cap_exceeded"),
    "output clamped": lambda it: it.notes.get("clamp_tokens", 0),
    "hold extended": lambda it: it.entries.get("extend", 0),
    "overrun": lambda it: it.entries.get("overrun", 0),
    "fallback": lambda it: it.statuses.get("fell_back", 0),
    "hedge won": lambda it: it.counted("hedges_total:won"),
    "hedge lost": lambda it: it.counted("hedges_total:lost"),
    "hedge without room": lambda it: it.counted("hedges_total:no_room"),
    "all candidates failed": lambda it: it.coded("all_candidates_failed"),
    "no candidate": lambda it: it.codes.get("no_candidate", 0),
    "breaker opened": lambda it: it.counted("breaker_opened_total"),
    "usage that never came, behind the end": _usage_came_late,
    "usage that cannot be true": lambda it: it.counted("usage_rejected_total"),
    "read on behind its ending": lambda it: it.notes.get("drained_bytes", 0),
    "reading on was cut": lambda it: it.notes.get("drain_cut_by", 0),
    "whole hold settled, as its provider bills": lambda it: it.one(_HELD),
    "charged and empty": lambda it: it.one(_EMPTY),
    "asked again, and noticed": lambda it: it.counted("burn_total"),
    "key attached to what runs": lambda it: it.counted("idempotent_replays_total:attached"),
    "answer told again": lambda it: it.counted("idempotent_replays_total:replayed"),
    "key freed": lambda it: it.one(_FREED),
    "key in use": lambda it: it.codes.get("idempotency_in_progress", 0),
    "key of another body": lambda it: it.codes.get("idempotency_mismatch", 0),
    "answer too large to be told again": lambda it: it.codes.get("idempotency_completed", 0),
    "client left": lambda it: it.ended("client_disconnected"),
    "client stalled and was given up": lambda it: it.clients(lambda client: client.was_stuck),
    "early head": lambda it: it.clients(lambda client: client.body.startswith(b":")),
    "provider failed": lambda it: it.ended("upstream_error"),
    "deadline": lambda it: it.ended("deadline_exceeded"),
    "shutdown": lambda it: it.ended("shutdown"),
    "refused while draining": lambda it: it.codes.get("shutting_down", 0),
    "key revoked while it runs": lambda it: it.coded("key_revoked"),
    "key revoked": lambda it: it.codes.get("invalid_api_key", 0),
    "limit of a key": lambda it: it.codes.get("rate_limited", 0),
    "gateway full": lambda it: it.codes.get("overloaded", 0),
    "store away at the opening": lambda it: it.codes.get("store_unavailable", 0),
    "store away at the end": lambda it: it.counted("unsettled_total"),
    "opened late, and closed at zero": lambda it: it.notes.get("opened_late", 0),
    "store broke": lambda it: it.world.database.weather.broken,
    "committed, and nobody was told": lambda it: it.world.database.weather.broken_behind,
    "spooled": lambda it: it.counted("settlements_spooled_total"),
    "spool replayed": lambda it: it.counted("spool_replayed_total"),
    "spool refused": lambda it: it.world.database.weather.spools_refused,
    "ballast dropped": lambda it: it.world.database.weather.ballasts_dropped,
    "killed with holds open": lambda it: it.world.met["killed with holds open"],
    "recovered": lambda it: it.counted("recovered_total"),
    "reaped": lambda it: it.counted("reaped_total"),
    "fenced, and woken": lambda it: it.counted("fenced_total"),
    "closed late, as an adjustment": lambda it: it.entries.get("adjustment", 0),
    "clock stepped over a window": lambda it: it.world.met["clock stepped over a window"],
    "clock set back": lambda it: it.world.met["clock set back"],
    "rejections folded": lambda it: it.one(_FOLDED),
    "reloaded": lambda it: it.world.met["reloaded"],
    "connection without a terminal frame": lambda it: it.clients(_had_no_end),
    "nobody listened": lambda it: it.world.met["nobody listened"],
}
"""How often each was hit."""

RARE: Final = frozenset({
    "hedge won", "hedge lost", "hedge without room", "store away at the end", "spool refused", "reaped",
    "fenced, and woken", "closed late, as an adjustment", "opened late, and closed at zero", "shutdown",
    "key revoked while it runs", "refused while draining", "rejections folded", "connection without a terminal frame",
})  # fmt: skip
"""Those that a thousand seeds may miss."""


def met(world: "World") -> Counter[str]:
    """Return how often a seed hit each branch."""
    facts = Facts.of(world)
    return Counter({name: count for name, of in BRANCHES.items() if (count := of(facts))})
