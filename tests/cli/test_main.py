"""``ainf``: the commands together."""

import subprocess
import sys
from functools import partial

import pytest
import trio
from click.testing import CliRunner

from ainf import __version__
from ainf.cli.main import ainf
from ainf.store.store import Store

COMMANDS = ["serve", "demo", "check", "accounts", "keys", "caps", "ledger", "audit", "routing", "simulate"]


def test_version():
    """``--version`` names the program and its version."""
    assert CliRunner().invoke(ainf, ["--version"]).stdout == f"ainf {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(command):
    """Each command has a help of its own, and is listed."""
    assert f"  {command} " in CliRunner().invoke(ainf, ["--help"]).stdout
    result = CliRunner().invoke(ainf, [command, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: ainf {command} ")


def test_an_unknown_command_is_misuse():
    """A command that is none has exit status 2."""
    assert CliRunner().invoke(ainf, ["sevre"]).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["accounts", "create", "\udcff"],
        ["accounts", "close", "\udcff"],
        ["keys", "revoke", "\udcff"],
        ["keys", "create", "--account", "acme", "--endpoint", "/\udcff"],
        ["caps", "set", "--account", "\udcff", "--usd", "1"],
        ["caps", "remove", "--account", "acme", "--model", "\udcff"],
        ["balances", "open", "--account", "acme", "--usd", "1", "--note", "\udcff"],
        ["usage", "--account", "\udcff"],
        ["audit", "burn", "--account", "\udcff"],
    ],
)
def test_an_argument_that_is_no_text(commands, arguments):
    """Bytes that are no UTF-8 are refused in one line, wherever they stand."""
    commands.run("accounts", "create", "acme")
    assert commands.refused(*arguments)


def test_a_configuration_that_is_not_there(commands):
    """Without a configuration a command says how to name one, in one line."""
    commands.config.unlink()
    assert commands.refused("accounts", "list") == (
        f"{commands.config}: there is no such file; name yours with --config"
    )


async def test_commands_beside_a_running_gateway(commands):
    """Each command works while a gateway has the database open, and the gateway sees what it did."""

    async with Store.open(f"sqlite:{commands.database}", now=lambda: 1, kind="gateway") as store:
        for arguments in (
            ["accounts", "create", "acme"],
            ["keys", "create", "--account", "acme"],
            ["caps", "set", "--account", "acme", "--usd", "1"],
            ["accounts", "list"],
            ["ledger", "verify"],
            ["audit", "verify"],
        ):
            await trio.to_thread.run_sync(partial(commands.run, *arguments))
        assert await store.read(lambda tx: tx.execute("SELECT limit_nusd FROM caps")) == [(10**9,)]
        kinds = await store.read(lambda tx: tx.execute("SELECT kind FROM instances ORDER BY epoch"))
    assert kinds == [("gateway",), ("command",), ("command",), ("command",)]


def test_commands_start_without_the_web_stack():
    """Keeping the books does not wait for the server's imports."""
    code = (
        "import sys; from ainf.cli import accounts, audit, caps, check, keys, ledger, main, serve;"
        " sys.exit(bool({'quart', 'hypercorn', 'httpx', 'ainf.app'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
