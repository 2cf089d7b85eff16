"""Run ``ainf`` and write where its CPU went: ``python -m benchmarks.sampler FILE serve ...``.

A timer interrupts the main thread each 2 ms; each thread's CPU since the last time is put down to the function that it
is in now. That costs a few per cent, evenly, where a tracing profiler doubles the cost of small functions. The C code
that a function calls counts as the function's own. SIGUSR1 begins, SIGUSR1 again ends; the file is written at exit.
"""

import json
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from ainf.__main__ import main as ainf_main

_INTERVAL_S: Final = 0.002
_ROOTS: Final = sorted((path for path in sys.path if path), key=len, reverse=True)
_HERE: Final = Path(__file__).resolve().parent.parent

Frame = tuple[CodeType, int]


class Sampler:
    """CPU by stack, for each thread."""

    def __init__(self) -> None:
        self._stacks: dict[str, Counter[tuple[Frame, ...]]] = {}
        self._cpu: dict[int, float] = {}
        self._running = False

    def install(self) -> None:
        """Listen for SIGUSR1."""
        signal.signal(signal.SIGUSR1, self._toggle)
        signal.signal(signal.SIGALRM, self._sample)

    def _toggle(self, *_: object) -> None:
        self._running = not self._running
        self._cpu = {ident: _cpu_of(ident) for ident in sys._current_frames()}  # noqa: SLF001 - its documented use
        interval = _INTERVAL_S if self._running else 0.0
        signal.setitimer(signal.ITIMER_REAL, interval, interval)

    def _sample(self, _: int, main_frame: FrameType | None) -> None:
        main = threading.main_thread().ident
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - its documented use
            cpu = _cpu_of(ident)
            used = cpu - self._cpu.get(ident, cpu)
            self._cpu[ident] = cpu
            if used > 0:
                name = "main thread" if ident == main else "other threads"
                stack = _stack(main_frame if ident == main else frame)
                self._stacks.setdefault(name, Counter())[stack] += used  # type: ignore[assignment] # seconds

    def write(self, path: Path) -> None:
        """Write the CPU seconds of each thread: whole, by function (own and total) and by module."""
        path.write_text(json.dumps({name: _summed(stacks) for name, stacks in self._stacks.items()}))


def _cpu_of(ident: int) -> float:
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


def _stack(frame: FrameType | None) -> tuple[Frame, ...]:
    """Return the frames, innermost first."""
    stack = []
    while frame is not None:
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(stack)


def _summed(stacks: Counter[tuple[Frame, ...]]) -> dict[str, Any]:
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    modules: Counter[str] = Counter()
    lines: dict[str, Counter[int]] = {}
    for stack, cpu in stacks.items():
        code, line = stack[0]
        name = _name(code)
        own[name] += cpu
        modules[_module(code)] += cpu
        lines.setdefault(name, Counter())[line] += cpu
        for function in {_name(code) for code, _ in stack}:
            total[function] += cpu
    return {
        "cpu_s": sum(own.values()),
        "modules": modules.most_common(),
        "functions": [
            {"name": name, "own_s": own[name], "total_s": cpu, "hot_line": lines[name].most_common(1)[0][0]}
            if name in own
            else {"name": name, "own_s": 0.0, "total_s": cpu, "hot_line": 0}
            for name, cpu in total.most_common()
        ],
    }


def _name(code: CodeType) -> str:
    return f"{_file(code)}:{code.co_qualname}"


def _file(code: CodeType) -> str:
    for root in (str(_HERE), *_ROOTS):
        if code.co_filename.startswith(f"{root}/"):
            return code.co_filename[len(root) + 1 :].rpartition("site-packages/")[2]
    return code.co_filename


def _module(code: CodeType) -> str:
    """Return the room of ainf, or the library, that a function is of."""
    parts = _file(code).removesuffix(".py").split("/")
    return "/".join(parts[:2]) if parts[0] == "ainf" else parts[0]


def main() -> None:
    """Run the command that follows FILE."""
    path, *arguments = sys.argv[1:]
    sampler = Sampler()
    sampler.install()
    sys.argv = ["ainf", *arguments]
    try:
        ainf_main()
    finally:
        sampler.write(Path(path))


if __name__ == "__main__":
    main()
