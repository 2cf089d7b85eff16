"""How long a store operation takes, with the event loop idle and saturated, on whatever cores the machine has.

    python benchmarks/store_latency.py [--seconds 3]

Each caller opens and closes exchanges one after the other, in a fresh SQLite database with every commit synced.
``slices``: a task that is always runnable keeps the loop for 300 us at a time. ``frames``: another process sends
20,000 frames a second over 50 sockets, each relayed to another socket. Latencies are of single operations, in ms;
CPU is that of the whole process in us for an exchange (idle only, where it is the store's alone).
"""

import argparse
import socket
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import attrs
import trio

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk
from ainf.pricing import Price
from ainf.store.base import AttemptPlan, AttemptResult, Closing, Opening
from ainf.store.caps import set_cap
from ainf.store.counting import Scope, Subject
from ainf.store.store import Store

SLICE_S = 300e-6
FRAMES_A_SECOND = 20_000
SOCKETS = 50
FRAME = b"data: " + b"x" * 190 + b"\n\n"

PRICE = Price(input=150_000_000, cached_input=75_000_000, output=600_000_000, reasoning=600_000_000)
PLAN = AttemptPlan("gpt", "gpt", "openai", PRICE)
ASK = HoldAsk(base_nusd=100_000, output_rate=600_000_000, first_tokens=1024, worst_tokens=16_384, min_tokens=16)
USAGE = Usage(input_tokens=400, output_tokens=200)


def opening(number):
    return Opening(
        f"{number:032x}", number, "key", "chat", "/v1/chat/completions", True, "gpt", PLAN, ASK, 1000, 500,
        number.to_bytes(16, "big"), None,
    )  # fmt: skip


def closing(number):
    attempt = AttemptResult(
        "gpt", "gpt", "openai", PRICE.version, number, number + 9, 200, None, "req", "resp", '{"prompt_tokens":400}',
        "stop", USAGE, Evidence.REPORTED, 180_000,
    )  # fmt: skip
    return Closing(
        f"{number:032x}",
        number + 9,
        Ending.COMPLETED,
        None,
        "stop",
        USAGE,
        Evidence.REPORTED,
        180_000,
        800,
        900,
        (attempt,),
    )


def seed(tx):
    tx.execute("INSERT INTO accounts VALUES ('org', 'org', NULL, '[\"org\"]', 1, NULL)")
    tx.execute("INSERT INTO accounts VALUES ('team', 'team', 'org', '[\"org\",\"team\"]', 1, NULL)")
    tx.execute("INSERT INTO keys (key_id, digest, account_id, created_at) VALUES ('key', x'00', 'team', 1)")
    for subject in (Subject("account", "org"), Subject("key", "key")):
        set_cap(tx, cap_id=f"cap-{subject.kind}", scope=Scope(subject), limit_nusd=10**15, at=1)


@attrs.define
class Load:
    """Callers of a store, and what they saw."""

    store: Store
    latencies: list = attrs.field(factory=list)
    number: int = 0
    running: bool = True

    async def caller(self):
        while self.running:
            self.number += 1
            number = self.number
            for operation, record in (
                (self.store.open_inference, opening(number)),
                (self.store.close_inference, closing(number)),
            ):
                began = time.perf_counter()
                await operation(record)
                self.latencies.append(time.perf_counter() - began)

    async def measure(self, callers, seconds):
        """Return (p50, p99, exchanges a second, CPU seconds an exchange)."""
        self.running = True
        async with trio.open_nursery() as nursery:
            for _ in range(callers):
                nursery.start_soon(self.caller)
            await trio.sleep(0.2)
            self.latencies.clear()
            wall, cpu = time.perf_counter(), time.process_time()
            await trio.sleep(seconds)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            seen = sorted(self.latencies)
            self.running = False
        exchanges = len(seen) / 2
        return seen[len(seen) // 2], seen[int(len(seen) * 0.99)], exchanges / wall, cpu / exchanges


async def idle(task_status):
    task_status.started()
    await trio.sleep_forever()


async def slices(task_status):
    task_status.started()
    while True:
        end = time.perf_counter() + SLICE_S
        while time.perf_counter() < end:
            pass
        await trio.lowlevel.checkpoint()


async def frames(task_status):
    async def relay(stream):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        sink = trio.socket.from_stdlib_socket(theirs)
        out = trio.socket.from_stdlib_socket(ours)
        with ours, theirs:
            while data := await stream.receive_some(4096):
                await out.send(data)
                await sink.recv(65536)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, relay, listeners)
        port = listeners[0].socket.getsockname()[1]
        sender = [sys.executable, __file__, "--send-to", str(port)]
        nursery.start_soon(partial(trio.run_process, sender, check=False))
        await trio.sleep(1)
        task_status.started()


def send_frames(port):
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(SOCKETS)]
    began, sent = time.perf_counter(), 0
    while True:
        due = int((time.perf_counter() - began) * FRAMES_A_SECOND)
        for number in range(sent, due):
            sockets[number % SOCKETS].sendall(FRAME)
        sent = max(sent, due)
        time.sleep(0.0005)


async def main(seconds, callers):
    print(f"{'loop':8}{'callers':>8}{'p50 ms':>9}{'p99 ms':>9}{'exch/s':>9}{'CPU us':>8}")
    for loop in (idle, slices, frames):
        for count in callers:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "bench.db")
                async with Store.open(f"sqlite:{path}", now=lambda: 1, wait_s=60) as store:
                    await store.write(seed)
                    async with trio.open_nursery() as nursery:
                        await nursery.start(lambda task_status, loop=loop: loop(task_status))
                        p50, p99, rate, cpu = await Load(store).measure(count, seconds)
                        nursery.cancel_scope.cancel()
            shown = f"{cpu * 1e6:8.0f}" if loop is idle else f"{'':8}"
            print(f"{loop.__name__:8}{count:8}{p50 * 1e3:9.2f}{p99 * 1e3:9.2f}{rate:9.0f}{shown}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long each row is measured")
    parser.add_argument("--callers", type=int, nargs="*", default=[1, 8, 32], help="how many callers at once")
    parser.add_argument("--send-to", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send_to:
        with suppress(OSError):  # the receiver ends first
            send_frames(arguments.send_to)
    else:
        trio.run(main, arguments.seconds, arguments.callers)
