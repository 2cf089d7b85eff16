"""The report's arithmetic."""

import json

import pytest

from benchmarks.report import Row, header, line, median, quantile, syscall_us, write_json, yardstick_ms


@pytest.mark.parametrize(("values", "middle"), [([3.0], 3.0), ([9.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 2.0, 9.0], 3.0)])
def test_the_median_is_the_middle(values, middle):
    """Of an even number of values, the median is the mean of the two in the middle."""
    assert median(values) == middle


@pytest.mark.parametrize(
    ("count", "share", "rank"),
    [(1, 0.5, 1), (1, 0.99, 1), (2, 0.5, 1), (3, 0.5, 2), (100, 0.5, 50), (100, 0.99, 99), (101, 0.99, 100)],
)
def test_a_quantile_is_a_value_that_was_seen(count, share, rank):
    """The quantile is the nearest rank: the least value that so many do not exceed."""
    assert quantile([float(value) for value in range(count, 0, -1)], share) == rank


def test_the_ratio_is_of_the_median():
    """One slow run of three changes the spread, not the ratio."""
    row = Row("A", "us/request", [1300.0, 1950.0, 9000.0], 1300.0)
    assert row.ratio == 1.5
    assert Row("A", "us/request", [1.0]).ratio is None


def test_a_line_stands_under_its_header():
    """Figures end where their headings end, so the table can be read."""
    words, row = header(), line(Row("A", "us", [1234.0, 1300.0, 1400.0], 1300.0, "a note"))
    assert row[: len(words)].split() == ["A", "us", "1,300", "1,234", "1,400", "1,300", "1.00x"]
    assert row[words.index("median") + 5] == "0"
    assert row[len(words) :] == "  a note"


def test_the_figures_can_be_kept(tmp_path):
    """The JSON file holds every value, the median and the ratio, beside what it was measured on."""
    write_json(tmp_path / "figures.json", [Row("A", "us", [2.0, 1.0, 3.0], 4.0)], [5.0, 6.0])
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["cores"] >= 1
    assert document["yardsticks_ms"] == [5.0, 6.0]
    assert document["rows"] == [
        {"name": "A", "unit": "us", "values": [2.0, 1.0, 3.0], "target": 4.0, "note": "", "median": 2.0, "ratio": 0.5}
    ]


def test_a_byte_through_the_kernel_takes_some_microseconds():
    """A yardstick of the kernel: system calls may get slower while Python does not."""
    assert 0.1 < syscall_us() < 1000


def test_the_yardstick_is_some_milliseconds_of_work():
    """The fixed work takes long enough to be measured and short enough not to matter."""
    assert 1 < yardstick_ms() < 1000
