"""What targets come to, and every way that they can be wrong; read from a file, as they always are."""

from pathlib import Path

import pytest

from ainf.config import Config, ConfigError, TargetConfig, load_config

HEAD = """\
[providers.p]
format = "openai-compatible"
base_url = "http://x"
"""
MODEL = """\
[models."{name}"]
provider = "p"
price = "free"
max_output_tokens = 100
"""
VECTORS = """\
[models.vectors]
provider = "p"
price = "free"
kind = "embeddings"
"""
MODELS = HEAD + VECTORS + "".join(MODEL.format(name=name) for name in ("gpt-small", "claude", "gpt-large"))
ALIASES = ("ainf-mithril", "ainf-auto", "ainf/auto")


def load(folder: Path, text: str) -> Config:
    path = folder / "ainf.toml"
    path.write_text(text)
    return load_config(path, {})


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    return str(caught.value).replace(str(folder / "ainf.toml"), "ainf.toml").split("\n")


def test_the_target_that_is_there_by_itself(tmp_path):
    """Without a word in the file there is one, of all models that answer in text, in the order of the file."""
    assert load(tmp_path, MODELS).targets == {
        "ainf-inference": TargetConfig(
            name="ainf-inference", aliases=ALIASES, patterns=("*",), models=("gpt-small", "claude", "gpt-large")
        )
    }


def test_no_model_to_choose_from(tmp_path):
    """Where nothing answers in text there is no target."""
    assert load(tmp_path, HEAD + VECTORS).targets == {}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", {}),
        ("min_quality = 0.8", {"min_quality_milli": 800}),
        ("aliases = []", {"aliases": ()}),
        ('aliases = ["auto"]', {"aliases": ("auto",)}),
        ('models = ["gpt-*"]', {"patterns": ("gpt-*",), "models": ("gpt-small", "gpt-large")}),
    ],
)
def test_the_settings_of_the_default_target_are_replaced_one_by_one(tmp_path, written, expected):
    """What its table does not say stays as it was."""
    (plain,) = load(tmp_path, MODELS).targets.values()
    (target,) = load(tmp_path, f"{MODELS}[targets.ainf-inference]\n{written}\n").targets.values()
    assert {name for name in TargetConfig.__annotations__ if getattr(target, name) != getattr(plain, name)} == set(
        expected
    )
    assert all(getattr(target, name) == value for name, value in expected.items())


def test_targets_of_ones_own(tmp_path):
    """They stand beside the default one; a model that two patterns are for is chosen from once, by the file's order."""
    text = MODELS + '[targets.cheap]\nmodels = ["claude", "gpt-small", "*-small"]\n[targets.best]\naliases = ["b/1"]\n'
    targets = load(tmp_path, text).targets
    assert list(targets) == ["ainf-inference", "cheap", "best"]
    assert targets["cheap"].models == ("gpt-small", "claude")
    assert targets["cheap"].aliases == ()
    assert (targets["best"].aliases, targets["best"].models) == (("b/1",), ("gpt-small", "claude", "gpt-large"))


TAKEN = "which is there by itself; rename the model, or set `aliases` in [targets.ainf-inference]"
FAULTS = [
    ("[targets.claude]", "20: targets.claude: 'claude' is the name of a model; take another"),
    ("[targets.vectors]", "20: targets.vectors: 'vectors' is the name of a model; take another"),
    ("[targets.x]\naliases = ['claude']", "21: targets.x.aliases: 'claude' is the name of a model; take another"),
    ("[targets.x]\naliases = ['x']", "21: targets.x.aliases: 'x' is the name of the target 'x'; take another"),
    ("[targets.x]\naliases = ['y', 'y']", "21: targets.x.aliases: 'y' is an alias of the target 'x'; take another"),
    (
        "[targets.x]\naliases = ['y']\n[targets.y]",
        "22: targets.y: 'y' is an alias of the target 'x'; take another",
    ),
    (
        "[targets.y]\n[targets.x]\naliases = ['z', 'y']",
        "22: targets.x.aliases: 'y' is the name of the target 'y'; take another",
    ),
    (
        "[targets.ainf-auto]",
        "20: targets.ainf-auto: 'ainf-auto' is an alias of the target 'ainf-inference'; take another",
    ),
    (
        "[targets.x]\naliases = ['ainf/auto']",
        "21: targets.x.aliases: 'ainf/auto' is an alias of the target 'ainf-inference'; take another",
    ),
    (
        MODEL.format(name="ainf-inference"),
        "20: models.ainf-inference: is the name of the target that is there by itself; rename the model",
    ),
    (MODEL.format(name="ainf/auto"), f"20: models.\"ainf/auto\": is an alias of the target 'ainf-inference', {TAKEN}"),
    (
        MODEL.format(name="ainf-auto") + "[targets.ainf-inference]",
        "24: targets.ainf-inference.aliases: 'ainf-auto' is the name of a model; take another",
    ),
    ("[targets.x]\nmodels = []", "21: targets.x.models: must name at least one"),
    (
        "[targets.x]\nmodels = ['gpt-*', 'glm-*', 'vectors']",
        "21: targets.x.models: 'glm-*' is for no model that answers in text",
        "21: targets.x.models: 'vectors' is for no model that answers in text",
    ),
    ("[targets.x]\nmodels = 'gpt-*'", "21: targets.x.models: must be a list of patterns of names"),
    ("[targets.x]\nmin_quality = 1.5", "21: targets.x.min_quality: must be a number from 0 to 1 with at most three"),
    ("[targets.x]\nfloor = 1", "21: targets.x.floor: is unknown; known are aliases, models, min_quality"),
    ("[targets.'a b']", '20: targets."a b": must be a name of 1 to 128 visible ASCII characters'),
    ("[[targets]]", "20: targets: must be a table"),
    ("[targets]\nx = 1", "21: targets.x: must be a table"),
]


@pytest.mark.parametrize(("text", "expected"), [(text, expected) for text, *expected in FAULTS])
def test_faults(tmp_path, text, expected):
    """A name that somebody else has, and a pattern for nothing, are told where they stand."""
    told = faults(tmp_path, f"{MODELS}{text}\n")
    assert len(told) == len(expected)
    assert all(line.startswith(f"ainf.toml:{start}") for line, start in zip(told, expected, strict=True)), told


def test_an_alias_that_a_model_has(tmp_path):
    """The default target leaves a name to a model of that name, where its table says so."""
    text = MODELS + MODEL.format(name="ainf-auto") + '[targets.ainf-inference]\naliases = ["ainf/auto"]\n'
    assert load(tmp_path, text).targets["ainf-inference"].aliases == ("ainf/auto",)


def test_a_target_of_nothing(tmp_path):
    """A target that is written down and has no model at all to choose from is a fault."""
    assert faults(tmp_path, HEAD + VECTORS + "[targets.ainf-inference]\n") == [
        "ainf.toml:8: targets.ainf-inference.models: '*' is for no model that answers in text"
    ]


def test_the_fault_of_a_model_is_not_its_targets(tmp_path):
    """A model with a fault is still one that a pattern is for, so that only what is wrong is told."""
    text = MODELS.replace('price = "free"', "price = 1") + '[targets.x]\nmodels = ["claude"]\nmin_quality = 2\n'
    assert [line.split(": ")[1] for line in faults(tmp_path, text)] == [
        "models.vectors.price", "models.gpt-small.price", "models.claude.price", "models.gpt-large.price",
        "targets.x.min_quality",
    ]  # fmt: skip
