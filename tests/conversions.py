"""Usage objects as providers send them, with what they cost reckoned by hand: the table of docs/cached-tokens.md.

``python -m tests.conversions`` writes the page.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ainf.inference.usage import Usage

PAGE = Path(__file__).parent.parent / "docs" / "cached-tokens.md"

HEAD = """\
# Cached tokens, and other parts of a usage object

Every vendor counts in its own way: what was read from a cache is in the input or beside it, reasoning is in the output
or beside it, sound is a part of either, a long prompt has another price. All of it is converted where it is read, into
one convention: input tokens include those that were cached, written to a cache or heard, output tokens those that are
reasoning or spoken, and no token is in two parts. Each row below is one usage object, what the gateway makes of it,
and what it costs at the rates shown (USD per million tokens), as a sum that was written by hand. A test holds that sum
beside the gateway's own result, to the nano-dollar.

Usage is *recorded* (one of the fixtures, `tests/fixtures`), the *example* of a vendor's page, or made of the *fields*
that the vendor's page or package names, where neither exists.

- A tier's rates are those of all tokens of a request whose whole input, cached or not, is above its tokens. Anthropic,
  Google and OpenAI word it so; xAI's begins "at" 200,000, which is above 199,999.
- A part that the price has no rate for costs what the nearest kind does: a write for longer what a short one does, a
  write what input does, sound what input or output does. A request that *asks* for such a part is refused instead.
- Sound that was cached costs what any cached token does. Google has a rate of its own for it: with those models, such
  tokens are reckoned too low, by 0.07 USD per million at most on Gemini 2.5 Flash.
- What a model shall say aloud (`modalities`) is refused at every vendor. What it shall hear goes on where the price has
  `audio_input`; an attachment is reckoned with `image_tokens` when its request is held (1,600, or 50 seconds of sound
  at Gemini's 32 tokens a second), so give a model that hears long recordings more.

"""


@attrs.frozen
class Row:
    """One usage object and what is to come of it."""

    vendor: str
    what: str
    format: str
    document: Mapping[str, Any]
    usage: Usage
    rates: Mapping[str, Any]
    """The price, as in a configuration."""
    by_hand: str
    """Tokens times USD per million, part by part: ``"86*2.5 + 300*10"``."""
    origin: str
    """"recorded NAME" (a fixture), "example: WHERE" or "fields: WHERE"."""


MINI = {"input": "0.15", "cached_input": "0.075", "output": "0.6"}
SOL = {"input": "4", "cached_input": "0.4", "cache_write": "5", "output": "20"}
SONNET = {"input": "3", "cached_input": "0.3", "cache_write": "3.75", "long_cache_write": "6", "output": "15"}
FLASH = {"input": "0.3", "cached_input": "0.03", "output": "2.5", "audio_input": "1"}
GROK = {
    "input": "1.25",
    "cached_input": "0.2",
    "output": "2.5",
    "tiers": [{"above": 199_999, "input": "2.5", "cached_input": "0.4", "output": "5"}],
}
AUDIO = {"input": "2.5", "output": "10", "audio_input": "32", "audio_output": "64"}
_DETAILS = "the type CompletionUsage of the openai package"

ROWS = (
    Row(
        "openai", "cached", "chat",
        {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
         "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
         "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                       "rejected_prediction_tokens": 0}},
        Usage(input_tokens=19, cached_input_tokens=3, output_tokens=10),
        MINI, "16*0.15 + 3*0.075 + 10*0.6", "recorded chat/openai_text",
    ),
    Row(
        "openai", "mostly cached", "chat",
        {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
         "prompt_tokens_details": {"cached_tokens": 1920}, "completion_tokens_details": {"reasoning_tokens": 0}},
        Usage(input_tokens=2006, cached_input_tokens=1920, output_tokens=300),
        {"input": "2.5", "cached_input": "1.25", "output": "10"}, "86*2.5 + 1920*1.25 + 300*10",
        "example: OpenAI's guide on prompt caching, as docs.litellm.ai/docs/completion/prompt_caching quotes it",
    ),
    Row(
        "openai", "details that are null", "chat",
        {"completion_tokens": 2, "completion_tokens_details": None, "prompt_tokens": 7, "prompt_tokens_details": None,
         "total_tokens": 9},
        Usage(input_tokens=7, output_tokens=2), MINI, "7*0.15 + 2*0.6", "recorded chat/azure_filtered",
    ),
    Row(
        "openai", "reasoning", "chat",
        {"prompt_tokens": 75, "completion_tokens": 1186, "total_tokens": 1261,
         "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 1024}},
        Usage(input_tokens=75, output_tokens=1186, reasoning_tokens=1024),
        {"input": "1.25", "cached_input": "0.125", "output": "10"}, "75*1.25 + 162*10 + 1024*10", f"fields: {_DETAILS}",
    ),
    Row(
        "openai", "written to the cache", "chat",
        {"prompt_tokens": 3000, "completion_tokens": 20, "total_tokens": 3020,
         "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 1536}},
        Usage(input_tokens=3000, cached_input_tokens=1024, cache_write_tokens=1536, output_tokens=20),
        SOL, "440*4 + 1024*0.4 + 1536*5 + 20*20", f"fields: {_DETAILS}",
    ),
    Row(
        "openai", "heard", "chat",
        {"prompt_tokens": 140, "completion_tokens": 50, "total_tokens": 190,
         "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 120, "text_tokens": 20}},
        Usage(input_tokens=140, audio_input_tokens=120, output_tokens=50),
        AUDIO, "20*2.5 + 120*32 + 50*10", f"fields: {_DETAILS}",
    ),
    Row(
        "openai", "heard and spoken, the sound cached in part", "chat",
        {"prompt_tokens": 140, "completion_tokens": 50, "total_tokens": 190,
         "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 120},
         "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 30, "text_tokens": 20}},
        Usage(input_tokens=140, cached_input_tokens=64, audio_input_tokens=76, output_tokens=50,
              audio_output_tokens=30),
        AUDIO | {"cached_input": "2.5"}, "64*2.5 + 76*32 + 20*10 + 30*64", f"fields: {_DETAILS}",
    ),
    Row(
        "openai-responses", "cached, written for 30 minutes and for 12 hours, reasoning", "responses",
        {"input_tokens": 90, "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 30,
         "cache_write_tokens_details": {"ttl_30m_tokens": 20, "ttl_12h_tokens": 10}}, "output_tokens": 77,
         "output_tokens_details": {"reasoning_tokens": 64}, "total_tokens": 167},
        Usage(input_tokens=90, cached_input_tokens=40, cache_write_tokens=30, long_cache_write_tokens=10,
              output_tokens=77, reasoning_tokens=64),
        SOL | {"long_cache_write": "8"}, "20*4 + 40*0.4 + 20*5 + 10*8 + 13*20 + 64*20", "recorded responses/reasoning",
    ),
    Row(
        "openai-responses", "cached", "responses",
        {"input_tokens": 300, "input_tokens_details": {"cached_tokens": 256, "cache_write_tokens": 0},
         "output_tokens": 25, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 325},
        Usage(input_tokens=300, cached_input_tokens=256, output_tokens=25),
        SOL, "44*4 + 256*0.4 + 25*20", "recorded responses/custom_call",
    ),
    Row(
        "openai-responses", "a prompt over 272,000 tokens", "responses",
        {"input_tokens": 300_000, "input_tokens_details": {"cached_tokens": 200_000}, "output_tokens": 1000,
         "output_tokens_details": {"reasoning_tokens": 400}, "total_tokens": 301_000},
        Usage(input_tokens=300_000, cached_input_tokens=200_000, output_tokens=1000, reasoning_tokens=400),
        {"input": "2.5", "cached_input": "0.25", "output": "15",
         "tiers": [{"above": 272_000, "input": "5", "cached_input": "0.5", "output": "22.5"}]},
        "100000*5 + 200000*0.5 + 600*22.5 + 400*22.5", "fields: the type ResponseUsage of the openai package",
    ),
    Row(
        "anthropic", "read from the cache, and written for 5 minutes", "messages",
        {"input_tokens": 21, "cache_creation_input_tokens": 1556, "cache_read_input_tokens": 18860, "output_tokens": 9},
        Usage(input_tokens=20_437, cached_input_tokens=18_860, cache_write_tokens=1556, output_tokens=9),
        SONNET, "21*3 + 18860*0.3 + 1556*3.75 + 9*15", "recorded messages/cache",
    ),
    Row(
        "anthropic", "written for 5 minutes and for an hour", "messages",
        {"input_tokens": 2048, "cache_read_input_tokens": 1800, "cache_creation_input_tokens": 248,
         "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100}, "output_tokens": 503},
        Usage(input_tokens=4096, cached_input_tokens=1800, cache_write_tokens=248, long_cache_write_tokens=100,
              output_tokens=503),
        SONNET, "2048*3 + 1800*0.3 + 148*3.75 + 100*6 + 503*15", "fields: the type Usage of the anthropic package",
    ),
    Row(
        "anthropic", "thinking", "messages",
        {"input_tokens": 53, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 96,
         "output_tokens_details": {"thinking_tokens": 61}},
        Usage(input_tokens=53, output_tokens=96, reasoning_tokens=61),
        SONNET, "53*3 + 35*15 + 61*15", "recorded messages/thinking",
    ),
    Row(
        "anthropic", "a prompt over 100,000 tokens, nearly all of it cached", "messages",
        {"input_tokens": 10, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 100_000,
         "output_tokens": 100},
        Usage(input_tokens=100_010, cached_input_tokens=100_000, output_tokens=100),
        {"input": "0.1", "cached_input": "0.01", "cache_write": "0.125", "long_cache_write": "0.2", "output": "0.5",
         "tiers": [{"above": 100_000, "input": "0.5", "cached_input": "0.05", "cache_write": "0.625",
                    "long_cache_write": "1", "output": "2.5"}]},
        "10*0.5 + 100000*0.05 + 100*2.5", "fields: the type Usage of the anthropic package",
    ),
    Row(
        "gemini", "cached, with thoughts beside the answer", "gemini",
        {"promptTokenCount": 8, "candidatesTokenCount": 12, "totalTokenCount": 48,
         "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}], "thoughtsTokenCount": 28,
         "cachedContentTokenCount": 4},
        Usage(input_tokens=8, cached_input_tokens=4, output_tokens=40, reasoning_tokens=28),
        FLASH, "4*0.3 + 4*0.03 + 12*2.5 + 28*2.5", "recorded gemini/text",
    ),
    Row(
        "gemini", "the results of tools beside the prompt", "gemini",
        {"promptTokenCount": 74, "candidatesTokenCount": 41, "totalTokenCount": 156,
         "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 74}], "thoughtsTokenCount": 41,
         "toolUsePromptTokenCount": 6},
        Usage(input_tokens=80, output_tokens=82, reasoning_tokens=41),
        {"input": "2", "cached_input": "0.2", "output": "12"}, "74*2 + 6*2 + 41*12 + 41*12",
        "recorded gemini/parallel_calls",
    ),
    Row(
        "gemini", "heard, the sound cached in part", "gemini",
        {"promptTokenCount": 1000, "cachedContentTokenCount": 500, "candidatesTokenCount": 20, "totalTokenCount": 1020,
         "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40}, {"modality": "AUDIO", "tokenCount": 960}],
         "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 20}, {"modality": "AUDIO", "tokenCount": 480}]},
        Usage(input_tokens=1000, cached_input_tokens=500, audio_input_tokens=480, output_tokens=20),
        FLASH, "20*0.3 + 480*1 + 500*0.03 + 20*2.5",
        "fields: the type GenerateContentResponseUsageMetadata of the google-genai package",
    ),
    Row(
        "xai", "cached", "chat",
        {"prompt_tokens": 125, "completion_tokens": 48, "total_tokens": 173,
         "prompt_tokens_details": {"text_tokens": 125, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 98},
         "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                       "rejected_prediction_tokens": 0}},
        Usage(input_tokens=125, cached_input_tokens=98, output_tokens=48),
        GROK, "27*1.25 + 98*0.2 + 48*2.5",
        "example: docs.x.ai/developers/advanced-api-usage/prompt-caching/usage-and-pricing",
    ),
    Row(
        "xai", "reasoning beside the completion", "chat",
        {"prompt_tokens": 32, "completion_tokens": 10, "total_tokens": 342,
         "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
         "completion_tokens_details": {"reasoning_tokens": 300, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                       "rejected_prediction_tokens": 0}, "num_sources_used": 0},
        Usage(input_tokens=32, cached_input_tokens=6, output_tokens=310, reasoning_tokens=300),
        GROK, "26*1.25 + 6*0.2 + 10*2.5 + 300*2.5", "recorded chat/xai_reasoning",
    ),
    Row(
        "xai", "a prompt of 200,000 tokens: the upper tier", "chat",
        {"prompt_tokens": 200_000, "completion_tokens": 10, "total_tokens": 200_010,
         "prompt_tokens_details": {"cached_tokens": 150_000}},
        Usage(input_tokens=200_000, cached_input_tokens=150_000, output_tokens=10),
        GROK, "50000*2.5 + 150000*0.4 + 10*5", "fields: docs.x.ai/developers/models",
    ),
    Row(
        "mistral", "thoughts in the completion", "chat",
        {"prompt_tokens": 14, "total_tokens": 45, "completion_tokens": 31,
         "prompt_tokens_details": {"cached_tokens": 0}},
        Usage(input_tokens=14, output_tokens=31),
        {"input": "0.15", "cached_input": "0.015", "output": "0.6"}, "14*0.15 + 31*0.6",
        "recorded chat/mistral_reasoning",
    ),
    Row(
        "groq", "without details", "chat",
        {"queue_time": 0.0903, "prompt_tokens": 38, "prompt_time": 0.0032, "completion_tokens": 3,
         "completion_time": 0.0275, "total_tokens": 41, "total_time": 0.0307},
        Usage(input_tokens=38, output_tokens=3), MINI, "38*0.15 + 3*0.6", "recorded chat/groq_text",
    ),
    Row(
        "groq", "cached", "chat",
        {"queue_time": 0.026, "prompt_tokens": 4641, "completion_tokens": 1817, "total_tokens": 6458,
         "prompt_tokens_details": {"cached_tokens": 4608}},
        Usage(input_tokens=4641, cached_input_tokens=4608, output_tokens=1817),
        MINI, "33*0.15 + 4608*0.075 + 1817*0.6", "fields: console.groq.com/docs/prompt-caching",
    ),
    Row(
        "openrouter", "cached, written to the cache, reasoning", "chat",
        {"prompt_tokens": 194, "completion_tokens": 21, "total_tokens": 215, "cost": 0.000897, "is_byok": False,
         "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 100, "audio_tokens": 0},
         "cost_details": {"upstream_inference_cost": None},
         "completion_tokens_details": {"reasoning_tokens": 12, "image_tokens": 0}},
        Usage(input_tokens=194, cached_input_tokens=40, cache_write_tokens=100, output_tokens=21, reasoning_tokens=12),
        SONNET, "54*3 + 40*0.3 + 100*3.75 + 9*15 + 12*15", "recorded chat/openrouter_reasoning",
    ),
    Row(
        "together", "nothing cached, said outside the details", "chat",
        {"prompt_tokens": 39, "completion_tokens": 3, "total_tokens": 42, "cached_tokens": 0},
        Usage(input_tokens=39, output_tokens=3),
        {"input": "0.3", "cached_input": "0.006", "output": "1.2"}, "39*0.3 + 3*1.2", "recorded chat/together_text",
    ),
    Row(
        "together", "cached, said outside the details", "chat",
        {"prompt_tokens": 1039, "completion_tokens": 3, "total_tokens": 1042, "cached_tokens": 1001},
        Usage(input_tokens=1039, cached_input_tokens=1001, output_tokens=3),
        {"input": "0.3", "cached_input": "0.006", "output": "1.2"}, "38*0.3 + 1001*0.006 + 3*1.2",
        "fields: as recorded in chat/together_text",
    ),
    Row(
        "openai-compatible", "DeepSeek's hits and misses", "chat",
        {"prompt_tokens": 300, "completion_tokens": 12, "total_tokens": 312, "prompt_cache_hit_tokens": 192,
         "prompt_cache_miss_tokens": 108, "completion_tokens_details": {"reasoning_tokens": 5}},
        Usage(input_tokens=300, cached_input_tokens=192, output_tokens=12, reasoning_tokens=5),
        {"input": "0.28", "cached_input": "0.028", "output": "0.42"}, "108*0.28 + 192*0.028 + 7*0.42 + 5*0.42",
        "fields: api-docs.deepseek.com, context caching",
    ),
    Row(
        "openai-compatible", "a sum that is no whole nano-dollar, rounded up once", "chat",
        {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 3}},
        Usage(input_tokens=7, cached_input_tokens=3, output_tokens=1),
        {"input": "0.0001", "cached_input": "0.00003", "output": "0.0004"}, "4*0.0001 + 3*0.00003 + 1*0.0004",
        f"fields: {_DETAILS}",
    ),
)  # fmt: skip


def document(costs: Mapping[int, int]) -> str:
    """Return the page; ``costs`` are nano-dollars by the rows' numbers."""
    head = ["| vendor | what | usage as it came | tokens as we count them | rates | by hand | nano-dollars | from |"]
    rule = ["|---|---|---|---|---|---|---|---|"]
    return HEAD + "\n".join([*head, *rule, *(_line(row, costs[number]) for number, row in enumerate(ROWS))]) + "\n"


def _line(row: Row, nano: int) -> str:
    counted = ", ".join(
        f"{name.removesuffix('_tokens')} {count:,}" for name, count in attrs.asdict(row.usage).items() if count
    )
    wire = json.dumps(row.document, separators=(",", ":"))
    cells = [f"`{row.vendor}`", row.what, f"`{wire}`", counted, _rates(row.rates), row.by_hand, f"{nano:,}", row.origin]
    return f"| {' | '.join(cells)} |"


def _rates(rates: Mapping[str, Any]) -> str:
    told = [f"{name} {rate}" for name, rate in rates.items() if name not in {"tiers", "above"}]
    tiers = [f"above {tier['above']:,}: {_rates(tier)}" for tier in rates.get("tiers", ())]
    return "; ".join([", ".join(told), *tiers])


if __name__ == "__main__":
    from tests.test_conversions import by_hand

    PAGE.write_text(document({number: by_hand(row.by_hand) for number, row in enumerate(ROWS)}), encoding="utf-8")
