import pytest

from ainf.simulator.wires.routes import Routes


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/v1/chat/completions", "ChatWire"),
        ("/v1/messages", "MessagesWire"),
        ("/v1/messages/count_tokens", "MessagesCountWire"),
        ("/v1/responses", "ResponsesWire"),
        ("/v1/embeddings", "EmbeddingsWire"),
        ("/v1beta/models/sim:generateContent", "GeminiWire"),
        ("/v1beta/models/sim-tools+tokens-3:streamGenerateContent", "GeminiWire"),
        ("/v1/models/sim:generateContent", "GeminiWire"),
        ("/v1beta/models/sim:countTokens", "GeminiCountWire"),
        ("/v1beta/models/sim:batchEmbedContents", "GeminiEmbedWire"),
        ("/v1/messages/", None),
        ("/v1beta/models/a/b:generateContent", None),
        ("/v1beta/models/:generateContent", None),
        ("/", None),
    ],
)
def test_a_path_has_its_wire(path, wire):
    """Each endpoint's path finds its wire, with any model in it; other paths find none."""
    found = Routes().find(path)
    assert (found and type(found).__name__) == wire


@pytest.mark.parametrize(
    ("path", "wire"),
    [("/v1/messages/batches", "MessagesWire"), ("/v1beta/files", "GeminiWire"), ("/v1/files", "ChatWire")],
)
def test_unknown_paths_are_told_so_in_the_words_beside_them(path, wire):
    """What no wire serves is refused in the format of the paths around it."""
    assert type(Routes().nearest(path)).__name__ == wire
