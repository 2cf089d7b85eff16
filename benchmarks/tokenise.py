"""Cuts the simulator's passages (``ainf/simulator/corpora``) where a real tokenizer does: OpenAI's o200k_base.

    python -m benchmarks.tokenise

It needs ``tiktoken`` (in no requirements of ours, for it is run only when a passage changes) and the tokenizer's ranks:
from the network, or offline from a folder that ``TIKTOKEN_CACHE_DIR`` names; the wheel of ``litellm`` has one
(``litellm/litellm_core_utils/tokenizers``).

A file is a JSON list of passages, a passage a list of pieces: a string is one token, ``[string, n]`` are the n tokens
that only together are whole characters. What the pieces of a passage join to is its text, so a new passage is put in as
one piece and cut by running this.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import tiktoken

CORPORA = Path(__file__).parent.parent / "ainf" / "simulator" / "corpora"


def cut(text: str, encoding: tiktoken.Encoding) -> Iterator[str | list[str | int]]:
    """Yield the pieces of a text."""
    begun, tokens = b"", 0
    for token in encoding.encode_ordinary(text):
        begun, tokens = begun + encoding.decode_single_token_bytes(token), tokens + 1
        try:
            piece = begun.decode()
        except UnicodeDecodeError:
            continue
        yield piece if tokens == 1 else [piece, tokens]
        begun, tokens = b"", 0
    assert not begun


def main() -> None:
    """Cut every corpus anew, in place."""
    encoding = tiktoken.get_encoding("o200k_base")
    for path in sorted(CORPORA.glob("*.json")):
        passages = json.loads(path.read_text())
        texts = ["".join(piece if isinstance(piece, str) else piece[0] for piece in pieces) for pieces in passages]
        lines = [json.dumps(list(cut(text, encoding)), ensure_ascii=False) for text in texts]
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
        print(f"{path.name}: {len(texts)} passages, {sum(map(len, map(encoding.encode_ordinary, texts)))} tokens")


if __name__ == "__main__":
    main()
