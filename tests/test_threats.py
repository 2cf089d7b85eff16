"""Every row of docs/threats.md has its tests; and the threats that a look at the code answers."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.threat_rows import NOTES, UNMET
from tests.threats import PAGE, ROOT, ROWS, cases, document, shown_by

SOURCES = sorted((ROOT / "ainf").rglob("*.py"))


def test_every_row_has_a_test_that_carries_its_number(tell):
    """Or stands among those that cannot be met, with the reason."""
    shown = shown_by()
    assert {key for key, tests in shown.items() if not tests} == UNMET.keys()
    assert NOTES.keys() <= ROWS.keys()
    assert [key for key in ROWS if isinstance(key, int)] == [*range(1, 41), 41, 60, *range(42, 60), *range(61, 121)]
    numbers = [key for key in ROWS if isinstance(key, int)]
    tests = {(path, test) for found in shown.values() for path, names in found.items() for test in names}
    tell(
        f"threat rows covered: {sum(bool(shown[key]) for key in numbers)} of {len(numbers)}, and "
        f"{sum(bool(shown[key]) for key in ROWS if key not in numbers)} of {len(ROWS) - len(numbers)} more, by "
        f"{len(tests)} tests; {len(UNMET)} cannot be met"
    )


def test_the_page_is_what_the_command_writes():
    """Nothing in the page is written by hand: `python -m tests.threats` writes it anew."""
    assert PAGE.read_text() == document(shown_by()), "Run `python -m tests.threats`."


def test_a_case_that_is_none_is_no_proof():
    """A mark for a case that the table does not have, or has no more, is an error."""
    with pytest.raises(ValueError, match="'gone' is no case"):
        cases({"there": 1}, {1: ("gone",)})


# --- what the code does not have ---


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def names_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield ast.unparse(node)


RUNS = {"subprocess", "multiprocessing", "pickle", "marshal", "shelve", "jinja2", "code", "runpy", "pty"}
RUN_BY = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.fork", "os.spawnv",
    "quart.render_template", "render_template", "render_template_string", "trio.run_process",
    "trio.lowlevel.open_process",
}  # fmt: skip


@pytest.mark.threat("C9", 39)
def test_nothing_is_run_or_rendered():
    """No module starts a process, evaluates text, unpickles or renders a template."""
    for path in SOURCES:
        assert not {name.partition(".")[0] for name in imported(path)} & RUNS, path
        assert not set(names_in(path)) & RUN_BY, path


@pytest.mark.threat("C11", 39)
def test_no_statement_matches_by_a_pattern():
    """LIKE and its kin, which a client's text could make slow, stand before nothing but a constant."""
    for path in [*SOURCES, *(ROOT / "ainf").rglob("*.sql")]:
        found = re.findall(r"\b(?:LIKE|GLOB|REGEXP)\b(?!\s+'[^']*'(?!\s*\|\|)).*", path.read_text())
        assert not found, path


@pytest.mark.threat("C18")
def test_floors_of_what_frames_http():
    """h11 refuses lenient ends of chunks from 0.16 on; HTTP/2 is never imported."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert "h11>=0.16" in declared
    assert not any(name.partition(".")[0] in {"h2", "hpack", "wsproto"} for path in SOURCES for name in imported(path))


@pytest.mark.threat("S15")
def test_the_environment_is_read_by_commands_alone():
    """They hand on what the configuration names; whatever is built of it asks for nothing."""
    readers = {path for path in SOURCES if {"os.environ", "os.getenv", "os.environb"} & set(names_in(path))}
    assert {path.parent for path in readers} == {ROOT / "ainf" / "cli"}
