"""Texts that give away where they came from, and the search for them in all that a gateway says and leaves behind."""

import base64
import binascii
import gc
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import attrs

from tests.gateway.world import Client, World

KEY: Final = "canary-provider-secret"
"""The part of the provider's key that no rule about prefixes could remove."""
PROMPT: Final = "canary-prompt-what-was-asked"
ANSWER: Final = "canary-answer-what-was-said"
LABEL: Final = "canary-label-of-a-run"
WRONG_KEY: Final = "canary-key-of-nobody"
HOST: Final = "canary-gpu-17.internal"
COOKIE: Final = "canary-cookie"
ORGANISATION: Final = "canary-organisation"
BODY: Final = "canary-error-body"
MODEL: Final = "canary-model-that-is-none"
RAISED: Final = "canary-exception-text"

LOG, METRICS, TABLES, ANSWERS, OBJECTS, COMMANDS = "log", "metrics", "tables", "answers", "objects", "commands"

MAY_STAND: Final[Mapping[str, frozenset[str]]] = {
    KEY: frozenset(),
    WRONG_KEY: frozenset(),
    PROMPT: frozenset({ANSWERS}),
    ANSWER: frozenset({ANSWERS}),
    LABEL: frozenset({TABLES, ANSWERS, COMMANDS, OBJECTS}),
    HOST: frozenset(),
    COOKIE: frozenset(),
    ORGANISATION: frozenset(),
    BODY: frozenset(),
    MODEL: frozenset({ANSWERS}),
    RAISED: frozenset(),
}
"""Each canary, and where it may be seen. Content belongs to answers, which may repeat it; labels to records; a model
that is none is named in the answer that says so."""


@attrs.frozen
class Sighting:
    """A canary where it must not be."""

    canary: str
    place: str
    near: str


def disguises(text: str) -> Iterator[bytes]:
    """A text as it may be written: plain, in hexadecimal, percent-encoded, in base64 at each of its three offsets."""
    raw = text.encode()
    yield from {raw, binascii.hexlify(raw), quote(text, safe="").encode(), json.dumps(text)[1:-1].encode()}
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + raw)
        yield coded[4 if before else 0 : len(coded) // 4 * 4 - 4]


def sightings(place: str, data: bytes, canaries: Iterable[str] = MAY_STAND) -> list[Sighting]:
    """Return the canaries that are in ``data`` and may not be seen in this place."""
    return [
        Sighting(canary, place, data[max(0, at - 120) : at + 120].decode("latin-1"))
        for canary in canaries
        if place not in MAY_STAND.get(canary, frozenset())
        for disguise in disguises(canary)
        if (at := data.find(disguise)) >= 0
    ]


async def tables(here: World) -> bytes:
    """Every column of every row."""
    names = await here.rows("SELECT name FROM sqlite_master WHERE type = 'table'")
    dumped = [value for (name,) in names for row in await here.rows(f'SELECT * FROM "{name}"') for value in row]
    assert len(dumped) > 20
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in dumped)


def objects() -> bytes:
    """The ``repr`` of every object of the gateway's classes that is alive."""
    gc.collect()
    shown = []
    for thing in gc.get_objects():
        module = str(type(thing).__module__)
        if module.startswith("ainf.") and not module.startswith("ainf.simulator"):
            shown.append(repr(thing))
    assert len(shown) > 100
    return "\n".join(shown).encode()


def answered(clients: Iterable[Client]) -> bytes:
    """Every header and byte that clients were sent."""
    return b"\n".join(json.dumps([client.status, client.headers]).encode() + client.body for client in clients)


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a folder with its name, down to what a database keeps beside itself."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.name, path.read_bytes()


async def search(here: World, *clients: Client, also: Iterable[str] = ()) -> list[Sighting]:
    """Look for all canaries, and ``also`` others, everywhere but in files."""
    canaries = [*MAY_STAND, here.key.rpartition("_")[2], *also]
    places: dict[str, Any] = {
        LOG: here.log.getvalue().encode(),
        METRICS: here.telemetry.exposition(),
        TABLES: await tables(here),
        ANSWERS: answered(clients),
        OBJECTS: objects(),
    }
    return [sighting for place, data in places.items() for sighting in sightings(place, data, canaries)]
