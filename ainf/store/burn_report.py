"""What burnt in a period: every exchange that was charged for nothing, once, however often it was asked again."""

from itertools import groupby
from typing import Final

import attrs

from ainf.store.burn import Burn, kind_of
from ainf.store.period import Period
from ainf.store.transaction import Row, Transaction
from ainf.store.usage import Whose

# What an adjustment gave back did not burn: the sum is what it came to.
_BURNT: Final = """
    SELECT i.fingerprint, i.inference_id, i.opened_at, a.name, i.key_id, coalesce(o.model, i.model), s.ending,
        s.is_empty, s.settled_nusd + s.overrun_nusd + coalesce((
            SELECT sum(e.amount_nusd) FROM entries AS e
            WHERE e.inference_id = i.inference_id AND e.kind = 'adjustment'
        ), 0),
        (SELECT min(r.inference_id) FROM settlements AS r WHERE r.retry_of = i.inference_id)
    FROM inferences AS i
    JOIN settlements AS s ON s.inference_id = i.inference_id
    JOIN accounts AS a ON a.account_id = i.account_id
    LEFT JOIN routing_outcomes AS o ON o.inference_id = i.inference_id
    WHERE {whose} AND i.opened_at >= ? AND i.opened_at < ? AND (
        s.is_empty = 1 OR EXISTS (SELECT 1 FROM settlements AS r WHERE r.retry_of = i.inference_id)
    )
    ORDER BY i.account_id, i.fingerprint, i.opened_at, i.inference_id
"""


@attrs.frozen
class BurntExchange:
    """One exchange that was charged for nothing."""

    inference_id: str
    opened_at: int
    account: str
    key_id: str
    model: str
    """That answered, or was tried last."""
    ending: str
    kind: Burn
    charged_nusd: int
    """With its adjustments."""
    asked_again_by: str | None
    """The first exchange that asked the same again."""


@attrs.frozen
class BurntBody:
    """Everything that burnt of one body of one account: a chain of retries, or several."""

    fingerprint: str
    """The body's keyed digest; the body itself is not kept."""
    exchanges: tuple[BurntExchange, ...]
    """In the order of their admission."""

    @property
    def charged_nusd(self) -> int:
        """What burnt."""
        return sum(exchange.charged_nusd for exchange in self.exchanges)


@attrs.frozen
class Burner:
    """Who burnt how much, in one way."""

    account: str
    key_id: str
    kind: Burn
    exchanges: int
    charged_nusd: int


@attrs.frozen
class BurnReport:
    """What burnt, the costliest first."""

    burners: tuple[Burner, ...]
    bodies: tuple[BurntBody, ...]

    @property
    def exchanges(self) -> int:
        """How many exchanges were charged for nothing."""
        return sum(burner.exchanges for burner in self.burners)

    @property
    def charged_nusd(self) -> int:
        """What they were charged."""
        return sum(burner.charged_nusd for burner in self.burners)


def burn_report(tx: Transaction, whose: Whose, period: Period, *, only_empty: bool = False) -> BurnReport:
    """Return what burnt of what was admitted in a period (an operation that only reads).

    It takes time in proportion to the exchanges of the period.
    """
    rows = tx.execute(_BURNT.format(whose=whose.where), (*whose.parameters, period.since, period.until))
    bodies = []
    for (_, fingerprint), same in groupby(rows, key=_body_of):
        burnt = [_exchange(row) for row in same]
        kept = [each for each in burnt if each.charged_nusd > 0 and (each.kind is Burn.EMPTY or not only_empty)]
        if kept:
            bodies.append(BurntBody(fingerprint.hex(), tuple(kept)))
    bodies.sort(key=lambda body: (-body.charged_nusd, body.exchanges[0].opened_at))
    return BurnReport(_burners(bodies), tuple(bodies))


def _body_of(row: Row) -> tuple[str, bytes]:
    return row[3], row[0]


def _exchange(row: Row) -> BurntExchange:
    _, inference_id, opened_at, account, key_id, model, ending, is_empty, charged, asked_again_by = row
    kind = kind_of(ending, is_empty=bool(is_empty))
    return BurntExchange(inference_id, opened_at, account, key_id, model, ending, kind, charged, asked_again_by)


def _burners(bodies: list[BurntBody]) -> tuple[Burner, ...]:
    sums: dict[tuple[str, str, Burn], list[int]] = {}
    for body in bodies:
        for each in body.exchanges:
            sums.setdefault((each.account, each.key_id, each.kind), []).append(each.charged_nusd)
    burners = [Burner(*who, len(charged), sum(charged)) for who, charged in sums.items()]
    return tuple(sorted(burners, key=lambda burner: (-burner.charged_nusd, burner.account, burner.key_id, burner.kind)))
