"""What must never leave the gateway, and the check that it did not."""

import json

from tests.gateway.world import Client, World

SECRETS = (
    "sk-canary-provider-secret", "sk-provider-secret", "gpu-17.internal", "provider.test", "worker.py", "Traceback",
    "elsewhere.invalid", ".py\"", "line 88",
)  # fmt: skip


def check_no_leak(here: World, *clients: Client) -> None:
    """No answer holds anything of ours or the provider's inside; log and metrics hold no secret of anybody."""
    for client in clients:
        for secret in SECRETS:
            assert secret not in client.body.decode("latin-1")
            assert secret not in json.dumps(client.headers)
        assert client.status != 500
    for text in (here.log.getvalue(), here.telemetry.exposition().decode()):
        assert "sk-canary" not in text
        assert "sk-provider" not in text
        assert here.key not in text
    assert '"defect"' not in here.log.getvalue()
