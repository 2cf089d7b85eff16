"""xAI, by its chat completions.

Sources: docs.x.ai/developers/rest-api-reference/inference/chat-completions (``max_tokens`` is deprecated; ``deferred``
and ``search_parameters`` are refused at every vendor; ``logit_bias`` is unsupported); docs.x.ai, "reasoning": Grok
thinks unasked, and only some models show it (``reasoning_content``); docs.x.ai, "consumption and rate limits":
``completion_tokens`` is without the reasoning tokens, which ``total_tokens`` includes.
openrouter.ai/docs/api-reference/streaming lists xAI among those where an aborted stream stops model and billing.
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import ChatVendor

XAI: Final = ChatVendor(
    name="xai",
    facts=Facts(base_url="https://api.x.ai/v1", hidden_reasoning="always", shows_reasoning=True),
    unknown=frozenset({"logit_bias"}),
)
