"""A gateway's store at work until it is killed: says on standard output what was acknowledged, when it was."""

import sys

import trio

from ainf.store.store import Store
from tests.store.records import ROUTING, START, closing, closing_of, later, opening, seeded


def say(word, number):
    print(word, f"inf-{number:06d}", flush=True)


async def work(store, numbers):
    """Open and close exchanges, two of three routed, of which every other one falls back."""
    for number in numbers:
        await store.open_inference(opening(number, routing=ROUTING if number % 3 else None))
        say("opened", number)
        end = closing(number)
        if number % 3 == 1:
            await store.open_attempt(later(2, (1, 7), of=number))
            say("fell-back", number)
            end = closing_of(7, 28, inference_id=end.inference_id, at=end.at)
        await store.close_inference(end)
        say("closed", number)


async def main(path):
    async with Store.open(f"sqlite:{path}", now=lambda: START) as store:
        await store.write(seeded())
        async with trio.open_nursery() as nursery:
            for first in range(8):
                nursery.start_soon(work, store, range(first, 10**6, 8))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
