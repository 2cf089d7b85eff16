"""Break the gateway on purpose, one way at a time: ``python -m tests.mutations [NAME...]``. Each must be caught.

Without names all of the table are tried, and docs/mutations.md is written when all were caught.
"""

import importlib.util
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from tests.mutations.mutation import PAGE, ROOT, Mutation, page
from tests.mutations.table import MUTATIONS

AT_ONCE = 2
LIMIT_S = 300
"""For one run of tests; one that takes longer is no proof."""
SEED = "1"
"""The long suites try the same cases each time."""
_COPIED = ("ainf", "tests", "docs", "README.md", "pyproject.toml")
_PASSED, _FAILED = 0, 1
_FAILURE = re.compile(r"^FAILED (.+?)(?: - .*)?$", re.MULTILINE)


@attrs.frozen
class Run:
    """How a run of tests ended."""

    status: int | None
    """Of pytest; None where it took too long."""
    failed: str | None
    """The test that failed first."""
    seconds: float
    said: str

    @property
    def is_caught(self) -> bool:
        """Whether a test failed, and not only the collection of tests."""
        return self.status == _FAILED and self.failed is not None


class Copy:
    """A copy of the repository, to be broken."""

    def __init__(self, root: Path) -> None:
        self._root = root
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(source, root / name)
        self._check_imported()

    def _check_imported(self) -> None:
        """What is imported from here must be what is broken here."""
        found = self._python("-c", "import ainf; print(ainf.__file__)").stdout.strip()
        if found != str(self._root / "ainf" / "__init__.py"):
            raise RuntimeError(f"The copy is not what is imported: {found}.")

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(self._root), "AINF_SEED": SEED}
        environment.pop("AINF_LAW", None)
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )

    def run(self, tests: Sequence[str]) -> Run:
        """Run tests on what stands here, until the first one fails."""
        since = time.monotonic()
        try:
            done = self._python("-m", "pytest", "-x", "-q", "--tb=line", "-p", "no:cacheprovider", *tests)
        except subprocess.TimeoutExpired:
            return Run(None, None, time.monotonic() - since, f"It took longer than {LIMIT_S} s.")
        failed = _FAILURE.search(done.stdout)
        return Run(done.returncode, failed[1] if failed else None, time.monotonic() - since, done.stdout + done.stderr)

    def run_broken(self, mutation: Mutation) -> Run:
        """Run a mutation's tests with it, and mend it again."""
        path = self._root / "ainf" / mutation.file
        whole = path.read_text()
        self._forget(path)
        try:
            mutation.apply(self._root)
            return self.run(mutation.tests)
        finally:
            path.write_text(whole)
            self._forget(path)

    @staticmethod
    def _forget(path: Path) -> None:
        """Remove what is compiled of a file: two versions of one second and size would be taken for the same."""
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)


class Bench:
    """Tries mutations in a few copies at once."""

    def __init__(self, folder: Path) -> None:
        self._free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(AT_ONCE):
            self._free.put(Copy(folder / str(number)))

    def unbroken(self, tests: tuple[str, ...]) -> bool:
        """Return whether tests pass on what is not broken; say what they say where they do not."""
        copy = self._free.get()
        try:
            run = copy.run(tests)
        finally:
            self._free.put(copy)
        if run.status != _PASSED:
            print(f"NOT GREEN  {' '.join(tests)}\n{run.said}", flush=True)
        return run.status == _PASSED

    def is_caught(self, mutation: Mutation) -> bool:
        """Return whether a mutation is caught, and print a line of it."""
        copy = self._free.get()
        try:
            run = copy.run_broken(mutation)
        finally:
            self._free.put(copy)
        word = "caught" if run.is_caught else "SURVIVED" if run.status == _PASSED else "NO PROOF"
        print(f"{word:9} {mutation.name:36} {run.seconds:5.1f} s  {run.failed or ''}", flush=True)
        if word == "NO PROOF":
            print(run.said, flush=True)
        return run.is_caught


def main(names: Sequence[str]) -> int:
    """Try the mutations of these names, or all; return the exit status: 0 where each was caught."""
    known = {mutation.name for mutation in MUTATIONS}
    if unknown := [name for name in names if name not in known]:
        print(f"There are no such mutations: {', '.join(unknown)}. There are {', '.join(sorted(known))}.")
        return 2
    chosen = [mutation for mutation in MUTATIONS if not names or mutation.name in names]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as threads:
        bench = Bench(Path(folder))
        green = list(threads.map(bench.unbroken, dict.fromkeys(mutation.tests for mutation in chosen)))
        caught = list(threads.map(bench.is_caught, chosen))
    print(f"{sum(caught)} of {len(chosen)} breakages caught.")
    if not all(green) or not all(caught):
        return 1
    if not names:
        PAGE.write_text(page(MUTATIONS))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
