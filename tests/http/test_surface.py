"""Everything outside the routes is JSON too."""

import pytest

from tests.gateway.world import Client, question, world


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/chat/completions/", 404, "not_found"),
        ("GET", "/v1/models/", 404, "not_found"),
        ("GET", "/static/x", 404, "not_found"),
        ("GET", "/v1/audit/a/b", 404, "not_found"),
    ],
)
async def test_wrong_ways(method, path, status, code, tmp_path, autojump_clock):
    """Each is told by code, with the verdict not to come again."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(Client(path, b"", {"authorization": f"Bearer {here.key}"}, method))
        assert (client.status, client.json()["error"]["code"]) == (status, code)
        assert client.headers["x-should-retry"] == "false"
        assert client.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", {"POST"}),
        ("OPTIONS", "/v1/inference", {"POST"}),
        ("OPTIONS", "/v1/models", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
async def test_another_method_is_told_which_there_are(method, path, allowed, tmp_path, autojump_clock):
    """405 in JSON with ``allow``, for OPTIONS too: browsers of other origins are no clients."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(Client(path, b"", {}, method))
        assert (client.status, client.json()["error"]["code"]) == (405, "method_not_allowed")
        assert set(client.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/sim", "/healthz", "/readyz", "/metrics"])
async def test_answers_of_reads_have_an_id(path, tmp_path, autojump_clock):
    """Each its own, as errors and inferences do."""
    async with world(tmp_path, "sim") as here:
        ids = [(await here.get(path)).headers["x-request-id"] for _ in range(2)]
        assert len(set(ids)) == 2
        assert all(name.startswith("req_") for name in ids)


async def test_a_probe_is_not_counted_as_refused(tmp_path, autojump_clock):
    """Who asks whether the gateway is ready is told no; who wanted something of it is counted."""
    async with world(tmp_path, "sim") as here:
        here.gateway.draining = True
        assert (await here.get("/readyz")).status == 503
        assert b"ainf_rejections_total{" not in here.telemetry.exposition()
        assert (await here.ask()).status == 503
        assert b'ainf_rejections_total{code="shutting_down"} 1.0' in here.telemetry.exposition()


async def test_a_body_over_the_limit(tmp_path, autojump_clock):
    """413 by name, also where no length was announced."""
    async with world(tmp_path, "sim", limits="body_bytes = 2000") as here:
        client = await here.run(here.client(question("sim", user="x" * 3000)))
        assert (client.status, client.json()["error"]["code"]) == (413, "request_too_large")
        client = await here.run(here.client(question("sim", user="x" * 3000), content_length="3100"))
        assert client.status == 413
        assert (await here.run(here.client(question("sim")))).status == 200


async def test_a_defect_in_a_route(tmp_path, autojump_clock):
    """A bug is a 500 in the protocol's own shape, with nothing of it told; the log has its place."""
    async with world(tmp_path, "sim") as here:

        async def receipt(inference_id: str) -> None:
            raise KeyError("sk-secret at line 5")

        here.store.receipt = receipt
        client = await here.get("/v1/audit/inf_x")
        assert (client.status, client.json()["error"]["code"]) == (500, "internal_error")
        assert b"sk-secret" not in client.body
        assert "sk-secret" not in here.log.getvalue()
        assert '"where":"http"' in here.log.getvalue().replace(": ", ":")
        assert (await here.ask()).status == 200
