"""``ainf simulate``: a provider that is none, to try things with."""

import signal
from functools import partial

import click
import trio

from ainf.cli.settings import told
from ainf.simulator import Simulator, run_simulator


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes a free one.")
def simulate(*, host: str, port: int) -> None:
    """Run a simulated provider until Ctrl-C. The model's name says how it behaves; /v1/models has examples."""
    with told("the simulator cannot run", OSError):
        trio.run(_simulate, host, port)


async def _simulate(host: str, port: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            click.echo(await nursery.start(partial(run_simulator, Simulator(), host=host, port=port)))
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
