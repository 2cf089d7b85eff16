"""The list of vendors, and the page that tells what is declared of them."""

import inspect
import re
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ainf.formats.registry import FORMATS
from ainf.inference.request import Operation
from ainf.providers.registry import PROVIDERS, document

PAGE = (Path(__file__).parent.parent.parent / "docs" / "providers.md").read_text()
SOURCES = Path(__file__).parent.parent.parent / "ainf" / "providers"
VENDORS = list(PROVIDERS.values())


def test_names():
    """Vendors are found by the name that they carry."""
    assert all(provider.name == name for name, provider in PROVIDERS.items())


def test_every_vendor_is_registered():
    """A vendor's file without its line in the registry is found."""
    vendors = {path.stem.replace("_", "-") for path in SOURCES.glob("*.py") if "Facts(" in path.read_text()}
    assert vendors == PROVIDERS.keys()


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_declared_facts(vendor):
    """Each fact is one that the gateway knows, and an address has its scheme and no slash at its end."""
    facts = vendor.facts
    assert facts.aborted_billing in {"delivered", "drain", "held"}
    assert facts.hidden_reasoning in {"never", "asked", "always"}
    assert facts.max_tokens_field in {"max_completion_tokens", "max_tokens"}
    if facts.base_url is not None:
        assert urlsplit(facts.base_url).scheme == ("https" if facts.needs_key else "http")
        assert not facts.base_url.endswith("/")


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_formats(vendor):
    """Each vendor generates, in a format that is there."""
    assert vendor.formats[Operation.GENERATE] in FORMATS


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_facts_have_sources(vendor):
    """The vendor's file says where its facts are from, unless nothing is known of it."""
    file = SOURCES / f"{vendor.name.replace('-', '_')}.py"
    docstring = inspect.cleandoc(re.match(r'"""(.*?)"""', file.read_text(), re.DOTALL)[1])
    assert vendor.name == "openai-compatible" or re.search(r"Sources \(|Sources: \S+\.\S+/", docstring)


def test_the_page_has_the_table():
    """It is the one that the registry makes."""
    assert document() in PAGE, "docs/providers.md lacks `ainf.providers.registry.document()`"


def test_the_page_shows_a_real_vendor():
    """Its example of a vendor is a file of this repository, whole, and short."""
    source = (SOURCES / "together.py").read_text()
    assert source in PAGE
    assert source.count("\n") <= 35


def test_readme_shows_a_vendor_as_it_is():
    """The example of how to add one is the real file, all of it but its docstring."""
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text()
    _, code = (SOURCES / "together.py").read_text().split('"""\n\n', 1)
    assert textwrap.indent(code, "    ").strip() in readme
