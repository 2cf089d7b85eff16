"""What is called flat, and what is not."""

import attrs
import pytest

from benchmarks.soak.samples import Sample, judge

IDLE = Sample(
    at_s=0, rss_kib=60_000, anonymous_kib=50_000, descriptors=20, database_descriptors=9, threads=3, tasks=20,
    running=0, open_holds=0, database_kib=10, wal_kib=0, cpu_s=1,
)  # fmt: skip
END = attrs.evolve(IDLE, rss_kib=100_000)
LASTS_S = 1800.0


def under_load(*, grows_kib: int = 0, lasts_s: float = LASTS_S) -> list[Sample]:
    """A sample every ten seconds; it grows from minute five on, and is uneven all the time."""
    return [
        attrs.evolve(IDLE, at_s=at_s, rss_kib=100_000 + at_s % 60 * 10 + grows_kib * (at_s > 330), running=30)
        for at_s in range(10, int(lasts_s) + 1, 10)
    ]


def broken(samples: list[Sample], end: Sample, lasted_s: float = LASTS_S) -> list[str]:
    return [verdict.name for verdict in judge(IDLE, samples, end, lasted_s) if verdict.holds is False]


def test_what_is_as_it_was_is_flat():
    """Unevenness is no growth, and what is idle again is as before."""
    assert broken(under_load(), END) == []
    assert all(verdict.holds for verdict in judge(IDLE, under_load(), END, LASTS_S))


@pytest.mark.parametrize(
    ("samples", "end", "told"),
    [
        (under_load(grows_kib=6_000), END, "memory, under load"),
        (under_load(), attrs.evolve(END, rss_kib=106_000), "memory, idle again"),
        (under_load(), attrs.evolve(END, descriptors=21), "descriptors, idle"),
        (under_load(), attrs.evolve(END, database_descriptors=17), "descriptors of the database"),
        (under_load(), attrs.evolve(END, tasks=21), "tasks, idle"),
        (under_load(), attrs.evolve(END, threads=4), "threads, idle"),
        (under_load(), attrs.evolve(END, open_holds=1), "running exchanges, open holds"),
        (under_load(), attrs.evolve(END, running=1), "running exchanges, open holds"),
    ],
)
def test_what_grows_is_told(samples, end, told):
    """More than a twentieth of memory since minute five, or one of anything else, is not flat."""
    assert broken(samples, end) == [told]


def test_a_twentieth_is_not_too_much():
    """Memory may grow by less than a twentieth."""
    assert broken(under_load(grows_kib=4_000), END) == []


def test_a_short_run_says_nothing_of_memory():
    """Under ten minutes memory and threads are told and not judged; the rest is."""
    samples = under_load(lasts_s=60)
    assert broken(samples, attrs.evolve(END, rss_kib=900_000, threads=9), 60) == []
    assert broken(samples, attrs.evolve(END, tasks=21), 60) == ["tasks, idle"]
