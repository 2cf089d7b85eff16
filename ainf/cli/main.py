"""``ainf``: the group of all commands. A command's module is imported when it is called, so that each starts fast."""

import re
from importlib import import_module
from typing import Any, Final

import click

from ainf import __version__
from ainf.cli.settings import CommandError
from ainf.config import ConfigError
from ainf.inference.errors import AinfError
from ainf.store.beside import BooksError

_COMMANDS: Final = (
    "serve", "demo", "check", "prices", "accounts", "keys", "caps", "balances", "ledger", "audit", "usage", "routing",
    "simulate",
)  # fmt: skip
"""Each is the object of its name in the module of its name."""
_UNREADABLE: Final = re.compile("[\udc80-\udcff]")
"""What Python makes of bytes in an argument that are no UTF-8."""


class _Commands(click.Group):
    """Loads commands by name, and turns expected failures into one line and exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"ainf.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click declares it
        try:
            return super().invoke(ctx)
        except AinfError as error:
            raise CommandError(error.message) from error
        except (BooksError, ConfigError) as error:
            raise CommandError(str(error)) from error
        except UnicodeEncodeError as error:
            if not _UNREADABLE.search(str(error.object)):
                raise
            raise CommandError(f"This argument is no text in UTF-8: {error.object!r}.") from error


@click.group(cls=_Commands)
@click.version_option(__version__, message="ainf %(version)s")
def ainf() -> None:
    """A gateway between agents and LLM providers that keeps the money."""
