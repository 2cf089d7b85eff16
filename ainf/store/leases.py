"""Leases: a process that uses the database shows every few seconds that it lives; one that cannot is taken for dead.

Strategy: a lease is a moment of the machine's uptime in the process's row of ``instances``, moved on by a heartbeat. It
is counted from uptime because that is the same for all processes of a machine, goes on while one of them is stopped or
the machine sleeps, and never steps. Whoever finds a lease run out *fences* the epoch (see ``recovery``), in one
transaction. Transactions that write come one after the other, so a process whose lease has not run out when its
transaction began cannot have been fenced; one whose lease has looks first, and begins a new epoch if it was.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import attrs

from ainf.inference.moments import SECOND_US
from ainf.store.epochs import Lessee, enter_epoch
from ainf.store.transaction import Transaction

LEASE_S: Final = 10.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_UPTIME: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_RENEW: Final = "UPDATE instances SET lease_until = ? WHERE epoch = ? AND fenced_at IS NULL RETURNING epoch"


class UptimeError(Exception):
    """The machine has no clock that its processes share; the text says what to do."""


class Uptime(Protocol):
    """The clock of leases: one for all processes that may share a database."""

    @property
    def boot(self) -> str:
        """Which boot of which machine it counts from."""
        ...

    def now(self) -> int:
        """Return the microseconds since then; while the machine sleeps it goes on."""
        ...


class MachineUptime:
    """The uptime of this machine."""

    def __init__(self) -> None:
        """Read which boot this is.

        Raises:
            UptimeError: the system does not tell (only Linux does): processes could not know each other's leases.
        """
        try:
            self.boot = _BOOT_ID.read_text("ascii").strip()
        except OSError as error:
            raise UptimeError(
                f"several gateways can share a database on Linux only, where {_BOOT_ID} tells since when the machine"
                f" runs ({error.strerror}): set store.shared = false"
            ) from error

    def now(self) -> int:
        """See ``Uptime``."""
        return time.clock_gettime_ns(_UPTIME) // 1000


class OwnUptime:
    """An uptime that no other process knows: for a database that no other may use."""

    boot: Final = ""

    def now(self) -> int:
        """See ``Uptime``."""
        return time.clock_gettime_ns(_UPTIME) // 1000


@attrs.frozen
class Renewal:
    """A lease that was renewed; times are of its clock."""

    epoch: int
    """In which its process goes on: another than before where it had been fenced."""
    at: int
    until: int


class Lease:
    """What a process knows of its own lease. Never more than the database: it is told of a renewal once it is durable.

    Args:
        uptime: its clock.
        length_s: how long it holds from each renewal.
        is_shared: whether other processes may use the database, and take it over.
        kind: the kind of instance.
        now: microseconds since 1970 UTC.
    """

    def __init__(
        self,
        uptime: Uptime,
        length_s: float,
        *,
        is_shared: bool,
        kind: str,
        now: Callable[[], int],
    ) -> None:
        self.uptime = uptime
        self.length_us = round(length_s * SECOND_US)
        self.is_shared = is_shared
        self._kind = kind
        self._now = now
        self._until = 0
        self._unbroken_since = 0
        self.epoch = 0
        """In which this process goes on."""

    @property
    def is_held(self) -> bool:
        """Whether it has not run out: this process may admit."""
        return self.uptime.now() < self._until

    @property
    def may_reap(self) -> bool:
        """Whether it was held for a whole length without a gap: this process is fit to say that another one is dead."""
        return self.is_held and self.uptime.now() - self._unbroken_since >= self.length_us

    def lessee(self) -> Lessee:
        """Return the lease that an epoch begins with now."""
        at = self.uptime.now()
        return Lessee(self.uptime.boot, at, at + self.length_us, is_shared=self.is_shared)

    def renew(self, tx: Transaction) -> Renewal:
        """Move the lease on; where this process was fenced, begin a new epoch instead (an operation)."""
        lessee = self.lessee()
        if not tx.execute(_RENEW, (lessee.until, tx.epoch)):
            enter_epoch(tx, self._kind, self._now(), lessee)
        return Renewal(tx.epoch, lessee.at, lessee.until)

    def look(self, tx: Transaction) -> None:
        """Make sure, at the beginning of a transaction, that what is written in it is written in a living epoch."""
        if not self.is_held:
            self.renew(tx)

    def note(self, renewal: Renewal) -> bool:
        """Take over a renewal that is durable; return whether the process goes on in another epoch by it."""
        if renewal.at >= self._until or renewal.epoch != self.epoch:
            self._unbroken_since = renewal.at
        is_other = renewal.epoch != self.epoch
        self.epoch, self._until = renewal.epoch, renewal.until
        return is_other
