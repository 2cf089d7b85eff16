"""Run ``ainf`` and write where its CPU went: ``python -m benchmarks.sampler FILE serve ...``.

A timer on the main thread's own CPU clock interrupts it, and what it used since the last time is put down to the stack
that it is in. A timer on any other clock would favour the places where the thread waits for the interpreter or the
core; a tracing profiler would double the cost of small functions. The C code that a function calls counts as the
function's own, and garbage collection as that of a ``__del__``, the first Python code after it. Of other threads (the
store's writer) there is only the sum: Python handles signals in the main thread alone.

SIGUSR1 begins, SIGUSR1 again ends; the file is written at exit.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from ainf.__main__ import main as ainf_main

_INTERVAL_NS: Final = 1_000_000
"""What is asked for; the kernel looks at its ticks, so it is rather 4 ms."""
_SIGEV_THREAD_ID: Final = 4
_CLOCK_THREAD_CPUTIME_ID: Final = 3
_ROOTS: Final = sorted((path for path in sys.path if path), key=len, reverse=True)
_HERE: Final = Path(__file__).resolve().parent.parent

Frame = tuple[CodeType, int]


class _SignalEvent(ctypes.Structure):
    """``struct sigevent`` of Linux."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("thread_id", ctypes.c_int),
        ("padding", ctypes.c_char * 44),
    )


class _TimerSpec(ctypes.Structure):
    """``struct itimerspec``."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("interval_s", "interval_ns", "value_s", "value_ns"))


class ThreadTimer:
    """Sends SIGPROF to the thread that makes it, each time that it has used so much CPU.

    Raises:
        OSError: the system has no such timer.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = ctypes.c_void_p()
        event = _SignalEvent(0, signal.SIGPROF, _SIGEV_THREAD_ID, threading.get_native_id(), b"")
        self._check(self._libc.timer_create(_CLOCK_THREAD_CPUTIME_ID, ctypes.byref(event), ctypes.byref(self._timer)))

    def set(self, interval_ns: int) -> None:
        """Start it; 0 stops it."""
        spec = _TimerSpec(0, interval_ns, 0, interval_ns)
        self._check(self._libc.timer_settime(self._timer, 0, ctypes.byref(spec), None))

    @staticmethod
    def _check(result: int) -> None:
        if result:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


class Sampler:
    """CPU of the main thread by stack, and of all other threads as a sum."""

    def __init__(self) -> None:
        self._stacks: dict[tuple[Frame, ...], float] = {}
        self._timer = ThreadTimer()
        self._running = False
        self._last = self._main_s = self._process_s = 0.0

    def install(self) -> None:
        """Listen for SIGUSR1."""
        signal.signal(signal.SIGUSR1, self._toggle)
        signal.signal(signal.SIGPROF, self._sample)

    def _toggle(self, *_: object) -> None:
        self._running = not self._running
        sign = -1 if self._running else 1
        self._last = time.thread_time()
        self._main_s += sign * self._last
        self._process_s += sign * time.process_time()
        self._timer.set(_INTERVAL_NS if self._running else 0)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        stack = _stack(frame)
        self._stacks[stack] = self._stacks.get(stack, 0.0) + now - self._last
        self._last = now

    def write(self, path: Path) -> None:
        """Write CPU seconds: of other threads, and of the main one whole, by module and by function."""
        path.write_text(json.dumps({"other_s": self._process_s - self._main_s, **_summed(self._stacks)}))


def _stack(frame: FrameType | None) -> tuple[Frame, ...]:
    """Return the frames, innermost first."""
    stack = []
    while frame is not None:
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return tuple(stack)


def _summed(stacks: dict[tuple[Frame, ...], float]) -> dict[str, Any]:
    own: dict[str, float] = {}
    total: dict[str, float] = {}
    modules: dict[str, float] = {}
    lines: dict[str, Counter[int]] = {}
    for stack, cpu in stacks.items():
        code, line = stack[0]
        name = _name(code)
        _add(own, name, cpu)
        _add(modules, _module(code), cpu)
        lines.setdefault(name, Counter())[line] += 1
        for function in {_name(code) for code, _ in stack}:
            _add(total, function, cpu)
    return {
        "main_s": sum(own.values()),
        "modules": modules,
        "functions": [
            {
                "name": name,
                "own_s": own.get(name, 0.0),
                "total_s": cpu,
                "hot_line": lines[name].most_common(1)[0][0] if name in lines else None,
            }
            for name, cpu in total.items()
        ],
    }


def _add(sums: dict[str, float], name: str, cpu: float) -> None:
    sums[name] = sums.get(name, 0.0) + cpu


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
