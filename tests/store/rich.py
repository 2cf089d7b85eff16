"""Sound books in which everything that may happen has happened: what the checker is tested on."""

from pathlib import Path

import attrs

from ainf.inference.moments import HOUR_US
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.ledger import Window
from ainf.store.balances import CreditKind, NewCredit, credit, open_balance
from ainf.store.base import Progress
from ainf.store.caps import remove_cap
from ainf.store.exchanges import record_progress
from tests.store.books import COST, PRICE, Books
from tests.store.captured import leave_routed, recover_routed, run_routed, write_routed

CLAIM = (
    "INSERT INTO claims (key_id, path, idempotency_key, fingerprint, inference_id, state, expires_at)"
    " VALUES (?, '/v1/chat/completions', ?, ?, ?, ?, ?)"
)
ANSWER = "INSERT INTO answers VALUES (?, 200, 1, '[]', CAST('data: hello' AS BLOB))"


@attrs.frozen
class Rich:
    """Where the books are, and what in them is called what."""

    path: str
    named: dict[str, str]
    """Ids by what is special of them."""


def write_rich_books(folder: Path) -> Rich:
    """Write the books: a tree of three accounts and two beside it, caps in every window, a balance, and exchanges
    of every kind, pinned and routed, in two gateways' lives, of which five still run."""
    books = Books(folder)
    named: dict[str, str] = {}
    for name, parent in [("root", None), ("team", "root"), ("agent", "team"), ("other", None), ("paid", None)]:
        named[f"account_{name}"] = books.account(name, parent)
    key, other, paid = books.key("agent"), books.key("other"), books.key("paid")
    named |= {"key": key, "key_other": other, "key_paid": paid}
    _spend(books, named, key)
    _pay(books, named, paid)
    routed = named["key_routed"] = books.key("agent")
    write_routed(books, named, routed)
    _lose(books, named, key, other)
    _run(books, named, key, other, paid)
    books.engine.close()
    return Rich(books.path, named)


def _spend(books: Books, named: dict[str, str], key: str) -> None:
    """What ends well or badly, under caps that come, change and go while it runs."""
    named["uncapped"] = books.open(key)
    books.close(named["uncapped"])
    named["early"] = books.open(key)  # runs when the caps are set
    named["cap"] = books.cap(10**9, account="root")
    named["cap_key"] = books.cap(10**6, key_id=key)
    named["cap_hour"] = books.cap(10**8, account="team", window=Window.HOUR)
    named["cap_model"] = books.cap(10**8, account="agent", window=Window.DAY, model="sm*")
    named["cap_elsewhere"] = books.cap(1, account="agent", model="large")
    books.extend(named["early"], 5_000)
    books.close(named["early"])
    named["overrun"] = books.open(key, base=1, first_tokens=1)
    books.close(named["overrun"], ending=Ending.CLIENT_DISCONNECTED, evidence=Evidence.METERED)
    named["unknown"] = books.open(key)
    books.close(named["unknown"], cost_nusd=None, evidence=Evidence.NONE, attempts=())
    named["failed"] = books.open(key)
    books.close(named["failed"], ending=Ending.UPSTREAM_ERROR)
    books.at += HOUR_US
    named["plain"] = books.open(key)
    named["empty"] = books.open(key)
    books.close(named["empty"], ending=Ending.SPEND_CAP_EXCEEDED, output_bytes=0, received_bytes=0)
    books.run(remove_cap, scope=books.scope(key_id=key), at=books.tick())
    books.close(named["plain"])
    named["retry"] = books.open(key)
    books.close(named["retry"])
    named["cap_key_again"] = books.cap(10**6, key_id=key)
    books.cap(10**7, account="team", window=Window.HOUR)
    books.sql(CLAIM, key, "kept", b"\x01" * 16, named["plain"], "kept", books.at + 2 * HOUR_US)
    books.sql(ANSWER, named["plain"])
    books.sql(CLAIM, key, "large", b"\x01" * 16, named["empty"], "too_large", books.at + HOUR_US)
    books.sql(CLAIM, key, "freed", b"\x01" * 16, named["failed"], "freed", books.at)


def _pay(books: Books, named: dict[str, str], paid: str) -> None:
    """What a balance pays for."""
    named["balance"] = books.new_id("bal")
    books.run(open_balance, cap_id=named["balance"], account="paid", at=books.tick())
    for kind, amount in [(CreditKind.TOP_UP, 10**7), (CreditKind.ADJUSTMENT, -(10**6))]:
        new = NewCredit(books.new_id("cred"), kind, amount, "")
        books.run(credit, account="paid", new=new, at=books.tick())
    named["prepaid"] = books.open(paid)
    books.close(named["prepaid"])


def _lose(books: Books, named: dict[str, str], key: str, other: str) -> None:
    """What a process left behind that died; one end waited in its spool, one comes late and posts an adjustment."""
    named["lost"], named["unseen"] = books.open(key), books.open(other)
    named["spooled"] = books.open(other, fingerprint=b"\x02" * 16)
    progress = Progress(named["lost"], Usage(input_tokens=10, output_tokens=5), 4_000, 20)
    books.run(record_progress, [progress], books.tick())
    routed = leave_routed(books, named, named["key_routed"])
    books.new_epoch("gateway")
    books.close(named["spooled"], notes={"spooled_at": books.at})
    recover_routed(books, routed)
    for left in (named["lost"], named["unseen"]):
        books.abandon(left)
    books.close(named["lost"], ending=Ending.CLIENT_DISCONNECTED)
    books.new_epoch("command")
    books.cap(1, account="root")  # below what was spent: nothing opens under it
    books.new_epoch("gateway")


def _run(books: Books, named: dict[str, str], key: str, other: str, paid: str) -> None:
    """What still runs, and what ended last."""
    books.cap(10**9, account="root")
    named["running"], named["running_paid"], named["running_other"] = (
        books.open(key),
        books.open(paid),
        books.open(other),
    )
    named["cap_late"] = books.cap(10**9, account="other", window=Window.MONTH)
    books.extend(named["running"], COST)
    run_routed(books, named, named["key_routed"])
    books.sql(CLAIM, key, "running", b"\x01" * 16, named["running"], "running", None)
    named["last"] = books.open(other)
    books.close(named["last"])
    named["price"] = PRICE.version
