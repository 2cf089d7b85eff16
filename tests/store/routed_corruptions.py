"""The ways to corrupt what is recorded of later attempts and of routing; ``test_corruption.py`` goes through them."""

from typing import Final

ENTRY: Final = (
    "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at, attempt)"
    " SELECT inference_id, {kind}, account_id, {provider}, {amount}, {at}, {attempt} FROM inferences"
    " WHERE inference_id = {whose}"
)
OUTCOME: Final = "UPDATE routing_outcomes SET {change} WHERE inference_id = :{whose}"
UNROUTED: Final = "UPDATE routing_outcomes SET {change} WHERE status = 'rejected_floor'"
COPY: Final = (
    "INSERT INTO routing_outcomes (inference_id, at, key_id, account_id, path, stream, requested_model, target,"
    " ruleset, status, code, model, provider, attempts, cost_nusd)"
    " SELECT {whose}, at, key_id, account_id, path, stream,"
    " requested_model, target, ruleset, status, code, model, provider, attempts, cost_nusd FROM routing_outcomes"
    " WHERE inference_id = :routed"
)
EVENT: Final = "UPDATE audit_events SET body = {body} WHERE kind = 'inference.closed' AND inference_id = :{whose}"


def _later(change: str, whose: str, number: int) -> str:
    return f"UPDATE later_attempts SET {change} WHERE inference_id = :{whose} AND number = {number}"


def _entry(change: str, whose: str, kind: str, attempt: int) -> str:
    return f"UPDATE entries SET {change} WHERE inference_id = :{whose} AND kind = '{kind}' AND attempt = {attempt}"


# As in ``test_corruption.py``: what is done -> the statement, the invariant that is meant, and the others.
ROUTED_CORRUPTIONS: Final[dict[str, tuple[str, str, str]]] = {
    # --- later attempts as they were opened ---
    "a later attempt deleted": (
        "DELETE FROM later_attempts WHERE inference_id = :fell_back", "D1", "I5 I12 C1 E1 R2 S5",
    ),
    "one of several later attempts deleted": (
        "DELETE FROM later_attempts WHERE inference_id = :third AND number = 2", "S2", "I2 I12 C1 D1 E1 R2 S5",
    ),
    "a later attempt of nothing": (
        "INSERT INTO later_attempts SELECT 'ghost', 2, opened_at, caps, model, upstream_model, provider, price_version,"
        " input_estimate, clamp_tokens, ended FROM later_attempts WHERE inference_id = :fell_back", "D1", "E1 R1",
    ),
    "a later attempt that nothing was set aside for": (
        "INSERT INTO later_attempts SELECT inference_id, 3, opened_at, caps, model, upstream_model, provider,"
        " price_version, input_estimate, clamp_tokens, '[]' FROM later_attempts WHERE inference_id = :running_both",
        "E1", "",
    ),
    "a later attempt renumbered": (_later("number = 4", "third", 3), "S2", "I5 I12 C1 D1 E1 S5"),
    "a later attempt's price deleted": (_later("price_version = 'none'", "running_both", 2), "D1", ""),
    "a later attempt's model changed": (_later("model = 'big'", "running_later", 2), "C2", "C1"),
    "a settled later attempt's model changed": (_later("model = 'big'", "fell_back", 2), "C2", "C1 R2 S5"),
    "a later attempt's provider changed": (_later("provider = 'sim'", "running_both", 2), "D1", ""),
    "a later attempt moved in time": (_later("opened_at = opened_at + 1", "running_both", 2), "E1", ""),
    "a later attempt before its exchange": (_later("opened_at = 5", "hedged", 2), "E1", ""),
    "a later attempt's caps emptied": (_later("caps = '[]'", "running_both", 2), "C2", "C1"),
    "a later attempt's caps garbled": (_later("caps = '[['", "running_both", 2), "C2", "C1"),
    "the first attempt's caps for a later one": (
        _later("caps = (SELECT caps FROM inferences WHERE inference_id = :third)", "third", 3), "C2", "C1",
    ),
    "a cap that came while a later attempt ran left out": (
        _later("caps = replace(caps, ',[\"' || :cap_big_late || '\",0]', '')", "running_both", 2), "C2", "",
    ),
    "a later attempt's cap listed for the first one": (
        "UPDATE inferences SET caps = json_insert(caps, '$[#]', json_array(:cap_big, 0))"
        " WHERE inference_id = :running_both",
        "C2", "C1",
    ),
    "an end forgotten": (_later("ended = '[]'", "running_later", 2), "I2", "E1"),
    "an end made up": (_later("ended = '[[1,7]]'", "running_both", 2), "I2", ""),
    "an end at another cost": (_later("ended = '[[1,601]]'", "running_later", 2), "I2", ""),
    "an end at a cost below nothing": (_later("ended = '[[1,-1]]'", "fell_back", 2), "S6", "I2"),
    "an end of half an attempt": (_later("ended = '[[1.5,7]]'", "third", 3), "S6", ""),
    "an end told twice": (_later("ended = '[[2,110005],[1,700]]'", "third", 3), "S6", ""),
    "an end told before its attempt was opened": (
        _later("ended = '[[1,10],[2,110000]]'", "routed_unknown", 2), "S6", "",
    ),
    "ends garbled": (_later("ended = '[[1,'", "fell_back", 2), "S6", "I2 E1"),
    "an end that is a word": (_later("ended = '[\"one\"]'", "fell_back", 2), "S6", "I2 E1"),
    "progress of an attempt that was never opened": (
        "UPDATE holds SET attempt = 3 WHERE inference_id = :running_later", "D1", "",
    ),
    # --- entries of several attempts ---
    "an entry of an attempt that was never opened": (_entry("attempt = 3", "hedged", "extend", 2), "D1", "I4 I5 C1 E1"),
    "a settlement moved to another attempt": (_entry("attempt = 1", "hedged", "settle", 2), "D1", "I4 I5 C1 S1"),
    "an entry moved to another attempt's provider": (_entry("provider = 'openai'", "hedged", "settle", 2), "D1", ""),
    "amounts moved between attempts": (
        _entry("amount_nusd = amount_nusd - 1", "hedged", "settle", 1) + "; "
        + _entry("amount_nusd = amount_nusd + 1", "hedged", "settle", 2), "S1", "I4 I5 C1",
    ),
    "an attempt's settlement deleted": (
        "DELETE FROM entries WHERE inference_id = :hedged AND kind = 'settle' AND attempt = 2", "I5", "I2 I3 I14 C1 S1",
    ),
    "an attempt settled twice": (
        ENTRY.format(
            kind="'settle'", provider="'anthropic'", amount=0, attempt=2, whose=":hedged",
            at="(SELECT settled_at FROM settlements WHERE inference_id = :hedged)",
        ), "I5", "",
    ),
    "an overrun beside a release": (
        _entry("amount_nusd = amount_nusd - 1", "hedged", "settle", 2) + "; "
        + _entry("amount_nusd = amount_nusd + 1", "hedged", "release", 2) + "; "
        + ENTRY.format(
            kind="'overrun'", provider="'anthropic'", amount=1, attempt=2, whose=":hedged",
            at="(SELECT settled_at FROM settlements WHERE inference_id = :hedged)",
        )
        + "; UPDATE settlements SET settled_nusd = settled_nusd - 1, overrun_nusd = overrun_nusd + 1"
        " WHERE inference_id = :hedged",
        "I5", "A1",
    ),
    "what several attempts were settled at changed": (
        "UPDATE settlements SET settled_nusd = settled_nusd + 1 WHERE inference_id = :hedged",
        "I5", "I3 I6 A1 R2 S1",
    ),
    "what several attempts overran changed": (
        "UPDATE settlements SET overrun_nusd = overrun_nusd - 1 WHERE inference_id = :third",
        "I5", "I3 I6 A1 R2 S1",
    ),
    "what several attempts held changed": (
        "UPDATE settlements SET held_nusd = held_nusd + 1 WHERE inference_id = :third", "I5", "A1",
    ),
    "what an ended attempt gave back changed": (
        _entry("amount_nusd = amount_nusd + 1", "running_later", "release", 1), "I2", "I14 C1",
    ),
    "what an ended attempt gave back deleted": (
        "DELETE FROM entries WHERE inference_id = :running_later AND kind = 'release'", "I2", "I14 C1",
    ),
    "what an ended attempt gave back moved in time": (_entry("at = at + 1", "running_later", "release", 1), "E1", ""),
    "what an ended and settled attempt gave back moved in time": (
        "UPDATE entries SET at = at + 1 WHERE inference_id = :third AND kind = 'release' AND attempt = 1", "E1", "",
    ),
    "something given back that runs": (
        ENTRY.format(kind="'release'", provider="provider", amount=1, attempt=1, whose=":running", at="opened_at + 9")
        + "; UPDATE holds SET held_nusd = held_nusd - 1 WHERE inference_id = :running",
        "I2", "C1 E1",
    ),
    "an extension after the end": (
        ENTRY.format(kind="'extend'", provider="'anthropic'", amount=0, attempt=2, whose=":hedged", at="opened_at + 9"),
        "E1", "",
    ),
    "a second hold": (_entry("kind = 'hold'", "running_both", "extend", 2), "I2", "E1"),
    "a second hold at the opening of the exchange": (
        _later("opened_at = (SELECT opened_at FROM inferences WHERE inference_id = :hedged)", "hedged", 2)
        + "; UPDATE entries SET kind = 'hold', at = (SELECT opened_at FROM inferences WHERE inference_id = :hedged)"
        " WHERE seq = (SELECT min(seq) FROM entries WHERE inference_id = :hedged AND attempt = 2)",
        "E1", "",
    ),
    "an attempt that began after a later one": (
        "UPDATE entries SET seq = 9999 WHERE seq = (SELECT min(seq) FROM entries WHERE inference_id = :third"
        " AND attempt = 2)", "E1", "I4",
    ),
    # --- lines of attempts ---
    "a line of another model": (
        "UPDATE attempts SET model = 'small' WHERE inference_id = :hedged AND number = 2", "S5", "A1",
    ),
    "a line of an attempt that was never opened": (
        "UPDATE attempts SET number = 3 WHERE inference_id = :hedged AND number = 2", "S2", "I12 S1 S5",
    ),
    "lines swapped": (
        "UPDATE attempts SET number = 9 WHERE inference_id = :hedged AND number = 1; "
        "UPDATE attempts SET number = 1 WHERE inference_id = :hedged AND number = 2; "
        "UPDATE attempts SET number = 2 WHERE inference_id = :hedged AND number = 9", "S5", "A1 S1",
    ),
    "a line before its attempt was opened": (
        "UPDATE attempts SET started_at = (SELECT opened_at FROM inferences WHERE inference_id = :hedged)"
        " WHERE inference_id = :hedged AND number = 2", "I12", "A1",
    ),
    "costs moved between lines": (
        "UPDATE attempts SET cost_nusd = cost_nusd + CASE number WHEN 1 THEN 1 ELSE -1 END"
        " WHERE inference_id = :routed_lost", "S1", "A1",
    ),
    "all attempts of an answer broken off": (
        "UPDATE attempts SET aborted_billing = 'held' WHERE inference_id = :overtaken", "I13", "A1",
    ),
    # --- decisions and rulesets ---
    "a decision deleted": ("DELETE FROM routing_decisions WHERE inference_id = :routed", "R1", "R2"),
    "a running one's decision deleted": ("DELETE FROM routing_decisions WHERE inference_id = :running_both", "R1", ""),
    "a decision of a pinned one": (
        "INSERT INTO routing_decisions SELECT :plain, target, ruleset, body FROM routing_decisions"
        " WHERE inference_id = :routed", "R1", "R2",
    ),
    "a decision of nothing": (
        "INSERT INTO routing_decisions SELECT 'ghost', target, ruleset, body FROM routing_decisions"
        " WHERE inference_id = :routed", "D1", "",
    ),
    "a decision changed": (
        "UPDATE routing_decisions SET body = replace(body, 'small', 'large') WHERE inference_id = :routed", "R1", "",
    ),
    "a running one's decision garbled": (
        "UPDATE routing_decisions SET body = '{' WHERE inference_id = :running_both", "R2", "",
    ),
    "a decision's target changed": (
        "UPDATE routing_decisions SET target = 'other' WHERE inference_id = :routed", "R1", "R2",
    ),
    "a ruleset changed": ("UPDATE rulesets SET body = replace(body, '500', '501')", "R3", ""),
    "a ruleset deleted": ("DELETE FROM rulesets", "D1", ""),
    # --- outcomes ---
    "an outcome deleted": ("DELETE FROM routing_outcomes WHERE inference_id = :routed", "R1", ""),
    "two outcomes": ("DROP INDEX one_outcome; " + COPY.format(whose="inference_id"), "R1", "A1"),
    "an outcome of what runs": (COPY.format(whose=":running_both"), "R1", "D1"),
    "an outcome of a pinned one": (COPY.format(whose=":plain"), "R1", "R2"),
    "an outcome of nothing": (COPY.format(whose="'ghost'"), "D1", "R1"),
    "an outcome called better": (OUTCOME.format(change="status = 'succeeded'", whose="fell_back"), "R1", ""),
    "an outcome called worse": (OUTCOME.format(change="status = 'failed'", whose="routed"), "R1", ""),
    "an outcome called rejected": (OUTCOME.format(change="status = 'rejected_floor'", whose="routed"), "R1", ""),
    "an ending of a routed one that is none": (
        "UPDATE settlements SET ending = 'lost' WHERE inference_id = :routed", "I13", "A1 R1",
    ),
    "an outcome moved to another attempt": (
        OUTCOME.format(change="model = 'small', provider = 'openai'", whose="fell_back"), "R1", "",
    ),
    "an outcome of a model that was not called": (OUTCOME.format(change="model = 'big'", whose="routed"), "R1", "R2"),
    "an outcome's attempts changed": (OUTCOME.format(change="attempts = 1", whose="fell_back"), "R2", ""),
    "an outcome's cost changed": (OUTCOME.format(change="cost_nusd = 0", whose="fell_back"), "R2", ""),
    "an outcome's code changed": (OUTCOME.format(change="code = NULL", whose="all_failed"), "R2", ""),
    "an outcome moved in time": (OUTCOME.format(change="at = at + 1", whose="routed"), "R2", ""),
    "an outcome moved to another key": (OUTCOME.format(change="key_id = :key", whose="routed"), "R2", ""),
    "an outcome of no key": (UNROUTED.format(change="key_id = 'ghost'"), "D1", ""),
    "an outcome of an account that is not its key's": (UNROUTED.format(change="account_id = :account_other"), "D1", ""),
    "an outcome of another target": (OUTCOME.format(change="target = 'other'", whose="routed"), "R2", ""),
    "an outcome with a decision of its own": (
        OUTCOME.format(
            change="decision = (SELECT body FROM routing_decisions WHERE inference_id = :routed)", whose="routed",
        ),
        "R2", "",
    ),
    "an outcome before its exchange": (OUTCOME.format(change="first_byte_us = -1", whose="routed"), "R2", ""),
    "a rejection called a success": (UNROUTED.format(change="status = 'succeeded'"), "R1", ""),
    "a rejection with a code that is none": (UNROUTED.format(change="code = 'oops'"), "R1", ""),
    "a rejection that cost something": (UNROUTED.format(change="cost_nusd = 1"), "R1", ""),
    "a rejection that called something": (UNROUTED.format(change="attempts = 1"), "R1", ""),
    "a rejection that names a model": (UNROUTED.format(change="model = 'small'"), "R1", ""),
    "a rejection that came to content": (UNROUTED.format(change="first_byte_us = 7"), "R1", ""),
    "a rejection's decision forgotten": (UNROUTED.format(change="decision = NULL"), "R1", ""),
    "a rejection's decision of another target": (
        UNROUTED.format(change="decision = json_set(decision, '$.target', 'other')"), "R2", "",
    ),
    # --- the audit trail ---
    "an event that calls a pinned one routed": (
        EVENT.format(body="json_set(body, '$.router', 'ainf-inference')", whose="plain"), "R1", "I11",
    ),
    "an event that calls a routed one direct": (
        EVENT.format(body="json_set(body, '$.router', 'direct')", whose="routed"), "R1", "I11",
    ),
    "an event that has forgotten how it was routed": (
        EVENT.format(body="json_remove(body, '$.routing')", whose="routed"), "R1", "I11",
    ),
    "an event of another decision": (
        EVENT.format(body="json_set(body, '$.routing.decision_sha256', 'ff')", whose="routed"), "R1", "I11",
    ),
    "an event of another attempt": (
        EVENT.format(body="json_set(body, '$.routing.served', 2)", whose="routed"), "R1", "I11",
    ),
    "an event that names another model": (
        EVENT.format(body="json_set(body, '$.model', 'big')", whose="routed"), "R1", "I11 A1",
    ),
    "an event that names another price": (
        EVENT.format(body="json_set(body, '$.price_version', 'none')", whose="plain"), "A1", "I11",
    ),
}  # fmt: skip
