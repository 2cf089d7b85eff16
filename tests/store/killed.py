"""A gateway's store at work until it is killed: says on standard output what was acknowledged, when it was."""

import sys

import trio

from ainf.store.store import Store
from tests.store.records import START, closing, opening, seeded


def say(word, number):
    print(word, f"inf-{number:06d}", flush=True)


async def work(store, numbers):
    for number in numbers:
        await store.open_inference(opening(number))
        say("opened", number)
        await store.close_inference(closing(number))
        say("closed", number)


async def main(path):
    async with Store.open(f"sqlite:{path}", now=lambda: START) as store:
        await store.write(seeded())
        async with trio.open_nursery() as nursery:
            for first in range(8):
                nursery.start_soon(work, store, range(first, 10**6, 8))


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
