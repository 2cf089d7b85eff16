"""What a key may do: its rights, what is wrong with them, and how those of a key that another one makes are bounded."""

from collections.abc import Iterable
from typing import Final

import attrs

from ainf.inference.errors import DownstreamError
from ainf.ledger import covers
from ainf.store.base import KeyLimits

FINISH_REASONS: Final = ("extended", "strict", "loud")
MONEY_REFUSALS: Final = ("402", "429")
LIMITS: Final = {field.name: field.name.replace("_", " ") for field in attrs.fields(KeyLimits)}
"""What limits a key, by its name, in words."""
_MOST: Final = 2**53
"""More than any limit means; every reader of JSON takes it as it is."""
_LATEST: Final = 253_402_300_799_999_999
"""The last moment of the year 9999 in UTC: none behind it can be told as RFC 3339 has it."""


@attrs.frozen
class KeyRights:
    """What a key may do, and how money is told to its clients."""

    models: tuple[str, ...] | None = None
    """Allowed model names, or patterns of them (``*`` stands for any characters); None for all."""
    endpoints: tuple[str, ...] | None = None
    """Allowed request paths; None for all."""
    expires_at: int | None = None
    finish_reasons: str = FINISH_REASONS[0]
    money_refusal: str = MONEY_REFUSALS[0]
    limits: KeyLimits = attrs.field(factory=KeyLimits)
    inject_cost: bool = False
    """Whether its answers tell their cost in their usage."""


def check_rights(rights: KeyRights, at: int) -> None:
    """Refuse rights that mean nothing, at the moment when they are given.

    Raises:
        DownstreamError: ``invalid_value``.
    """
    if rights.finish_reasons not in FINISH_REASONS:
        raise DownstreamError("invalid_value", f"Finish reasons are one of {', '.join(FINISH_REASONS)}.")
    if rights.money_refusal not in MONEY_REFUSALS:
        raise DownstreamError("invalid_value", f"A money refusal is one of {', '.join(MONEY_REFUSALS)}.")
    if rights.expires_at is not None and rights.expires_at <= at:
        raise DownstreamError("invalid_value", "The expiry is in the past; give a later time.")
    if rights.expires_at is not None and rights.expires_at > _LATEST:
        raise DownstreamError(
            "invalid_value", "The expiry is behind the year 9999; leave it out for a key without one."
        )
    for path in rights.endpoints or ():
        if not path.startswith("/"):
            raise DownstreamError(
                "invalid_value", f"No endpoint is named {path[:80]!r}; give a path such as /v1/inference."
            )
    check_limits(rights.limits)


def check_limits(limits: KeyLimits) -> None:
    """Refuse limits that are no counts.

    Raises:
        DownstreamError: ``invalid_value``.
    """
    for name, words in LIMITS.items():
        value = getattr(limits, name)
        if value is not None and value < 1:
            raise DownstreamError("invalid_value", f"A limit of {words} is at least 1; to stop a key, revoke it.")
        if value is not None and value > _MOST:
            raise DownstreamError("invalid_value", f"A limit of {words} is at most {_MOST}; lift it instead.")


def within(rights: KeyRights, maker: KeyRights) -> KeyRights:
    """Return the rights of a key that is made in another key's name: never more than that one's.

    What is not given is the maker's. What is given must be within it: each model, or pattern of models, is one that
    some pattern of the maker covers as a text (so ``gpt-4*`` is within ``gpt-*``, and ``*`` only within ``*``), each
    endpoint one of the maker's, the expiry no later, each limit no higher. How money is told is the new key's own.

    Raises:
        DownstreamError: ``invalid_value``: it would have more; the text names what.
    """
    if rights.expires_at is not None and maker.expires_at is not None and rights.expires_at > maker.expires_at:
        raise DownstreamError("invalid_value", "The expiry is later than that of the key that makes it.")
    return attrs.evolve(
        rights,
        models=_models_within(rights.models, maker.models),
        endpoints=_endpoints_within(rights.endpoints, maker.endpoints),
        expires_at=maker.expires_at if rights.expires_at is None else rights.expires_at,
        limits=limits_within(rights.limits, maker.limits),
    )


def limits_within(limits: KeyLimits, maker: KeyLimits) -> KeyLimits:
    """Return the limits of a key that another key made: at most that one's, and that one's where there is none.

    Raises:
        DownstreamError: ``invalid_value``: one is higher; the text names which.
    """
    bounded = {}
    for name, words in LIMITS.items():
        mine, theirs = getattr(limits, name), getattr(maker, name)
        if mine is not None and theirs is not None and mine > theirs:
            raise DownstreamError(
                "invalid_value", f"The limit of {mine} {words} is higher than the {theirs} of the key that makes it."
            )
        bounded[name] = theirs if mine is None else mine
    return KeyLimits(**bounded)


def _models_within(given: tuple[str, ...] | None, maker: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if given is None or maker is None:
        return maker if given is None else given
    _refuse("models", (name for name in given if not any(covers(pattern, name) for pattern in maker)))
    return given


def _endpoints_within(given: tuple[str, ...] | None, maker: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if given is None or maker is None:
        return maker if given is None else given
    _refuse("endpoints", (path for path in given if path not in maker))
    return given


def _refuse(what: str, beyond: Iterable[str]) -> None:
    names = ", ".join(beyond)
    if names:
        raise DownstreamError("invalid_value", f"The key that makes it has no right to the {what} {names[:200]}.")
