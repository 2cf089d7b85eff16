"""Metrics and the log: counted once, labelled from the configuration alone, and never a secret or a failure."""

import json
from io import StringIO

import msgspec
import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

from ainf.telemetry import ExchangeRecord, Telemetry

RECORD = ExchangeRecord(
    inference_id="inf_1", account="agents", key_id="k1", protocol="chat_completions", path="/v1/chat/completions",
    stream=True, model="m", provider="p", ending="completed", code=None, finish_reason="stop", evidence="reported",
    input_tokens=10, output_tokens=20, held_nusd=900, settled_nusd=500, overrun_nusd=7, first_byte_s=0.3,
    duration_s=2.0, notes={"clamp_tokens": 5},
)  # fmt: skip


def samples(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(telemetry.exposition().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_an_exchange_is_counted_once_with_all_its_numbers():
    """One ended exchange: its counter, its tokens, its money, its times."""
    telemetry = Telemetry(StringIO())
    telemetry.exchange_started()
    telemetry.exchange_started()
    telemetry.exchange_ended(RECORD)
    seen = samples(telemetry)
    where = (("model", "m"), ("provider", "p"))
    labels = (("ending", "completed"), ("evidence", "reported"), ("model", "m"), ("protocol", "chat_completions"),
              ("provider", "p"), ("stream", "true"))  # fmt: skip
    assert seen["ainf_exchanges_total", labels] == 1
    assert seen["ainf_tokens_total", (("kind", "input"), *where)] == 10
    assert seen["ainf_tokens_total", (("kind", "output"), *where)] == 20
    assert seen["ainf_settled_nusd_total", where] == 500
    assert seen["ainf_overrun_nusd_total", where] == 7
    assert seen["ainf_first_byte_seconds_sum", (("model", "m"),)] == 0.3
    assert seen["ainf_exchange_seconds_count", (("model", "m"),)] == 1
    assert seen["ainf_running", ()] == 1
    assert seen["ainf_unsettled_total", ()] == 0


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ({"settled_nusd": None}, "ainf_unsettled_total"),
        ({"evidence": "none"}, "ainf_unevidenced_total"),
    ],
)
def test_what_needs_a_look_has_an_alarm_of_its_own(changes, metric):
    """A close that is not durable and a hold that was taken blindly are counted apart."""
    telemetry = Telemetry(StringIO())
    telemetry.exchange_ended(msgspec.structs.replace(RECORD, **changes))
    assert samples(telemetry)[metric, ()] == 1


def test_rejected_usage_is_an_alarm():
    """What a provider reported and nobody believed is counted by model and provider; a plain end is not."""
    telemetry = Telemetry(StringIO())
    telemetry.exchange_ended(RECORD)
    telemetry.exchange_ended(msgspec.structs.replace(RECORD, notes={"usage_rejected": True}))
    assert samples(telemetry)["ainf_usage_rejected_total", (("model", "m"), ("provider", "p"))] == 1


def test_what_burnt_is_counted_by_kind():
    """A closing tells what became known as burnt with it: one exchange of each kind, with its charge."""
    telemetry = Telemetry(StringIO())
    for burnt in ({}, {"empty": 7}, {"empty": 5, "failed": 500}):
        telemetry.exchange_ended(msgspec.structs.replace(RECORD, burnt_nusd=burnt))
    seen = {
        (name, *labels): value for (name, labels), value in samples(telemetry).items() if name.startswith("ainf_burn")
    }
    assert {key: value for key, value in seen.items() if key[0].endswith("_total")} == {
        ("ainf_burn_total", ("kind", "empty")): 2,
        ("ainf_burn_total", ("kind", "failed")): 1,
        ("ainf_burnt_nusd_total", ("kind", "empty")): 12,
        ("ainf_burnt_nusd_total", ("kind", "failed")): 500,
    }


def test_providers_failures_are_counted_by_code():
    """An upstream error counts for its provider and code; other endings do not."""
    telemetry = Telemetry(StringIO())
    telemetry.exchange_ended(msgspec.structs.replace(RECORD, ending="upstream_error", code="upstream_timeout"))
    telemetry.exchange_ended(msgspec.structs.replace(RECORD, ending="shutdown", code="shutting_down"))
    failures = {key: value for key, value in samples(telemetry).items() if key[0] == "ainf_upstream_errors_total"}
    assert failures == {("ainf_upstream_errors_total", (("code", "upstream_timeout"), ("provider", "p"))): 1}


def test_an_exchange_is_one_line_of_json():
    """The log line of an exchange holds every field of its record."""
    log = StringIO()
    Telemetry(log).exchange_ended(RECORD)
    (line,) = log.getvalue().splitlines()
    said = json.loads(line)
    assert said.items() >= msgspec.structs.asdict(RECORD).items()
    assert said["event"] == "exchange"
    assert said["level"] == "info"


def test_text_of_a_client_cannot_forge_a_line():
    """Line breaks, quotes and escapes in a value stay inside their JSON string."""
    log = StringIO()
    Telemetry(log).exchange_ended(msgspec.structs.replace(RECORD, path='/x\n{"event":"exchange"}\x1b[31m\u2028'))
    assert len(log.getvalue().rstrip("\n").split("\n")) == 1
    assert json.loads(log.getvalue())["path"] == '/x\n{"event":"exchange"}\x1b[31m\u2028'
    assert "\x1b" not in log.getvalue()


def test_labels_hold_no_account_key_or_id():
    """However many accounts and ids pass, the number of time series does not grow."""
    telemetry = Telemetry(StringIO())
    telemetry.exchange_ended(RECORD)
    before = len(samples(telemetry))
    for number in range(50):
        telemetry.exchange_ended(
            msgspec.structs.replace(
                RECORD, inference_id=f"inf_{number}", account=f"a{number}", key_id=f"k{number}", path=f"/{number}"
            )
        )
    assert len(samples(telemetry)) == before
    text = telemetry.exposition().decode()
    assert "agents" not in text
    assert '"inf_' not in text


def raise_a_group() -> None:
    try:
        {}["sk-secret"]
    except KeyError as inner:
        raise ExceptionGroup("sk-secret", [inner]) from None


def test_a_defect_is_logged_by_kind_and_place_never_by_text():
    """What an exception says may be a secret; where it came from is what a developer needs."""
    log = StringIO()
    telemetry = Telemetry(log)
    try:
        raise_a_group()
    except ExceptionGroup as error:
        telemetry.defect("exchange", error, inference_id="inf_1")
    said = json.loads(log.getvalue())
    assert said["where"] == "exchange"
    assert said["inference_id"] == "inf_1"
    assert any(place.startswith("test_telemetry.py") and place.endswith(":raise_a_group") for place in said["at"])
    assert "sk-secret" not in log.getvalue()


def test_small_events_have_counters():
    """Refusals, recovery and broken connections are counted; a connection's exception is named by its class."""
    log = StringIO()
    telemetry = Telemetry(log)
    telemetry.rejected("invalid_json")
    telemetry.recovered(3)
    telemetry.connection_broke(ValueError("sk-secret"))
    seen = samples(telemetry)
    assert seen["ainf_rejections_total", (("code", "invalid_json"),)] == 1
    assert seen["ainf_recovered_total", ()] == 3
    assert seen["ainf_connection_errors_total", (("error", "ValueError"),)] == 1
    assert "sk-secret" not in log.getvalue()


ROUTING_EVENTS = {
    "alias_hit": (("ainf-auto",), "alias_hits", {"alias": "ainf-auto"}),
    "routed": (("fleet", "fell_back"), "routing_outcomes", {"target": "fleet", "status": "fell_back"}),
    "fell_back": (("m", "upstream_timeout"), "fallbacks", {"from_model": "m", "code": "upstream_timeout"}),
    "hedged": (("no_room",), "hedges", {"result": "no_room"}),
    "breaker_opened": (("p", "m"), "breaker_opened", {"provider": "p", "model": "m"}),
    "dispatched_without_capture": ((), "dispatch_without_capture", {}),
    "passthrough_captured": ((), "passthrough_captured", {}),
}


@pytest.mark.parametrize("event", ROUTING_EVENTS)
def test_what_routing_does_is_counted(event):
    """Each event counts in its own metric, under its own labels, each time, and in no other."""
    values, metric, labels = ROUTING_EVENTS[event]
    telemetry = Telemetry(StringIO())
    before = samples(telemetry)
    for _ in range(2):
        getattr(telemetry, event)(*values)
    changed = {key: value for key, value in samples(telemetry).items() if value != before.get(key, 0)}
    key = f"ainf_{metric}_total", tuple(sorted(labels.items()))
    assert {name: value for name, value in changed.items() if name[0].endswith("_total")} == {key: 2}


def test_captures_that_went_wrong_are_seen_at_none():
    """The alarms of the capture stand in the metrics before anything went wrong, so that their absence is no calm."""
    seen = samples(Telemetry(StringIO()))
    assert seen["ainf_dispatch_without_capture_total", ()] == 0
    assert seen["ainf_passthrough_captured_total", ()] == 0


def test_a_model_let_rest_is_logged():
    """The operator reads which model of which provider it is."""
    log = StringIO()
    Telemetry(log).breaker_opened("p", "m")
    said = json.loads(log.getvalue())
    assert (said["event"], said["level"], said["provider"], said["model"]) == ("breaker_opened", "warning", "p", "m")


def test_labels_of_one_metric_do_not_mix():
    """What is kept of one set of labels does not count for another."""
    telemetry = Telemetry(StringIO())
    for target, status in (("a", "failed"), ("a", "succeeded"), ("b", "failed"), ("a", "failed")):
        telemetry.routed(target, status)
    seen = {key: value for key, value in samples(telemetry).items() if key[0] == "ainf_routing_outcomes_total"}
    assert {tuple(value for _, value in labels): count for (_, labels), count in seen.items()} == {
        ("failed", "a"): 2,
        ("succeeded", "a"): 1,
        ("failed", "b"): 1,
    }


@pytest.mark.parametrize(
    "failure", [OSError("no space"), BrokenPipeError(), ValueError("I/O operation on closed file")]
)
def test_a_log_that_cannot_be_written_ends_nothing(failure):
    """A full disk or a pipe without a reader loses log lines, which are counted, and nothing else."""

    class BrokenFile(StringIO):
        def write(self, text: str) -> int:
            raise failure

        def flush(self) -> None:
            raise failure

    telemetry = Telemetry(BrokenFile())
    telemetry.exchange_ended(RECORD)
    telemetry.defect("here", ValueError())
    assert samples(telemetry)["ainf_lost_log_lines_total", ()] == 2


async def test_tasks_are_counted_when_somebody_looks():
    """The gauge is the event loop's own count at that moment; where no loop runs, nothing is told of one."""
    telemetry = Telemetry(StringIO())
    before = samples(telemetry)["ainf_tasks", ()]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        assert samples(telemetry)["ainf_tasks", ()] == before + 2
        nursery.cancel_scope.cancel()
    assert await trio.to_thread.run_sync(lambda: samples(Telemetry(StringIO()))["ainf_tasks", ()]) == 0
