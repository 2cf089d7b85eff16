"""Breakages of what stands by for when the database is away: the spool, its replay, the ballast."""

from tests.mutations.mutation import Mutation

RESERVES = (
    Mutation(
        name="spool-unsynced",
        law="L4",
        words="an end is told when its closing is in the spool, though not on the disk",
        file="store/spool_file.py",
        old="            os.fsync(self._descriptor)\n",
        new="            pass\n",
        tests=("tests/store/test_spool_file.py::test_every_append_is_synced",),
    ),
    Mutation(
        name="replay-nothing",
        law="L1",
        words="what waits in the spool is taken for settled",
        file="store/spool.py",
        old="            lacking = await settle(record)\n",
        new="            lacking = None\n",
        tests=("tests/store/test_reserves.py::test_a_closing_that_waits_is_replayed",),
    ),
    Mutation(
        name="believe-a-broken-line",
        law="L1",
        words="a line of the spool is believed whatever its checksum says",
        file="store/spooled.py",
        old="    if checksum != _checksum(body):\n        return None\n",
        new="",
        tests=("tests/store/test_spooled.py::test_a_line_of_which_a_byte_is_another_is_no_record",),
    ),
    Mutation(
        name="seize-a-living-spool",
        law="L1",
        words="the spool of a process that lives is taken for one that a dead one left",
        file="store/spool_file.py",
        old="                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        new="",
        tests=("tests/store/test_spool_file.py::test_a_living_writers_file_is_not_taken_over",),
    ),
    Mutation(
        name="recover-before-the-replay",
        law="L1",
        words="an exchange whose end waits in the spool is abandoned, and adjusted when that is replayed",
        file="store/store.py",
        old="        if left:\n            await self._reserves.replay(self._settle)\n",
        new="",
        tests=("tests/store/test_reserves.py::test_the_next_process_settles_before_it_recovers",),
    ),
    Mutation(
        name="admit-on-a-full-disk",
        law="L1",
        words="requests are admitted though there is no room to settle them in",
        file="store/store.py",
        old=" and self._reserves.admits\n",
        new="\n",
        tests=("tests/store/test_reserves.py::test_a_full_disk_admits_nothing",),
    ),
    Mutation(
        name="keep-the-ballast",
        law="L3",
        words="the ballast stays where it is when the disk is full",
        file="store/sqlite.py",
        old="        return is_full(error) and self._make_room is not None and self._make_room()\n",
        new="        return False\n",
        tests=("tests/store/test_sqlite.py::test_room_is_made_where_the_disk_is_full",),
    ),
)
