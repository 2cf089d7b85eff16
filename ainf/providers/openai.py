"""OpenAI, by its chat completions.

Sources (developers.openai.com/api): the reference, "create chat completion" and "create embeddings"; the guide on
reasoning: reasoning tokens are billed as output and, in this format, never shown, and current models reason unless
``reasoning_effort`` is "none"; a model that never does is configured with ``hidden_reasoning = "never"``. A message of
an assistant has no field for thoughts, and unknown fields are answered with 400, "Unknown parameter".
The guide on prompt caching: prompts are cached by themselves, and from GPT-5.6 on what is written has a price.
openrouter.ai/docs/api-reference/streaming lists OpenAI among those where an aborted stream stops model and billing.
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import CHAT_AND_EMBEDDINGS, ChatVendor

OPENAI: Final = ChatVendor(
    name="openai",
    facts=Facts(base_url="https://api.openai.com/v1", hidden_reasoning="always", caches_unasked=True),
    formats=CHAT_AND_EMBEDDINGS,
    replays_thoughts=False,
)
