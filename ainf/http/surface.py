"""The application: every route, and JSON for whatever goes wrong outside them."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TypeAlias

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from ainf.exchange.answers import error_reply, request_ids
from ainf.http.gateway import Gateway
from ainf.http.inference import InferenceRoute
from ainf.http.openapi.route import DocumentRoute
from ainf.http.reads import ReadRoutes
from ainf.http.seam import seam_middleware
from ainf.http.usage import UsageRoute
from ainf.inference.errors import AinfError, DownstreamError, GatewayError
from ainf.protocols.registry import ENDPOINTS, protocol_of_path

_Route: TypeAlias = Callable[..., Awaitable[Response]]
_PROBE = "/readyz"
_OWN_SHAPE = "/v1/inference"
# What Quart and its router refuse by themselves, in our words.
_HTTP_ERRORS = {
    404: ("not_found", "There is nothing at this path."),
    405: ("method_not_allowed", "This path exists, with another method."),
    408: ("request_timeout", "The request did not arrive in time."),
    413: ("request_too_large", "The request body is too large."),
    415: ("unsupported_media_type", "Send the body as application/json."),
}


def build_surface(gateway: Gateway, *, body_bytes: int, started_at: int) -> QuartTrio:
    """Return the ASGI application of a gateway."""
    app = QuartTrio("ainf", static_folder=None)
    app.config["RESPONSE_TIMEOUT"] = None  # limits are the exchange's and the server's, not Quart's
    app.config["BODY_TIMEOUT"] = None
    app.config["MAX_CONTENT_LENGTH"] = body_bytes
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False  # its 200 in HTML would speak for us
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    reads = ReadRoutes(gateway, started_at)
    posts = {
        path: InferenceRoute(gateway, protocol, inference_shape=path == _OWN_SHAPE)
        for path, protocol in ENDPOINTS.items()
    }
    gets: dict[str, _Route] = {
        "/v1/models": reads.models,
        "/v1/models/<path:name>": reads.model,
        "/v1/audit/<inference_id>": reads.receipt,
        "/v1/usage": UsageRoute(gateway).report,
        "/healthz": reads.healthz,
        _PROBE: reads.readyz,
        "/metrics": reads.metrics,
        "/openapi.json": DocumentRoute(gateway.services.public_url).show,
    }
    for path, post in posts.items():
        app.add_url_rule(path, path, post.answer, methods=["POST"])
    for path, get in gets.items():
        app.add_url_rule(path, path, _with_id(get, gateway), methods=["GET"])
    _answer_errors_in_json(app, gateway)
    app.asgi_app = seam_middleware(app.asgi_app)  # type: ignore[assignment,arg-type,method-assign]
    return app


def _with_id(route: _Route, gateway: Gateway) -> _Route:
    """Give each answer of a route an id, as errors have one by themselves."""

    @wraps(route)
    async def answer(**parts: str) -> Response:
        response = await route(**parts)
        for name, value in request_ids(gateway.new_request_id()):
            response.headers[name.decode()] = value.decode()
        return response

    return answer


def _answer_errors_in_json(app: QuartTrio, gateway: Gateway) -> None:
    def answer(error: AinfError) -> Response:
        reply = error_reply(protocol_of_path(request.path), error, request_id=gateway.new_request_id())
        return Response(
            reply.body, reply.status, {name.decode(): value.decode("latin-1") for name, value in reply.headers}
        )

    async def on_ours(error: AinfError) -> Response:
        if request.path != _PROBE:  # who only asks was not refused anything
            gateway.services.telemetry.rejected(error.code)
        return answer(error)

    async def on_http(error: HTTPException) -> Response:
        code, message = _HTTP_ERRORS.get(error.code or 400, ("bad_request", "The request cannot be answered."))
        response = answer(DownstreamError(code, message))
        if isinstance(error, MethodNotAllowed):
            response.headers["allow"] = ", ".join(sorted(error.valid_methods or ()))
        return response

    async def on_defect(error: Exception) -> Response:
        gateway.services.telemetry.defect("http", error)
        return answer(GatewayError("internal_error", "The gateway failed."))

    app.register_error_handler(AinfError, on_ours)
    app.register_error_handler(HTTPException, on_http)
    app.register_error_handler(Exception, on_defect)
