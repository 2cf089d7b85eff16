"""The declared settings, and the table made of them."""

from pathlib import Path

import attrs
import pytest

from ainf.config import SETTINGS, Limits, ModelConfig, ProviderConfig, TargetConfig, document, load_config
from ainf.config.declared import settings_of
from ainf.config.schema import TABLES

IDENTITY = {(ProviderConfig, "name"), (ProviderConfig, "api_key"), (ModelConfig, "name"), (TargetConfig, "name")}
WORKED_OUT = {(TargetConfig, "models")}


def test_every_field_is_a_setting():
    """A field that is neither declared as a setting nor known to come from elsewhere would be a dead option."""
    for cls in TABLES.values():
        declared = {field.name for _, _, field in settings_of(cls)}
        others = {(cls, field.name) for field in attrs.fields(cls)} - {(cls, name) for name in declared}
        assert others <= IDENTITY | WORKED_OUT


def test_rows():
    """A row has the name as in the file, the unit, the default as it would be written, and a meaning."""
    rows = {f"{row.table}.{row.key}": row for row in SETTINGS}
    assert len(rows) == len(SETTINGS)
    assert (rows["limits.write_s"].default, rows["limits.write_s"].unit) == ("20", "s")
    assert rows["limits.body_bytes"].default == "10485760"
    assert rows["server.bind"].default == '["127.0.0.1:8080"]'
    assert rows["models.NAME.bytes_per_token"].default == "4.0"
    assert rows["models.NAME.price.cached_input"].default == "`input`"
    assert rows["models.NAME.first_byte_s"].default == "`limits.first_byte_s`"
    assert rows["models.NAME.max_output_tokens"].default == "required, but for embeddings, which have none"
    assert rows["providers.NAME.api_key_env"].default == "none"
    assert (rows["routing.preference_live"].default, rows["routing.prior_weight"].default) == ("false", "50")
    assert (rows["targets.NAME.min_quality"].default, rows["targets.NAME.min_quality"].unit) == ("0.5", "0 to 1")
    assert rows["targets.NAME.models"].default == '["*"]'
    assert rows["models.NAME.quality"].default == "0.5"
    assert rows["models.NAME.attachments"].default == '["image", "audio", "video", "file"]'
    assert all(row.meaning.endswith(".") and "|" not in row.meaning for row in SETTINGS)


def test_document_has_every_row():
    """The Markdown table has a line for each setting."""
    assert document().count("\n") == len(SETTINGS) + 2
    assert "| `limits.silence_s` | s | 120 | Wait for" in document()


PLAIN = [
    row
    for row in SETTINGS
    if row.table in {"server", "store", "limits", "routing"} and row.default != "none" and "`" not in row.default
]


@pytest.mark.parametrize("row", PLAIN, ids=lambda row: f"{row.table}.{row.key}")
def test_defaults_as_documented_are_what_is_used(tmp_path: Path, row):
    """Writing a documented default into the file changes nothing."""
    rest = (
        '\n[providers.p]\nformat = "openai-compatible"\nbase_url = "http://x"\n'
        '[models.m]\nprovider = "p"\nmax_output_tokens = 16\nprice = "free"\n'
    )
    path = tmp_path / "ainf.toml"
    path.write_text(rest)
    plain = load_config(path, {})
    path.write_text(f"[{row.table}]\n{row.key} = {row.default}{rest}")
    assert load_config(path, {}) == plain
    assert plain.limits == Limits()
