"""Groq.

Sources: console.groq.com/docs/openai ("will result in a 400 error": ``logprobs``, ``logit_bias``, ``top_logprobs``,
``messages[].name``); console.groq.com/docs/api-reference (``max_tokens`` is deprecated; ``compound_custom`` names
models and tools, ``search_settings`` and the domains belong to searches); the usage of a stream stands in its finish
chunk, also as ``x_groq.usage``. Thoughts are shown (``reasoning``); the wish to hide them is refused. In messages they
are answered with 400, "property 'reasoning_content' is unsupported" (github.com/janhq/jan/issues/8136), and the same of
``reasoning`` (github.com/karthink/gptel/issues/774).
openrouter.ai/docs/api-reference/streaming lists Groq among those that go on, and bill, when a stream is aborted.
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import ChatVendor
from ainf.providers.fields import MODEL, PRICE

GROQ: Final = ChatVendor(
    name="groq",
    facts=Facts(base_url="https://api.groq.com/openai/v1", aborted_billing="drain"),
    refused={
        "compound_custom": MODEL,
        "country": PRICE,
        "exclude_domains": PRICE,
        "include_domains": PRICE,
        "search_settings": PRICE,
    },
    unknown=frozenset({"logit_bias", "logprobs", "top_logprobs"}),
    unknown_in_messages=frozenset({"name"}),
    replays_thoughts=False,
)
