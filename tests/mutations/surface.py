"""Breakages where bytes come in and go out: formats, providers' connections, clients, fields of a request."""

from tests.mutations.mutation import Mutation

_STEPS = "tests/gateway/test_cancellation.py::test_law_at_every_step"

SURFACE = (
    Mutation(
        name="invent-a-stop",
        law="L8",
        words="a stream that ends without evidence is a success",
        file="formats/reader.py",
        old="            error = truncated() if self._any else no_answer()\n"
        "            if not events:\n"
        "                raise error\n"
        "            self.answer.error = error\n",
        new="            from ainf.formats.observe import note_finish\n"
        "            from ainf.inference.events import FinishReason\n\n"
        '            note_finish(self.answer, "stop", FinishReason.STOP)\n',
        tests=("tests/formats/test_reader.py::test_a_missing_end",),
    ),
    Mutation(
        name="done-is-evidence",
        law="L8",
        words="`[DONE]` alone is the end of an answer",
        file="formats/chat/relay.py",
        old="            self.is_over = True\n            self.answer.error = truncated()\n",
        new='            self.is_over = True\n            note_end(self.answer, "stop")\n'
        """            frame = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\\n\\n'\n"""
        '            self._group.keep_finish(frame, b"{}", has_usage=False)\n'
        "            self._group.keep_done(event)\n",
        tests=("tests/formats/chat/test_relay.py::test_done_is_no_evidence",),
    ),
    Mutation(
        name="a-failure-as-a-success",
        law="L3",
        words="a failure in a chat stream ends with a plain stop",
        file="formats/chat/terminal.py",
        old="        return failure_group(head_of(answer, style), outcome, style)\n",
        new='        return chunk_frame(head_of(answer, style), choice_of({}, "stop")) + DONE_FRAME\n',
        tests=(f"{_STEPS}[errors-client_gone]",),
    ),
    Mutation(
        name="no-end-marker",
        law="L3",
        words="a chat stream whose provider sent no `[DONE]` ends without one",
        file="formats/chat/terminal.py",
        old="(self._done or DONE_FRAME)",
        new="self._done",
        tests=("tests/formats/chat/test_terminal.py::test_cap",),
    ),
    Mutation(
        name="count-what-was-cut-away",
        law="L1",
        words="usage that cannot be true is believed",
        file="metering.py",
        old="        usage.is_consistent()\n        and usage.input_tokens",
        new="        usage.input_tokens",
        tests=("tests/test_metering.py::test_usage_is_believed_within_ten_times_its_bounds",),
    ),
    Mutation(
        name="abort-nothing",
        law="L7",
        words="to abort a call leaves its socket open",
        file="upstream/client.py",
        old="        if self._connection is not None:\n            self._connection.abort()\n            self.head",
        new="        if self._connection is not None:\n            self.head",
        tests=(f"{_STEPS}[stream-client_gone]",),
    ),
    Mutation(
        name="reuse-in-the-middle",
        law="L1",
        words="a connection is used again in the middle of an answer",
        file="upstream/connection.py",
        old="        return self._reader.reusable and not self._cut_short\n",
        new="        return not self._cut_short\n",
        tests=("tests/upstream/test_client.py::test_an_answer_that_is_not_read_to_its_end_costs_its_connection",),
    ),
    Mutation(
        name="redial-what-was-sent",
        law="L5",
        words="a request that may have reached its provider is sent again",
        file="upstream/client.py",
        old="                if not connection.was_stale:\n                    raise\n",
        new="                pass\n",
        tests=("tests/upstream/test_client.py::test_a_request_is_never_sent_twice_otherwise",),
    ),
    Mutation(
        name="deaf-to-the-client",
        law="L7",
        words="nobody is told that the client has left",
        file="http/seam.py",
        old="                self._on_gone()\n",
        new="                pass\n",
        tests=("tests/http/test_seam.py::test_a_disconnect_during_an_exchange_is_the_exchanges",),
    ),
    Mutation(
        name="share-nothing",
        law="L1",
        words="a second request with an idempotency key does not find the exchange that runs",
        file="http/idempotency.py",
        old="        shared = self._running.get(name)\n",
        new="        shared = None\n",
        tests=("tests/gateway/test_idempotency.py::test_two_at_once_are_told_one_answer",),
    ),
    Mutation(
        name="another-body-the-same-answer",
        law="L9",
        words="an idempotency key tells its answer to another body",
        file="http/idempotency.py",
        old="    if found.fingerprint != claim.fingerprint:\n        raise _mismatch()\n",
        new="",
        tests=("tests/gateway/test_idempotency.py::test_another_body_is_refused",),
    ),
    Mutation(
        name="drop-a-field",
        law="L9",
        words="what cannot be said in the provider's format is left out, instead of refused by name",
        file="formats/fields.py",
        old="            raise unsupported(path_of(at, name))\n\n\ndef says",
        new="            continue\n\n\ndef says",
        tests=("tests/formats/test_fields.py::test_others_are_refused",),
    ),
    Mutation(
        name="retry-what-was-charged",
        law="L3",
        words="a client is told to ask again for what it was charged for",
        file="exchange/words.py",
        old="retryable(code, outcome.billed_nusd)",
        new="retryable(code, 0)",
        tests=(f"{_STEPS}[stream-provider_reset]",),
    ),
)
