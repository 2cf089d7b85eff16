"""vLLM, run by the operator.

Sources: docs.vllm.ai/en/latest/serving/openai_compatible_server.html: a key only where the server was started with
``--api-key``, tools where it was with ``--enable-auto-tool-choice``, embeddings where it serves such a model;
``stream_options.include_usage`` as OpenAI. A request whose client has left is aborted. Thoughts are shown
(``reasoning_content``, ``reasoning``).
"""

from typing import Final

from ainf.providers.base import Facts
from ainf.providers.chat_vendor import CHAT_AND_EMBEDDINGS, ChatVendor

VLLM: Final = ChatVendor(name="vllm", facts=Facts(needs_key=False), formats=CHAT_AND_EMBEDDINGS)
