"""What a process owes to its reserves while it runs: what waits in spools is replayed, and the ballast put back."""

from typing import Protocol

import trio

from ainf.store.reserves import Reserves
from ainf.store.spool import Replayed
from ainf.telemetry import Telemetry


class ReservedStore(Protocol):
    """What this needs of the store; see ``store.Store``."""

    @property
    def reserves(self) -> Reserves:
        """What stands by."""
        ...

    async def replay_spool(self) -> Replayed:
        """Settle what waits in spools; return what came of that and of what nobody was told of yet."""
        ...


async def keep_reserves(store: ReservedStore, telemetry: Telemetry, every_s: float) -> None:
    """Replay what waits, and put the ballast back, now and again and again. Runs until cancelled.

    What the store refuses, or a defect keeps from being done, is made up for by the next round.

    Args:
        store: whose reserves they are.
        telemetry: where is told what happened.
        every_s: from the end of one round to the next.
    """
    reserves = store.reserves
    telemetry.watch_reserves(lambda: reserves.waiting, lambda: reserves.admits)
    told_admits = True
    while True:
        with telemetry.tried("replay", waiting=reserves.waiting):
            await replay(store, telemetry)
        with telemetry.tried("ballast"):
            await reserves.restore_ballast()
        if reserves.admits != told_admits:
            told_admits = reserves.admits
            telemetry.ballast(None if told_admits else reserves.fault)
        await trio.sleep(every_s)


async def replay(store: ReservedStore, telemetry: Telemetry) -> None:
    """Settle what waits in spools, and tell what came of it; also what came of other replays, if nobody has told that.

    Under cancellation: what came of it until then is told.

    Raises:
        GatewayError: ``store_unavailable``: the rest waits on; what came of it until then is told.
    """
    try:
        replayed = await store.replay_spool()
    except BaseException:
        _tell(store.reserves.take_replayed(), telemetry)
        raise
    _tell(replayed, telemetry)


def _tell(replayed: Replayed, telemetry: Telemetry) -> None:
    telemetry.spool_replayed(replayed.settled, len(replayed.blind), replayed.broken + len(replayed.refused))
    for inference_id, defect in (*replayed.blind, *replayed.refused):
        telemetry.defect("replaying", defect, inference_id=inference_id)
    for path, error in replayed.unread:
        telemetry.log.error("spool_unread", path=str(path), error=error.strerror)
    for path in replayed.kept:
        telemetry.log.error("spool_kept", path=str(path))
