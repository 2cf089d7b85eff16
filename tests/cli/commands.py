"""A folder with a configuration, in which the commands are run as a user would."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ainf.cli.main import ainf

PROVIDER_KEY = "sk-canary-4711"
CONFIG = """\
[store]
url = "sqlite:books.db"
[providers.openai]
format = "openai-compatible"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
[models.small]
provider = "openai"
max_output_tokens = 16384
price = { input = "0.15", cached_input = "0.075", output = "0.60" }
[models.gratis]
provider = "openai"
upstream_model = "tiny"
max_output_tokens = 100
price = "free"
"""


class Commands:
    """Runs commands on one configuration; a failure that was not expected fails the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "ainf.toml"
        self.config.write_text(CONFIG)
        self.database = str(folder / "books.db")

    def invoke(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        whole = [*arguments, "--config", str(self.config)]
        result = CliRunner(env={"OPENAI_API_KEY": None, **(env or {})}).invoke(ainf, whole)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def run(self, *arguments: str) -> str:
        result = self.invoke(*arguments)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def refused(self, *arguments: str, status: int = 1) -> str:
        """Return the one line that a refused command says on stderr."""
        result = self.invoke(*arguments)
        assert result.exit_code == status, result.output
        assert result.stdout == ""
        return result.stderr.rstrip("\n")
