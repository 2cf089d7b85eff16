"""``ainf serve``, as far as it does not get to serve; what it does then is tested with the gateway."""

import signal

import pytest

from ainf.store.batch import unavailable
from ainf.store.sqlite import LockFile
from ainf.store.store import Store
from tests.cli.commands import PROVIDER_KEY

ENV = {"OPENAI_API_KEY": PROVIDER_KEY}


@pytest.fixture(autouse=True)
def _hangups_as_before():
    """What the command does to its own process is undone in this one."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_hangup_ends_it_at_no_time(commands):
    """SIGHUP is ignored before anything else is done, also where the command then refuses to serve."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    commands.refused("serve")
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_faulty_configuration_does_not_start(commands):
    """Serving needs the provider's key, and says where it looked."""
    refusal = commands.refused("serve")
    assert refusal.endswith(":6: providers.openai.api_key_env: the environment has no OPENAI_API_KEY, or it is empty")


def test_a_second_gateway_does_not_start(commands):
    """A database has one gateway; the second says so in one line, without a traceback."""
    lock = LockFile(commands.database)
    result = commands.invoke("serve", env=ENV)
    lock.release()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("the gateway cannot run: another ainf gateway uses")
    assert result.stderr.count("\n") == 1


def test_a_spool_that_cannot_be_made(commands):
    """It is told in one line, with the setting; nothing runs."""
    commands.config.write_text(f'[store]\nspool = "none/spool"\n{commands.config.read_text().replace("[store]", "")}')
    result = commands.invoke("serve", env=ENV)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("the gateway cannot run: the spool ")
    assert "store.spool must name files in a folder that this user may write to" in result.stderr


def test_a_store_that_is_none(commands):
    """A database that cannot be opened is told in one line."""
    commands.config.write_text(commands.config.read_text().replace("books.db", "none/books.db"))
    result = commands.invoke("serve", env=ENV)
    assert result.exit_code == 1
    assert result.stderr.startswith("the gateway cannot run: ")
    assert result.stderr.count("\n") == 1


def test_a_store_that_takes_nothing(commands, monkeypatch):
    """Where what is owed cannot be settled, nothing runs, and it is told in one line."""

    async def away(_store: Store) -> None:
        raise unavailable()

    monkeypatch.setattr(Store, "replay_spool", away)
    result = commands.invoke("serve", env=ENV)
    assert result.exit_code == 1
    assert result.stderr.startswith("the gateway cannot run: store_unavailable: The ledger cannot be written")
    assert result.stderr.count("\n") == 1
