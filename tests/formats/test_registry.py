import pytest

from ainf.formats.registry import FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_names(name):
    """Every format is found by the name that it gives itself."""
    assert FORMATS[name].name == name


def test_it_cannot_be_changed():
    """The list is what it is for the life of the process."""
    with pytest.raises(TypeError):
        FORMATS["other"] = FORMATS["chat"]
