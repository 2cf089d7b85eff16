"""Codex, by its command."""

import json
import os
import subprocess

from tests.agents.agents import ALL_FORMATS, PROMPT, Place, Said, command

LONGEST_S = 40

CONFIG = """
model = "{model}"
model_provider = "ainf"
web_search = "disabled"
check_for_update_on_startup = false
approval_policy = "never"
sandbox_mode = "read-only"

[features]
multi_agent = false

[analytics]
enabled = false

[model_providers.ainf]
name = "ainf"
base_url = "{url}/v1"
env_key = "AINF_KEY"
wire_api = "responses"
"""


class Codex:
    framework, protocol, package = "codex", "responses", "codex (command)"
    modes, formats, drop_params = ("stream",), ALL_FORMATS, ()
    more_settings = ""

    def __init__(self, place: Place) -> None:
        self.place = place

    def stream(self, model: str) -> Said:
        found = command("codex")
        assert found is not None
        home = self.place.home / ".codex"
        home.mkdir()
        (home / "config.toml").write_text(CONFIG.format(model=model, url=self.place.url) + self.more_settings)
        run = subprocess.run(
            [found, "exec", "--skip-git-repo-check", "--json", PROMPT],
            cwd=self.place.home, env=os.environ | {"CODEX_HOME": str(home), "AINF_KEY": self.place.key},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_S, check=False,
        )  # fmt: skip
        events = [json.loads(line) for line in run.stdout.splitlines()]
        failed = [event["error"]["message"] for event in events if event["type"] == "turn.failed"]
        items = [event["item"] for event in events if event["type"] == "item.completed"]
        texts = [item["text"] for item in items if item["type"] == "agent_message"]
        results = tuple(item["aggregated_output"] for item in items if item["type"] == "command_execution")
        return Said("".join(texts[-1:]), None, failed[0] if failed else None, results)

    def use_tool(self, model: str) -> Said:
        return self.stream(model)


class CodexOnce(Codex):
    """Codex told not to ask again."""

    framework = "codex, no retries"
    more_settings = "request_max_retries = 0\nstream_max_retries = 0\n"
