"""What the meter has learnt of each model, and how far it was off (``ainf usage --calibration``)."""

from collections.abc import Sequence
from typing import Any

import attrs
import click

from ainf.app import configured_ratios
from ainf.calibration import (
    BoundFigures,
    Calibration,
    ErrorFigures,
    bound_figures,
    error_figures,
)
from ainf.cli.output import print_json, print_table
from ainf.cli.settings import read
from ainf.config import Config, ModelConfig
from ainf.metering import MeterRatios
from ainf.store import calibrations


@attrs.frozen
class _Known:
    """One configured model: the ratios that it is metered by, and what was learnt of it."""

    model: ModelConfig
    ratios: MeterRatios
    output: ErrorFigures
    input: ErrorFigures
    bound: BoundFigures


def print_calibration(config: Config, *, as_json: bool) -> None:
    """Print, for each configured model, the bytes of a token that it is metered by and the errors that were seen.

    A gateway that runs saves what it learns every minute.

    Raises:
        BooksError: the database cannot be read.
    """
    kept = read(config, calibrations.load)
    known = [_known(model, kept.get(name)) for name, model in config.models.items()]
    if as_json:
        print_json([_as_json(each) for each in known])
        return
    click.echo(
        "Output: bytes of a token, and metered tokens beside reported ones, off by at most ... % in so many of 100."
    )
    head = ["model", "metering", "bytes", "samples", "50", "90", "99", "bias %"]
    print_table(head, [_output_row(each) for each in known])
    click.echo()
    click.echo("Input: the same of estimates; and how often a bound was too low, and by how many % of it at most.")
    head = ["model", "bytes", "low", "samples", "50", "90", "99", "bias %", "too low", "by %"]
    print_table(head, [_input_row(each) for each in known])


def _known(model: ModelConfig, kept: Calibration | None) -> _Known:
    """Return what a gateway with this configuration would go by."""
    if kept is None or not kept.is_of(model.provider, model.upstream_model):
        kept = Calibration(model.provider, model.upstream_model)
    configured = configured_ratios(model)
    return _Known(
        model,
        kept.ratios(configured) if model.metering == "calibrated" else configured,
        error_figures(kept.output_error),
        error_figures(kept.input_error),
        bound_figures(kept.shortfall),
    )


def _output_row(known: _Known) -> Sequence[str]:
    return [known.model.name, known.model.metering, _ratio(known.ratios.mean), *_errors(known.output)]


def _input_row(known: _Known) -> Sequence[str]:
    ratios, bound = known.ratios, known.bound
    low = [str(bound.below), _percent(bound.worst)] if bound.samples else ["-", "-"]
    return [known.model.name, _ratio(ratios.input_mean), _ratio(ratios.low), *_errors(known.input), *low]


def _errors(figures: ErrorFigures) -> Sequence[str]:
    if not figures.samples:
        return ["0", "-", "-", "-", "-"]
    return [str(figures.samples), *map(_percent, (figures.median, figures.p90, figures.p99, figures.bias))]


def _ratio(milli: int) -> str:
    return f"{milli // 1000}.{milli % 1000 // 10:02}"


def _percent(permille: int) -> str:
    return f"{'-' if permille < 0 else ''}{abs(permille) // 10}.{abs(permille) % 10}"


def _as_json(known: _Known) -> dict[str, Any]:
    """Return ratios in thousandths of a byte, errors in thousandths of what was reported."""
    return {
        "model": known.model.name,
        "provider": known.model.provider,
        "upstream_model": known.model.upstream_model,
        "metering": known.model.metering,
        "output": {"bytes_per_token_milli": known.ratios.mean, "error_permille": attrs.asdict(known.output)},
        "input": {
            "bytes_per_token_milli": known.ratios.input_mean,
            "bytes_per_token_low_milli": known.ratios.low,
            "error_permille": attrs.asdict(known.input),
            "bound_too_low": attrs.asdict(known.bound),
        },
    }
