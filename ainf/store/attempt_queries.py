"""The invariants of exchanges that called several providers, one attempt after or beside the other, as queries.

The first attempt of an exchange stands in ``inferences``, the later ones in ``later_attempts``; each sets money aside
for itself, gives back what it did not need when it ends before its exchange, and is settled by itself. What holds for
the sums of an exchange is in ``money_queries``. Words: an attempt is *told as ended* where one that was opened later
names it with its cost; what it *gave back* are its releases before the exchange's end.
"""

# ruff: noqa: S608 - the statements are made of this file's constants, nothing from outside gets into them

from typing import Final

from ainf.store.invariants import Query

SEVERAL: Final = "(SELECT inference_id FROM later_attempts)"
"""The exchanges that have more than one attempt."""

# Each attempt of those exchanges.
_OPENED: Final = f"(SELECT * FROM opened_attempts WHERE inference_id IN {SEVERAL})"

ENDED: Final = """(
    SELECT l.inference_id, l.number AS told_by, l.opened_at AS told_at, j.value ->> 0 AS number,
        j.value ->> 1 AS cost_nusd
    FROM later_attempts AS l
    JOIN json_each(CASE WHEN json_valid(l.ended) THEN l.ended ELSE '[]' END) AS j
        ON CASE WHEN j.type = 'array' THEN json_array_length(j.value) = 2
            AND json_type(j.value, '$[0]') = 'integer' AND json_type(j.value, '$[1]') = 'integer' END
)"""
"""What later attempts tell of ended ones; what cannot be read as that is left out, and told of by itself."""

# What was posted for each of those attempts, before the first settlement of the exchange and from there on.
_POSTED: Final = f"""(
    SELECT e.inference_id, e.attempt AS number,
        min(e.seq) AS first_seq,
        sum(CASE WHEN e.kind IN ('hold', 'extend') THEN e.amount_nusd ELSE 0 END) AS reserved_nusd,
        sum(CASE WHEN e.kind = 'release' AND is_before THEN e.amount_nusd ELSE 0 END) AS given_back_nusd,
        sum(CASE WHEN e.kind = 'settle' THEN e.amount_nusd ELSE 0 END) AS settled_nusd,
        sum(CASE WHEN e.kind = 'release' AND NOT is_before THEN e.amount_nusd ELSE 0 END) AS released_nusd,
        sum(CASE WHEN e.kind = 'overrun' THEN e.amount_nusd ELSE 0 END) AS overrun_nusd,
        sum(e.kind = 'hold') AS holds, sum(e.kind = 'settle') AS settlements,
        sum(e.kind IN ('hold', 'extend') AND NOT is_before) AS too_late
    FROM (
        SELECT *, coalesce(seq < min(CASE WHEN kind = 'settle' THEN seq END) OVER (PARTITION BY inference_id), TRUE)
            AS is_before
        FROM entries WHERE inference_id IN {SEVERAL}
    ) AS e
    GROUP BY e.inference_id, e.attempt
)"""

ATTEMPTS: Final = (
    Query(
        "I2",
        "what is set aside for an attempt that ended before its exchange is exactly its cost, and no other gave"
        " anything back",
        ("inference_id", "attempt", "set_aside_nusd", "given_back_nusd", "cost_nusd"),
        f"""
        SELECT p.inference_id, p.number, p.reserved_nusd - p.given_back_nusd, p.given_back_nusd, n.cost_nusd
        FROM {_POSTED} AS p
        LEFT JOIN {ENDED} AS n ON n.inference_id = p.inference_id AND n.number = p.number
        WHERE CASE WHEN n.number IS NULL THEN p.given_back_nusd <> 0
            ELSE p.reserved_nusd - p.given_back_nusd <> n.cost_nusd END
        """,
    ),
    Query(
        "I5",
        "of several attempts, each is settled once, with all that is set aside for it; only what is over that is"
        " overrun",
        ("inference_id", "attempt", "set_aside_nusd", "settled_nusd", "released_nusd", "overrun_nusd"),
        f"""
        SELECT o.inference_id, o.number, p.reserved_nusd - p.given_back_nusd, p.settled_nusd, p.released_nusd,
            p.overrun_nusd
        FROM {_OPENED} AS o
        JOIN settlements AS s ON s.inference_id = o.inference_id
        LEFT JOIN {_POSTED} AS p ON p.inference_id = o.inference_id AND p.number = o.number
        WHERE coalesce(p.settlements, 0) <> 1
            OR p.reserved_nusd - p.given_back_nusd <> p.settled_nusd + p.released_nusd
            OR (p.overrun_nusd <> 0 AND p.released_nusd <> 0)
        """,
    ),
    Query(
        "I5",
        "what an exchange of several attempts is settled with are the sums of its attempts",
        ("inference_id", "held_nusd", "settled_nusd", "overrun_nusd"),
        f"""
        SELECT s.inference_id, s.held_nusd, s.settled_nusd, s.overrun_nusd
        FROM settlements AS s JOIN {_POSTED} AS p ON p.inference_id = s.inference_id
        GROUP BY s.inference_id, s.held_nusd, s.settled_nusd, s.overrun_nusd
        HAVING s.held_nusd <> sum(p.reserved_nusd - p.given_back_nusd) OR s.settled_nusd <> sum(p.settled_nusd)
            OR s.overrun_nusd <> sum(p.overrun_nusd)
        """,
    ),
    Query(
        "S1",
        "an attempt is charged what its line says, or nothing where it has none; all that is set aside for it where no"
        " amount could be had",
        ("inference_id", "attempt", "charged_nusd", "line_nusd", "evidence"),
        f"""
        SELECT p.inference_id, p.number, p.settled_nusd + p.overrun_nusd, a.cost_nusd, s.evidence
        FROM {_POSTED} AS p
        JOIN settlements AS s ON s.inference_id = p.inference_id
        LEFT JOIN attempts AS a ON a.inference_id = p.inference_id AND a.number = p.number
        WHERE CASE WHEN s.evidence = 'none' THEN p.released_nusd <> 0
            ELSE p.settled_nusd + p.overrun_nusd <> coalesce(a.cost_nusd, 0) END
        """,
    ),
    Query(
        "S2",
        "the later attempts of an exchange are numbered from 2 without a gap",
        ("inference_id", "attempts", "last_number"),
        """
        SELECT inference_id, count(*), max(number) FROM later_attempts
        GROUP BY inference_id HAVING count(*) <> max(number) - 1
        """,
    ),
    Query(
        "S5",
        "an attempt's line is of the call that was opened before its dial, with its model, provider and price",
        ("inference_id", "attempt", "model", "provider", "price_version"),
        """
        SELECT a.inference_id, a.number, a.model, a.provider, a.price_version
        FROM attempts AS a
        LEFT JOIN inferences AS i ON i.inference_id = a.inference_id AND a.number = 1
        LEFT JOIN later_attempts AS l ON l.inference_id = a.inference_id AND l.number = a.number
        WHERE (a.model, a.upstream_model, a.provider, a.price_version) IS NOT (
            coalesce(i.model, l.model), coalesce(i.upstream_model, l.upstream_model),
            coalesce(i.provider, l.provider), coalesce(i.price_version, l.price_version)
        )
        """,
    ),
    Query(
        "S6",
        "what a later attempt tells of ended ones can be read: numbers before its own, with what they cost",
        ("inference_id", "attempt", "ended"),
        f"""
        SELECT l.inference_id, l.number, l.ended FROM later_attempts AS l
        WHERE NOT json_valid(l.ended) OR CASE WHEN json_valid(l.ended) THEN json_type(l.ended) <> 'array'
            OR json_array_length(l.ended) <> (
                SELECT count(*) FROM {ENDED} AS n
                WHERE n.inference_id = l.inference_id AND n.told_by = l.number
                    AND n.number BETWEEN 1 AND l.number - 1 AND n.cost_nusd >= 0
            ) END
        """,
    ),
    Query(
        "S6",
        "an attempt ends once",
        ("inference_id", "attempt", "ends"),
        f"""
        SELECT inference_id, number, count(*) FROM {ENDED} AS n
        GROUP BY inference_id, number HAVING count(*) > 1
        """,
    ),
    Query(
        "E1",
        "each attempt begins with what is set aside for it at its opening, of which only the first one's is a hold;"
        " nothing is set aside after the end",
        ("inference_id", "attempt", "first_seq", "opened_at"),
        f"""
        SELECT o.inference_id, o.number, e.seq, o.opened_at
        FROM {_OPENED} AS o
        LEFT JOIN {_POSTED} AS p ON p.inference_id = o.inference_id AND p.number = o.number
        LEFT JOIN entries AS e ON e.seq = p.first_seq
        WHERE e.seq IS NULL OR e.at <> o.opened_at OR p.holds <> (o.number = 1) OR p.too_late > 0
        """,
    ),
    Query(
        "D1",
        "every later attempt belongs to an exchange, and what is said of an attempt to one that was opened",
        ("table", "row", "missing"),
        """
        SELECT 'later_attempts', x.inference_id || ' ' || x.number, 'inference' FROM later_attempts AS x
        LEFT JOIN inferences AS y ON y.inference_id = x.inference_id WHERE y.inference_id IS NULL
        UNION ALL SELECT 'later_attempts', x.inference_id || ' ' || x.number, 'price ' || x.price_version
        FROM later_attempts AS x
        LEFT JOIN prices AS y ON y.price_version = x.price_version WHERE y.price_version IS NULL
        UNION ALL SELECT 'holds', x.inference_id, 'attempt ' || x.attempt FROM holds AS x
        LEFT JOIN later_attempts AS y ON y.inference_id = x.inference_id AND y.number = x.attempt
        WHERE x.attempt <> 1 AND y.inference_id IS NULL
        """,
    ),
)
