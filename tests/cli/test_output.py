"""Tables and JSON."""

from ainf.cli.output import RATE_COLUMNS, brief, moment, print_json, print_table, printable, shown_rates, without_empty
from ainf.pricing import parse_price


def test_table(capsys):
    """Texts stand to the left, numbers to the right, and no line ends in blanks."""
    print_table(["name", "left", "note"], [["a", "1.5", ""], ["long name", "-", "x"], ["b", "-200", ""]])
    assert capsys.readouterr().out == ("name       left  note\na           1.5\nlong name     -  x\nb          -200\n")


def test_an_empty_table(capsys):
    """Without rows there is still a head."""
    print_table(["a", "b"], [])
    assert capsys.readouterr().out == "a  b\n"


def test_a_column_without_values_stays_left(capsys):
    """A column of nothing but dashes is not one of numbers."""
    print_table(["expires"], [["-"]])
    assert capsys.readouterr().out == "expires\n-\n"


def test_printable():
    """Control characters, escapes and line ends are shown, not obeyed; letters of any script are left."""
    assert printable("a\x1b[2J\n\x00\u202eb\u00e4\u65e5") == r"a\x1b[2J\n\x00\u202eb" + "\u00e4\u65e5"


def test_json(capsys):
    """JSON is indented, for eyes as well."""
    print_json({"a": [1]})
    assert capsys.readouterr().out == '{\n  "a": [\n    1\n  ]\n}\n'


def test_times():
    """A time that is not there is none, or a dash."""
    assert (moment(None), brief(None)) == (None, "-")
    assert (moment(1_500_000), brief(1_500_000)) == ("1970-01-01T00:00:01.500000Z", "1970-01-01T00:00:01Z")


def test_columns_without_a_value_are_left_out():
    """A column of dashes tells nothing; one value keeps it, and without rows no column is left."""
    rows = [["a", "-", "-"], ["b", "-", "1"]]
    assert without_empty(["name", "none", "some"], rows) == (["name", "some"], [["a", "-"], ["b", "1"]])
    assert without_empty(["name"], []) == ([], [])


def test_rates_are_shown_in_their_columns():
    """Each is USD per million tokens, exactly; what the price does not cover is a dash."""
    price = parse_price({"input": "0.15", "output": "2", "cache_write": "0.1875", "audio_input": "10"})
    assert dict(zip(RATE_COLUMNS, shown_rates(price), strict=True)) == {
        "input": "0.15", "cached": "0.15", "write": "0.1875", "long write": "-", "output": "2", "reasoning": "2",
        "audio in": "10", "audio out": "-",
    }  # fmt: skip
