from ainf.providers.registry import PROVIDERS


def test_names():
    """Vendor formats are found by the name that they carry."""
    assert all(provider.name == name for name, provider in PROVIDERS.items())
