"""The schema of receipts; real ones are held against it in ``tests/gateway/test_openapi.py``."""

import attrs

from ainf.http.openapi.receipts import TOKENS, schemas
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage


def test_every_kind_of_token_is_explained():
    """Those of a usage, in their order."""
    assert list(schemas()["TokenUsage"]["properties"]) == [field.name for field in attrs.fields(Usage)]
    assert set(TOKENS) == set(schemas()["TokenUsage"]["properties"])


def test_an_open_one_has_no_ending():
    """Every ending is one, and null while it runs."""
    assert schemas()["Receipt"]["properties"]["ending"]["enum"] == [*Ending, None]
