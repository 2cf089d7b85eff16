"""Stands in for the server: connections in memory, one request each."""

from typing import Any

import trio

from tests.simulation.clients import SimulatedClient


class MemoryServer:
    """As ``ainf.server.launcher.Server``."""

    bound = ("gateway.test:80",)

    def __init__(self, app: Any, write_s: float):
        self._app = app
        self._nursery: trio.Nursery | None = None
        self._closed = trio.Event()
        self._write_s = write_s
        self._served: dict[SimulatedClient, None] = {}

    @property
    def is_listening(self) -> bool:
        return self._nursery is not None and not self._closed.is_set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await self._closed.wait()
        finally:
            self._closed.set()
            self.abort_connections()

    def serve(self, client: SimulatedClient) -> None:
        """Take a connection."""
        assert self._nursery is not None
        self._served[client] = None
        client.set_write_limit(self._write_s)
        self._nursery.start_soon(self._serve, client)

    def stop_accepting(self) -> None:
        self._closed.set()

    def set_write_limit(self, seconds: float) -> None:
        self._write_s = seconds
        for client in self._served:
            client.set_write_limit(seconds)

    def abort_connections(self) -> None:
        for client in list(self._served):
            client.was_stopped = True
            client.abort()

    def cut(self) -> None:
        """Lose every connection, as when the process is gone."""
        for client in list(self._served):
            client.cut()

    async def _serve(self, client: SimulatedClient) -> None:
        try:
            await self._app(client.scope, client.receive, client.send)
        finally:
            client.served()
            self._served.pop(client, None)
