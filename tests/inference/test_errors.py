"""The table of codes, and the errors that carry them."""

import ast
import re
from pathlib import Path

import pytest

import ainf
from ainf.inference.errors import CODES, AinfError, DownstreamError, GatewayError, SpendError, UpstreamError

KINDS = {"AinfError", "DownstreamError", "GatewayError", "SpendError", "UpstreamError"}


@pytest.mark.parametrize("code", CODES)
def test_each_code_can_be_told(code):
    """A code has an HTTP status that is an error, a type, and a sentence for README's table."""
    row = CODES[code]
    assert 400 <= row.status <= 504
    assert row.type
    assert row.meaning.endswith(".")
    assert "|" not in row.meaning


@pytest.mark.parametrize("error", [DownstreamError, SpendError, UpstreamError, GatewayError])
def test_an_error_knows_its_row(error):
    """Status, type and transience are the code's, whoever raises it."""
    raised = error("upstream_timeout", "It was silent.", param="x", retry_after_s=3)
    assert (raised.status, raised.type, raised.transient) == (504, "upstream_error", True)
    assert (raised.param, raised.retry_after_s) == ("x", 3)
    assert str(raised) == "upstream_timeout: It was silent."


def test_an_unknown_code_is_a_bug():
    """Nobody can raise what the table does not have."""
    with pytest.raises(AssertionError):
        AinfError("no_such_code", "")


def test_money_is_never_transient():
    """A refusal of money is no reason to ask again."""
    assert not [code for code, row in CODES.items() if row.type == "insufficient_quota" and row.transient]


def test_the_clients_faults_are_not_transient():
    """What the request itself is refused for stays so; only time heals: a slow body, a limit, a key that is in use."""
    transient = {code for code, row in CODES.items() if row.status < 500 and row.transient}
    assert transient == {"request_timeout", "rate_limited", "idempotency_in_progress"}


def messages():
    """Yield every message that is written where an error of the table is raised: its place, first and last words."""
    for path in sorted(Path(ainf.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1):
                continue
            message = node.args[1]
            if node.func.id in KINDS and isinstance(message, ast.Constant | ast.JoinedStr):
                pieces = message.values if isinstance(message, ast.JoinedStr) else [message]
                first, last = (
                    str(piece.value) if isinstance(piece, ast.Constant) else "" for piece in (pieces[0], pieces[-1])
                )
                yield f"{path.name}:{node.lineno}", first, last


def test_messages_are_sentences():
    """Each begins with a capital, or a name between backticks, and ends with a full stop."""
    found = list(messages())
    assert len(found) > 50
    assert [where for where, first, last in found if not re.match("[A-Z`]", first) or not last.endswith(".")] == []
