"""What else happens to a gateway that runs for long: reloads, keys that go, caps that move, a database that is busy."""

import random
import signal
import time
from collections import Counter
from functools import partial
from secrets import token_bytes, token_hex
from typing import Final

import apsw
import attrs
import trio

from ainf.app import wall_clock
from ainf.store import admin
from ainf.store.beside import BooksError, write_books
from benchmarks.processes import ProcessError, ainf
from benchmarks.soak.place import CAPPED, REVOKED, Place, config_text

RELOAD_S, REVOKE_S, ALLOW_S, HOLD_S = 20.0, 7.0, 5.0, 15.0
"""How often each happens; in a short run sooner."""
_ALLOWANCE_NUSD: Final = 2_000_000
"""What the capped account gets each time: less than its clients would spend."""
_SPENT: Final = """
    SELECT coalesce(sum(s.settled_nusd + s.overrun_nusd), 0) FROM settlements AS s
    JOIN inferences AS i ON i.inference_id = s.inference_id WHERE i.account_id =
        (SELECT account_id FROM accounts WHERE name = ?)
"""


@attrs.define
class Trouble:
    """Makes it, until cancelled."""

    place: Place
    chance: random.Random
    pace: float = 1.0
    """How much sooner than usual."""
    counts: Counter[str] = attrs.field(factory=Counter)
    failures: list[str] = attrs.field(factory=list)
    """What commands said that failed."""

    async def run(self) -> None:
        """Do all of it, again and again."""
        async with trio.open_nursery() as nursery:
            for deed, every_s in (
                (self.reload, RELOAD_S), (self.revoke, REVOKE_S), (self.allow, ALLOW_S), (self.hold, HOLD_S),
            ):  # fmt: skip
                nursery.start_soon(self._again, deed, every_s / self.pace)

    async def _again(self, deed, every_s: float) -> None:
        while True:
            await trio.sleep(every_s * self.chance.uniform(0.3, 1.7))
            try:
                await deed()
                self.counts[deed.__name__] += 1
            except (ProcessError, BooksError, apsw.Error) as error:
                self.failures.append(f"{deed.__name__}: {error}")

    async def reload(self) -> None:
        """Change what each model's latency is said to be, and tell the gateway."""
        text = config_text(self.place.address, self.place.simulators, self.chance.randrange(50, 500))
        written = self.place.folder / "ainf.toml.new"
        written.write_text(text)
        written.replace(self.place.folder / "ainf.toml")  # at once: commands read it all the time
        self.place.gateway.signal(signal.SIGHUP)

    async def revoke(self) -> None:
        """Revoke the key that clients use, and give them another one."""
        old = self.place.keys[REVOKED].split("_")[1]
        key_id = token_hex(5)
        key = admin.key_text(key_id, token_bytes(25))
        made = partial(
            admin.create_key, key_id=key_id, digest=admin.digest_of(key), account=REVOKED, rights=admin.KeyRights(),
            at=wall_clock(),
        )  # fmt: skip
        await write_books(self.place.books, made, now=wall_clock)
        await trio.to_thread.run_sync(ainf, self.place.folder, "keys", "revoke", old)
        self.place.keys[REVOKED] = key

    async def allow(self) -> None:
        """Let the capped account spend a little more."""
        with apsw.Connection(str(self.place.database), flags=apsw.SQLITE_OPEN_READONLY) as books:
            books.set_busy_timeout(5_000)
            spent = books.execute(_SPENT, (CAPPED,)).get
        usd = f"{(spent + _ALLOWANCE_NUSD) / 10**9:.9f}"
        set_cap = ("caps", "set", "--account", CAPPED, "--usd", usd)
        await trio.to_thread.run_sync(ainf, self.place.folder, *set_cap)

    async def hold(self) -> None:
        """Keep everybody else from writing the database, for a moment; a shorter one in a short run."""
        await trio.to_thread.run_sync(_held, str(self.place.database), self.chance.uniform(0.1, 1.0) / self.pace)


def _held(path: str, seconds: float) -> None:
    connection = apsw.Connection(path)
    try:
        connection.set_busy_timeout(5_000)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()
