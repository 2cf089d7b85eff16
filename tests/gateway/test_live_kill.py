"""Real processes, and ends that leave no time to settle: kill -9, and SIGTERM as an operator sends it."""

import json
import random

import pytest
import trio

from ainf.app import wall_clock
from ainf.store.verify import verify
from tests.extent import FULL, SEED
from tests.gateway.backends import INPUT_RATE
from tests.gateway.live import check_law
from tests.gateway.live_client import RawClient, frames_so_far
from tests.gateway.process import Deployment, deployment

STREAMS = 50
MODEL = "sim-tokens-3000-pace-5ms"
SHORT = "sim-tokens-40-pace-5ms"
MOMENTS = 40 if FULL else 2
PROGRESS_S, SLACK_S, PACE_S = 0.2, 0.4, 0.005
LIMITS = f"progress_s = {PROGRESS_S}"


def open_holds(here: Deployment) -> dict[str, tuple[int, int, int]]:
    """What each open exchange would be settled at: its durable progress, or else the estimated input."""
    rows = here.rows(
        "SELECT h.inference_id, h.held_nusd, h.progress_nusd, h.output_bytes, i.input_estimate FROM holds AS h"
        " JOIN inferences AS i ON i.inference_id = h.inference_id"
    )
    return {
        inference_id: (held, progress if progress is not None else estimate * INPUT_RATE, output_bytes)
        for inference_id, held, progress, output_bytes, estimate in rows
    }


def check_recovered(here: Deployment, left: dict[str, tuple[int, int, int]]) -> None:
    """Check that what a dead process left is settled at its last durable progress, once, with its audit event."""
    settled = {
        inference_id: (held, amount, output_bytes)
        for inference_id, held, amount, output_bytes in here.rows(
            "SELECT inference_id, held_nusd, settled_nusd, output_bytes FROM settlements WHERE ending = 'abandoned'"
        )
    }
    assert {name: settled[name] for name in left} == left
    events = here.rows("SELECT inference_id, body FROM audit_events WHERE kind = 'inference.closed'")
    abandoned = [name for name, body in events if json.loads(body)["ending"] == "abandoned"]
    assert sorted(abandoned) == sorted(settled)
    assert here.rows("SELECT count(*) FROM holds") == [(0,)]
    assert here.read(verify) == []


@pytest.mark.law
@pytest.mark.threat(65)
async def test_fifty_streams_that_a_kill_cut_off_are_settled_at_their_last_durable_progress(
    tmp_path, tell, count_cases
):
    """kill -9 in the middle of fifty streams, start again: fifty settlements, fifty events, nothing open."""
    one_slice = "slice_tokens = 4096"  # an extension would make progress durable too
    with trio.fail_after(90):
        async with deployment(tmp_path, MODEL, now=wall_clock, more=one_slice, limits=LIMITS) as here:
            async with trio.open_nursery() as nursery:
                clients = [await here.ask(MODEL) for _ in range(STREAMS)]
                for client in clients:
                    nursery.start_soon(client.take)
                waiting = "SELECT count(*) FROM holds WHERE output_bytes > 400"
                while here.rows(waiting) != [(STREAMS,)]:  # noqa: ASYNC110 - another process writes it
                    await trio.sleep(0.05)
                await trio.sleep(3.5 * PROGRESS_S)
                await here.kill()
            left = open_holds(here)
            assert len(left) == STREAMS
            got = {inference_id_of(client): text_of(client) for client in clients}
            for inference_id, (_, _, output_bytes) in left.items():
                behind = len(got[inference_id]) - output_bytes
                assert 0 <= behind <= 4 * (PROGRESS_S + SLACK_S) / PACE_S, "a crash under-counts by one tick at most"
            started_at = trio.current_time()
            await here.start()
            tell(f"started again in {trio.current_time() - started_at:.2f} s")
            check_recovered(here, left)
            assert here.rows("SELECT count(*) FROM settlements") == [(STREAMS,)]
            for client in clients:
                assert b"[DONE]" not in client.raw, "an end was made up"
            tell(f"{sum(amount for _, amount, _ in left.values())} nano-dollars of {STREAMS} abandoned streams settled")
            assert (await here.command("ledger", "verify")).returncode == 0
            assert (await here.command("audit", "verify")).returncode == 0
    count_cases("kills", 1)


def inference_id_of(client: RawClient) -> str:
    head = bytes(client.raw).partition(b"\r\n\r\n")[0].decode().lower()
    (line,) = [line for line in head.split("\r\n") if line.startswith("x-ainf-inference-id: ")]
    return line.partition(": ")[2]


def text_of(client: RawClient) -> str:
    frames = [json.loads(frame) for frame in frames_so_far(bytes(client.raw)) if frame.startswith(b"{")]
    return "".join(choice["delta"].get("content") or "" for frame in frames for choice in frame["choices"])


async def ask_until_killed(here: Deployment, clients: list[RawClient]) -> None:
    """Ask one thing after another until there is nobody to ask."""
    try:
        while True:
            client = await here.ask(SHORT)
            clients.append(client)
            await client.take()
    except (OSError, trio.BrokenResourceError):
        return


@pytest.mark.law
@pytest.mark.threat(65)
async def test_a_kill_at_any_moment_leaves_books_that_a_start_makes_whole(tmp_path, tell, count_cases):
    """Killed at random moments: what a client saw end is settled as it ended, all else is abandoned, once."""
    chance = random.Random(SEED)
    tell(f"AINF_SEED={SEED}")
    with trio.fail_after(60 + 10 * MOMENTS):
        async with deployment(tmp_path, SHORT, now=wall_clock, limits=LIMITS) as here:
            for number in range(MOMENTS):
                clients: list[RawClient] = []
                async with trio.open_nursery() as nursery:
                    for _ in range(12):
                        nursery.start_soon(ask_until_killed, here, clients)
                    await trio.sleep(moment := chance.uniform(0.05, 1.0))
                    await here.kill()
                left = open_holds(here)
                ended = {inference_id_of(client) for client in clients if b"[DONE]" in client.raw}
                settled = dict(here.rows("SELECT inference_id, ending FROM settlements"))
                assert {settled.get(inference_id) for inference_id in ended} <= {"completed"}, "settle, then speak"
                await here.start()
                check_recovered(here, left)
                if number < 10:
                    tell(f"killed after {moment:.3f} s: {len(ended)} ended, {len(left)} abandoned")
            asked = [entry["headers"]["x-client-request-id"] for entry in await here.simulated()]
            assert await here.terminate() == 0
            check_law(here.books, asked)
    count_cases("kills", MOMENTS)


@pytest.mark.threat(64)
@pytest.mark.parametrize("reads", [True, False])
async def test_sigterm_ends_the_process_in_time(tmp_path, reads, tell):
    """SIGTERM: streams go on for ``drain_s``, the rest end in words, and the process ends within five seconds more."""
    model = MODEL if reads else "sim-endless-per-frame-200"
    drain_s = 1.0
    with trio.fail_after(40):
        async with deployment(tmp_path, model, SHORT, now=wall_clock, server=f"drain_s = {drain_s}") as here:
            async with trio.open_nursery() as nursery:
                clients = [await here.ask(model) for _ in range(3)]
                short = await here.ask(SHORT)
                for client in (*clients, short):
                    await client.read_until(b'content":"')
                told_at = trio.current_time()
                if reads:
                    for client in clients:
                        nursery.start_soon(client.take)
                nursery.start_soon(short.take)
                status = await here.terminate()
                took_s = trio.current_time() - told_at
                for client in clients if not reads else ():
                    await client.close()
            tell(
                f"SIGTERM to exit {took_s:.2f} s for drain_s = {drain_s}, clients {'read' if reads else 'take nothing'}"
            )
            assert status == 0
            assert drain_s <= took_s <= drain_s + 5
            endings = sorted(row[0] for row in here.rows("SELECT ending FROM settlements"))
            assert endings == ["completed"] + ["shutdown"] * 3
            if reads:
                for client in clients:
                    frames = frames_so_far(bytes(client.raw))
                    assert frames[-1] == b"[DONE]"
                    assert json.loads(frames[-2])["error"]["code"] == "shutting_down"
            asked = [entry["headers"]["x-client-request-id"] for entry in await here.simulated()]
            check_law(here.books, asked)


async def test_a_signal_at_the_first_word_ends_the_process_in_good_order(tmp_path):
    """SIGTERM as soon as the gateway says that it listens is obeyed like any other, again and again."""
    with trio.fail_after(40):
        async with deployment(tmp_path, SHORT, now=wall_clock) as here:
            for _ in range(2):
                assert await here.terminate() == 0
                await here.start()
            assert await here.terminate() == 0
            lives = here.rows("SELECT ended_at IS NOT NULL FROM instances WHERE kind = 'gateway'")
            assert lives == [(1,)] * 3


async def test_a_second_signal_ends_what_still_runs_at_once(tmp_path):
    """Ctrl-C, and again: streams that could have gone on for ``drain_s`` end with their frame now."""
    with trio.fail_after(30):
        async with deployment(tmp_path, MODEL, now=wall_clock, server="drain_s = 600") as here:
            client = await here.ask(MODEL)
            await client.read_until(b'content":"')
            here.interrupt()
            while b'"draining"' not in here.gateway.output.read_bytes():
                await client.stream.receive_some(65536)
            told_at = trio.current_time()
            assert await here.terminate() == 0
            assert trio.current_time() - told_at <= 5
            await client.take()
            assert here.rows("SELECT ending, error_code FROM settlements") == [("shutdown", "shutting_down")]
            assert bytes(client.raw).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
