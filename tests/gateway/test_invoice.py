"""A crowd's exchanges beside the simulated provider's books, written as an invoice: only what we counted differs."""

import csv
import io
import random
from functools import partial

import pytest
import trio

from ainf.cli.invoice import Invoice
from ainf.inference.money import format_usd
from ainf.inference.outcome import Ending, Verdict
from ainf.store.period import Period
from ainf.store.reconcile import ReconcileAsk, Reconciliation, Sums, reconcile
from benchmarks.billed import billed
from tests.extent import FULL, SEED
from tests.gateway.backends import INPUT_RATE, OUTPUT_RATE
from tests.gateway.candidates import Candidate, ask_target, target_text
from tests.gateway.dialects import DIALECTS
from tests.gateway.world import World, question, world

CLIENTS = 300 if FULL else 60
MODELS = tuple(
    f"{format_}/sim-text-english-tokens-30-pace-20ms{behaviour}"
    for format_ in ("chat", "messages", "responses", "gemini")
    for behaviour in ("", "-reset-after-9", "-bills-on")
)
COLUMNS = ("Inference ID", "Cost USD", "Input tokens", "Output tokens", "status")
ALWAYS = Period(0, 1 << 62)
KILLED = Verdict(Ending.TERMINATED, "killed", "Killed.")


def invoice_of(here: World, path: str = "/") -> str:
    """The provider's books, as one would write them; only of what was asked under a path."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for entry in here.simulator.books.entries:
        tokens = entry.billed_input_tokens, entry.billed_output_tokens
        if any(tokens) and entry.path.startswith(path):
            cost = format_usd(billed(entry, (INPUT_RATE, OUTPUT_RATE)))
            writer.writerow([entry.headers["x-client-request-id"], cost, *tokens, entry.status])
    return text.getvalue()


async def visit(here: World, rng: random.Random) -> None:
    """Ask something, and perhaps leave, or be ended by an operator."""
    await trio.sleep(rng.random())
    client = here.client(question(rng.choice(MODELS), stream=rng.random() < 0.7))
    deed, after_s = rng.choice(("stay", "stay", "leave", "killed")), rng.uniform(0.05, 0.7)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.run, client)
        if deed == "leave":
            await trio.sleep(after_s)
            client.leave()
        elif deed == "killed":
            await trio.sleep(after_s)
            if running := [*here.gateway.inflight]:
                rng.choice(running).offer(KILLED)


async def lay_beside(here: World, text: str, provider: str | None = None) -> tuple[Reconciliation, Invoice]:
    invoice = Invoice(io.StringIO(text), 10)
    ask = ReconcileAsk(ALWAYS, provider, 10_000)
    return await here.store.read(partial(reconcile, ask=ask, lines=invoice)), invoice


@pytest.mark.law
async def test_only_what_we_counted_differs(tmp_path, autojump_clock, count_cases):
    """All reported exchanges agree with the invoice; the differences are the metered ones, and make up the sums."""
    rng = random.Random(SEED)
    async with world(tmp_path, *MODELS, more='slice_tokens = 16\naborted_billing = "drain"') as here:
        async with trio.open_nursery() as nursery:
            for _ in range(CLIENTS):
                nursery.start_soon(visit, here, rng)
        text = invoice_of(here)
        found, invoice = await lay_beside(here, text)
        count_cases(f"exchanges beside an invoice, AINF_SEED={SEED}", found.equal.count + found.differing.count)
        assert invoice.faults == []
        assert found.equal.count > 0
        assert {match.evidence for match in found.differences.rows()} <= {"metered"}
        assert found.unknown_sums.count == 0
        ((posted,),) = await here.rows("SELECT sum(settled_nusd + overrun_nusd) FROM settlements")
        ours = found.equal.ours_nusd + found.differing.ours_nusd + found.missing_sums.ours_nusd
        bill = sum(billed(entry, (INPUT_RATE, OUTPUT_RATE)) for entry in here.simulator.books.entries)
        assert (ours, found.equal.theirs_nusd + found.differing.theirs_nusd) == (posted, bill)
        assert sum(sums.count for sums in found.by_ending.values()) == found.differing.count == found.differences.count


async def test_each_provider_bills_its_attempts(tmp_path, autojump_clock):
    """Exchanges that fell back agree with the invoice of whom they left, and with that of whom they went to."""
    first, second = Candidate("sim-error-first", "messages"), Candidate(format="responses")
    async with world(tmp_path, "responses/sim", after=target_text(first, second)) as here:
        clients = [await ask_target(here, dialect=dialect) for dialect in DIALECTS]
        receipts = [await here.receipt(client.inference_id) for client in clients]
        pinned = await here.receipt((await here.ask("responses/sim")).inference_id)
        own = {
            "messages": [receipt["attempts"][0]["cost_nusd"] for receipt in receipts],
            "responses": [receipt["attempts"][1]["cost_nusd"] for receipt in receipts] + [pinned["settled_nusd"]],
        }
        for provider, charged in own.items():
            assert all(charged)
            found, _ = await lay_beside(here, invoice_of(here, f"/v1/{provider}"), provider)
            assert found.agrees
            assert found.equal == Sums(len(charged), sum(charged), sum(charged))
            assert not (await lay_beside(here, invoice_of(here), provider))[0].agrees
        assert (await lay_beside(here, invoice_of(here)))[0].agrees


async def test_what_somebody_did_to_it_is_found(tmp_path, autojump_clock):
    """A line that is gone, one that is raised, one that comes twice, one that is of somebody else."""
    async with world(tmp_path, "sim") as here:
        ids = [(await here.ask()).inference_id for _ in range(5)]
        head, *lines = invoice_of(here).splitlines()
        assert (await lay_beside(here, "\n".join([head, *lines])))[0].agrees
        raised = lines[1].replace(",0.", ",1.")
        foreign = lines[3].replace(ids[3], "req_of_another")
        found, _ = await lay_beside(here, "\n".join([head, raised, lines[2], lines[2], foreign, lines[4]]))
        differences = {match.inference_id: match for match in found.differences.rows()}
        assert differences.keys() == {ids[1], ids[2]}
        assert differences[ids[1]].difference_nusd == 1_000_000_000
        assert differences[ids[2]].lines == 2
        assert [unknown.id for unknown in found.unknown.rows()] == ["req_of_another"]
        assert {missing.inference_id for missing in found.missing.rows()} == {ids[0], ids[3]}
        assert found.equal.count == 1
