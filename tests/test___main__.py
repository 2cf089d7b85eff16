"""``python -m ainf``."""

import subprocess
import sys

from ainf import __version__


def test_runs_as_a_module():
    """The package runs as a program of its own name."""
    result = subprocess.run([sys.executable, "-m", "ainf", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"ainf {__version__}\n"
