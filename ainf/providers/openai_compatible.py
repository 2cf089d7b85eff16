"""Any other server that speaks OpenAI's chat completions: nothing is known of it but that.

What it does otherwise is configured for its models: ``reports_usage``, ``tools``, ``streaming``, ``hidden_reasoning``,
``aborted_billing``. Its output limit is said by the older name, which more servers know. Where its price has a rate for
writes to a cache, it may write unasked.
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import CHAT_AND_EMBEDDINGS, ChatVendor

OPENAI_COMPATIBLE: Final = ChatVendor(
    name="openai-compatible",
    facts=Facts(needs_key=False, max_tokens_field="max_tokens", caches_unasked=True),
    formats=CHAT_AND_EMBEDDINGS,
)
