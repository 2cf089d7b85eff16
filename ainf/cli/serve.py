"""``ainf serve``: the gateway."""

import os
import signal
from pathlib import Path

import click

from ainf.cli.settings import config_option, told
from ainf.config import load_config
from ainf.inference.errors import GatewayError
from ainf.store.beside import OPENING_ERRORS


@click.command()
@config_option
def serve(*, config_path: Path) -> None:
    """Run the gateway until SIGTERM or SIGINT has drained it; SIGHUP has its configuration read again."""
    # While the gateway runs a hangup has a meaning; before and after that it shall at least not end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    config = load_config(config_path, os.environ)
    from ainf.cli.serving import run  # noqa: PLC0415 - the web stack takes half a second; other commands do without

    with told("the gateway cannot run", *OPENING_ERRORS, GatewayError):
        run(config_path, config)
