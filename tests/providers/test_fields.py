import attrs
import pytest

from ainf.inference.conversation import CacheMark
from ainf.inference.errors import DownstreamError
from ainf.pricing import FREE, Price
from ainf.providers.fields import (
    HOST_FIELDS,
    Coverage,
    asks,
    check_cache_control,
    check_refused,
    check_word,
    objects_in,
    refusal,
)
from tests.providers.requests import AUDIO, BARE, COVERED, refused


@pytest.mark.parametrize("value", [None, False, []])
def test_nothing_asked(value):
    """Null, false and empty lists ask for nothing."""
    assert not asks(value)


@pytest.mark.parametrize("value", [True, 0, 0.0, "", "x", [0], {}, {"a": None}])
def test_something_asked(value):
    """Everything else does, a nought too."""
    assert asks(value)


def test_hosts_are_never_named():
    """The client libraries' ways to name hosts and credentials are refused, the first in order by name."""
    assert refused(check_refused, {"proxy": "http://x", "api_base": "http://y"}, HOST_FIELDS) == "api_base"
    check_refused({"proxy": None, "other": 1}, HOST_FIELDS)


@pytest.mark.parametrize("value", ["other", 1, ["a"], {"a": 1}])
def test_words(value):
    """A field with a few allowed words takes no other value, of whatever type."""
    assert refused(check_word, {"tier": value}, "tier", "a", "b") == "tier"
    for allowed in ("a", "b", None):
        check_word({"tier": allowed}, "tier", "a", "b")
    check_word({}, "tier", "a")


def test_objects_of_whatever_a_client_sends():
    """Only objects are looked at, each at its own path; what is no list has none."""
    assert list(objects_in(["a", {"x": 1}, None, {}], "tools")) == [("tools[1]", {"x": 1}), ("tools[3]", {})]
    assert [list(objects_in(value, "p")) for value in (None, "text", {"a": {}}, 1)] == [[], [], [], []]


@pytest.mark.parametrize(
    ("coverage", "is_long", "name"), [(BARE, False, "cache_write"), (COVERED, True, "long_cache_write")]
)
def test_a_write_that_the_price_does_not_cover(coverage, is_long, name):
    """A price that lacks the rate is named with it."""
    with pytest.raises(DownstreamError, match=f"`{name}`"):
        coverage.ask_write("x", is_long=is_long)


def test_the_longest_write_that_is_asked_for():
    """What a request asks of the cache is known when all of it was gone through; a free model takes any of it."""
    for price in (FREE, Price(input=1, cached_input=1, output=1, reasoning=1, cache_write=2, long_cache_write=3)):
        coverage = Coverage(price)
        assert coverage.cache_write is None
        for is_long, asked in ((False, CacheMark.SHORT), (True, CacheMark.LONG), (False, CacheMark.LONG)):
            coverage.ask_write("x", is_long=is_long)
            assert coverage.cache_write is asked


def test_writes_that_nobody_asks_for():
    """Where the provider writes by itself, and its price has a rate for that, every request may trigger one."""
    price = Price(input=1, cached_input=1, output=1, reasoning=1, cache_write=2, long_cache_write=3)
    coverage = Coverage(price, caches_unasked=True)
    assert coverage.cache_write is CacheMark.SHORT
    coverage.ask_write("x", is_long=True)
    assert coverage.cache_write is CacheMark.LONG
    assert Coverage(attrs.evolve(price, cache_write=None), caches_unasked=True).cache_write is None


def test_sound_that_the_price_does_not_cover():
    """A price that lacks the rate is named with it; a free model hears everything."""
    with pytest.raises(DownstreamError, match="`audio_input`") as caught:
        BARE.ask_audio("messages[0].content[0].type")
    assert caught.value.param == "messages[0].content[0].type"
    for coverage in (AUDIO, Coverage(FREE)):
        coverage.ask_audio("x")


def test_cache_marks_of_any_shape():
    """A mark that is no object counts as a long one, since nobody knows what it asks for."""
    assert refused(check_cache_control, {"cache_control": "yes"}, "", BARE) == "cache_control"
    assert (
        refused(check_cache_control, {"cache_control": {"ttl": 300}}, "tools[0]", COVERED) == "tools[0].cache_control"
    )
    check_cache_control({"cache_control": None}, "", BARE)


def test_refusals_are_sentences():
    """The message names the field and says why."""
    assert refusal("x", "because").message == "`x` is not supported: because."
