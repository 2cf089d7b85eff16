"""Typed views of what providers send: many from one decode, and one payload as far as it can be read."""

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs
import msgspec

View = TypeVar("View", bound=msgspec.Struct)


@attrs.frozen
class Frame(Generic[View]):
    """One payload, as far as it can be read."""

    view: View | None
    """None where it is no JSON object at all."""
    output_bytes: int
    """Visible output. An opaque payload counts with what can be read of it; where that is nothing, with all its bytes,
    since there may be output in a shape that we do not know."""
    is_opaque: bool
    """It is no typed view."""


def frame_of(payload: bytes, view: View | None, visible: Callable[[View], int], *, is_opaque: bool) -> Frame[View]:
    """Return the frame of a payload.

    Args:
        payload: as it came.
        view: what was read of it.
        visible: returns the visible bytes of a view.
        is_opaque: whether the view was read loosely.
    """
    size = 0 if view is None else visible(view)
    if not is_opaque:
        return Frame(view, size, is_opaque=False)
    # A byte that is no UTF-8 reads as three, so the payload's own size is the limit.
    return Frame(view, min(size, len(payload)) or len(payload), is_opaque=True)


def view_decoder(kind: type[View]) -> Callable[[bytes], View | None]:
    """Return what decodes one payload as a view, to None where it does not fit."""
    decode = msgspec.json.Decoder(kind).decode

    def decode_view(payload: bytes) -> View | None:
        try:
            return decode(payload)
        except (ValueError, RecursionError):
            return None

    return decode_view


def views_decoder(kind: type[View]) -> Callable[[list[bytes]], list[View] | None]:
    """Return what decodes payloads as views, all from one decode, to None when any of them does not fit.

    As many views as payloads is the check that no payload holds two documents or half of one.
    """
    decode, decode_list = msgspec.json.Decoder(kind).decode, msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]

    def decode_views(payloads: list[bytes]) -> list[View] | None:
        try:
            if len(payloads) == 1:
                return [decode(payloads[0])]
            views = decode_list(b"[" + b",".join(payloads) + b"]")
        except (ValueError, RecursionError):
            return None
        return views if len(views) == len(payloads) else None

    return decode_views
