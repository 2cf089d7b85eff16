"""Together AI.

Sources: docs.together.ai/reference/chat-completions and the same as types in github.com/togethercomputer/together-py,
``completion_create_params.py``: the output limit is ``max_tokens`` alone, there is no developer role, ``safety_model``
runs a second model; docs.together.ai/docs/openai-api-compatibility; thoughts are shown (``reasoning``).
openrouter.ai/docs/api-reference/streaming lists Together among those where an aborted stream stops model and billing.
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import CHAT_AND_EMBEDDINGS, ChatVendor
from ainf.providers.fields import MODERATION

TOGETHER: Final = ChatVendor(
    name="together",
    facts=Facts(base_url="https://api.together.ai/v1", max_tokens_field="max_tokens"),
    formats=CHAT_AND_EMBEDDINGS,
    refused={"safety_model": MODERATION},
    renamed={"max_completion_tokens": "max_tokens"},
    roles={"developer": "system"},
)
