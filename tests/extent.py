"""How much of the long suites a run takes, and the one seed that it draws from.

``AINF_LAW=full`` takes them whole (``make law``); ``AINF_SEED`` repeats a run that printed it.
"""

import os
import random
from typing import Final

FULL: Final = os.environ.get("AINF_LAW") == "full"
STRIDE: Final = 1 if FULL else 10
"""Of cases that can be counted off, every so manieth is taken."""

# Left in the environment for the run's other processes: what they draw must be the same.
SEED: Final = int(os.environ.setdefault("AINF_SEED", str(random.SystemRandom().randrange(1, 1_000_000))))
