"""Origins and targets out of URLs."""

import pytest

from ainf.upstream.origin import Origin, split_url


@pytest.mark.threat("S16")
@pytest.mark.parametrize(
    ("url", "origin", "target", "host"),
    [
        ("https://a.test/v1/x?q=1", Origin("https", "a.test", 443), "/v1/x?q=1", "a.test"),
        ("http://a.test:8080", Origin("http", "a.test", 8080), "/", "a.test:8080"),
        ("https://A.test:443/a/../b%2f", Origin("https", "a.test", 443), "/a/../b%2f", "a.test"),
        ("http://[::1]:81/x#part", Origin("http", "::1", 81), "/x", "[::1]:81"),
        ("http://a.test:443/", Origin("http", "a.test", 443), "/", "a.test:443"),
    ],
)
def test_a_url_is_split_and_its_target_stands_as_written(url, origin, target, host):
    """The target is neither decoded nor normalised; the host header names a port only where it must."""
    assert split_url(url) == (origin, target)
    assert origin.host_header == host


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "https:///x",
        "a.test/x",
        "http://u:p@a.test/",
        "http://a.test/x y",
        "http://ü.test/",
        "http://a.test/ü",
    ],
)
def test_other_urls_are_refused(url):
    """What cannot be sent as it stands is an error before anything is dialled."""
    with pytest.raises(ValueError, match="URL"):
        split_url(url)
