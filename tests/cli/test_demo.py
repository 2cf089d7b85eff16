"""``ainf demo``: what a stranger sees first."""

import re

from click.testing import CliRunner

from ainf.cli.main import ainf


def test_three_streams_end_and_their_receipts_add_up():
    """``demo --once`` shows an end by itself, by the client and by the cap; receipts, counter and provider agree."""
    told = CliRunner().invoke(ainf, ["demo", "--once"])
    assert told.exit_code == 0, told.output
    endings = re.findall(r"^inf_\w+ +(\w+)", told.output, re.MULTILINE)
    assert endings == ["completed", "client_disconnected", "spend_cap_exceeded"]
    (receipts, tokens) = re.findall(r"receipts together +\$([\d.]+), (\d+) output tokens", told.output)[0]
    (counter,) = re.findall(r"the cap's counter +\$([\d.]+) of", told.output)
    (produced, on_their_way) = re.findall(r"provider's books +(\d+) output tokens; (\d+) were", told.output)[0]
    assert receipts == counter
    assert int(produced) == int(tokens) + int(on_their_way)
    assert "finish_reason 'spend_cap_exceeded'" in told.output
    assert "Ask it yourself" not in told.output
