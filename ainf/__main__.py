"""``python -m ainf``, and the console script."""

from ainf.cli.main import ainf


def main() -> None:
    """Run the command that the arguments name."""
    ainf(prog_name="ainf")


if __name__ == "__main__":
    main()
