"""The rows of docs/threats.md: data, with no word of the tests that show them."""

from collections.abc import Mapping
from typing import Final

import attrs


@attrs.frozen
class Row:
    """One input or threat."""

    key: int | str
    what: str
    gets: str
    ledger: str = "-"
    """What is settled: none opened, zero, metered, reported."""


@attrs.frozen
class Section:
    """Rows of one kind, which make one table."""

    title: str
    rows: tuple[Row, ...]
    what: str = "input or threat"
    """The heads of the columns."""
    gets: str = "gets"
    text: str = ""
    """What stands before the table."""


_BODIES: Final = Section("Bodies", (
    Row(1, "malformed JSON: truncated, garbage behind it, empty", "400 `invalid_json` with the byte, no excerpt"),
    Row(2, "duplicate keys, also by escapes", "the last one stands; the body is written anew, so one reaches the "
        "provider", "A"),
    Row(3, "`NaN`, `Infinity`, `-Infinity`", "400 `invalid_json`; never written either: what a provider says so is "
        "translated as null"),
    Row(4, "`1e400`, `1e999999999`", "400 `number_out_of_range`, in no time"),
    Row(5, "integers over 64 bits, thousands of digits", "400 `number_out_of_range`"),
    Row(6, "nesting deeper than 100", "400 `too_deep`, whatever the stack would bear"),
    Row(7, "lone surrogates as escapes", "400 `invalid_unicode`"),
    Row(8, "invalid, overlong or surrogate UTF-8; UTF-16 and 32; a byte order mark", "400 `invalid_encoding`"),
    Row(9, "NUL in the model, user or metadata", "400 `invalid_unicode`"),
    Row(10, "wrong types of fields that the gateway reads; a bool for a number, a string for a bool",
        "400 `invalid_type` with `param`; of fields that it does not read the provider is the judge"),
    Row(11, "unknown fields", "the same format: forwarded untouched, but 400 `unsupported_parameter` by name where "
        "they "
        "change price, model or host; another format: 400 by name", "-/A"),
    Row(12, "a body that is no object", "400 `invalid_json`"),
    Row(13, "200,000 objects, 100,000 messages, 5,000 tools", "answered or 4xx within seconds, in bounded memory",
        "-/A"),
    Row(14, "a body over the limit by Content-Length", "413 before it is read, close"),
    Row(15, "a chunked body that crosses the limit", "413 when it does, close"),
    Row(16, "gzip, a gzip bomb, a false content-encoding", "415; nothing is ever decompressed"),
    Row(17, "other content types, multipart, a giant boundary", "415, the body is not parsed"),
))  # fmt: skip

_FRAMING: Final = Section("Connections and framing", (
    Row(18, "slow headers", "408 after `header_s`, close; nothing is logged of it"),
    Row(19, "a slow body, or one that never comes", "408 after `body_s` or below the lowest rate, close"),
    Row(20, "a client that never reads", "gone after `write_s`, the provider's connection closed first", "E"),
    Row(21, "thousands of idle connections from one address", "503 over `connections_per_peer`; others are served; "
        "idle "
        "ones are closed after `idle_s`"),
    Row(22, "Content-Length with Transfer-Encoding", "400, close; nothing behind it is read"),
    Row(23, "two Content-Length, `+5`, hex, a list, empty, negative", "400, close"),
    Row(24, "odd Transfer-Encoding: `xchunked`, a list, a vertical tab, a space before the colon", "400, close"),
    Row(25, "odd chunks: no size, negative, 2^68, no CRLF, an extension of 1 MiB", "400, close; a size that is only "
        "large is a body: 413 when that crosses its limit"),
    Row(26, "bare CR or NUL in a header, an empty name, folded lines", "400, close"),
    Row(27, "`Upgrade` to h2c, websocket, anything; what stands behind it; HTTP/2 by prior knowledge",
        "no 101, served as HTTP/1.1; a preface is 400", "-/A"),
    Row(28, "trailers that name Authorization or Content-Length", "ignored", "A"),
    Row(29, "Host missing, twice, malformed, with a path; a strange Host", "400; a strange one decides nothing", "-/A"),
    Row(30, "absolute form, `//v1`, `/x/../`, `%2f`, `%63`, `;x`, a trailing slash, another case", "404 `not_found`"),
    Row(31, "a head over 64 KiB or 100 lines, a long target", "431 or 414, close"),
    Row(32, "X-Forwarded-For and its kin from strangers", "ignored unless the peer is a trusted proxy", "A"),
    Row(33, "`Connection: Authorization`", "strips nothing: the request has its credential", "A"),
))  # fmt: skip

_KEYS: Final = Section("Credentials and rights", (
    Row(34, "no key, a wrong key, another scheme", "401 `invalid_api_key`, the same words for all, `www-authenticate`"),
    Row(35, "guessing of keys", "429 for an address over `auth_failures_per_minute`; unknown, revoked and expired read "
        "the same; valid keys of the address are still served"),
    Row(36, "timing of the look-up", "only the SHA-256 of the whole key is looked up, so that no time tells how far a "
        "guess was right"),
    Row(37, "a key in the query", "401; the query is never logged"),
    Row(38, "two credentials that differ", "401 `ambiguous_credentials`"),
    Row(39, "SQL, LIKE, format strings, templates in key, model and ids", "401, 404 or 400; always bound, never run"),
    Row(40, "a key without the right to the model or path, by whichever header", "403 `not_permitted`, the same for "
        "all"),
    Row(41, "a key that is revoked during a stream", "`terminated` / `key_revoked` within 5 s", "E"),
    Row(60, "a response, a file or a receipt of another account", "404, the same as unknown; files of a provider's "
        "account are 400 `unsupported_parameter` by name"),
))  # fmt: skip

_FIELDS: Final = Section("Models and fields", (
    Row(42, "a model that is unknown, empty, 1 MiB long, a homoglyph, with spaces", "404 `model_not_found`, the name "
        "cut to 64 characters"),
    Row(43, "CRLF, ANSI, JSON in the model or ids", "404 or 400; the log is one JSON object a line"),
    Row(44, "`../`, `?`, `#`, `@`, `:` in the model", "404; no URL is made of a name that a client sends"),
    Row(45, "`base_url`, `api_key`, `extra_headers`, `provider`, `proxy`; `timeout`, `cost`, `budget`",
        "400 by name, or no effect here: the configured host is called, with the configured key", "-/A"),
    Row(46, "URLs of images, files and sound to loopback, metadata services, in odd forms, `file:`, `gopher:`",
        "passed on untouched, or 400; never fetched here", "-/A"),
    Row(47, "a provider's name that comes to resolve to another address", "its certificate must be the name's: 502 "
        "`upstream_unreachable`, and not a byte of the request is sent; private addresses are allowed, for providers "
        "stand there", "Z"),
    Row(48, "remote and cyclic `$ref`, a catastrophic pattern in a tool's schema", "neither resolved nor compiled",
        "A"),
    Row(49, "an output limit of -1, 0, 2^63, 1.5, \"64\", true, or none where it is required", "400"),
    Row(50, "two limits that disagree; a thinking budget over the limit", "400 `invalid_value`"),
    Row(51, "`n` other than 1", "400 by name"),
    Row(52, "no output limit", "a stream is held in slices, a whole answer for all that the model can give", "A"),
    Row(53, "a stream of a model that does not stream", "501 `streaming_not_supported`, never JSON in silence; or it "
        "is "
        "made of the whole answer, which its head says"),
    Row(54, "`include_usage: false`", "usage is asked of the provider all the same, and not shown", "A"),
))  # fmt: skip

_LIVES: Final = Section("Money, ends and processes", (
    Row(55, "100 requests at once against a cap for 10", "those that fit are admitted, 402 `spend_cap_exceeded` for "
        "the rest; the cap holds", "A each"),
    Row(56, "a cap that is reached in mid-stream", "the end `spend_cap_exceeded`, the provider closed at once",
        "E, inside the hold"),
    Row(57, "a cap lowered below what is held", "what runs ends inside its hold; new ones are 402", "E"),
    Row(58, "a price that changes during a request", "the price of its admission holds", "A"),
    Row(59, "one Idempotency-Key: twice at once, with another body, after the end",
        "told the one answer, or 409 with `retry-after`; 422; told again", "one"),
    Row(61, "a client that leaves: before the dial, before the first byte, in the middle, after the end",
        "the provider's connection is closed at once", "Z / Z or E / E / A"),
    Row(62, "a client that closes its sending side", "a disconnect, as with most proxies", "E"),
    Row(63, "the deadline of a request", "an error in the stream, `deadline_exceeded`; 504 before its head", "E / Z"),
    Row(64, "SIGTERM", "nothing new (503), what runs has `drain_s`, then the error `shutting_down`", "A or E"),
    Row(65, "kill -9 at any point", "the next start settles before it listens", "Z or E, once"),
    Row(66, "SIGSTOP for longer than the lease", "the woken process settles nothing twice and ends its streams", "E"),
    Row(67, "two processes that reap at once", "each exchange is closed once", "once"),
    Row(68, "a database that is locked, away, read-only or full at the admission", "503 `store_unavailable`, nothing "
        "is "
        "dialled"),
    Row(69, "a database that is away at the settlement", "a local spool, replayed by id", "A, once"),
    Row(70, "a commit whose answer is lost", "tried again by id; what is there already stands", "once"),
    Row(71, "a clock that jumps; the end of a window during a request", "nothing ends; it counts in the window of its "
        "admission", "A"),
    Row(72, "a thousand stalled streams", "503 `overloaded` with `retry-after` over `limits.running`; what runs goes "
        "on"),
))  # fmt: skip

_UPSTREAM: Final = Section("Providers: no answer", (
    Row(73, "connection refused, no such name, TLS that fails", "502 `upstream_unreachable`, without a host's name",
        "Z"),
    Row(74, "accepts and never answers", "504 `upstream_timeout` after `first_byte_s`; a whole answer has the "
        "exchange's own clock", "Z"),
    Row(75, "silence in mid-stream, half an event", "error `upstream_timeout` in the stream", "E"),
    Row(76, "comments, pings, empty deltas for ever", "only what says something counts: `upstream_timeout`", "Z/E"),
    Row(77, "1xx, a head or a body that drips for ever", "`upstream_timeout` or `upstream_protocol`: clocks are totals",
        "Z/E"),
    Row(78, "a line without an end", "`upstream_protocol` at `sse_line_bytes`", "E"),
    Row(79, "an event without an end", "`upstream_protocol` at `sse_event_bytes`", "E"),
    Row(80, "tokens for ever, past the limit", "`upstream_protocol` past 1.5 times the client's limit; never an end of "
        "our making", "E, inside the hold"),
))  # fmt: skip

_STREAMS: Final = Section("Providers: odd streams", (
    Row(81, "invalid UTF-8", "relayed as it came; translated as U+FFFD", "A"),
    Row(82, "U+2028, U+2029, U+0085 in JSON", "no line end", "A"),
    Row(83, "lone surrogates, halves over two deltas", "joined, or U+FFFD", "A"),
    Row(84, "text that holds `\\n\\ndata: [DONE]`", "stays inside its JSON string", "A"),
    Row(85, "one broken frame", "relayed and counted; translated: left out and counted, eight in a row are "
        "`upstream_protocol`", "A/E"),
    Row(86, "scalars, wrong types, no choices, null deltas", "relayed or ignored, never a defect", "A/E"),
    Row(87, "deep JSON, a number of 10,000 digits", "as a broken frame", "A/E"),
    Row(88, "usage that is negative, huge, over 64 bits, a float, a string, a bool, NaN, a list, an object",
        "not believed, noted as `usage_rejected`", "E"),
    Row(89, "usage that is missing, null or zero after text", "our own count", "E"),
    Row(90, "usage twice, decreasing, on every chunk", "the last one, never a sum", "A"),
    Row(91, "plausible usage above the hold", "the hold is settled, the rest is overrun, counted as an alarm",
        "A + overrun"),
    Row(92, "more cached tokens than prompt tokens; a total that is no sum", "the first is not believed; the total is "
        "not read: the parts count", "E / A"),
    Row(93, "two ends; content behind the end", "the first end stands, nothing behind it is shown", "A"),
    Row(94, "data behind `[DONE]`; `[DONE]` in other formats", "ignored", "A"),
    Row(95, "no `[DONE]`, but a finish reason", "complete", "A"),
    Row(96, "`[DONE]` without a finish reason", "`upstream_truncated`", "E"),
    Row(97, "an end without a finish reason: clean, inside JSON, by reset, short of its length, inside a chunk",
        "`upstream_truncated` in the stream; never a stop of our making", "E"),
    Row(98, "finish and usage, then a reset or a hang", "complete, after `tail_s` at most", "A"),
))  # fmt: skip

_ANSWERS: Final = Section("Providers: what is no answer", (
    Row(99, "200 without a body, 204", "502 `upstream_protocol`", "E / Z"),
    Row(100, "JSON instead of a stream", "made a stream, billed once", "A"),
    Row(101, "a stream instead of JSON, or under a wrong content type", "read by its first byte: collected, or relayed",
        "A"),
    Row(102, "HTML, NDJSON, binary under 200", "502 `upstream_protocol`, nothing of it shown", "E"),
    Row(103, "gzip although identity was asked, corrupt gzip, a bomb", "502 `upstream_protocol`; nothing is ever "
        "decompressed", "E"),
    Row(104, "301, 302, 303, 307, 308", "502 `upstream_protocol`, not followed, Location not shown", "Z"),
    Row(105, "101, 300, 304, 999, a broken status line, HTTP/0.9, TLS bytes", "502 `upstream_protocol`", "Z"),
    Row(106, "two Content-Length, one with Transfer-Encoding, NUL, a head of 200 KiB", "502 `upstream_protocol`; the "
        "connection is not used again", "E"),
    Row(107, "an error in a 200 of the chat format: first, in the middle, as text, as a named event",
        "502 or 503; an error in the stream", "E"),
    Row(108, "Anthropic's `event: error`, overloaded", "`upstream_overloaded` in the client's words", "E"),
    Row(109, "Responses: `error`, `response.failed`, `response.incomplete`", "an error; an error; the end that it is",
        "E / E / A"),
    Row(110, "Gemini: an error as object or list, a blocked prompt, SAFETY, thoughts", "an error; a refusal at what "
        "was "
        "read; the total counts", "E / A"),
    Row(111, "unknown events, blocks and stop reasons", "relayed in the same format; translated: left out, an unknown "
        "reason as the neutral one, never a stop of our making; the raw word is in the receipt", "A"),
    Row(112, "pieces of tool calls: no index, gaps, 2^31, -1, no id, an object as arguments", "relayed; translated: "
        "joined by index or id, or `upstream_protocol`", "A/E"),
    Row(113, "401, 402, 403: our account", "502 `upstream_auth`, never the client's 401", "Z"),
    Row(114, "400: too long, filtered, invalid", "400 with our own code, the provider's words scrubbed", "Z"),
    Row(115, "429; `retry-after` that is garbage, negative, 10^12", "503 `upstream_overloaded` with 1 to 60 s; nobody "
        "sleeps", "Z"),
    Row(116, "5xx with traces, host names, keys, HTML", "502 or 503 in our own words", "Z"),
    Row(117, "an error body of 64 MiB, that drips, hangs, or is broken gzip", "64 KiB and 2 s of it are read", "Z"),
    Row(118, "headers: cookies, server, organisation, internal hosts, CORS", "none is passed on", "A"),
    Row(119, "another model's name in the answer", "relayed as it came; translated: the name that was asked for; the "
        "receipt has both", "A"),
    Row(120, "secrets in exceptions, logs, metrics, reprs", "none: answers and logs carry names of things, no values; "
        "metrics have no text of clients as labels"),
))  # fmt: skip

_STACK: Final = Section("Hazards of what we build on", (
    Row("S1", "h11 takes Content-Length beside Transfer-Encoding, and serves what is pipelined behind it",
        "the raw head is checked before h11 sees it: 400, close"),
    Row("S2", "hypercorn answers `Upgrade: h2c` with 101 and takes HTTP/2 by prior knowledge", "neither: HTTP/1.1 only",
        "-/A"),
    Row("S3", "bare LF, folded lines, absolute form, `//path`, `%63hat` reach a route",
        "400 or 404: one spelling of each path"),
    Row("S4", "of two Authorization headers the first wins in silence", "401 where they differ"),
    Row("S5", "no total clock on bodies", "`body_s`, a lowest rate, a cap on connections per address"),
    Row("S6", "the limit of an incomplete head is no limit of a whole one", "the sum of bytes and lines is checked"),
    Row("S7", "empty or HTML errors of the libraries; the rest of a body left on the connection",
        "JSON; every early error closes"),
    Row("S8", "shielded writes without a limit", "`write_s`, an abort that needs no await", "E"),
    Row("S9", "a client's leaving cancels the handler", "the settlement is shielded, within a limit", "E"),
    Row("S10", "no cap on connections or requests", "caps of our own, 503 with `retry-after` before the body is read"),
    Row("S11", "`json` takes NaN, surrogates, 1e400, UTF-16, a byte order mark", "a strict reader"),
    Row("S12", "an integer of 4,301 digits is a ValueError, deep nesting a RecursionError",
        "400 from the body; a broken frame from a provider"),
    Row("S13", "`'²'.isdigit()`, `int('٣')`", "numbers in headers are ASCII digits only"),
    Row("S14", "`isinstance(True, int)`", "a bool is no number"),
    Row("S15", "httpx reads proxies and .netrc from the environment", "our own transport reads neither", "A"),
    Row("S16", "httpx resolves `..` in paths", "targets are sent as configured; a model's name is looked up, and "
        "escaped in Gemini's URL"),
    Row("S17", "a body that ends with its connection looks like a success", "an end is only what the format says is "
        "one",
        "E"),
    Row("S18", "an unknown content-encoding is passed through, a corrupt one raises", "any is `upstream_protocol`",
        "E"),
    Row("S19", "lone surrogates and NUL fail in a database", "refused at the edge; cleaned from what providers say"),
))  # fmt: skip

_PUBLISHED: Final = Section("Learnt from published faults of gateways", (
    Row("C1", "SQL injection by the bearer token, before authentication (LiteLLM CVE-2026-42208)",
        "only a key's digest reaches SQL, bound"),
    Row("C2", "an identity cache keyed by the first 20 characters (LiteLLM CVE-2026-35030)",
        "the cache is keyed by the whole SHA-256"),
    Row("C3", "the route of the check is read from Host, that of the handler is not (LiteLLM CVE-2026-49468)",
        "each handler asks for the key itself; Host decides nothing"),
    Row("C4", "a user makes a key with more rights than their own (LiteLLM CVE-2026-47101)",
        "a key that is made in another's name has at most that one's rights"),
    Row("C5", "`api_base` in a body takes the provider's key to an attacker (LiteLLM CVE-2024-6587)",
        "400: no field can name a host"),
    Row("C6", "a multipart boundary parsed for ever, before authentication (LiteLLM CVE-2024-8984)",
        "the credential first; only JSON is parsed"),
    Row("C7", "an error that shows a key's hash (LiteLLM issue 27884)", "errors name keys by their public id"),
    Row("C8", "a compromised release of a dependency (LiteLLM 1.82.7, 1.82.8)", "few dependencies, each declared; a "
        "deployment pins them by hash"),
    Row("C9", "admin endpoints that run templates or processes (LiteLLM GHSA-xqmj-j6mv-4862, GHSA-v4p8-mg3p-g94g)",
        "no request reaches a template, a shell or a process: the code has none"),
    Row("C10", "an empty secret verifies everything (new-api CVE-2026-41432)", "an empty secret is an error at start"),
    Row("C11", "`%` in a LIKE burns the database (new-api CVE-2026-25591)", "no SQL has a LIKE"),
    Row("C12", "a filter of addresses passed by a redirect (new-api GHSA-9f46-w24h-69w4)",
        "redirects are not followed, and no URL of a client is fetched"),
    Row("C13", "image URLs fetched by the gateway (one-api issues 2387, 2388)", "passed on or refused"),
    Row("C14", "a limit skipped when the key comes by x-api-key (Open WebUI CVE-2026-45339)",
        "one extractor for every form of credential"),
    Row("C15", "another user's chat by its id (Open WebUI CVE-2026-45349)", "404: ids are looked up within the "
        "account"),
    Row("C16", "a revoked administrator keeps the session (Open WebUI CVE-2026-44553)",
        "revocation is read at every opening and extension, and ends what runs"),
    Row("C17", "a host that a client names is checked once and called later (Portkey)", "clients name no hosts"),
    Row("C18", "CRLF in HTTP/2 headers, lenient ends of chunks (h2 CVE-2025-57804, h11 CVE-2025-43859)",
        "no HTTP/2; h11 from 0.16 on; chunks end in CRLF or are 400"),
), what="what happened", gets="what holds here")  # fmt: skip

SECTIONS: Final = (
    _BODIES, _FRAMING, _KEYS, _FIELDS, _LIVES, _UPSTREAM, _STREAMS, _ANSWERS, _STACK, _PUBLISHED,
)  # fmt: skip

UNMET: Final[Mapping[int | str, str]] = {
    "C8": "a package cannot lock what is installed with it: its direct dependencies are few and have floors, and who "
    "deploys it pins all of them by hash (`pip install --require-hashes`)",
}
"""Row -> why it cannot be met here; no test shows it."""

NOTES: Final[Mapping[int | str, str]] = {
    25: "a chunk size of up to 20 hex digits is read as one; what is behind it is its data until the body's limit or "
    "clock ends it, so nothing of it is taken for a request",
    36: "no test measures time: what is compared is a digest that nobody can steer, in an index, whole",
    47: "addresses are not checked: self-hosted providers stand at private ones. A provider at `https` must prove its "
    "name; one at `http` is trusted as far as the operator's network is",
    62: "a half-closed connection cannot be told from one whose client has gone",
    70: "SQLite has no wire on which an answer gets lost: the commit is done and its error is made up",
    119: "the receipt names the model that was asked for and the provider's name for it (`upstream_model`); what the "
    "provider calls itself, where that is another, is in its notes (`answered_as`). `ainf check --live` says it too",
    "C17": "as row 47",
}
"""Row -> in which way it is met, where that is not the obvious one."""
