"""The meter learns: from the ends of exchanges to the ratios by which later ones are admitted.

Strategy: an end is noted at once, in a few microseconds and in this process alone. At every tick what was learnt comes
into force for exchanges that are admitted from then on; one that runs keeps the ratios of its admission. Now and then
what is new is added to what the store keeps, from which a process begins.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from ainf.admission import ModelTerms, thinks_unseen
from ainf.calibration import Calibration
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending, Evidence
from ainf.inference.request import Operation
from ainf.inference.usage import Usage
from ainf.metering import MeterRatios, tokens_of
from ainf.telemetry import Telemetry

if TYPE_CHECKING:
    from ainf.exchange.plan import Plan
    from ainf.exchange.settlement import End

TICK_S: Final = 10.0
"""What was learnt comes into force this often."""
SAVE_S: Final = 60.0
"""What is new is saved at most this often."""
_LAST_SAVE_S: Final = 1.0

Ratios = Mapping[str, MeterRatios]
"""By the configured names of models."""


@attrs.define
class _Model:
    """One configured model, and what is known of it."""

    terms: ModelTerms
    kept: Calibration
    """What the store keeps."""
    fresh: Calibration
    """What was learnt since that was last saved."""
    in_force: MeterRatios

    def nothing(self) -> Calibration:
        return Calibration(self.terms.provider, self.terms.upstream_model)


class Calibrator:
    """What this process has learnt of its models."""

    def __init__(self, models: Iterable[ModelTerms] = ()) -> None:
        """Begin with nothing learnt of these models; of others nothing is ever learnt."""
        self._models: dict[str, _Model] = {}
        self.serve(models)

    def serve(self, models: Iterable[ModelTerms]) -> None:
        """Learn of these models from now on; what is known of those that stay the same is kept."""
        known, self._models = self._models, {}
        for terms in models:
            nothing = Calibration(terms.provider, terms.upstream_model)
            model = _Model(terms, nothing, Calibration(terms.provider, terms.upstream_model), terms.ratios)
            before = known.get(terms.name)
            if before is not None and before.kept.is_of(terms.provider, terms.upstream_model):
                model.kept, model.fresh = before.kept, before.fresh
            self._models[terms.name] = model

    def note(self, end: "End") -> None:
        """Learn of an exchange that has ended: only one whose usage is reported, believed and of the whole answer."""
        outcome, plan, attempt = end.outcome, end.plan, end.attempt
        if outcome.evidence is not Evidence.REPORTED or outcome.verdict.ending is not Ending.COMPLETED:
            return
        if attempt is None or attempt.pipe.answer.opaque_frames or plan.request.operation is Operation.COUNT:
            return
        terms = plan.admission.terms
        model = self._models.get(terms.name)
        if model is None or not model.fresh.is_of(terms.provider, terms.upstream_model):
            return  # another configuration came into force meanwhile
        if attempt.pipe.answer.finish is not FinishReason.CONTENT_FILTER:  # a filter may keep what it bills
            _note_output(model.fresh, plan, outcome.usage, end.hold.received)
        _note_input(model.fresh, plan, outcome.usage)

    def adopt(self, kept: Mapping[str, Calibration]) -> None:
        """Take what the store keeps, as far as it is of the same models at the same providers."""
        for name, calibration in kept.items():
            model = self._models.get(name)
            if model is not None and calibration.is_of(model.terms.provider, model.terms.upstream_model):
                model.kept = calibration

    def known(self, name: str) -> Calibration:
        """Return all that is known of a configured model."""
        model = self._models[name]
        return model.kept.merged(model.fresh)

    def changed_ratios(self) -> Ratios:
        """Return the ratios that are others than when this was last asked; none of models that are not to learn."""
        changed = {}
        for name, model in self._models.items():
            if model.terms.metering != "calibrated":
                continue
            ratios = self.known(name).ratios(model.terms.ratios)
            if ratios != model.in_force:
                changed[name] = model.in_force = ratios
        return changed

    async def save(self, store: "CalibrationStore") -> None:
        """Give what is new to a store, and take what it then keeps. What cannot be saved is given again the next time.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        giving = {name: model.fresh for name, model in self._models.items() if not model.fresh.is_empty}
        if not giving:
            return
        for name in giving:
            self._models[name].fresh = self._models[name].nothing()
        kept: Mapping[str, Calibration] = {}
        try:
            kept = await store.add_calibrations(giving)
        finally:
            for name, given in giving.items():
                model = self._models.get(name)
                if model is None or not given.is_of(model.terms.provider, model.terms.upstream_model):
                    continue  # another configuration came into force meanwhile
                if name in kept:
                    model.kept = kept[name]
                else:
                    model.fresh = given.merged(model.fresh)


def _note_output(fresh: Calibration, plan: "Plan", usage: Usage, received: int) -> None:
    shown = 0 if usage.audio_output_tokens else _shown_tokens(plan, usage)
    if shown > 0 and received:
        fresh.note_output(received, shown, tokens_of(received, plan.admission.terms.ratios.mean))


def _shown_tokens(plan: "Plan", usage: Usage) -> int:
    """Return the output tokens that were visible output; 0 where that cannot be told."""
    admission = plan.admission
    terms, asked = admission.terms, admission.reasoning
    if terms.hidden_reasoning == "never":
        return usage.output_tokens
    if usage.reasoning_tokens:
        is_shown = asked.is_shown if asked is not None else None
        if plan.backend.provider.facts.shows_reasoning if is_shown is None else is_shown:
            return 0  # in its own words, or summed up
        return usage.output_tokens - usage.reasoning_tokens
    # Who thinks when asked, and tells no reasoning tokens then, tells them among the others.
    return 0 if terms.hidden_reasoning == "asked" and thinks_unseen(terms, asked) else usage.output_tokens


def _note_input(fresh: Calibration, plan: "Plan", usage: Usage) -> None:
    """Learn of the input, where it was text and all of it stood in the request."""
    request, admission = plan.request, plan.admission
    if not usage.input_tokens or usage.audio_input_tokens or admission.attachment_count:
        return
    if request.previous_response_id is None:
        fresh.note_input(
            request.input_bytes,
            request.bound_bytes,
            usage.input_tokens,
            estimate=admission.input_tokens_estimate,
            bound=admission.input_tokens_bound,
        )


class CalibrationStore(Protocol):
    """What keeps what was learnt."""

    async def add_calibrations(self, learnt: Mapping[str, Calibration]) -> Mapping[str, Calibration]:
        """Add to what is kept, durably; return what is kept of these models now.

        Raises:
            GatewayError: ``store_unavailable``.
        """
        ...


async def keep_calibrated(
    calibrator: Calibrator, store: CalibrationStore, telemetry: Telemetry, apply: Callable[[Ratios], None]
) -> None:
    """Bring what was learnt into force at every tick, and save what is new now and then. Runs until cancelled.

    Cancelled, it saves once more, for at most a second. What cannot be saved is logged, and saved with what comes next.

    Args:
        calibrator: what is told of ends.
        store: where it is saved.
        telemetry: where a failure is logged.
        apply: puts ratios in force for what is admitted from now on.
    """
    saved_at = trio.current_time()
    try:
        while True:
            apply(calibrator.changed_ratios())
            await trio.sleep(TICK_S)
            if trio.current_time() >= saved_at + SAVE_S:
                saved_at = trio.current_time()
                with telemetry.tried("calibration"):
                    await calibrator.save(store)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _LAST_SAVE_S), telemetry.tried("calibration"):
            await calibrator.save(store)
