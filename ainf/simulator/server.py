"""The simulator: a provider on any stream or on a loopback port, with its books.

Beside the provider's endpoints it has three of its own, for tests that run it as a process: ``GET /sim/books``,
``POST /sim/script`` (see ``steps.script_from_json``) and ``POST /sim/reset`` (empty books, no script).
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
import trio

from ainf.simulator.answer import Ask, Task, compose
from ainf.simulator.behaviour import Behaviour, UnknownModelError, parse_model
from ainf.simulator.books import Books, Entry
from ainf.simulator.connection import Connection, Reply
from ainf.simulator.faults import instead_of_an_answer, refusal, require_able
from ainf.simulator.http import Request
from ainf.simulator.memory import MemoryStream, memory_connection
from ainf.simulator.pacer import Pacer
from ainf.simulator.plan import Planner, as_written
from ainf.simulator.steps import Script, Send, Step, script_from_json, whole
from ainf.simulator.wire import ErrorBody, RefusedError, Wire
from ainf.simulator.wires.routes import Routes

_JSON: Final = "application/json"
_MODELS: Final = (
    "sim",
    "sim-tokens-500-pace-20ms",
    "sim-tools",
    "sim-parallel-tools",
    "sim-reasoning-30",
    "sim-cached-30",
)
_BACKLOG: Final = 1024
_MAX_CONSTANT_ANSWERS: Final = 64


class Simulator:
    """A provider whose answers follow from the model's name, or from a script.

    Args:
        seed: what is said is a pure function of it and the request's number.
        script: exact answers for the first requests.
        keep_bytes: the books keep the bytes of every request and answer.
        api_key: the only key accepted, in the header of the format spoken; None accepts any, and none.
    """

    def __init__(
        self, *, seed: int = 0, script: Script | None = None, keep_bytes: bool = False, api_key: str | None = None
    ) -> None:
        self.books = Books(keep_bytes=keep_bytes)
        self.base_url: str | None = None
        """``http://host:port/v1`` once ``serve`` listens: the base of OpenAI's paths and of ``/messages``."""
        self._seed = seed
        self._script = script or Script()
        self._api_key = api_key
        self._routes = Routes()
        self._constant: dict[tuple[Wire, Ask], list[Step]] = {}

    @property
    def origin(self) -> str | None:
        """``http://host:port`` once ``serve`` listens: what the clients of Anthropic and Google call a base URL."""
        return self.base_url and self.base_url.removesuffix("/v1")

    @property
    def gemini_base_url(self) -> str | None:
        """``http://host:port/v1beta`` once ``serve`` listens: the base of ``/models/{model}:generateContent``."""
        return self.origin and f"{self.origin}/v1beta"

    def set_script(self, script: Script) -> None:
        """Answer the next requests by ``script``."""
        self._script = script

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serve one client on any stream, with keep-alive; returns when the connection is over, and closes it."""
        await Connection(stream, self._reply).serve()

    def connect(self, nursery: trio.Nursery) -> MemoryStream:
        """Return a client's end of a new connection in memory, served in ``nursery``."""
        client, server = memory_connection()
        nursery.start_soon(self.serve_connection, server)
        return client

    async def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen and serve until cancelled; reports ``base_url`` once connections are accepted.

        Raises:
            OSError: the address cannot be had.
        """
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)
        address = listeners[0].socket.getsockname()
        name = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.base_url = f"http://{name}:{address[1]}/v1"
        pacer = Pacer()

        async def serve_paced(stream: trio.abc.Stream) -> None:
            await Connection(stream, self._reply, pacer.sleep_until).serve()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pacer.run)
            await nursery.start(trio.serve_listeners, serve_paced, listeners)
            task_status.started(self.base_url)

    # --- requests ---

    def _reply(self, request: Request) -> Reply:
        if request.path.startswith("/sim/"):
            return Reply([self._own_endpoint(request)])
        entry = self.books.open_entry(
            now=trio.current_time(),
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=request.body,
        )
        wire = self._routes.find(request.path)
        speaker = wire or self._routes.nearest(request.path)
        headers = {speaker.request_id_header: f"req_sim_{entry.number:08d}"}
        try:
            return Reply(self._provider_endpoint(wire, request, entry, headers), entry)
        except RefusedError as exc:
            return Reply([refusal(speaker, exc.body, headers)], entry)

    def _provider_endpoint(
        self, wire: Wire | None, request: Request, entry: Entry, headers: Mapping[str, str]
    ) -> Iterable[Step]:
        """Return the steps of an answer.

        Raises:
            RefusedError: the provider refuses the request.
        """
        self._require_key(wire or self._routes.nearest(request.path), request)
        if (request.method, request.path) == ("GET", "/v1/models"):
            return [whole(200, _JSON, _models(), headers)]
        if wire is None:
            raise _refused(404, f"Invalid URL ({request.method} {request.path})")
        if request.method != "POST":
            raise _refused(405, f"Not allowed to {request.method} on {request.path}")
        if not request.headers.get("content-type", _JSON).startswith(_JSON):
            raise _refused(415, "Unsupported content-type; send application/json.")
        ask = wire.read(request, _decoded(request.body))
        entry.model, entry.stream, entry.max_tokens = ask.model, ask.stream, ask.max_tokens
        entry.input_tokens = ask.input_tokens
        scripted = self._script.next_answer()
        if scripted is not None:
            entry.model_ran = ask.task is not Task.COUNT
            return scripted
        return self._answer(wire, ask, entry, headers)

    def _answer(self, wire: Wire, ask: Ask, entry: Entry, headers: Mapping[str, str]) -> Iterable[Step]:
        try:
            behaviour = parse_model(ask.model)
        except UnknownModelError as exc:
            message = f"The model '{ask.model[:100]}' does not exist: {exc}."
            error = ErrorBody(404, message, "invalid_request_error", "model_not_found", "model")
            raise RefusedError(error) from exc
        fault = instead_of_an_answer(wire, behaviour, headers)
        if fault is not None:
            return as_written(fault, behaviour)
        require_able(behaviour, ask)
        entry.model_ran, entry.bills_on = ask.task is not Task.COUNT, behaviour.bills_on
        if behaviour.constant:
            return self._constant_answer(wire, ask, behaviour)
        return self._planned(wire, ask, behaviour, entry.number, headers)

    def _planned(
        self, wire: Wire, ask: Ask, behaviour: Behaviour, number: int, headers: Mapping[str, str]
    ) -> Iterable[Step]:
        answer = compose(ask, behaviour, seed=self._seed, number=number)
        return Planner(wire, answer, behaviour, headers).steps(stream=ask.stream)

    def _constant_answer(self, wire: Wire, ask: Ask, behaviour: Behaviour) -> Iterable[Step]:
        key = (wire, ask)
        steps = self._constant.get(key)
        if steps is None:
            if len(self._constant) >= _MAX_CONSTANT_ANSWERS:
                self._constant.clear()
            steps = list(self._planned(wire, ask, behaviour, 0, {"x-request-id": "req_sim_constant"}))
            self._constant[key] = steps
        return steps

    def _require_key(self, wire: Wire, request: Request) -> None:
        if self._api_key is not None and wire.key(request.headers) != self._api_key:
            raise RefusedError(wire.key_refused)

    def _own_endpoint(self, request: Request) -> Send:
        match request.method, request.path:
            case "GET", "/sim/books":
                return whole(200, _JSON, msgspec.json.encode(self.books.as_json()))
            case "POST", "/sim/reset":
                self.books.clear()
                self._script = Script()
                self._routes = Routes()
                return whole(200, _JSON, b"{}")
            case "POST", "/sim/script":
                try:
                    self._script = script_from_json(msgspec.json.decode(request.body))
                except ValueError as exc:
                    return whole(400, _JSON, msgspec.json.encode({"error": str(exc)}))
                return whole(200, _JSON, b"{}")
            case _:
                return whole(404, _JSON, b'{"error": "GET /sim/books, POST /sim/script, POST /sim/reset"}')


async def run_simulator(
    simulator: Simulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; reports the base URL (for ``ainf simulate``). Prints nothing."""
    await simulator.serve(host=host, port=port, task_status=task_status)


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body, type=object)
    except (ValueError, RecursionError) as exc:
        raise _refused(400, "We could not parse the JSON body of your request.") from exc


def _refused(status: int, message: str) -> RefusedError:
    return RefusedError(ErrorBody(status, message, "invalid_request_error"))


def _models() -> bytes:
    models = [{"id": name, "object": "model", "created": 1_750_000_000, "owned_by": "simulator"} for name in _MODELS]
    return msgspec.json.encode({"object": "list", "data": models})
