"""OpenRouter.

Sources: openrouter.ai/docs/api-reference/parameters and its OpenAPI document (``max_tokens`` is deprecated);
openrouter.ai/docs/use-cases/usage-accounting: usage is always told, in the last message of a stream, and asking for it
changes nothing; openrouter.ai/docs/use-cases/reasoning-tokens: reasoning is billed as output, and some models do not
show theirs; openrouter.ai/docs/api-reference/streaming: where the provider behind it does not support cancellation
(Bedrock, Groq, Google, Mistral, ...), and for whole answers always, "the model will continue processing and you will be
billed for the complete response"; openrouter.ai/docs/features/prompt-caching: some of the providers behind it cache by
themselves, and bill that. What chooses models, providers and plugins is refused at every vendor.
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import CHAT_AND_EMBEDDINGS, ChatVendor
from ainf.providers.fields import PRICE

OPENROUTER: Final = ChatVendor(
    name="openrouter",
    facts=Facts(
        base_url="https://openrouter.ai/api/v1",
        aborted_billing="drain",
        hidden_reasoning="always",
        shows_reasoning=True,
        caches_unasked=True,
    ),
    formats=CHAT_AND_EMBEDDINGS,
    refused={"image_config": PRICE},
)
