"""The books that a sequence of what happens to money leaves: what reports over several attempts are tested on."""

from collections.abc import Iterator
from contextlib import contextmanager

from ainf.store.verify import verify
from tests.store.money_player import Player
from tests.store.money_script import random_script


@contextmanager
def played(seed: int) -> Iterator[Player]:
    """Play a sequence; around the block its books stand open, sound, with the model that they agree with."""
    player = Player()
    try:
        for step in random_script(seed):
            player.now += 1
            getattr(player, step.name)(**step.arguments)
        assert verify(player.tx) == []
        yield player
    finally:
        player.connection.close()
