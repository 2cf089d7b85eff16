"""Ollama, run by the operator.

Sources: docs.ollama.com/api/openai-compatibility and github.com/ollama/ollama, ``openai/openai.go``: the output limit
is ``max_tokens`` alone, and every field that it does not know is ignored in silence, so that ``max_completion_tokens``
would be no limit; roles go to the model's template, which does not know the developer; usage comes in a chunk of its
own where ``stream_options.include_usage`` asks for it; thoughts are shown (``reasoning``). A local server needs no key,
and stops when its client has left.
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import CHAT_AND_EMBEDDINGS, ChatVendor

OLLAMA: Final = ChatVendor(
    name="ollama",
    facts=Facts(base_url="http://localhost:11434/v1", needs_key=False, max_tokens_field="max_tokens"),
    formats=CHAT_AND_EMBEDDINGS,
    renamed={"max_completion_tokens": "max_tokens"},
    roles={"developer": "system"},
)
