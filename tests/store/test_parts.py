"""What a store is made of: who may have a database beside whom, and who waits for whom."""

import pytest
import trio

from ainf.store.parts import LOCK_WAIT_S, LeaseTerms, soon
from ainf.store.reserves import ReserveTerms
from ainf.store.sqlite import LinkedError, LockedError
from ainf.store.store import Store
from ainf.store.verify import verify
from tests.store.records import START, closing, opening, seeded
from tests.store.test_leases import Uptime, gateway


async def test_one_for_itself_and_one_that_shares(tmp_path):
    """They do not go together, whoever comes first; two that share do, once the first has recovered."""
    path, uptime = tmp_path / "a.db", Uptime()
    async with gateway(path, uptime, is_shared=False), trio.open_nursery() as nursery:
        nursery.start_soon(_is_locked_out, path, uptime)
    async with gateway(path, uptime) as one:
        with trio.move_on_after(0.2) as waited:
            async with gateway(path, uptime):
                pass
        assert waited.cancelled_caught
        await one.recover(START)
        async with gateway(path, uptime) as other:
            await other.recover(START)
        with pytest.raises(LockedError, match=r"store\.shared"):
            async with gateway(path, uptime, is_shared=False):
                pass


async def _is_locked_out(path, uptime) -> None:
    with trio.move_on_after(0.2) as waited:
        async with gateway(path, uptime):
            pass
    assert waited.cancelled_caught


@pytest.fixture(params=["file", "folder"])
def link(request, tmp_path):
    """Another path of the database ``big/a.db``: through a link to the file, or to its folder."""
    (tmp_path / "big").mkdir()
    (tmp_path / "small").mkdir()
    target = tmp_path / "big" / "a.db"
    link = tmp_path / "small" / "b.db" if request.param == "file" else tmp_path / "other"
    link.symlink_to(target if request.param == "file" else target.parent)
    return link if request.param == "file" else link / target.name


async def test_a_link_is_no_other_database(tmp_path, link):
    """Who comes through a link to a database that another has for itself is told so; what that runs is left alone."""
    path, uptime = tmp_path / "big" / "a.db", Uptime()
    for first, second in ((path, link), (link, path)):
        async with gateway(first, uptime, is_shared=False) as one:
            await one.recover(START)
            with pytest.raises(LockedError, match="another ainf gateway uses"):
                async with gateway(second, uptime, is_shared=False):
                    pass


async def test_one_that_shares_through_a_link(tmp_path, link):
    """It is not alone: what the others run is theirs to settle, and the ledger is sound."""
    uptime = Uptime()
    async with gateway(tmp_path / "big" / "a.db", uptime) as one:
        await one.write(seeded())
        await one.recover(START)
        await one.open_inference(opening())
        async with gateway(link, uptime) as other:
            assert await other.recover(START) == []
            assert (await one.close_inference(closing())).ending == "completed"
            assert await other.read(verify) == []


async def test_all_files_stand_beside_the_database(tmp_path, link):
    """Whichever way leads to it, its lock and its ballast stand where SQLite's own files do, for its owner alone."""
    async with Store.open(f"sqlite:{link}", now=lambda: START, reserves=ReserveTerms(ballast_bytes=4096)):
        files = list((tmp_path / "big").iterdir())
        assert {file.name for file in files} == {f"a.db{end}" for end in ("", "-shm", "-wal", ".ballast", ".lock")}
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        assert {file.name for file in (tmp_path / "small").iterdir()} <= {"b.db"}


@pytest.mark.parametrize("kind", ["gateway", "command"])
async def test_a_database_with_two_names_is_opened_by_none(tmp_path, kind):
    """Neither by a gateway nor beside one: each name would have a log of its own, which no lock can join."""
    path = tmp_path / "a.db"
    async with Store.open(f"sqlite:{path}", now=lambda: START, kind=kind):
        pass
    (tmp_path / "b.db").hardlink_to(path)
    for name in ("a.db", "b.db"):
        with pytest.raises(LinkedError, match="has 2 names"):
            async with Store.open(f"sqlite:{tmp_path / name}", now=lambda: START, kind=kind):
                pass


async def test_soon_takes_what_is_free_in_time(autojump_clock):
    """At once, or after a while; never later than it may."""
    refusals = [True, True]

    def take() -> str:
        if refusals and refusals.pop():
            raise LockedError("taken")
        return "mine"

    assert await soon(take, LOCK_WAIT_S) == "mine"
    assert 0 < trio.current_time() < LOCK_WAIT_S
    refusals[:] = [True]
    with pytest.raises(LockedError):
        await soon(take, 0)


def test_processes_that_share_have_one_clock():
    """That of the machine; a process that has a database for itself needs to know no other."""
    lease = LeaseTerms(is_shared=True).lease("gateway", lambda: START)
    assert lease.uptime.boot == LeaseTerms(is_shared=True).lease("gateway", lambda: START).uptime.boot != ""
    assert LeaseTerms().lease("gateway", lambda: START).uptime.boot == ""
