"""What the benchmark of routing has to choose from."""

import pytest

from ainf.config import load_config
from benchmarks.routing import SIZES, costs_of, tables

PROVIDER = '[providers.chat]\nformat = "openai-compatible"\nbase_url = "http://provider.test/v1"\n'


@pytest.mark.parametrize("hedging", [False, True])
def test_the_targets_are_as_large_as_they_are_called(tmp_path, hedging):
    """Each kind of request has a target of each size, all of its models at prices of their own."""
    path = tmp_path / "ainf.toml"
    path.write_text(PROVIDER + tables(hedging=hedging))
    config = load_config(path, {})
    assert config.routing.hedging is hedging
    for kind in ("whole", "stream"):
        pinned, *routed = costs_of(kind).values()
        assert {cost.stream for cost in (pinned, *routed)} == {kind == "stream"}
        targets = [config.targets[f"{cost.provider}-{cost.model}"] for cost in routed]
        assert [len(target.models) for target in targets] == list(SIZES)
        for target in targets:
            prices = [config.models[name].prices.at(0).output for name in target.models]
            assert len(set(prices)) == len(prices)
