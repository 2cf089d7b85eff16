"""Threats to credentials and to what belongs to others: guesses, ids, what answers, logs and metrics may tell."""

import base64
import hashlib
import json
from typing import Any

import pytest
import trio

from ainf.store import admin
from tests.gateway.clock import SteppedClock
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, RESPONSES, Dialect
from tests.gateway.law import check_ledger
from tests.gateway.leaks import check_no_leak
from tests.gateway.live import PROVIDER_KEY, live
from tests.gateway.told import check_refused
from tests.gateway.world import Client, World, question, world

INJECTED = (
    "' OR '1'='1", "'; DROP TABLE keys; --", "%", "_%", "%s%n", "{0.__class__.__init__}", "{{7*7}}", "${jndi:ldap://x}",
    "$(id)", "`id`", "../../etc/passwd", "\\x00", "inf_0' UNION SELECT digest FROM keys --",
)  # fmt: skip


@pytest.mark.threat(37)
async def test_a_key_in_the_query(tmp_path):
    """It opens nothing, on any path, and no log line or metric has it; beside a good one it changes nothing."""
    async with live(tmp_path) as here:
        for name in ("api_key", "key", "access_token", "x-api-key", "authorization"):
            for path in ("/v1/models", "/v1/audit/inf_0", "/v1/usage"):
                client = await here.connect()
                await client.send(
                    f"GET {path}?{name}={here.key} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
                )
                answer = await client.take()
                assert (answer.status, json.loads(answer.body)["error"]["code"]) == (401, "invalid_api_key")
                assert here.key.encode() not in answer.raw
        assert (await here.get(f"/v1/models?key={here.key}x")).status == 200
        metrics = (await here.get("/metrics")).body.decode()
        assert here.key not in here.log.getvalue() + metrics


@pytest.mark.threat(39, "C1")
async def test_nothing_in_a_key_is_run(tmp_path, autojump_clock):
    """Whatever a credential spells it is a digest before it is looked up: the one 401, for as long as it likes."""
    async with world(tmp_path, "sim") as here:
        for text in INJECTED:
            for header in ({"authorization": f"Bearer {text}"}, {"x-api-key": text}):
                client = await here.run(Client("/v1/models", b"", header, "GET"))
                check_refused(client, 401, "invalid_api_key")
                check_no_leak(here, client)
        assert (await here.get("/v1/models")).status == 200
        assert await here.rows("SELECT count(*) FROM keys") == [(1,)]


@pytest.mark.threat(39, 43, "C1")
async def test_nothing_in_an_id_is_run(tmp_path, autojump_clock):
    """In a path, a body or a header: unknown as any that never was, or refused by name; the tables are as before."""
    async with world(tmp_path, "responses/sim") as here:
        first = await here.speak(RESPONSES, "responses/sim", stream=False)
        before = await here.rows("SELECT count(*), sum(settled_nusd) FROM settlements")
        for text in (*INJECTED, "\r\nset-cookie: a=b", "\x1b[31m", '{"event":"exchange"}', "\u202e"):
            for path in ("/v1/audit/", "/v1/models/"):
                client = await here.get(path + text)
                assert (client.status, client.headers["x-should-retry"]) == (404, "false")
                check_no_leak(here, client)
            client = await here.speak(RESPONSES, "responses/sim", stream=False, previous_response_id=text)
            check_refused(client, 404, "not_found")
        assert await here.rows("SELECT count(*), sum(settled_nusd) FROM settlements") == before
        assert all(isinstance(json.loads(line), dict) for line in here.log.getvalue().splitlines())
        assert (await here.get(f"/v1/audit/{first.inference_id}")).status == 200
        await check_ledger(here, admitted=1)


@pytest.mark.threat(39, 43)
async def test_nothing_in_a_label_is_run(tmp_path, autojump_clock):
    """It is kept as it is, in the receipt alone."""
    async with world(tmp_path, "sim") as here:
        for text in (text for text in INJECTED if "," not in text):
            client = await here.run(here.client(question("sim", stream=False), x_ainf_labels=f"run={text}"))
            assert (await here.receipt(client.inference_id))["labels"] == {"run": text}
            assert text not in json.dumps(client.headers)
        assert all(isinstance(json.loads(line), dict) for line in here.log.getvalue().splitlines())
        await check_ledger(here, admitted=len(INJECTED))


@pytest.mark.threat("C2", 36)
async def test_a_key_is_known_by_all_of_it(tmp_path, autojump_clock):
    """Two keys that differ in their last character are two; one that differs from both is none, whatever is cached."""
    async with world(tmp_path, "sim") as here:
        await here.new_account("others")
        near = here.key[:-1] + ("a" if here.key[-1] != "a" else "b")
        await here.store.write(
            lambda tx: admin.create_key(
                tx, key_id="k0000002", digest=admin.digest_of(near), account="others", rights=admin.KeyRights(),
                at=here.clock(),
            )
        )  # fmt: skip
        accounts = []
        for key in (here.key, near, here.key):
            client = await here.run(here.client(question("sim", stream=False), authorization=f"Bearer {key}"))
            accounts.append((await here.receipt(client.inference_id))["account_id"])
        assert accounts == ["acc_agents", "acc_others", "acc_agents"]
        for wrong in (here.key[:-1], here.key + "x", here.key[:20], here.key[:-1] + "!"):
            assert (await here.get("/v1/models", key=wrong)).status == 401


@pytest.mark.threat(35, "C7", 120)
async def test_no_refusal_shows_more_of_a_key_than_its_name(tmp_path, autojump_clock):
    """Neither the secret nor its digest, in any way to write it, stands in an answer, the log or the metrics."""
    async with world(tmp_path, "sim", limits="auth_failures_per_minute = 3") as here:
        digest = hashlib.sha256(here.key.encode()).digest()
        forms = {
            here.key, here.key.rpartition("_")[2], digest.hex(), digest.hex()[:16],
            base64.b64encode(digest).decode(), base64.urlsafe_b64encode(digest).decode().rstrip("="),
        }  # fmt: skip
        clients: list[Client] = []
        await here.set_cap(1)
        clients.append(await here.ask())
        clients.append(await here.ask("nobody"))
        clients.append(await here.ask(n=2))
        clients += [await here.get("/v1/models", key=here.key[:-1]) for _ in range(5)]
        assert [client.status for client in clients] == [402, 404, 400, 401, 401, 401, 429, 429]
        said = "".join(client.body.decode() + json.dumps(client.headers) for client in clients)
        said += here.log.getvalue() + here.telemetry.exposition().decode()
        assert here.key_id in json.dumps(await here.rows("SELECT body FROM audit_events"))
        assert not [form for form in forms if form in said]
        events = json.dumps(await here.rows("SELECT body FROM audit_events WHERE kind = 'rejected'"))
        assert not [form for form in forms if form in events]


@pytest.mark.threat(35)
async def test_guesses_of_the_dead_and_of_the_unknown_read_the_same(tmp_path, autojump_clock):
    """Revoked, expired, of a closed account or never made: the same status, words and headers."""
    async with world(tmp_path, "sim", clock=SteppedClock("2026-11-21T10:00:00")) as here:
        at = here.clock()
        dead = {
            "revoked": await here.new_key("agents", key_id="k0000001"),
            "expired": await here.new_key("agents", key_id="k0000002", expires_at=at + 1),
        }
        await trio.sleep(1)
        await here.store.write(lambda tx: admin.revoke_key(tx, key_id="k0000001", at=at))
        await here.new_account("gone")
        dead["closed"] = await here.new_key("gone", key_id="k0000003")
        await here.store.write(lambda tx: admin.close_account(tx, name="gone", at=at))
        dead["never"] = admin.key_text("k0000004", b"k0000004" * 4)
        said = set()
        for key in dead.values():
            client = await here.get("/v1/models", key=key)
            error = client.json()["error"]
            del error["request_id"]
            headers = {name: value for name, value in client.headers.items() if "request" not in name}
            said.add((client.status, json.dumps(error), json.dumps(headers)))
        assert len(said) == 1
        assert next(iter(said))[0] == 401


FILES: dict[str, list[dict[str, Any]]] = {
    CHAT.format: [{"type": "file", "file": {"file_id": "file-of-another"}}],
    MESSAGES.format: [
        {"type": "image", "source": {"type": "file", "file_id": "file-of-another"}},
        {"type": "document", "source": {"type": "file", "file_id": "file-of-another"}},
        {"type": "container_upload", "file_id": "file-of-another"},
    ],
    RESPONSES.format: [
        {"type": "input_file", "file_id": "file-of-another"},
        {"type": "input_image", "file_id": "file-of-another", "detail": "auto"},
    ],
}


@pytest.mark.threat(60, "C15")
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_what_a_provider_keeps_for_the_operator_is_nobodys(dialect: Dialect, tmp_path, autojump_clock):
    """Files and conversations of the operator's account at the provider are refused by their place."""
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model) as here:
        field = "input" if dialect is RESPONSES else "messages"
        for part in FILES[dialect.format]:
            asked = {field: [{"role": "user", "content": [part]}]}
            client = await here.speak(dialect, model, **asked)
            check_refused(client, 400, "unsupported_parameter")
            assert client.json()["error"].get("param", "file_id").endswith("file_id")
        if dialect is RESPONSES:
            for stored in ({"conversation": "conv_of_another"}, {"prompt": {"id": "pmpt_of_another"}}):
                client = await here.speak(dialect, model, **stored)
                check_refused(client, 400, "unsupported_parameter", param=next(iter(stored)))
        assert here.wires == []
        await check_ledger(here, admitted=0)


@pytest.mark.threat(60, "C15")
async def test_receipts_and_responses_of_another_account(tmp_path, autojump_clock):
    """Another account's, one above included, reads as one that never was: status, words and headers."""
    async with world(tmp_path, "responses/sim") as here:
        mine = await here.speak(RESPONSES, "responses/sim", stream=False)
        await here.new_account("others")
        here.key = await here.new_key("others", key_id="k0000002")
        for real, false in (
            (await here.get(f"/v1/audit/{mine.inference_id}"), await here.get("/v1/audit/inf_0")),
            (await go_on(here, mine.json()["id"]), await go_on(here, "resp_nobody")),
        ):
            assert real.status == false.status == 404
            told = []
            for client in (real, false):
                error = client.json()["error"]
                del error["request_id"]
                told.append((error, sorted(client.headers)))
            assert told[0] == told[1]
        await check_ledger(here, admitted=1)


async def go_on(here: World, response_id: str) -> Client:
    return await here.speak(RESPONSES, "responses/sim", stream=False, previous_response_id=response_id)


@pytest.mark.threat("S15")
async def test_the_environment_names_no_proxy_and_no_password(tmp_path, monkeypatch):
    """What other libraries read from it would decide where keys go; here only the configuration does."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    netrc = tmp_path / "netrc"
    netrc.write_text("default login evil password evil\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with live(tmp_path) as here:
        with trio.fail_after(10):
            answer = await here.ask("sim", stream=False)
        assert answer.status == 200
        (entry,) = here.simulator.books.entries
        assert entry.authorization_sha256 == hashlib.sha256(f"Bearer {PROVIDER_KEY}".encode()).hexdigest()[:16]
