"""The money of a running attempt: what passed, what is held for it, and how the hold grows.

Strategy: everything the hot path asks is a comparison of byte counts. Tokens and money are turned into bytes only when
the hold changes: ``covered`` is how many visible output bytes the durable hold pays for. Before half a slice is left of
it, one extension is asked for in the background; a refused one is not an end: when the hold is used up it is asked
again, for as much as fits, and only when that gives nothing the money is out.
"""

from collections.abc import Awaitable, Callable

import trio

from ainf.admission import Admission
from ainf.inference.errors import GatewayError
from ainf.inference.usage import Usage
from ainf.ledger import CapState
from ainf.metering import SLACK_TOKENS, bytes_of, tokens_of
from ainf.pricing import cost, tokens_cost, tokens_within
from ainf.store.base import Extended

# The meter errs; beyond this much of the cost of the allowed output the provider is out of bounds.
_BOUND_TIMES_NUMERATOR, _BOUND_TIMES_DENOMINATOR = 3, 2
_UNLIMITED = 1 << 62

ExtendHold = Callable[[int, int], Awaitable[Extended]]
"""Ask the ledger for (want, least) nano-dollars more."""


class KeyRevokedError(Exception):
    """The ledger refused an extension because the key or its account is no longer valid."""


class OutOfBoundsError(Exception):
    """The provider has produced half as much again as the request allowed."""


class RunningHold:
    """What is set aside for one attempt, and what it has used of it."""

    def __init__(
        self,
        admission: Admission,
        held_nusd: int,
        clamp_tokens: int | None,
        extend: ExtendHold,
        clamped_by: CapState | None = None,
    ) -> None:
        self._admission = admission
        self._ask = admission.ask
        self._ratio = admission.terms.ratios.mean
        self._extend = extend
        self.clamp_tokens = clamp_tokens
        """The output limit that fits under the caps, where the request's own does not."""
        self.clamped_by = clamped_by
        """The cap or balance that it did not fit under, whether the limit was reached or not."""
        self._limit_tokens = clamp_tokens or admission.ask.worst_tokens
        bound_tokens = admission.ask.worst_tokens * _BOUND_TIMES_NUMERATOR // _BOUND_TIMES_DENOMINATOR + SLACK_TOKENS
        self._bound_nusd = self._ask.base_nusd + tokens_cost(bound_tokens, self._ask.output_rate)
        self._growing = trio.Lock()
        self._refused = False
        self.held_nusd = held_nusd
        self.refused_by: CapState | None = None
        """The cap or balance that gave less than was asked for, the last time that one did."""
        self.received = 0
        """Visible output bytes that came from the provider."""
        self.delivered = 0
        """Visible output bytes that were handed to the client."""
        self.covered = 0
        """Visible output bytes that the durable hold pays for."""
        self.covered_tokens = 0
        """Output tokens that it pays for; 0 where output is free."""
        self.wants_more_at = 0
        """When this many bytes were received, it is time to ask for the next slice."""
        self._mark()

    @classmethod
    def nothing(cls, admission: Admission) -> "RunningHold":
        """Return a hold of nothing, which never grows."""
        return cls(admission, 0, None, _ended)

    def _mark(self) -> None:
        """Turn the held amount into byte marks, after it changed."""
        rate = self._ask.output_rate
        if not rate:
            self.covered = self.wants_more_at = _UNLIMITED
            return
        tokens = tokens_within(self.held_nusd - self._ask.base_nusd, rate)
        self.covered_tokens = tokens
        self.covered = bytes_of(tokens, self._ratio)
        if tokens >= self._limit_tokens or self._refused:
            self.wants_more_at = _UNLIMITED
        else:
            half_slice = bytes_of(self._admission.terms.slice_tokens, self._ratio) // 2
            self.wants_more_at = self.covered - half_slice

    async def extend_ahead(self) -> None:
        """Ask for the next slice before it is needed. A refusal is remembered, not told.

        Raises:
            KeyRevokedError: the exchange must end.
        """
        async with self._growing:
            if self.received < self.wants_more_at:
                return
            self.wants_more_at = _UNLIMITED  # one at a time, also when it fails
            covered_tokens = tokens_within(self.held_nusd - self._ask.base_nusd, self._ask.output_rate)
            tokens = min(self._admission.terms.slice_tokens, self._limit_tokens - covered_tokens)
            want = tokens_cost(tokens, self._ask.output_rate)
            try:
                granted = await self._grow(want, want)
            except GatewayError:
                granted = 0  # the store is away: the stream goes on inside what it holds
            self._refused = not granted
            self._mark()

    async def cover(self, size: int) -> bool:
        """Grow the hold until it pays for ``size`` received bytes; return whether it now pays for more than before.

        Raises:
            KeyRevokedError: the exchange must end.
            OutOfBoundsError: no hold may grow that far: the provider runs on.
            GatewayError: ``store_unavailable``.
        """
        async with self._growing:
            if size <= self.covered:
                return True
            rate = self._ask.output_rate
            room = self._bound_nusd - self.held_nusd
            if room <= 0:
                raise OutOfBoundsError
            missing_tokens = tokens_of(size, self._ratio) - tokens_within(self.held_nusd - self._ask.base_nusd, rate)
            # A whole slice beyond what is missing, as far as the output limit goes: the next read comes soon.
            want = tokens_cost(max(missing_tokens, 1) + self._admission.terms.slice_tokens, rate)
            granted = await self._grow(min(want, room), min(tokens_cost(1, rate), room))
            self._refused = False
            self._mark()
            return granted > 0

    async def _grow(self, want: int, least: int) -> int:
        if want <= 0:
            return 0
        extended = await self._extend(want, least)
        if extended.key_revoked:
            raise KeyRevokedError
        self.held_nusd += extended.granted_nusd
        self.refused_by = extended.refused_by or self.refused_by
        return extended.granted_nusd

    def close(self) -> None:
        """Note that the exchange has ended: nothing is asked for any more.

        It also lets go of the exchange, which holds this hold: a cycle would wait for the garbage collector.
        """
        self._extend = _ended

    @property
    def worst_nusd(self) -> int:
        """The most that it may grow to, as long as its provider keeps to the output limit."""
        return max(self.held_nusd, self._ask.base_nusd + tokens_cost(self._limit_tokens, self._ask.output_rate))

    def tokens(self, output_bytes: int) -> int:
        """Return the tokens that we count for ``output_bytes`` of visible output."""
        return tokens_of(output_bytes, self._ratio)

    def metered(self, output_bytes: int) -> Usage:
        """Return the usage that we count for ``output_bytes`` of visible output."""
        return Usage(input_tokens=self._admission.input_tokens_estimate, output_tokens=self.tokens(output_bytes))

    def metered_cost(self, output_bytes: int) -> int:
        """Return what that usage costs."""
        return cost(self._admission.terms.price, self.metered(output_bytes))


async def _ended(want: int, least: int) -> Extended:
    raise AssertionError(f"an ended exchange asks for {want} or {least}")
