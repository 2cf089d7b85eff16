"""What a client asks of a model, free of wire formats: the meeting point of translation between request formats.

Every format reads its requests into a ``Conversation`` and writes one back. A field that a format cannot say is never
lost on the way: the reader lists what has no place here (``unknown``), the writer what it could not say, and whoever
joins the two refuses it by the client's own name for it (``names``), or names it to the client as dropped.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

import attrs

_SEAL: Final = "ainf."


@attrs.frozen
class Opaque:
    """Data that only its provider understands, and wants back when the conversation goes on.

    On its own wire it has a place of its own; on another it travels sealed, so that no provider is ever handed what
    another one made.
    """

    source: str
    """Whose it is, and of which kind: "messages.signature", "messages.redacted", "responses", "gemini"."""
    data: str = attrs.field(repr=False)

    def sealed(self) -> str:
        """Return it as text for another wire."""
        return f"{_SEAL}{self.source}:{self.data}"

    @classmethod
    def unsealed(cls, text: str) -> "Opaque | None":
        """Return what ``sealed`` wrote; None for any other text."""
        if not text.startswith(_SEAL):
            return None
        source, found, data = text.removeprefix(_SEAL).partition(":")
        return cls(source, data) if found else None


class Role(StrEnum):
    """Who speaks. The results of tools are a user's parts."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"


class CacheMark(StrEnum):
    """That the input up to and with a part shall be cached, and for how long."""

    SHORT = "short"
    """The provider's usual time (5 minutes)."""
    LONG = "long"
    """The longer time that it offers (1 hour)."""


@attrs.frozen
class Text:
    """Text of any speaker."""

    text: str
    cache: CacheMark | None = None


@attrs.frozen
class Image:
    """An image: by ``url``, or as base64 ``data`` with its ``media_type``."""

    url: str | None = None
    media_type: str | None = None
    data: str | None = attrs.field(default=None, repr=False)
    detail: str | None = None
    """"low", "high", "auto", ...: how closely to look, in OpenAI's words."""
    cache: CacheMark | None = None


@attrs.frozen
class Document:
    """A document (PDF, plain text): by ``url``, or as base64 ``data`` with its ``media_type``."""

    url: str | None = None
    media_type: str | None = None
    data: str | None = attrs.field(default=None, repr=False)
    name: str | None = None
    cache: CacheMark | None = None


@attrs.frozen
class Reasoning:
    """What an assistant thought before; ``text`` is empty where its provider showed none.

    Opaque data that belongs to another part (Gemini's signature of a call) is a reasoning part of its own, without
    text, right before that part.
    """

    text: str
    opaque: Opaque | None = None


@attrs.frozen
class Refusal:
    """What an assistant said when it refused."""

    text: str


@attrs.frozen
class ToolCall:
    """A call that an assistant made; ``arguments`` is JSON text, or free-form input where ``is_custom``."""

    call_id: str
    name: str
    arguments: str
    is_custom: bool = False
    cache: CacheMark | None = None


ToolResultPart: TypeAlias = Text | Image | Document


@attrs.frozen
class ToolResult:
    """What a call gave; a user's part."""

    call_id: str
    content: tuple[ToolResultPart, ...]
    is_error: bool = False
    is_custom: bool = False
    cache: CacheMark | None = None


Part: TypeAlias = Text | Image | Document | Reasoning | Refusal | ToolCall | ToolResult


@attrs.frozen
class Message:
    """One message; ``path`` is where it stands in the client's request ("messages[3]"), for errors."""

    role: Role
    parts: tuple[Part, ...]
    path: str
    name: str | None = None
    """The speaker's name, where several share a role."""


@attrs.frozen
class ToolDefinition:
    """A tool that the client runs itself. Tools that a provider runs have no place here: they are refused."""

    name: str
    path: str
    """Where it stands in the client's request, for errors."""
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    """JSON schema of a function's arguments; None where it takes none."""
    strict: bool | None = None
    is_custom: bool = False
    """It takes free-form input, in the format that ``grammar`` says (OpenAI's object) if it has one."""
    grammar: Mapping[str, Any] | None = None
    cache: CacheMark | None = None


class ToolMode(StrEnum):
    """Whether the model may, must or must not call tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


@attrs.frozen
class ToolChoice:
    """How tools are to be chosen; ``name`` belongs to ``NAMED``."""

    mode: ToolMode
    name: str | None = None
    is_custom: bool = False


class AnswerKind(StrEnum):
    """What shape the answer's text must have."""

    TEXT = "text"
    JSON = "json"
    SCHEMA = "schema"


@attrs.frozen
class AnswerFormat:
    """The shape of the answer's text; the rest belongs to ``SCHEMA``."""

    kind: AnswerKind
    name: str | None = None
    description: str | None = None
    schema: Mapping[str, Any] | None = None
    strict: bool | None = None


@attrs.frozen
class ReasoningAsk:
    """How much the model shall think, and whether its thoughts shall be shown."""

    effort: str | None = None
    """"none", "minimal", "low", "medium", "high", "xhigh", "max"."""
    budget_tokens: int | None = None
    """The most output tokens that may be thoughts; 0 switches thinking off."""
    is_shown: bool | None = None
    """Whether thoughts (or a summary of them) shall be in the answer; None leaves it to the provider."""
    is_adaptive: bool = False
    """The model decides by itself whether to think."""


@attrs.frozen(kw_only=True)
class Conversation:
    """Everything that a client asks of a model. None means: not asked, the provider's own default."""

    messages: tuple[Message, ...]
    """In order, system and developer messages among them. Tool results stand in the user's messages."""
    tools: tuple[ToolDefinition, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    reasoning: ReasoningAsk | None = None
    answer_format: AnswerFormat | None = None
    verbosity: str | None = None
    user: str | None = None
    """Who the end user is, in the client's own words (never a name that we know)."""
    metadata: Mapping[str, Any] | None = None
    store: bool | None = None
    """Whether the provider shall keep the answer for later. False is what every provider without a store does."""
    prompt_cache_key: str | None = None
    names: Mapping[str, str] = attrs.field(factory=dict)
    """Of each attribute above that was asked for: the client's own name for it ("stop" -> "stop_sequences")."""
    unknown: tuple[str, ...] = ()
    """The client's names of fields that have no place here."""

    @property
    def wishes(self) -> tuple[str, ...]:
        """What is wished for beside the words of the answer, by name.

        "cache_control": that input is cached; "reasoning_shown": that thoughts are shown.
        """
        wishes = ["cache_control"] if self._has_cache_marks() else []
        if self.reasoning is not None and self.reasoning.is_shown:
            wishes.append("reasoning_shown")
        return tuple(wishes)

    def _has_cache_marks(self) -> bool:
        parts = (part for message in self.messages for part in message.parts)
        return any(getattr(each, "cache", None) is not None for each in (*parts, *self.tools))

    def name_of(self, attribute: str) -> str:
        """Return the client's own name for what stands in ``attribute``."""
        return self.names.get(attribute, attribute)


@attrs.frozen
class Written:
    """A conversation in one format's words."""

    fields: dict[str, Any] = attrs.field(repr=False)
    """The request's JSON object, without ``model`` and ``stream``, which are the provider's business."""
    unsaid: tuple[str, ...] = ()
    """Attributes of the conversation that the format cannot say."""
