"""Taking over a configuration that has changed while the gateway runs: whole, or not at all."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import trio

from ainf.config import Config, ConfigError, load_config
from ainf.config.change import change_of, needs_restart
from ainf.telemetry import Telemetry


@attrs.define
class Reloader:
    """Reads the configuration again when it is told to, and says in the log what became of that.

    One ``reload`` at a time; told again meanwhile, it reads once more afterwards: the last file wins.
    """

    path: Path
    config: Config
    """The one in force."""
    apply: Callable[[Config], None]
    """Puts another one in force, without waiting; where it raises, nothing has changed."""
    telemetry: Telemetry

    async def reload(self) -> None:
        """Put the file's configuration in force, or refuse it and keep everything as it is.

        It is refused for its faults, and for what only a restart changes. Logged are ``reloaded`` with what is other
        now, or ``reload_refused`` with the reasons; neither holds a secret. Nothing that is wrong with the file gets
        out of here: what runs goes on. Cancelled, it leaves all as it was.
        """
        try:
            config = await trio.to_thread.run_sync(load_config, self.path, dict(os.environ), abandon_on_cancel=True)
            if keys := needs_restart(self.config, config):
                self.refuse([f"{key}: is changed by a restart only" for key in keys])
                return
            self.apply(config)
        except ConfigError as error:
            self.refuse([str(fault) for fault in error.faults])
        except Exception as error:  # noqa: BLE001 - a bug in reading a file is no reason to end what runs
            self.telemetry.defect("reload", error)
            self.refuse(["it cannot be taken over, by a defect of the gateway"])
        else:
            change = change_of(self.config, config)
            self.config = config
            self.telemetry.log.info("reloaded", **attrs.asdict(change))

    def refuse(self, faults: Sequence[str]) -> None:
        """Say in the log that nothing was taken over, and why."""
        self.telemetry.log.warning("reload_refused", faults=list(faults))
