"""Mistral.

Sources: docs.mistral.ai/api (chat, embeddings), and the same as types in github.com/mistralai/client-python,
``chatcompletionstreamrequest.py``: every other field is answered with 422, "Extra inputs are not permitted", also
``stream_options`` (github.com/openai/openai-agents-python/issues/442): usage always stands in the last chunk. Thoughts
are shown (``thinking`` parts of the content); under the names of other vendors messages must not hold them
(github.com/BerriAI/litellm/issues/30835), and as parts only for models that reason
(github.com/suitenumerique/conversations/issues/402). openrouter.ai/docs/api-reference/streaming lists Mistral among
those that go on, and bill, when a stream is aborted. ``document_url`` parts are billed by the page, ``guardrails`` run
a moderation model.
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import CHAT_AND_EMBEDDINGS, ChatVendor
from ainf.providers.fields import MODERATION, PRICE

MISTRAL: Final = ChatVendor(
    name="mistral",
    facts=Facts(base_url="https://api.mistral.ai/v1", aborted_billing="drain", max_tokens_field="max_tokens"),
    formats=CHAT_AND_EMBEDDINGS,
    refused={"guardrails": MODERATION},
    refused_parts={"document_url": PRICE},
    unknown=frozenset({
        "function_call", "functions", "logit_bias", "logprobs", "safety_identifier", "store", "top_logprobs", "user",
        "verbosity",
    }),
    unknown_in_messages=frozenset({"name"}),
    renamed={"max_completion_tokens": "max_tokens", "seed": "random_seed", "dimensions": "output_dimension"},
    roles={"developer": "system"},
    replays_thoughts=False,
    asks_for_usage=False,
)  # fmt: skip
