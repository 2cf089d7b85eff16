"""``ainf simulate``, as a process."""

import http.client
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_told_to_end(ending):
    """It prints its base URL once it listens, answers there, and a signal ends it in good order."""
    command = [sys.executable, "-m", "ainf", "simulate"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        base_url = urlsplit(process.stdout.readline().strip())
        connection = http.client.HTTPConnection(base_url.netloc, timeout=10)
        connection.request("GET", base_url.path + "/models")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(ending)
        _, errors = process.communicate(timeout=10)
        assert (process.returncode, errors) == (0, "")


def test_a_port_that_is_taken():
    """An address that cannot be had is one line and exit status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "ainf", "simulate", "--port", str(taken.getsockname()[1])]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("the simulator cannot run: ")
    assert result.stderr.count("\n") == 1
