"""The habits that a machine can check: mirrored tests, sizes, who may wait, and a README that leaves nothing out."""

import ast
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import click
import pytest

from ainf.cli.main import ainf
from ainf.config import SETTINGS, document
from ainf.inference.errors import CODES
from ainf.telemetry import Telemetry

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "ainf").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
README = (ROOT / "README.md").read_text()

LONGEST_FUNCTION = 60
LONGEST_FILE = 500

UNTESTED = {
    "formats/base.py": "protocols and values",
    "providers/base.py": "protocols and values",
    "protocols/base.py": "protocols and values",
    "store/base.py": "values",
    "store/protocol.py": "a protocol",
}
"""Source files with nothing to test, and why."""

OVER_SEVERAL_FILES = {
    "test_conversions.py": "usage and its cost by hand, over all formats and the price",
    "test_cuts.py": "any cut of the bytes, over all formats",
    "test_roundtrip.py": "encoder to decoder, over all formats",
    "store/test_money_sequences.py": "the property of the money, over all operations",
    "store/test_later_attempts.py": "attempts after the first, over all operations",
    "test_tidy.py": "this one",
    "test_threats.py": "the rows of docs/threats.md, over all tests",
    "store/test_power_loss.py": "what a disk keeps of it all when the power is lost",
    "store/test_corruption.py": "what verify finds, over all that it checks with",
    "upstream/test_cancellation.py": "a call cancelled at every step, over the whole room",
}
"""Tests that belong to no one source file."""

WHOLE_SYSTEMS = {
    "gateway": "the whole gateway",
    "simulation": "the whole gateway, seed by seed",
    "agents": "frameworks over it",
    "benchmarks": "tests of benchmarks/",
    "fuzz": "whatever reads what strangers send",
    "mutations": "breakages of all of it, each of which a test must see",
}
"""Folders of tests that mirror no room."""

LEVELS = ("info", "warning", "error")
TRIED = "f'{what}_refused'"
"""The one event whose name is made: by ``Telemetry.tried``."""

MAY_WAIT = {"cli", "app.py", "server", "http", "exchange", "upstream", "store", "simulator"}
"""Rooms in which ``async`` and ``await`` may stand."""


def relative(path: Path, folder: str) -> str:
    return path.relative_to(ROOT / folder).as_posix()


def test_every_source_file_has_a_test_file_of_its_name():
    """Who changes a file knows where its tests are."""
    tested = {relative(path, "tests") for path in TESTS}
    missing = []
    for path in SOURCES:
        name = relative(path, "ainf")
        room, _, file = name.rpartition("/")
        if path.name != "__init__.py" and f"{room}/test_{file}".lstrip("/") not in tested and name not in UNTESTED:
            missing.append(name)
    assert missing == []


def test_every_test_file_has_a_source_file_of_its_name():
    """A test that outlives its source is found."""
    sources = {relative(path, "ainf") for path in SOURCES}
    orphans = []
    for path in TESTS:
        name = relative(path, "tests")
        room, _, file = name.rpartition("/")
        if not file.startswith("test_") or room.partition("/")[0] in WHOLE_SYSTEMS or name in OVER_SEVERAL_FILES:
            continue
        if f"{room}/{file.removeprefix('test_')}".lstrip("/") not in sources:
            orphans.append(name)
    assert orphans == []


def test_the_lists_of_exceptions_are_true():
    """An exception that is none any more is taken out."""
    sources, tests = {relative(path, "ainf") for path in SOURCES}, {relative(path, "tests") for path in TESTS}
    assert sources >= UNTESTED.keys()
    assert tests >= OVER_SEVERAL_FILES.keys()
    for name in UNTESTED:
        room, _, file = name.rpartition("/")
        assert f"{room}/test_{file}" not in tests


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_function_is_longer_than_a_screen():
    """Sixty lines, docstring and all; tests that are tables may be longer."""
    long = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path in SOURCES
        for function in functions(path)
        if (function.end_lineno or 0) - function.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_no_file_is_too_long():
    """Five hundred lines."""
    long = [str(path.relative_to(ROOT)) for path in [*SOURCES, *TESTS] if path.read_text().count("\n") > LONGEST_FILE]
    assert long == []


def test_whatever_runs_a_part_of_its_cases_is_run_whole_by_make_law():
    """A file that asks how much of it is to run has tests with the mark that ``make law`` goes by."""
    asking = [
        path for path in TESTS if "from tests.extent import" in path.read_text() and path.name.startswith("test_")
    ]
    assert len(asking) > 20
    assert [relative(path, "tests") for path in asking if "pytest.mark.law" not in path.read_text()] == []


def test_only_some_rooms_wait():
    """Pure rooms have no ``async`` and no ``await``."""
    waiting = []
    for path in SOURCES:
        room = relative(path, "ainf").partition("/")[0]
        if room in MAY_WAIT or path.name == "__main__.py":
            continue
        waiting += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith)
        ]
    assert waiting == []


def table_under(heading: str) -> dict[str, list[str]]:
    """The rows of README's table under a heading: the first cell's code, and the other cells."""
    match = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert match, f"README has no section {heading!r}"
    rows = {}
    for line in match[1].splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            rows[cells[0].strip().strip("`")] = cells[1:]
    return rows


def test_every_setting_is_in_the_readme():
    """The table is the one that the schema makes, so that neither knows a setting that the other does not."""
    table = table_under("Settings")
    assert list(table) == [f"{setting.table}.{setting.key}" for setting in SETTINGS]
    assert document() in README, "README's table of settings is not `ainf.config.document()`"


def test_every_error_code_is_in_the_readme():
    """With its status, type, transience and meaning."""
    table = table_under("Error codes")
    assert table.keys() == CODES.keys()
    for code, row in CODES.items():
        assert table[code] == [str(row.status), f"`{row.type}`", "yes" if row.transient else "no", row.meaning]


def test_every_metric_is_in_the_readme():
    """With its labels and its meaning."""
    table = table_under("Metrics")
    names = {}
    for family in Telemetry(StringIO()).registry._collector_to_names:
        name = family._name + ("_total" if family._type == "counter" else "")
        names[name] = [", ".join(family._labelnames), family._documentation]
    assert table == names


def calls_in(tree: ast.AST, *methods: str) -> Iterator[tuple[ast.Attribute, ast.expr]]:
    """The calls of methods of these names, each with its first argument."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) as method, args=[first, *_]) if name in methods:
                yield method, first


def is_of_the_log(method: ast.Attribute) -> bool:
    owner = method.value
    return (owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", None)) == "log"


def logged_events() -> set[tuple[str, str]]:
    """Every event that the code logs, with its level; of ``tried``, one for each call of it."""
    trees = [ast.parse(path.read_text()) for path in SOURCES]
    tried = {ast.literal_eval(what) for tree in trees for _, what in calls_in(tree, "tried")}
    events = set()
    for method, event in (found for tree in trees for found in calls_in(tree, *LEVELS)):
        if not is_of_the_log(method):
            continue
        if ast.unparse(event) == TRIED:
            events |= {(f"{what}_refused", method.attr) for what in tried}
        else:
            events.add((ast.literal_eval(event), method.attr))
    return events


def test_every_event_of_the_log_is_in_its_page():
    """With its level; and the page has no others."""
    page = (ROOT / "docs" / "log.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| \S.* \| \S.* \|$", page, re.MULTILINE)
    assert len(rows) == len([line for line in page.splitlines() if line.startswith("| `")]) == len(dict(rows))
    assert set(rows) == logged_events()


def commands(group: click.Group, prefix: str = "ainf") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}"


@pytest.mark.parametrize("command", list(commands(ainf)))
def test_every_command_is_in_the_readme(command):
    """Under the heading of commands, as ``ainf check`` or ``ainf keys create|list``."""
    section = README.partition("\n## Commands\n")[2].partition("\n## ")[0]
    said = set()
    for words in re.findall(r"`(ainf [^`]*)`", section):
        group, _, last = words.rpartition(" ")
        said |= {f"{group} {word}" for word in last.split("|")}
    assert command in said
