"""Tables and JSON."""

from ainf.cli.output import brief, moment, print_json, print_table, printable


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
