"""Who is asking."""

import hashlib

import attrs
import pytest

from ainf.http.credentials import Authenticator, FailureLimit, peer_of, presented_key
from ainf.inference.errors import DownstreamError, GatewayError
from ainf.store.base import KeyRecord

KEY = b"ainf_k0000000_secret"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Bearer " + KEY)],
        [(b"authorization", b"bearer  " + KEY + b" ")],
        [(b"x-api-key", KEY)],
        [(b"x-api-key", KEY), (b"authorization", b"Bearer " + KEY)],
        [(b"authorization", b"Bearer " + KEY), (b"authorization", b"Bearer " + KEY)],
    ],
)
def test_one_key(headers):
    """By either header, once or the same twice."""
    assert presented_key([(b"host", b"x"), *headers]).reveal() == KEY


@pytest.mark.threat(34, 38)
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "invalid_api_key"),
        ([(b"authorization", b"")], "invalid_api_key"),
        ([(b"authorization", KEY)], "invalid_api_key"),
        ([(b"authorization", b"Basic " + KEY)], "invalid_api_key"),
        ([(b"x-api-key", b"")], "invalid_api_key"),
        ([(b"x-api-key", b"x" * 257)], "invalid_api_key"),
        ([(b"x-api-key", b"a"), (b"x-api-key", b"b")], "ambiguous_credentials"),
        ([(b"x-api-key", b"a"), (b"authorization", b"Bearer b")], "ambiguous_credentials"),
        ([(b"x-api-key", KEY), (b"authorization", b"Basic b")], "ambiguous_credentials"),
    ],
)
def test_no_key(headers, code):
    """None, one of another kind, one that is too long, or two that differ."""
    with pytest.raises(DownstreamError) as refused:
        presented_key(headers)
    assert refused.value.code == code
    assert KEY.decode() not in str(refused.value)


def test_peers():
    """The address of the scope, or none."""
    assert peer_of({"client": ("192.0.2.1", 5)}) == "192.0.2.1"
    assert peer_of({"client": None}) == peer_of({}) == ""


@attrs.define
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_failures_are_counted_by_address_and_minute():
    """Others are not touched; the next minute starts afresh; the wait ends with the minute."""
    clock = Clock(1203.0)
    limit = FailureLimit(2, clock)
    for _ in range(2):
        limit.check("a")
        limit.note("a")
    with pytest.raises(DownstreamError) as refused:
        limit.check("a")
    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 57)
    limit.check("b")
    clock.now = 1259.9
    with pytest.raises(DownstreamError) as refused:
        limit.check("a")
    assert refused.value.retry_after_s == 1
    clock.now = 1260.0
    limit.check("a")


@pytest.mark.threat(35)
def test_a_flood_of_addresses_is_bounded(monkeypatch):
    """Addresses beyond the bound are let be; those that are kept still count."""
    monkeypatch.setattr("ainf.http.credentials._FAILURES_KEPT", 3)
    limit = FailureLimit(2, Clock())
    for number in range(100):
        limit.note(f"peer{number}")
    assert len(limit._failures) == 3
    limit.note("peer0")
    with pytest.raises(DownstreamError):
        limit.check("peer0")
    limit.check("peer99")


RECORD = KeyRecord("k0000000", "acc_1", "agents", None, None, None, None, "extended", "402")


@attrs.define
class Keys:
    record: KeyRecord | None = RECORD
    asked: list[bytes] = attrs.field(factory=list)
    away: bool = False

    async def find_key(self, digest: bytes) -> KeyRecord | None:
        self.asked.append(digest)
        if self.away:
            raise GatewayError("store_unavailable", "away")
        return self.record


def authenticator(keys: Keys, *, per_minute: int = 2) -> Authenticator:
    return Authenticator(keys, lambda: 1000, FailureLimit(per_minute, Clock()))  # type: ignore[arg-type]


@pytest.mark.threat(36, "C1", "C2")
async def test_only_the_digest_is_looked_up():
    """Nothing but the SHA-256 of the whole key reaches the store."""
    keys = Keys()
    assert await authenticator(keys).authenticate([(b"x-api-key", KEY)], "a") == RECORD
    assert keys.asked == [hashlib.sha256(KEY).digest()]


@pytest.mark.threat(35)
@pytest.mark.parametrize(
    ("record", "is_valid"),
    [
        (None, False),
        (attrs.evolve(RECORD, revoked_at=999), False),
        (attrs.evolve(RECORD, expires_at=1000), False),
        (attrs.evolve(RECORD, expires_at=1001), True),
    ],
)
async def test_revoked_expired_and_unknown_read_the_same(record, is_valid):
    """A key that is not valid gets the one answer."""
    if is_valid:
        assert await authenticator(Keys(record)).authenticate([(b"x-api-key", KEY)], "a") is record
        return
    with pytest.raises(DownstreamError) as refused:
        await authenticator(Keys(record)).authenticate([(b"x-api-key", KEY)], "a")
    with pytest.raises(DownstreamError) as nobody:
        await authenticator(Keys()).authenticate([], "a")
    assert str(refused.value) == str(nobody.value)


@pytest.mark.threat(35)
async def test_failures_are_limited_and_shut_no_valid_key_out():
    """Beyond the limit a failure is told to wait; a valid key of the same address is let in all the same."""
    keys = Keys(None)
    checked = authenticator(keys)
    for code in ("invalid_api_key", "invalid_api_key", "rate_limited", "rate_limited"):
        with pytest.raises(DownstreamError, match=code):
            await checked.authenticate([(b"x-api-key", KEY)], "a")
    with pytest.raises(DownstreamError, match="rate_limited"):
        await checked.authenticate([], "a")
    with pytest.raises(DownstreamError, match="invalid_api_key"):
        await checked.authenticate([(b"x-api-key", KEY)], "b")
    keys.record = RECORD
    assert await checked.authenticate([(b"x-api-key", KEY)], "a") is RECORD


async def test_a_store_that_is_away_is_nobodys_failure():
    """503, and not counted against the address."""
    keys = Keys(away=True)
    checked = authenticator(keys, per_minute=1)
    for _ in range(3):
        with pytest.raises(GatewayError):
            await checked.authenticate([(b"x-api-key", KEY)], "a")
