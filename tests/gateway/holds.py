"""What a request is held for, so that a cap can leave exactly so much room."""

from ainf.exchange.run import Exchange
from ainf.simulator.steps import Script, whole
from tests.gateway.world import Client, World


async def base_of(here: World, client: Client) -> int:
    """Return what is held for the input of a client's request, which is made for that once, and refused upstream."""
    seen: list[int] = []
    add = here.gateway.inflight.add

    def look(exchange: Exchange) -> None:
        seen.append(exchange.plan.admission.ask.base_nusd)
        add(exchange)

    here.gateway.inflight.add = look  # type: ignore[method-assign]
    here.simulator.set_script(Script([whole(500, "application/json", b"{}")]))
    await here.run(client)
    here.gateway.inflight.add = add  # type: ignore[method-assign]
    return seen[0]
