"""How much a key may ask for at a time: requests and tokens in a minute, and exchanges that run at once.

A rate is a *bucket* that holds as much as the limit says and begins full; what is taken out comes back at the limit's
rate, so that an empty one is full again after a minute. A request takes one out of its key's bucket of requests,
whatever becomes of it: a client that asks again and again after a refusal for money is slowed down by that, and never
served. Tokens are taken at the estimate of the input when an exchange begins, and set right by what was used when it
has ended: a bucket of tokens may owe, and lets nothing in until it holds enough again.

Limits hold per process: behind a load balancer each process allows as much.
"""

from collections.abc import Callable
from math import ceil
from typing import Final

import attrs

from ainf.inference.errors import DownstreamError
from ainf.store.base import KeyLimits, KeyRecord

_MINUTE_S: Final = 60.0
_SLACK_S: Final = 1e-6
"""What sums of fractions of a minute may be wrong by."""
_LONGEST_WAIT_S: Final = 60
_SWEEP_FROM: Final = 1_024
"""Keys that are remembered before those with nothing to remember are looked for."""


# Strategy: a bucket is one number, the time at which it is full again; what is missing in it is the share of a minute
# until then. So nothing has to tick, a limit that is changed holds at once for what was taken under another, and a
# bucket that is full needs not be kept. What it owes beyond being empty is no share but an amount, which comes back at
# the rate of the limit that it is asked under.
@attrs.define(eq=False)
class _Bucket:
    full_at: float = float("-inf")
    limit: int = 0
    """The one that it was last asked under."""

    def adopt(self, now: float, limit: int) -> None:
        """Go by this limit: where it is higher than the one before, what is owed is paid back sooner."""
        owed_s = self.reset_s(now) - _MINUTE_S
        if limit > self.limit and owed_s > 0:
            self.full_at = now + _MINUTE_S + owed_s * self.limit / limit
        self.limit = limit

    def wait_s(self, now: float, limit: int, amount: int) -> float:
        """Return how long it takes until so much is in it; none where that is not positive."""
        return self.reset_s(now) + amount * _MINUTE_S / limit - _MINUTE_S

    def reset_s(self, now: float) -> float:
        """Return how long it takes until it is full."""
        return max(0.0, self.full_at - now)

    def holds(self, now: float, limit: int) -> int:
        """Return what is in it."""
        return min(limit, max(0, int((_MINUTE_S + _SLACK_S - self.reset_s(now)) * limit / _MINUTE_S)))

    def take(self, now: float, limit: int, amount: int) -> None:
        """Take so much out, even if it owes it then; put it back where it is negative."""
        self.full_at = max(self.full_at, now) + amount * _MINUTE_S / limit


@attrs.define(eq=False)
class _Use:
    """What a key has taken."""

    requests: _Bucket = attrs.field(factory=_Bucket)
    tokens: _Bucket = attrs.field(factory=_Bucket)
    running: int = 0

    def is_nothing(self, now: float) -> bool:
        return not self.running and self.requests.full_at <= now and self.tokens.full_at <= now


class KeyLimiter:
    """Holds each key to the limits in its record.

    A key without limits costs a look at its record and leaves nothing behind; of the others only those are remembered
    that run something or took something in about the last minute. Exchanges that began while a key had no limit do not
    count for one that it was given since.

    Args:
        monotonic: the time in seconds, by a clock that never goes back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._uses: dict[str, _Use] = {}
        self._sweep_at = _SWEEP_FROM

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._uses)

    def arrive(self, key: KeyRecord, *, may_join: bool) -> None:
        """Let a request in before its body is read, and count it.

        Args:
            key: whose request it is.
            may_join: it may turn out to want no exchange of its own, but the answer of one that there is; then tokens
                and exchanges are left to ``begin``.

        Raises:
            DownstreamError: ``rate_limited``: too many requests; or what it would need is not to be had, whatever it
                asks.
        """
        limits = key.limits
        if not _is_limited(limits):
            return
        use, now = self._use_of(key), self._monotonic()
        if limits.requests_per_minute is not None:
            _check_rate("requests", limits.requests_per_minute, use.requests, 1, now)
            use.requests.take(now, limits.requests_per_minute, 1)
        if not may_join:
            _check_exchange(limits, use, 1, now)

    def begin(self, key: KeyRecord, tokens: int) -> None:
        """Let an exchange begin, whose input is estimated at so many tokens; ``end`` must follow.

        Raises:
            DownstreamError: ``rate_limited``: the key has not so many tokens left, or as many exchanges run as it may
                have; nothing was taken.
        """
        limits = key.limits
        if not _is_limited(limits):
            return
        use, now = self._use_of(key), self._monotonic()
        _check_exchange(limits, use, tokens, now)
        use.running += 1
        if limits.tokens_per_minute is not None:
            use.tokens.take(now, limits.tokens_per_minute, tokens)

    def end(self, key: KeyRecord, tokens: int, used: int) -> None:
        """Note that an exchange that began has ended.

        Args:
            key: as it was at the beginning.
            tokens: as they were estimated at the beginning.
            used: tokens of input and output; 0 where it was refused then.
        """
        limits = key.limits
        if not _is_limited(limits):
            return
        use = self._uses[key.key_id]
        use.running -= 1
        if limits.tokens_per_minute is not None:
            use.tokens.take(self._monotonic(), limits.tokens_per_minute, used - tokens)

    def headers(self, key: KeyRecord) -> list[tuple[bytes, bytes]]:
        """Return what is left of a key's rates, under OpenAI's names; nothing for those that it does not have.

        As there, ``reset`` is the time until a rate is whole again.
        """
        limits = key.limits
        if limits.requests_per_minute is None and limits.tokens_per_minute is None:
            return []
        use, now = self._use_of(key), self._monotonic()
        return [
            *_rate_headers(b"requests", limits.requests_per_minute, use.requests, now),
            *_rate_headers(b"tokens", limits.tokens_per_minute, use.tokens, now),
        ]

    def _use_of(self, key: KeyRecord) -> _Use:
        use = self._uses.get(key.key_id)
        if use is None:
            self._make_room()
            use = self._uses[key.key_id] = _Use()
        return use

    def _make_room(self) -> None:
        """Forget keys of which there is nothing to remember; rarely enough that it costs little for each new one."""
        if len(self._uses) < self._sweep_at:
            return
        now = self._monotonic()
        self._uses = {key_id: use for key_id, use in self._uses.items() if not use.is_nothing(now)}
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._uses))


def _is_limited(limits: KeyLimits) -> bool:
    return (
        limits.requests_per_minute is not None
        or limits.tokens_per_minute is not None
        or limits.concurrent_streams is not None
    )


def _check_exchange(limits: KeyLimits, use: _Use, tokens: int, now: float) -> None:
    """Refuse an exchange for which a key has not enough tokens left, or no room."""
    if (rate := limits.tokens_per_minute) is not None:
        _check_rate("tokens", rate, use.tokens, min(tokens, rate), now)
    if limits.concurrent_streams is not None and use.running >= limits.concurrent_streams:
        raise _refusal("concurrent_streams", limits.concurrent_streams, "requests at once", 1)


def _check_rate(what: str, limit: int, bucket: _Bucket, amount: int, now: float) -> None:
    if bucket.limit != limit:
        bucket.adopt(now, limit)
    wait_s = bucket.wait_s(now, limit, amount)
    if wait_s > _SLACK_S:
        raise _refusal(f"{what}_per_minute", limit, f"{what} per minute", min(_LONGEST_WAIT_S, ceil(wait_s - _SLACK_S)))


def _refusal(name: str, limit: int, what: str, wait_s: int) -> DownstreamError:
    return DownstreamError(
        "rate_limited",
        f"The key is at its limit of {limit} {what} (`{name}`); ask again in {wait_s} s, or have the limit raised.",
        retry_after_s=wait_s,
        details={"limit": {"name": name, "value": limit}},
    )


def _rate_headers(what: bytes, limit: int | None, bucket: _Bucket, now: float) -> list[tuple[bytes, bytes]]:
    if limit is None:
        return []
    return [
        (b"x-ratelimit-limit-" + what, str(limit).encode()),
        (b"x-ratelimit-remaining-" + what, str(bucket.holds(now, limit)).encode()),
        (b"x-ratelimit-reset-" + what, _duration(bucket.reset_s(now)).encode()),
    ]


def _duration(seconds: float) -> str:
    """Return a time as OpenAI writes it: "17ms", "1.2s", "6m0s"."""
    milliseconds = ceil(seconds * 1_000 - _SLACK_S)
    if 0 < milliseconds < 1_000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes}m{rest / 1_000:g}s" if minutes else f"{rest / 1_000:g}s"
