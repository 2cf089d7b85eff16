import pytest

from ainf.formats.data_urls import name_of, read_data_url, url_of
from ainf.inference.conversation import Document, Image
from ainf.inference.errors import DownstreamError


@pytest.mark.parametrize(
    ("url", "media_type"),
    [("data:image/png;base64,AA==", "image/png"), ("data:text/plain;charset=utf-8;base64,AA==", "text/plain")],
)
def test_read(url, media_type):
    """The media type and the data of a data URL are found; its other parameters say nothing."""
    assert read_data_url(url, "input[0]") == (media_type, "AA==")


@pytest.mark.parametrize(
    "url", ["", "https://example.com/a,b", "data:image/png;base64", "data:image/png,AA==", "data:;base64,AA=="]
)
def test_what_is_none(url):
    """What is no data URL in base64 is refused by its path, in the words of who asked."""
    with pytest.raises(DownstreamError, match=r"`input\[0\]` must be a URL of ours") as raised:
        read_data_url(url, "input[0]", "a URL of ours")
    assert (raised.value.code, raised.value.param) == ("invalid_value", "input[0]")


def test_written():
    """A file with a URL of its own keeps it; data is read back as it was."""
    assert url_of(Image(url="https://example.com/a")) == "https://example.com/a"
    document = Document(media_type="application/pdf", data="AA==")
    assert read_data_url(url_of(document), "") == (document.media_type, document.data)


@pytest.mark.parametrize(
    ("document", "name"),
    [
        (Document(name="a.b"), "a.b"),
        (Document(media_type="application/pdf"), "document.pdf"),
        (Document(media_type="text/plain"), "document.txt"),
        (Document(media_type="x/y"), "document.bin"),
        (Document(), "document.bin"),
    ],
)
def test_names(document, name):
    """A document without a name gets one that says what it is."""
    assert name_of(document) == name
