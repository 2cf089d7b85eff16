"""What a soak showed, for people: on the screen, and as a page."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from benchmarks.soak.reconciled import Reconciliation
from benchmarks.soak.samples import Sample, Verdict

_ROWS: Final = 16
_SHOWN: Final = 10
_WORDS: Final = {True: "holds", False: "DOES NOT HOLD", None: "-"}


@attrs.frozen
class Run:
    """All that one run showed."""

    command: str
    machine: str
    date: str
    rate: float
    idle: Sample
    samples: Sequence[Sample]
    end: Sample
    deeds: Counter[str]
    troubles: Counter[str]
    endings: Counter[str]
    books: Reconciliation
    verdicts: Sequence[Verdict]

    @property
    def is_good(self) -> bool:
        """Whether nothing that was judged does not hold."""
        return all(verdict.holds is not False for verdict in self.verdicts)

    @property
    def exchanges(self) -> int:
        """How many were settled."""
        return sum(self.endings.values())


HEAD: Final = (
    "| minute | memory MiB | anonymous MiB | descriptors (database) | threads | tasks | running | open holds"
    " | database MiB | WAL MiB | CPU of a core |"
)  # fmt: skip
_RULE: Final = "|---" * 11 + "|"


def row(sample: Sample, before: Sample | None = None) -> str:
    """Return a sample as a row; its CPU is that since the sample before."""
    cpu = (
        "-" if before is None else f"{100 * (sample.cpu_s - before.cpu_s) / max(0.1, sample.at_s - before.at_s):.0f} %"
    )
    cells = (
        f"{sample.at_s / 60:.1f}", f"{sample.rss_kib / 1024:.1f}", f"{sample.anonymous_kib / 1024:.1f}",
        f"{sample.descriptors} ({sample.database_descriptors})", sample.threads, sample.tasks,
        sample.running, sample.open_holds,
        f"{sample.database_kib / 1024:.1f}", f"{sample.wal_kib / 1024:.1f}", cpu,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def table(samples: Sequence[Sample]) -> str:
    """Return some of the samples, evenly spread, the first and the last among them."""
    last = len(samples) - 1
    chosen = sorted({round(number * last / (_ROWS - 1)) for number in range(_ROWS)})
    rows = [row(samples[at], samples[before] if at else None) for before, at in zip([0, *chosen], chosen, strict=False)]
    return "\n".join([HEAD, _RULE, *rows])


def books_table(books: Reconciliation) -> str:
    """Return the classes of calls."""
    lines = [
        "| calls to providers | calls | billed nUSD | charged nUSD | difference | largest |",
        "|---|---|---|---|---|---|",
    ]
    for name, sums in sorted(books.sums.items(), key=lambda item: -item[1].calls):
        difference = sums.billed_nusd - sums.posted_nusd
        lines.append(
            f"| {name} | {sums.calls:,} | {sums.billed_nusd:,} | {sums.posted_nusd:,} | {difference:+,}"
            f" | {sums.largest_nusd:,} |"
        )
    lines.append(f"| **unexplained** | {len(books.unexplained):,} | | | {books.unexplained_nusd:,} | |")
    return "\n".join(lines)


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    """Return what must be so, and whether it is."""
    lines = ["| what must be so | figures | |", "|---|---|---|"]
    lines += [f"| {verdict.name} | {verdict.told} | {_WORDS[verdict.holds]} |" for verdict in verdicts]
    return "\n".join(lines)


def counted(counts: Counter[str]) -> str:
    """Return counts, the largest first."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common())


def told(run: Run) -> str:
    """Return the whole report, as Markdown."""
    parts = [
        f"{run.exchanges:,} exchanges in {run.samples[-1].at_s / 60:.1f} minutes, {run.rate:g} clients a second.",
        table(run.samples),
        books_table(run.books),
        f"Clients: {counted(run.deeds)}.",
        f"Endings: {counted(run.endings)}.",
        f"Meanwhile: {counted(run.troubles) or 'nothing'}.",
    ]
    parts += [f"Unexplained: {line}" for line in run.books.unexplained[:_SHOWN]]
    parts.append(verdict_table(run.verdicts))
    return "\n\n".join(parts)


_PAGE: Final = """# Soak

Made by `{command} --write` on {date}; {machine}.

A real gateway process stands between clients and two simulated providers of four formats, for a long time. Clients come
by chance, in three protocols, streamed and whole: they stay, leave, reset, stall, ask again under one idempotency key,
spend under a cap that is always nearly used up, use keys that are revoked, are late, look for receipts, usage and
metrics, and send garbage. Models are pinned, fall back, are hedged, answer well, and break in eleven ways. Meanwhile
the configuration is reloaded, keys are revoked, the cap moves, and another process holds the database for moments.

Memory at the end may be 5 % more than at minute five, under load and when nothing runs any more. Then descriptors,
tasks and threads must be no more than before, no hold may be open, `ainf ledger verify` must be clean, and every call
to a provider must be charged at what the provider bills, to the token, or belong to one of a few classes in which we
cannot know: what is unexplained must be 0.

{told}
"""


def page(run: Run) -> str:
    """Return docs/soak.md."""
    return _PAGE.format(command=run.command, date=run.date, machine=run.machine, told=told(run))
