"""Reloading, in process: what is put in force, what is refused, and what the log says of either."""

import json
import threading
from io import StringIO

import attrs
import pytest
import trio

from ainf.cli import reload
from ainf.cli.reload import Reloader
from ainf.config import Config, load_config
from ainf.telemetry import Telemetry
from tests.cli.commands import CONFIG, PROVIDER_KEY

LIVE = "\n[routing]\npreference_live = true\n"


@attrs.define
class Reloading:
    """A reloader on a file, what it put in force, and what it said."""

    reloader: Reloader
    in_force: list[Config]
    log: StringIO

    def write(self, text: str) -> None:
        self.reloader.path.write_text(text)

    def said(self) -> list[dict[str, object]]:
        """The lines of the log, without when they were said."""
        lines = map(json.loads, self.log.getvalue().splitlines())
        return [{name: value for name, value in line.items() if name not in {"timestamp", "level"}} for line in lines]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A reloader beside the configuration of the commands' tests; what it applies is kept."""
    monkeypatch.setenv("OPENAI_API_KEY", PROVIDER_KEY)
    path = tmp_path / "ainf.toml"
    path.write_text(CONFIG)
    log, applied = StringIO(), []
    config = load_config(path, {"OPENAI_API_KEY": PROVIDER_KEY})
    return Reloading(Reloader(path, config, applied.append, Telemetry(log)), applied, log)


def nothing_but(**names: list[str]) -> dict[str, object]:
    return {"event": "reloaded", "added": [], "removed": [], "changed": [], **names}


async def test_what_changed_is_in_force_and_told(here):
    """The new configuration is applied whole, once, and the log names what was added, removed and changed."""
    here.write(CONFIG.replace('"0.60"', '"0.70"').replace("[models.gratis]", "[models.free]") + LIVE)
    await here.reloader.reload()
    (config,) = here.in_force
    assert config.routing.preference_live
    assert config.models["small"].prices.at(0).output == 700_000_000
    assert here.reloader.config is config
    changed = ["models.small", "routing.preference_live", "targets.ainf-inference"]
    assert here.said() == [nothing_but(added=["models.free"], removed=["models.gratis"], changed=changed)]


async def test_each_reload_is_measured_by_the_one_before(here):
    """What was taken over is what the next file is compared with; the same file changes nothing."""
    here.write(CONFIG + LIVE)
    await here.reloader.reload()
    await here.reloader.reload()
    here.write(CONFIG)
    await here.reloader.reload()
    change = nothing_but(changed=["routing.preference_live"])
    assert here.said() == [change, nothing_but(), change]
    assert [config.routing.preference_live for config in here.in_force] == [True, True, False]


async def test_a_file_with_faults_is_refused(here):
    """Every fault is told as at the start, and what was in force stays, also for the next comparison."""
    before = here.reloader.config
    here.write(CONFIG.replace('"0.15"', "0.15") + "\n[routing]\nhedge = true\n")
    await here.reloader.reload()
    path = here.reloader.path
    assert here.said() == [
        {
            "event": "reload_refused",
            "faults": [
                f'{path}:10: models.small.price.input: must be a string such as "0.15", so that it is exact',
                f"{path}:18: routing.hedge: is unknown; did you mean 'hedging'?",
            ],
        }
    ]
    assert here.in_force == []
    assert here.reloader.config is before


@pytest.mark.parametrize("text", ["[server\n", "", f"a = {'[' * 10_000}", "\x00"])
async def test_a_file_that_is_none(here, text):
    """Half a file, an empty one, one that no parser takes: each is refused."""
    here.write(text)
    await here.reloader.reload()
    assert [line["event"] for line in here.said()] == ["reload_refused"]
    assert here.in_force == []


async def test_a_file_that_is_gone(here):
    """A configuration that was moved away is refused, and may come back."""
    here.reloader.path.unlink()
    await here.reloader.reload()
    here.write(CONFIG)
    await here.reloader.reload()
    assert [line["event"] for line in here.said()] == ["reload_refused", "reloaded"]


async def test_what_waits_for_a_restart_is_refused_by_name(here):
    """One setting that lasts refuses the whole file; each such setting is named."""
    here.write(CONFIG.replace("books.db", "other.db") + "[server]\ndrain_s = 1\n" + LIVE)
    await here.reloader.reload()
    (line,) = here.said()
    changed = ("server.drain_s", "store.url", "store.spool")  # the spool is beside the database, where it is not named
    assert line["faults"] == [f"{key}: is changed by a restart only" for key in changed]
    assert here.in_force == []


async def test_a_defect_ends_nothing(here):
    """Where taking over fails by a bug, the bug is logged without its text, and the old configuration stays."""
    before = here.reloader.config

    def fail(config: Config) -> None:
        raise LookupError(PROVIDER_KEY)

    here.reloader.apply = fail
    await here.reloader.reload()
    assert [line["event"] for line in here.said()] == ["defect", "reload_refused"]
    assert here.said()[0]["error"] == "LookupError"
    assert here.reloader.config is before


async def test_no_secret_is_told(here, monkeypatch):
    """Neither what is taken over nor what is refused shows a provider's key."""
    here.write(CONFIG + LIVE)
    await here.reloader.reload()
    monkeypatch.setenv("OPENAI_API_KEY", PROVIDER_KEY + "\n")
    await here.reloader.reload()
    assert [line["event"] for line in here.said()] == ["reloaded", "reload_refused"]
    assert PROVIDER_KEY not in here.log.getvalue()


async def test_cancelled_it_changes_nothing(here, monkeypatch):
    """A file that cannot be read in time (a lost network disk) holds up no end of the process."""
    begun, release = threading.Event(), threading.Event()

    def stuck(*_: object) -> Config:
        begun.set()
        release.wait(10)
        raise AssertionError

    monkeypatch.setattr(reload, "load_config", stuck)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.reloader.reload)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    release.set()
    assert (here.said(), here.in_force) == ([], [])
