"""What the long suites tell in the summary: how many cases ran, from which seed, and what was measured."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import settings

from tests.extent import SEED

# A machine may be busy: how long an example takes says nothing. What must be quick has a test of its own.
settings.register_profile("ainf", deadline=None)
settings.load_profile("ainf")

LINE, CASES = "line", "cases"


@pytest.fixture
def tell(record_property) -> Callable[[str], None]:
    """Say a line in the summary, also of a test that passed."""
    return lambda line: record_property(LINE, line)


@pytest.fixture
def count_cases(record_property) -> Callable[[str, int], None]:
    """Add to the cases of a suite; the summary has the sums."""
    return lambda suite, cases: record_property(CASES, (suite, cases))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in terminalreporter.stats.values() for report in kind if hasattr(report, "when")]
    told = [(report.nodeid, *told) for report in reports if report.when == "call" for told in report.user_properties]
    terminalreporter.write_line(f"AINF_SEED={SEED}")
    if not told:
        return
    sums: Counter[str] = Counter()
    for _, name, value in told:
        if name == CASES:
            sums[value[0]] += value[1]
    terminalreporter.section("what the long suites ran")
    for suite, cases in sorted(sums.items()):
        terminalreporter.write_line(f"{suite}: {cases:,} cases")
    for _, name, value in sorted(told, key=lambda each: each[0]):
        if name == LINE:
            terminalreporter.write_line(value)
