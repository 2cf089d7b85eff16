"""What clients opt into by Anthropic's ``anthropic-beta`` header: which betas go on, and which are refused.

Sources: Anthropic's "beta headers", and the names in its SDK (``anthropic.types.AnthropicBetaParam``); beside them
those that Claude Code sends. A beta goes on when by itself it changes neither price nor host; what it lets a body ask
for is checked in the body. One that is unknown is left out, and its name is told to the client.
"""

from typing import Final

from ainf.providers.fields import PRICE, refusal

_HEADER: Final = "anthropic-beta"
FORWARDED: Final = frozenset({
    "claude-code-20250219",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-management-2025-06-27",
    "dev-full-thinking-2025-05-14",
    "effort-2025-11-24",
    "extended-cache-ttl-2025-04-11",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-system-2026-04-07",
    "mid-conversation-system-clear-at-2026-08-21",
    "model-context-window-exceeded-2025-08-26",
    "output-128k-2025-02-19",
    "output-300k-2026-03-24",
    "pdfs-2024-09-25",
    "prompt-caching-2024-07-31",
    "prompt-caching-scope-2026-01-05",
    "redact-thinking-2026-02-12",
    "structured-outputs-2025-11-13",
    "structured-outputs-2025-12-15",
    "task-budgets-2026-03-13",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01",
    "token-efficient-tools-2025-02-19",
    "token-efficient-tools-2026-03-28",
})
_DEAR: Final = ("context-1m-", "fast-mode-")
"""Long prompts and fast answers have prices of their own."""


def check_betas(betas: tuple[str, ...]) -> None:
    """Refuse what changes the price.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    if any(beta.startswith(_DEAR) for beta in betas):
        raise refusal(_HEADER, PRICE)


def beta_headers(betas: tuple[str, ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Return the header with those that go on; none where none does."""
    named = ",".join(beta for beta in betas if beta in FORWARDED)
    return ((_HEADER.encode(), named.encode()),) if named else ()
