"""``print_calibration``: what ``ainf usage --calibration`` shows."""

import json
from functools import partial

import pytest

from ainf.calibration import Calibration
from ainf.cli.calibration import print_calibration
from ainf.cli.settings import books_config, write
from ainf.store import calibrations


def learnt(provider="openai", upstream_model="small"):
    made = Calibration(provider, upstream_model)
    for _ in range(60):
        made.note_output(470, 100, 118)
        made.note_input(600, 640, 150, estimate=150, bound=320)
    made.note_input(600, 640, 400, estimate=150, bound=320)
    return made


@pytest.fixture
def show(commands, capsys):
    commands.run("accounts", "create", "acme")

    def shown(*, as_json=False, **kept):
        config = books_config(commands.config)
        write(config, partial(calibrations.add, learnt=kept, at=1))
        print_calibration(config, as_json=as_json)
        return capsys.readouterr().out

    return shown


def test_the_table(show):
    """Each model with the ratios in force and how far it was off; of which nothing is known, as configured."""
    assert show(small=learnt()) == (
        "Output: bytes of a token, and metered tokens beside reported ones, off by at most ... % in so many of 100.\n"
        "model   metering    bytes  samples    50    90    99  bias %\n"
        "small   calibrated   4.70       60  20.0  20.0  20.0    18.0\n"
        "gratis  calibrated   4.00        0     -     -     -       -\n"
        "\n"
        "Input: the same of estimates; and how often a bound was too low, and by how many % of it at most.\n"
        "model   bytes   low  samples   50   90    99  bias %  too low  by %\n"
        "small    3.89  1.54       61  0.0  0.0  70.0    -2.7        1  30.0\n"
        "gratis   4.00  2.00        0    -    -     -       -        -     -\n"
    )


def test_the_json(show):
    """The same in thousandths."""
    small, gratis = json.loads(show(as_json=True, small=learnt()))

    assert small["output"] == {
        "bytes_per_token_milli": 4700,
        "error_permille": {"samples": 60, "median": 200, "p90": 200, "p99": 200, "bias": 180},
    }
    assert small["input"]["bound_too_low"] == {"samples": 61, "below": 1, "worst": 300}
    assert (gratis["provider"], gratis["upstream_model"], gratis["metering"]) == ("openai", "tiny", "calibrated")
    assert gratis["input"]["bytes_per_token_low_milli"] == 2000


def test_what_is_of_another_model_is_not_shown(show):
    """What was learnt of the model that had the name before says nothing."""
    small, _ = json.loads(show(as_json=True, small=learnt(upstream_model="older")))

    assert small["output"]["bytes_per_token_milli"] == 4000
    assert small["output"]["error_permille"]["samples"] == 0


def test_a_model_that_is_not_to_learn_shows_its_errors(show, commands):
    """Its ratios are as configured, strict ones with a byte a token as the bound; what is off is known all the same."""
    commands.config.write_text(
        commands.config.read_text().replace("[models.small]", '[models.small]\nmetering = "strict"')
    )
    small, _ = json.loads(show(as_json=True, small=learnt()))

    assert (small["metering"], small["output"]["bytes_per_token_milli"]) == ("strict", 4000)
    assert small["input"]["bytes_per_token_low_milli"] == 1000
    assert small["output"]["error_permille"]["samples"] == 60
