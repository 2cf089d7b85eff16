"""Child processes on chosen cores, and what the kernel says that they used (Linux: ``/proc``)."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

AINF: Final = (sys.executable, "-m", "ainf")
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_START_S: Final = 30.0
_STOP_S: Final = 15.0
_LOG_TAIL: Final = 2000


class ProcessError(Exception):
    """A process did not start, died, or a command failed; the message holds the end of what it wrote."""


class Child:
    """A running process; what it writes goes to ``log``.

    Args:
        arguments: the command line.
        folder: its working directory.
        log: the file that takes its output.
        cores: the cores that it and all its threads may use.
        environment: variables that it has beside ours.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        log: Path,
        cores: set[int],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._name = " ".join(arguments[1:4])
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                arguments,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - one thread here; the child's inherit it
            )
        self._proc = Path(f"/proc/{self._process.pid}")

    def wait_listening(self, address: tuple[str, int]) -> None:
        """Return once it accepts connections.

        Raises:
            ProcessError: it ended, or 30 s are over.
        """
        deadline = time.monotonic() + _START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(address, timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise ProcessError(f"{self._name} does not listen on {address}:\n{self.last_words()}")

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all its threads so far, in steps of 10 ms."""
        fields = (self._proc / "stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND

    @property
    def rss_kib(self) -> int:
        """Resident memory now."""
        return self._status("VmRSS")

    @property
    def peak_rss_kib(self) -> int:
        """The most resident memory so far."""
        return self._status("VmHWM")

    @property
    def anonymous_kib(self) -> int:
        """Resident memory now that is no file's."""
        return self._status("RssAnon")

    @property
    def threads(self) -> int:
        """Threads now."""
        return self._status("Threads")

    def descriptors(self) -> list[str]:
        """Return what its open file descriptors are of now: paths, sockets, ..."""
        found = []
        for descriptor in (self._proc / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.append(str(descriptor.readlink()))
        return found

    def _status(self, name: str) -> int:
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise ProcessError(f"{self._name} is gone:\n{self.last_words()}")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL after 15 s."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """Return the end of what it wrote."""
        return self._log.read_text(errors="replace")[-_LOG_TAIL:]


def ainf(folder: Path, *arguments: str) -> str:
    """Run an ``ainf`` command to its end and return what it printed.

    Raises:
        ProcessError: its exit status is not 0.
    """
    done = subprocess.run((*AINF, *arguments), cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ProcessError(f"ainf {' '.join(arguments)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def free_address() -> tuple[str, int]:
    """Return a loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        return host, port
