import json

import pytest

from ainf.simulator.wire import ErrorBody
from ainf.simulator.wires.gemini_stream import error_object
from tests.simulator.formats import GEMINI, TOOLS, WELL_FORMED, ask, frames, whole


@pytest.mark.parametrize("model", WELL_FORMED)
async def test_every_chunk_is_a_response_of_the_genai_package(model, autojump_clock):
    """Each chunk validates (the type forbids unknown keys), tells its usage, and the last one alone the finish."""
    taken = await ask(GEMINI, model, functions=TOOLS)
    chunks = frames(GEMINI, taken)

    assert taken.whole
    assert b"event:" not in taken.body
    assert b"[DONE]" not in taken.body
    assert len({chunk.response_id for chunk in chunks}) == 1
    if model == "sim-blocked":
        assert [chunk.prompt_feedback.block_reason.value for chunk in chunks] == ["PROHIBITED_CONTENT"]
    else:
        reasons = [chunk.candidates[0].finish_reason for chunk in chunks]
        assert all(reason is None for reason in reasons[:-1])
        assert reasons[-1]
    told = [chunk.usage_metadata is not None for chunk in chunks]
    assert all(told) or (model == "sim-usage-in-finish" and told == [False] * (len(chunks) - 1) + [True])


@pytest.mark.parametrize("model", WELL_FORMED)
async def test_every_document_is_the_stream_joined(model, autojump_clock):
    """The one response validates, and holds the text, thoughts, calls, signatures and usage of the chunks."""
    document = whole(GEMINI, await ask(GEMINI, model, stream=False, functions=TOOLS))
    chunks = frames(GEMINI, await ask(GEMINI, model, functions=TOOLS))

    assert _joined([document]) == _joined(chunks)
    assert document.usage_metadata == chunks[-1].usage_metadata


def _joined(responses):
    parts = [part for response in responses for part in _parts(response)]
    return {
        "text": "".join(part.text or "" for part in parts if not part.thought),
        "thoughts": "".join(part.text or "" for part in parts if part.thought),
        "calls": [(part.function_call.name, part.function_call.args) for part in parts if part.function_call],
        "signatures": [part.thought_signature for part in parts if part.thought_signature],
    }


def _parts(response):
    return [part for candidate in response.candidates or () for part in candidate.content.parts or ()]


async def test_usage_grows_with_every_chunk():
    """Thoughts count apart from what is said, cached tokens are told, what is written to a cache is not."""
    chunks = (await ask(GEMINI, "sim-reasoning-2-tokens-2-cached-3-cache-write-1")).chunks
    usage = [chunk["usageMetadata"] for chunk in chunks]

    assert [one.get("thoughtsTokenCount") for one in usage] == [1, 2, 2, 2, 2]
    assert [one.get("candidatesTokenCount") for one in usage] == [None, None, 1, 2, 2]
    assert [one["totalTokenCount"] for one in usage] == [5, 6, 7, 8, 8]
    assert {one["cachedContentTokenCount"] for one in usage} == {3}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "where"),
    [
        ("sim-reasoning-2-parallel-tools", "look"),
        ("sim-hidden-reasoning-2-parallel-tools", "look"),
        ("sim-reasoning-2", "text"),
        ("sim-hidden-reasoning-2", "text"),
        ("sim-reasoning-2-signature", "thought"),
        ("sim-reasoning-2-parallel-tools-signature", "thought"),
        ("sim-hidden-reasoning-2-signature", "thought"),
        ("sim-tools", None),
    ],
)
async def test_where_the_signature_stands(model, where, stream):
    """One part is signed: the first call, else the last text; with signature the thought; without reasoning none."""
    taken = await ask(GEMINI, model, stream=stream, functions=TOOLS)
    parts = [
        part for response in (frames(GEMINI, taken) if stream else [whole(GEMINI, taken)]) for part in _parts(response)
    ]
    signed = [part for part in parts if part.thought_signature]

    names = [
        "thought" if part.thought else part.function_call.name if part.function_call else "text" for part in signed
    ]
    assert names == ([where] if where else [])
    if where == "text":
        assert signed[0] is parts[-1]


async def test_a_call_comes_whole():
    """However many tokens its arguments have, a call is one part, sent with its last token, all billed."""
    chunks = (await ask(GEMINI, "sim-parallel-tools-tokens-50", functions=TOOLS)).chunks
    calls = [chunk["candidates"][0]["content"]["parts"][0].get("functionCall") for chunk in chunks]

    assert [call and call["name"] for call in calls] == ["look", "wait", None]
    assert list(calls[0]["args"]) == ["where"]
    assert chunks[0]["usageMetadata"]["candidatesTokenCount"] == 50


@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_that_the_limit_cuts_never_comes(stream):
    """Its tokens are billed, and the finish is MAX_TOKENS."""
    taken = await ask(GEMINI, "sim-tools", stream=stream, functions=TOOLS, limit=3)
    last = frames(GEMINI, taken)[-1] if stream else whole(GEMINI, taken)

    assert b"functionCall" not in taken.body
    assert last.candidates[0].finish_reason.value == "MAX_TOKENS"
    assert last.usage_metadata.candidates_token_count == 3


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("sim", "STOP"),
        ("sim-tools", "STOP"),
        ("sim-refusal", "SAFETY"),
        ("sim-finish-content_filter", "SAFETY"),
        ("sim-finish-RECITATION", "RECITATION"),
    ],
)
async def test_finish_reasons(model, reason):
    """Each end has Gemini's word for it; words that are none of chat's come as they are."""
    assert (await ask(GEMINI, model)).chunks[-1]["candidates"][0]["finishReason"] == reason


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_errors_have_a_status_in_words(status, name):
    """Google's words follow from the status; OpenAI's codes are not told."""
    assert error_object(ErrorBody(status, "no", "x", "y")) == {"code": status, "message": "no", "status": name}


async def test_an_error_may_stand_in_a_list():
    """With error-list the error's body is the one item of a list."""
    taken = await ask(GEMINI, "sim-error-429-error-list")
    assert [item["error"]["status"] for item in json.loads(taken.body)] == ["RESOURCE_EXHAUSTED"]


async def test_odd_streams():
    """Usage told twice is a chunk of its own, content in the finish is one chunk with it, and no finish is none."""
    assert list((await ask(GEMINI, "sim-usage-twice")).chunks[-1]) == ["usageMetadata", "modelVersion", "responseId"]
    last = (await ask(GEMINI, "sim-finish-with-content")).chunks[-1]["candidates"][0]
    assert (len(last["content"]["parts"][0]["text"]), last["finishReason"]) == (4, "STOP")
    assert b"finishReason" not in (await ask(GEMINI, "sim-done-only")).body
