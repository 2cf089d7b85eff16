"""The lines of keys, in every shape that TOML allows."""

from ainf.config.lines import dotted, key_lines

DOCUMENT = '''\
# a comment

top = 1
dotted.key = 2
[a]
  b = [
    1, # [not.a.table]
    2,
  ]
text = """
c = 3
[d]
"""
after = { x = 1, y.z = "}" }
"quoted.name" = 'x'
[a.'b c'."d"]
e = 1
[[list]]
f = 1
[[list]]
f = 2
[[list.inner]]
g = [1, { h = 2 }]
'''


def test_lines():
    """Every key and table has the line where its statement begins; strings and comments do not mislead."""
    assert key_lines(DOCUMENT) == {
        ("top",): 3,
        ("dotted",): 4,
        ("dotted", "key"): 4,
        ("a",): 5,
        ("a", "b"): 6,
        ("a", "text"): 10,
        ("a", "after"): 14,
        ("a", "after", "x"): 14,
        ("a", "after", "y"): 14,
        ("a", "after", "y", "z"): 14,
        ("a", "quoted.name"): 15,
        ("a", "b c"): 16,
        ("a", "b c", "d"): 16,
        ("a", "b c", "d", "e"): 17,
        ("list",): 18,
        ("list", "[0]"): 18,
        ("list", "[0]", "f"): 19,
        ("list", "[1]"): 20,
        ("list", "[1]", "f"): 21,
        ("list", "[1]", "inner"): 22,
        ("list", "[1]", "inner", "[0]"): 22,
        ("list", "[1]", "inner", "[0]", "g"): 23,
        ("list", "[1]", "inner", "[0]", "g", "[1]", "h"): 23,
    }


def test_a_key_as_it_stands():
    """A dotted key has quotes where TOML wants them, and a place in an array its number."""
    assert dotted(("models", "gpt-4o-mini", "price", "[1]", "from")) == "models.gpt-4o-mini.price[1].from"
    assert dotted(("targets", "ainf/auto")) == 'targets."ainf/auto"'


def test_an_empty_document():
    """Nothing has no lines."""
    assert key_lines("") == {}
