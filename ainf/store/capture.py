"""R1, R2 and R3: every routed exchange is captured, once, as what it was.

Captured is a routing outcome: one of each routed exchange, written with its settlement; one of each request for a
target that was not admitted though something was decided; none of a pinned one. That the closing events say the same is
checked where they are read (``closings``).
"""

# ruff: noqa: S608 - the statements are made of constants, nothing from outside gets into them

from collections.abc import Iterator
from typing import Final

from ainf.inference.errors import CODES
from ainf.inference.outcome import Ending
from ainf.routing.outcome import REJECTED, status_of
from ainf.routing.ruleset import ruleset_hash
from ainf.store.invariants import Breach, Check, Invariant, Query, Reading, words

ENDED_AS_TOLD: Final = Invariant("R1", "an outcome's status is what the ending and the attempt that answered make")
RULESETS_BY_CONTENT: Final = Invariant("R3", "a ruleset is stored under the digest of its content")

_STATUSES: Final = """
    SELECT o.outcome_id, o.inference_id, o.status, s.ending,
        CASE WHEN i.model = o.model THEN 1 END,
        (SELECT min(l.number) FROM later_attempts AS l WHERE l.inference_id = o.inference_id AND l.model = o.model)
    FROM routing_outcomes AS o
    JOIN inferences AS i ON i.inference_id = o.inference_id
    JOIN settlements AS s ON s.inference_id = o.inference_id
    WHERE o.outcome_id > ? ORDER BY o.outcome_id LIMIT ?
"""
_RULESETS: Final = "SELECT ruleset, body FROM rulesets WHERE ruleset > ? ORDER BY ruleset LIMIT ?"
_ENDINGS: Final = frozenset(Ending)

OUTCOMES: Final = (
    Query(
        "R1",
        "a routed exchange has one routing outcome exactly when it is settled",
        ("inference_id", "settled", "outcomes"),
        """
        SELECT * FROM (
            SELECT d.inference_id AS inference_id, s.inference_id IS NOT NULL AS is_settled,
                (SELECT count(*) FROM routing_outcomes AS o WHERE o.inference_id = d.inference_id) AS outcomes
            FROM routing_decisions AS d LEFT JOIN settlements AS s ON s.inference_id = d.inference_id
        ) AS routed WHERE is_settled <> outcomes
        """,
    ),
    Query(
        "R1",
        "a pinned exchange has no routing outcome",
        ("inference_id", "outcome_id"),
        """
        SELECT o.inference_id, o.outcome_id FROM routing_outcomes AS o
        LEFT JOIN routing_decisions AS d ON d.inference_id = o.inference_id
        WHERE o.inference_id IS NOT NULL AND d.inference_id IS NULL
        """,
    ),
    Query(
        "R1",
        "only a routed exchange has later attempts",
        ("inference_id", "attempt", "model"),
        """
        SELECT l.inference_id, l.number, l.model FROM later_attempts AS l
        LEFT JOIN routing_decisions AS d ON d.inference_id = l.inference_id WHERE d.inference_id IS NULL
        """,
    ),
    Query(
        "R1",
        "the outcome of what was not admitted says why it was rejected, with its decision and the code that was told;"
        " nothing was called, and it cost nothing",
        ("outcome_id", "status", "code", "attempts", "cost_nusd"),
        f"""
        SELECT outcome_id, status, code, attempts, cost_nusd FROM routing_outcomes
        WHERE inference_id IS NULL AND (
            status NOT IN {words(REJECTED)} OR coalesce(code, '') NOT IN {words(CODES)}
            OR decision IS NULL OR attempts <> 0 OR cost_nusd <> 0
            OR coalesce(model, provider, first_byte_us) IS NOT NULL
        )
        """,
    ),
    Query(
        "R2",
        "an outcome says what its exchange, the settlement and the decision say",
        ("inference_id", "outcome_id", "model", "provider", "attempts", "cost_nusd"),
        """
        SELECT o.inference_id, o.outcome_id, o.model, o.provider, o.attempts, o.cost_nusd
        FROM routing_outcomes AS o
        JOIN inferences AS i ON i.inference_id = o.inference_id
        JOIN settlements AS s ON s.inference_id = o.inference_id
        LEFT JOIN routing_decisions AS d ON d.inference_id = o.inference_id
        WHERE (o.key_id, o.account_id, o.path, o.stream, o.requested_model, o.at, o.code, o.cost_nusd, o.attempts)
                IS NOT (
                    i.key_id, i.account_id, i.path, i.stream, i.requested_model, s.settled_at, s.error_code,
                    s.settled_nusd + s.overrun_nusd,
                    1 + (SELECT count(*) FROM later_attempts AS l WHERE l.inference_id = o.inference_id)
                )
            OR (o.target, o.ruleset) IS NOT (d.target, d.ruleset) OR o.decision IS NOT NULL OR o.first_byte_us < 0
            OR NOT EXISTS (
                SELECT 1 FROM opened_attempts AS a
                WHERE a.inference_id = o.inference_id AND a.model = o.model AND a.provider = o.provider
            )
        """,
    ),
    Query(
        "R2",
        "a decision is of the request, the target and the ruleset that it stands beside",
        ("inference_id", "outcome_id", "decision"),
        """
        SELECT inference_id, outcome_id, body FROM (
            SELECT d.inference_id AS inference_id, NULL AS outcome_id, d.body AS body, i.requested_model AS requested,
                d.target AS target, d.ruleset AS ruleset
            FROM routing_decisions AS d JOIN inferences AS i ON i.inference_id = d.inference_id
            UNION ALL SELECT NULL, outcome_id, decision, requested_model, target, ruleset FROM routing_outcomes
            WHERE decision IS NOT NULL
        ) AS decided
        WHERE CASE WHEN json_valid(body)
            THEN (body ->> 'requested', body ->> 'target', body ->> 'ruleset') IS NOT (requested, target, ruleset)
            ELSE TRUE END
        """,
    ),
    Query(
        "D1",
        "every decision and outcome belongs to an exchange, a key and a ruleset that are there",
        ("table", "row", "missing"),
        """
        SELECT 'routing_decisions', x.inference_id, 'inference' FROM routing_decisions AS x
        LEFT JOIN inferences AS y ON y.inference_id = x.inference_id WHERE y.inference_id IS NULL
        UNION ALL SELECT 'routing_decisions', x.inference_id, 'ruleset ' || x.ruleset FROM routing_decisions AS x
        LEFT JOIN rulesets AS y ON y.ruleset = x.ruleset WHERE y.ruleset IS NULL
        UNION ALL SELECT 'routing_outcomes', CAST(x.outcome_id AS TEXT), 'ruleset ' || x.ruleset
        FROM routing_outcomes AS x LEFT JOIN rulesets AS y ON y.ruleset = x.ruleset WHERE y.ruleset IS NULL
        UNION ALL SELECT 'routing_outcomes', CAST(x.outcome_id AS TEXT), 'settlement ' || x.inference_id
        FROM routing_outcomes AS x LEFT JOIN settlements AS y ON y.inference_id = x.inference_id
        WHERE x.inference_id IS NOT NULL AND y.inference_id IS NULL
        UNION ALL SELECT 'routing_outcomes', CAST(x.outcome_id AS TEXT), 'key ' || x.key_id || ' of ' || x.account_id
        FROM routing_outcomes AS x LEFT JOIN keys AS y ON y.key_id = x.key_id AND y.account_id = x.account_id
        WHERE y.key_id IS NULL
        """,
    ),
)


def _wrong_statuses(reading: Reading) -> Iterator[Breach]:
    for outcome_id, inference_id, status, ending, *numbers in reading.walk(_STATUSES, (0,)):
        served = [number for number in numbers if number is not None]
        # What tells of no attempt that was opened, or of no ending that there is, breaks other invariants.
        if served and ending in _ENDINGS and status not in {status_of(Ending(ending), number) for number in served}:
            yield (
                ENDED_AS_TOLD,
                {"outcome_id": outcome_id, "inference_id": inference_id, "status": status, "ending": ending},
            )


def _wrong_rulesets(reading: Reading) -> Iterator[Breach]:
    for ruleset, body in reading.walk(_RULESETS, ("",)):
        if ruleset_hash(body) != ruleset:
            yield RULESETS_BY_CONTENT, {"ruleset": ruleset, "body": body}


CAPTURE: Final = (
    *(query.check() for query in OUTCOMES),
    Check((ENDED_AS_TOLD,), _wrong_statuses),
    Check((RULESETS_BY_CONTENT,), _wrong_rulesets),
)
