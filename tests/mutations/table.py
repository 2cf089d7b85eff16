"""All breakages, in the order of the documentation's page."""

from typing import Final

from tests.mutations.exchange import EXCHANGE
from tests.mutations.mutation import Mutation
from tests.mutations.reserves import RESERVES
from tests.mutations.store import STORE
from tests.mutations.surface import SURFACE

MUTATIONS: Final[tuple[Mutation, ...]] = (*EXCHANGE, *STORE, *RESERVES, *SURFACE)
