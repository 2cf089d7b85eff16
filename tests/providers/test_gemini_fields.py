import pytest

from ainf.providers.gemini_fields import REFUSED_FIELDS, REFUSED_SETTINGS, check_gemini_fields
from tests.providers.requests import AUDIO, BARE, refused

BASE = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def part(**fields):
    return {"contents": ["odd", {"parts": [{"text": "x"}, fields]}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        *(({name: "x"}, name) for name in REFUSED_FIELDS),
        *(({"generationConfig": {name: {"x": 1}}}, f"generationConfig.{name}") for name in REFUSED_SETTINGS),
        ({"serviceTier": "flex"}, "serviceTier"),
        ({"tools": [{"functionDeclarations": []}, {"googleSearch": {}}]}, "tools[1].googleSearch"),
        ({"tools": [{"functionDeclarations": [], "code_execution": {}}]}, "tools[0].code_execution"),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"candidateCount": 2}}, "generationConfig.candidateCount"),
        (part(inlineData={"mimeType": "Audio/wav", "data": ""}), "contents[1].parts[1]"),
        (part(fileData={"mimeType": "audio/mp3", "fileUri": "https://x/y.mp3"}), "contents[1].parts[1]"),
        (part(fileData={"fileUri": "files/abc"}), "contents[1].parts[1].fileData.fileUri"),
        (part(fileData={"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}),
         "contents[1].parts[1].fileData.fileUri"),
    ],
)  # fmt: skip
def test_refused(fields, param):
    """What has a price of its own, or is of the operator's account, is refused where it stands."""
    assert refused(check_gemini_fields, BASE | fields, BARE) == param


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"functionDeclarations": [{"name": "f"}], "googleSearch": None}], "serviceTier": "standard"},
        {"generationConfig": {"responseModalities": ["TEXT"], "candidateCount": 1, "thinkingConfig": {}}},
        {"generationConfig": "odd", "contents": "odd", "cachedContent": None},
        part(inlineData={"mimeType": "image/png", "data": ""}),
        part(fileData={"mimeType": "image/png", "fileUri": "https://x/y.png"}),
    ],
)
def test_free(fields):
    """Everything else rides along."""
    check_gemini_fields(BASE | fields, BARE)


@pytest.mark.parametrize("place", ["inlineData", "fileData"])
def test_sound_that_the_price_covers(place):
    """It goes on where the model's price has a rate for it."""
    check_gemini_fields(part(**{place: {"mimeType": "audio/wav", "data": ""}}), AUDIO)
