"""The table of coverage: protocol x provider format x feature, measured on a whole gateway.

``python -m tests.gateway.matrix`` runs every cell and writes docs/coverage.md; ``test_matrix.py`` runs every cell and
compares it with what stands there.
"""

import sys
import tempfile
from pathlib import Path
from typing import Final

import trio
import trio.testing

from tests.gateway.backends import FORMATS
from tests.gateway.dialects import DIALECTS, Dialect, Said
from tests.gateway.features import FEATURES, Feature
from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.world import Client, World, world

PAGE: Final = Path(__file__).parents[2] / "docs" / "coverage.md"
NOT_IN_PROTOCOL: Final = "n/a"

_HEAD: Final = """# What every protocol can do with every provider format

Made by `python -m tests.gateway.matrix`, checked by `tests/gateway/test_matrix.py`: the cell of a feature in the column
"protocol → format" is the test `test_cell[protocol-format-feature]` there (names as in its ids), which asks for it
streamed and whole, of a whole gateway and a simulated provider of that format.

- **native**: relayed or translated event by event, as it comes.
- **wrapped**: the provider answered whole, and a stream is made of it (`x-ainf-stream-mode: wrapped`).
- **refused: `field`**: 400 that names the field, before anything is spent; `models.NAME.drop_params` can allow dropping
  it instead, unless it is part of a message or a tool (then it is marked *always*).
- **dropped: `field`**: the answer is native; the field, which says nothing to the model, is left out and named in
  `x-ainf-dropped-params` (the default of `models.NAME.drop_params`).
- **error**: the answer ends as an error in the protocol's own words, streamed or as a status.
- **n/a**: the protocol has no such field.
"""


async def run_cell(dialect: Dialect, format_: str, feature: Feature) -> str:
    """Ask for a feature, streamed and whole; return the cell's word.

    Raises:
        AssertionError: the answer is not what the feature promises.
    """
    asked = feature.fields.get(dialect.format)
    if feature.fields and asked is None:
        return NOT_IN_PROTOCOL
    model = f"{format_}/{feature.model}"
    with tempfile.TemporaryDirectory() as folder:
        async with world(Path(folder), model, more=feature.more) as here:
            words = []
            for stream in (True, False):
                client = await here.speak(dialect, model, stream=stream, **(asked or {}))
                await check_transcript(here, client)
                words.append(await _word(here, client, feature, dialect, format_))
            await check_ledger(here)
    streamed, whole = words
    assert streamed == whole or {streamed, whole} == {"native", "wrapped"}, words
    return "wrapped" if "wrapped" in words else streamed


async def _word(here: World, client: Client, feature: Feature, dialect: Dialect, format_: str) -> str:
    if client.status != 200:
        error = client.json()["error"]
        if client.status == 400 and "x-ainf-inference-id" not in client.headers:
            assert error["code"] == "unsupported_parameter", error
            assert not here.simulator.books.entries
            always = "" if "drop" in error["message"] else ", *always*"
            return f"refused: `{error['param']}`{always}"
        if client.status == 404:
            return f"refused: `{error['param']}`, *always*"
        assert feature.is_failure, error
        feature.check(Said(error=error))
        return "error"
    said = client.said()
    feature.check(said)
    if dropped := client.headers.get("x-ainf-dropped-params"):
        return f"dropped: `{dropped}`"
    body = (here.simulator.books.entries[-1].request_body or b"").decode()
    for text in feature.sent:
        assert text in body, f"{text!r} was not sent to the provider"
    return "error" if feature.is_failure else client.headers["x-ainf-stream-mode"]


def cells() -> dict[tuple[str, str, str], str]:
    """Run every cell."""
    return {
        (dialect.name, format_, feature.name): trio.run(
            run_cell, dialect, format_, feature, clock=trio.testing.MockClock(autojump_threshold=0)
        )
        for dialect in DIALECTS
        for format_ in FORMATS
        for feature in FEATURES
    }


def document(words: dict[tuple[str, str, str], str]) -> str:
    """The page, from the words of all cells."""
    lines = [_HEAD]
    for dialect in DIALECTS:
        lines.append(f"## {dialect.name} (`{dialect.path}`)\n")
        lines.append(f"| feature | {' | '.join(f'→ {format_}' for format_ in FORMATS)} |")
        lines.append("|---" * (len(FORMATS) + 1) + "|")
        for feature in FEATURES:
            row = [words[dialect.name, format_, feature.name] for format_ in FORMATS]
            lines.append(f"| {feature.title} (`{feature.name}`) | {' | '.join(row)} |")
        lines.append("")
    return "\n".join(lines)


def written() -> dict[tuple[str, str, str], str]:
    """What the page says now."""
    words, protocol = {}, ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("## "):
            protocol = line.split()[1]
        elif line.startswith("| ") and "`)" in line:
            title, *row = (cell.strip() for cell in line.strip("|").split(" | "))
            feature = title.rpartition("(`")[2].removesuffix("`)")
            words |= {
                (protocol, format_, feature): word.strip(" |") for format_, word in zip(FORMATS, row, strict=True)
            }
    return words


if __name__ == "__main__":
    sys.stdout.write(f"writing {PAGE}\n")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(document(cells()))
