import pytest

from ainf.providers.betas import beta_headers, check_betas
from ainf.providers.registry import PROVIDERS
from tests.providers.requests import refused

KNOWN = ("interleaved-thinking-2025-05-14", "claude-code-20250219")


def left_out(vendor, betas):
    return tuple(beta for beta in betas if beta not in PROVIDERS[vendor].facts.betas)


def test_betas_that_go_on():
    """Those that change neither price nor host go on, in their order, in one header."""
    check_betas(KNOWN)
    assert beta_headers(KNOWN) == ((b"anthropic-beta", b"interleaved-thinking-2025-05-14,claude-code-20250219"),)
    assert left_out("anthropic", KNOWN) == ()


def test_betas_of_claude_code_go_on():
    """All that Claude Code opts into by itself, so that its bodies find what they are written for."""
    betas = (
        "claude-code-20250219", "interleaved-thinking-2025-05-14", "thinking-token-count-2026-05-13",
        "context-management-2025-06-27", "prompt-caching-scope-2026-01-05", "mid-conversation-system-2026-04-07",
        "effort-2025-11-24",
    )  # fmt: skip
    check_betas(betas)
    assert left_out("anthropic", betas) == ()


def test_betas_that_are_left_out():
    """What is unknown is named to the client and not sent."""
    betas = ("mcp-client-2025-11-20", KNOWN[0], "x-2099-01-01")
    check_betas(betas)
    assert left_out("anthropic", betas) == ("mcp-client-2025-11-20", "x-2099-01-01")
    assert beta_headers(betas) == ((b"anthropic-beta", KNOWN[0].encode()),)
    assert beta_headers(("x-2099-01-01",)) == ()
    assert beta_headers(()) == ()


@pytest.mark.parametrize("beta", ["context-1m-2025-08-07", "context-1m-2099-01-01", "fast-mode-2026-02-01"])
def test_betas_with_a_price(beta):
    """They are refused by the header's name."""
    assert refused(check_betas, (KNOWN[0], beta)) == "anthropic-beta"


@pytest.mark.parametrize("vendor", [name for name in PROVIDERS if name != "anthropic"])
def test_other_vendors_take_none(vendor):
    """What only Anthropic knows goes nowhere else."""
    assert left_out(vendor, KNOWN) == KNOWN
