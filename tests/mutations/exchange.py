"""Breakages of the exchange: who decides the end, what is shielded, what comes before what."""

from tests.mutations.mutation import Mutation

_STEPS = "tests/gateway/test_cancellation.py::test_law_at_every_step"
_RUN = "tests/exchange/test_run.py"
_ENDING = "tests/exchange/test_ending.py"

EXCHANGE = (
    Mutation(
        name="last-offer-wins",
        law="L1",
        words="an ending that comes later takes the place of the one that won",
        file="inference/outcome.py",
        old="        if self.verdict is not None:\n            return False\n",
        new="        if self.verdict is not None:\n            self.verdict = verdict\n            return False\n",
        tests=(f"{_RUN}::test_only_the_first_offer_wins",),
    ),
    Mutation(
        name="settle-before-the-arbiter",
        law="L8",
        words="what the provider said is settled as a success, whatever ended the exchange",
        file="exchange/ending.py",
        old="    verdict = exchange.arbiter.verdict\n    assert verdict is not None\n",
        new="    verdict = exchange.arbiter.verdict\n    assert verdict is not None\n"
        "    if exchange.attempt is not None and exchange.attempt.pipe.answer.raw_finish_reason is not None:\n"
        "        verdict = Verdict(Ending.COMPLETED)\n",
        tests=("tests/gateway/test_clamps.py::test_whose_limit_ended_it",),
    ),
    Mutation(
        name="skip-the-shield",
        law="L1",
        words="what cancels the exchange's task cancels its settling too",
        file="exchange/ending.py",
        old="trio.CancelScope(shield=True, deadline=trio.current_time() + exchange.close_s) as",
        new="trio.CancelScope(deadline=trio.current_time() + exchange.close_s) as",
        tests=(f"{_STEPS}[stream-cancelled]",),
    ),
    Mutation(
        name="speak-unshielded",
        law="L3",
        words="what cancels the exchange's task cuts off its last words",
        file="exchange/ending.py",
        old="    with trio.CancelScope(shield=True, deadline=trio.current_time() + clocks.speak_s):\n        try:\n",
        new="    with trio.CancelScope(deadline=trio.current_time() + clocks.speak_s):\n        try:\n",
        tests=(f"{_STEPS}[stream-cancelled]",),
    ),
    Mutation(
        name="swallow-cancelled",
        law="L3",
        words="a head that was cancelled on its way counts as given",
        file="exchange/speech.py",
        old="            self.head = None  # it was not handed over: the end comes with a head of its own\n"
        "            raise\n",
        new="            return\n",
        tests=("tests/exchange/test_speech.py::test_a_head_that_was_cancelled_before_it_was_given_can_still_be_given",),
    ),
    Mutation(
        name="settle-outside-finally",
        law="L1",
        words="an exchange that is cancelled from outside ends without an ending",
        file="exchange/run.py",
        old="        finally:\n"
        "            self.arbiter.offer(_SHUTDOWN)  # told no, unless the whole task was cancelled from outside\n"
        "            await conclude(self)  # noqa: ASYNC102 - it shields itself, each part with a limit of its own\n",
        new="        else:\n"
        "            self.arbiter.offer(_SHUTDOWN)\n"
        "            await conclude(self)\n"
        "        finally:\n",
        tests=(f"{_STEPS}[stream-cancelled]",),
    ),
    Mutation(
        name="await-before-the-try",
        law="L1",
        words="between the opening and the try that closes it stands a checkpoint",
        file="exchange/run.py",
        old="        # No await from here to the try: what is open must reach the finally that closes it.\n",
        new="        await trio.lowlevel.checkpoint()\n",
        tests=(f"{_RUN}::test_a_cancellation_right_behind_the_opening_is_settled",),
    ),
    Mutation(
        name="speak-then-settle",
        law="L4",
        words="the terminal frame leaves before the settlement is committed",
        file="exchange/ending.py",
        old="        settlement = await _settle(exchange, draft)\n    end = draft.end\n",
        new="        if (said := words or _composed(exchange, end)) is not None and not exchange.speech.finished:\n"
        "            if said.head is not None:\n"
        "                await exchange.speech.start(*said.head)\n"
        "            await exchange.speech.finish(said.body)\n"
        "        settlement = await _settle(exchange, draft)\n    end = draft.end\n",
        tests=("tests/gateway/test_spooled.py::test_nothing_is_said_before_it_is_durable",),
    ),
    Mutation(
        name="speak-without-settling",
        law="L3",
        words="the terminal frame leaves though nothing durable could be written",
        file="exchange/ending.py",
        old="    if settlement is not None and exchange.plan.claim is None:\n        words = _composed(exchange, end)\n"
        "    if settlement is None or words is None or",
        new="    if exchange.plan.claim is None:\n        words = _composed(exchange, end)\n    if words is None or",
        tests=("tests/gateway/test_spooled.py::test_where_nothing_can_be_kept_nothing_is_said",),
    ),
    Mutation(
        name="settle-once-or-never",
        law="L1",
        words="a settlement that the store refuses is not tried again",
        file="exchange/ending.py",
        old="        except GatewayError:\n            await trio.sleep(_RETRY_S)\n",
        new="        except GatewayError:\n            return None\n",
        tests=(f"{_ENDING}::test_a_close_that_the_store_refuses_is_tried_again",),
    ),
    Mutation(
        name="leave-the-provider-open",
        law="L7",
        words="the first ending does not close the provider's socket: only what follows does",
        file="exchange/run.py",
        old="                self._break_off(self.attempt, verdict)\n        except",
        new="                pass\n        except",
        tests=(f"{_RUN}::test_the_first_offer_closes_the_providers_socket_before_it_returns",),
    ),
    Mutation(
        name="begin-behind-the-shutdown",
        law="L3",
        words="what was planned while the gateway was told to end begins, and nobody tells it of the end",
        file="http/gateway.py",
        old="        self.check_open()\n        self.limits.begin",
        new="        self._check_room()\n        self.limits.begin",
        tests=("tests/http/test_gateway.py::test_a_shutdown_while_a_stored_response_is_looked_up",),
    ),
    Mutation(
        name="leave-the-loser-open",
        law="L7",
        words="of two attempts that run, the one that lost goes on at its provider",
        file="exchange/run.py",
        old='        attempt.aborted_billing = "delivered"\n        attempt.call.abort()\n\n    def drop',
        new='        attempt.aborted_billing = "delivered"\n\n    def drop',
        tests=("tests/gateway/test_hedging_ends.py::test_an_end_while_both_run",),
    ),
    Mutation(
        name="bytes-before-money",
        law="L6",
        words="output that the hold does not pay for is handed over",
        file="exchange/relay.py",
        old="    while exchange.hold.received > exchange.hold.covered and not exchange.provider_ended:\n",
        new="    while exchange.hold.received > exchange.hold.covered and exchange.provider_ended:\n",
        tests=("tests/gateway/test_endings_money.py::test_a_stream_that_ignores_its_clamp_is_cut_inside_its_hold",),
    ),
    Mutation(
        name="hold-more-than-granted",
        law="L6",
        words="an exchange reckons with the extension that it asked for, not with what it got",
        file="exchange/hold.py",
        old="        self.held_nusd += extended.granted_nusd\n",
        new="        self.held_nusd += want\n",
        tests=("tests/exchange/test_hold.py::test_a_refusal_ahead_is_remembered_not_told",),
    ),
    Mutation(
        name="no-bound",
        law="L6",
        words="a provider that runs on far beyond the output limit is paid for",
        file="exchange/hold.py",
        old="            if room <= 0:\n                raise OutOfBoundsError\n",
        new="            room = max(room, 1 << 40)\n",
        tests=("tests/exchange/test_hold.py::test_every_byte_is_paid_for_before_it_passes",),
    ),
    Mutation(
        name="dial-without-a-hold",
        law="L5",
        words="where another attempt cannot be opened in the ledger, it is dialled all the same",
        file="exchange/dispatch.py",
        old="            plan.route.forget()  # it may yet be committed, and own its number\n        raise\n",
        new="            plan.route.forget()\n"
        "        exchange.opened = opening.number\n"
        "        return exchange.new_hold(plan, ask.least_nusd, None, None)\n",
        tests=("tests/gateway/test_fallback_failed.py::test_a_store_that_is_away_meanwhile",),
    ),
    Mutation(
        name="dial-behind-an-ending",
        law="L7",
        words="after the client left, or another ending won, the next candidate is asked",
        file="exchange/dispatch.py",
        old="failure.code not in FALLS_BACK or exchange.arbiter.verdict is not None:\n",
        new="failure.code not in FALLS_BACK:\n",
        tests=("tests/exchange/test_dispatch.py::test_behind_an_ending_nobody_else_is_tried",),
    ),
    Mutation(
        name="forget-an-attempt",
        law="L2",
        words="what an attempt cost that failed before another answered is not settled",
        file="exchange/dispatch.py",
        old="    exchange.ended.append(ended)\n    exchange.newly_ended.append(ended)\n",
        new="    exchange.newly_ended.append(ended)\n",
        tests=(f"{_STEPS}[routed-falls-back-client_gone]",),
    ),
    Mutation(
        name="capture-as-pinned",
        law="L2",
        words="an exchange whose model was chosen is opened without the record of how",
        file="exchange/run.py",
        old="            routing=None if plan.route is None else plan.route.record(),\n",
        new="            routing=None,\n",
        tests=(f"{_STEPS}[routed-stream-client_gone]",),
    ),
)
