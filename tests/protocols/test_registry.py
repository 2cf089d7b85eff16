import pytest

from ainf.protocols.registry import ENDPOINTS, PROTOCOLS, protocol_of_path


def test_names():
    """Protocols are found by the name that they carry."""
    assert set(PROTOCOLS) == {"chat_completions", "messages", "count_tokens", "responses", "embeddings"}
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())


def test_endpoints():
    """Whatever is spoken at a path is one of the protocols, each has a path, and its errors are told there."""
    assert {protocol.name for protocol in ENDPOINTS.values()} == set(PROTOCOLS)
    assert all(protocol is PROTOCOLS[protocol.name] for protocol in ENDPOINTS.values())
    assert all(protocol_of_path(path) is protocol for path, protocol in ENDPOINTS.items())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/nowhere", "chat_completions"),
        ("", "chat_completions"),
        ("/", "chat_completions"),
        ("/v1/models", "chat_completions"),
        ("/v1/messages/batches/1", "messages"),
        ("/v1/messages/count_tokens/x", "count_tokens"),
        ("/v1/messagesx", "chat_completions"),
        ("/v1/responses/resp_1", "responses"),
        ("/v1/embeddings/", "embeddings"),
        ("/" * 10_000, "chat_completions"),
    ],
)
def test_any_path_has_an_error_body(path, name):
    """The nearest endpoint's above it, and OpenAI's where there is none."""
    assert protocol_of_path(path).name == name
