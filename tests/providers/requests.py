"""What the tests of vendors share: requests, prices, targets, and what is written of them."""

import json

import pytest

from ainf.formats.chat.format import CHAT
from ainf.inference.conversation import Conversation, Message, Opaque, Reasoning, Role, Text, ToolCall
from ainf.inference.errors import DownstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.inference.secret import Secret
from ainf.pricing import Price
from ainf.providers.base import Target
from ainf.providers.fields import Coverage

BASE_URL = "https://api.example.test/v1"
TARGET = Target("main", "up-1", BASE_URL, "max_completion_tokens", 4096)
BARE = Coverage(Price(input=1, cached_input=1, output=1, reasoning=1))
COVERED = Coverage(Price(input=1, cached_input=1, output=1, reasoning=1, cache_write=2))
AUDIO = Coverage(Price(input=1, cached_input=1, output=1, reasoning=1, audio_input=2))
LONG_COVERED = Coverage(Price(input=1, cached_input=1, output=1, reasoning=1, cache_write=2, long_cache_write=3))


SECRET = Opaque("chat", '{"type":"reasoning.encrypted","data":"c2VjcmV0"}')
HISTORY = Conversation(
    messages=(
        Message(Role.USER, (Text("Hi"),), "messages[0]"),
        Message(Role.ASSISTANT, (Reasoning("hm", SECRET), Text("Hello")), "messages[1]"),
        Message(Role.ASSISTANT, (Reasoning("hm"), ToolCall("c1", "f", "{}")), "messages[2]"),
        Message(Role.ASSISTANT, (Reasoning("hm"),), "messages[3]"),
        Message(Role.ASSISTANT, (Text(""),), "messages[4]"),
    ),
    max_output_tokens=50,
)
"""What a client of another format may ask, with thoughts in its history."""

CALLED = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
WITHOUT_THOUGHTS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "assistant", "content": None, "tool_calls": CALLED},
    {"role": "assistant", "content": ""},
]
"""The messages of that request, where thoughts cannot be sent back."""


def translated(vendor, limit=None, *, target=None):
    """Return the body of what a vendor writes for a client of another format; its fields, too, as they came to it."""
    fields = CHAT.write_request(HISTORY).fields
    return written(vendor, fields, limit, target=target or TARGET, protocol="messages")[1], fields


def request_of(fields, *, stream=False, operation=Operation.GENERATE, betas=(), protocol="chat_completions"):
    return InferenceRequest(
        protocol=protocol,
        path="/v1/any",
        model="asked",
        stream=stream,
        include_usage=False,
        max_output_tokens=None,
        input_bytes=1,
        bound_bytes=1,
        attachment_count=0,
        has_tools=False,
        fields=fields,
        operation=operation,
        betas=betas,
    )


def written(vendor, fields, limit=None, *, target=TARGET, **asked):
    """Return the URL's path below the base and the body of what a vendor writes."""
    wire = vendor.write_request(request_of(fields, **asked), target, limit)
    assert wire.url.startswith(BASE_URL)
    return wire.url.removeprefix(BASE_URL), json.loads(wire.body)


def refused(check, *args):
    """Return the field that a check refuses."""
    with pytest.raises(DownstreamError) as caught:
        check(*args)
    assert caught.value.code == "unsupported_parameter"
    assert f"`{caught.value.param}`" in caught.value.message
    return caught.value.param


def refused_by(vendor, fields, coverage=BARE, **asked):
    """Return the field that a vendor refuses."""
    return refused(vendor.check, request_of(fields, **asked), coverage)


def passes(vendor, fields, coverage=BARE, **asked):
    """Whether a vendor's check lets a request pass."""
    vendor.check(request_of(fields, **asked), coverage)
    return True


def shown(headers):
    """Return headers with their secrets revealed, as they are sent."""
    return tuple((name, value.reveal() if isinstance(value, Secret) else value) for name, value in headers)
