"""What must hold of any file: a configuration, and a spool."""

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from ainf.config import ConfigError, load_config
from ainf.store.spool_file import SpoolFile
from ainf.store.spooled import line_of, record_of
from tests.fuzz.choices import Choices

KEY: Final = "sk-canary-4711"
_ENVIRON: Final = {"OPENAI_API_KEY": KEY}
_NOW: Final = 1_800_000_000_000_000


def configuration(data: bytes) -> None:
    """A file is a configuration, or each of its faults is told with its line, without a secret in it."""
    body = Choices(data).body
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ainf.toml"
        path.write_bytes(body)
        try:
            assert KEY not in repr(load_config(path, _ENVIRON, now=_NOW))
        except ConfigError as error:
            _check_faults(error, len(body.splitlines()) + 1)


def _check_faults(error: ConfigError, lines: int) -> None:
    assert error.faults
    assert all(fault.line is None or 1 <= fault.line <= lines for fault in error.faults)
    assert KEY not in str(error)
    str(error).encode()


def spool(data: bytes) -> None:
    """Of a spool's bytes the records whose checksums are right are found, each in its place; nothing else fails."""
    choices = Choices(data)
    body = choices.body
    if choices.flag():  # as if the writer had written it so
        body = b"".join(
            b"\n%b %b\n" % (hashlib.sha256(line[65:]).hexdigest().encode(), line[65:]) for line in body.split(b"\n")
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db.spool.1-0"
        path.write_bytes(body)
        file = SpoolFile.adopt(path)
        assert file is not None
        try:
            _check_found(file, body)
        finally:
            file.close()


def _check_found(file: SpoolFile, body: bytes) -> None:
    found = file.find()
    right = [line for line in body.split(b"\n") if hashlib.sha256(line[65:]).hexdigest().encode() == line[:64]]
    records = [record for line in right if line[64:65] == b" " and (record := record_of(line)) is not None]
    assert [place.inference_id for place in found.places] == [record.closing.inference_id for record in records]
    assert 0 <= found.broken <= body.count(b"\n")
    for place, record in zip(found.places, records, strict=True):
        assert file.read(place) == record
        assert record_of(line_of(record)) == record
