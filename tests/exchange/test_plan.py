"""What an exchange is given: the settings that a model overrides, and what is never shown."""

import pytest

from ainf.exchange.plan import Backend
from ainf.inference.secret import Secret
from ainf.providers.registry import PROVIDERS
from ainf.providers.writing import bearer
from tests.gateway.world import question, world


@pytest.mark.parametrize(
    ("models", "keys", "expected"),
    [(None, "loud", "loud"), ("strict", "loud", "strict"), (None, "extended", "extended")],
)
async def test_a_model_overrides_its_keys_setting(models, keys, expected, tmp_path, autojump_clock):
    """How a cap shows is the model's word where it has one, else the key's."""
    async with world(tmp_path, "sim-delay-5s", more=f'finish_reasons = "{models}"' if models else "") as here:
        here.key = await here.new_key("agents", finish_reasons=keys)
        client = here.client(question("sim-delay-5s"))
        seen = []
        add = here.gateway.inflight.add

        def added(exchange):
            seen.append(exchange.plan.finish_reasons)
            add(exchange)

        here.gateway.inflight.add = added
        await here.run(client)
        assert seen == [expected]


def test_a_backend_does_not_show_its_credential():
    """Logs and tracebacks of a plan hold no key."""
    backend = Backend(PROVIDERS["openai"], None, bearer(Secret(b"sk-secret")))
    assert "sk-secret" not in repr(backend)
    assert "authorization" in repr(backend)
