"""The coverage-guided runner: ``python -m tests.fuzz [TARGET ...]``, or ``make fuzz``.

Each target runs in a process of its own for its share of the time (``FUZZ_S``, seconds in all), over the pure rooms and
the two HTTP parsers, instrumented. What it finds worth keeping is kept under ``.fuzz/`` and begun with the next time.
With ``--input`` one input is checked, as the line says that a failure prints.
"""

import argparse
import os
import random
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / ".fuzz"
USUAL_S = 300
LONGEST_BYTES = 1 << 16
INSTRUMENTED = (
    "ainf.sse", "ainf.formats", "ainf.protocols", "ainf.providers", "ainf.inference", "ainf.admission", "ainf.routing",
    "ainf.server", "ainf.upstream.response", "ainf.http.asked", "ainf.config", "ainf.store.spooled",
)  # fmt: skip


def main() -> int:
    """Check one input, or run targets one after the other; return the exit status."""
    arguments = _arguments()
    if arguments.input is not None:
        return _check(arguments.targets[0], arguments.input)
    if arguments.here:
        _fuzz(arguments.targets[0], arguments.seconds)
    from tests.fuzz.targets import TARGETS

    names = arguments.targets or list(TARGETS)
    seconds = max(1, int(os.environ.get("FUZZ_S", USUAL_S)) // len(names))
    failed = [name for name in names if _run_apart(name, seconds)]
    print(f"{len(names)} targets, {seconds} s each; failed: {', '.join(failed) or 'none'}", flush=True)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all of them where none is named")
    parser.add_argument("--input", help="one input of the one target, as a failure printed it")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=USUAL_S, help=argparse.SUPPRESS)
    return parser.parse_args()


def _check(name: str, text: str) -> int:
    from tests.fuzz.targets import TARGETS, input_of

    TARGETS[name].check(input_of(text))
    print(f"{name}: holds.")
    return 0


def _run_apart(name: str, seconds: int) -> bool:
    """Run a target in a process of its own, for libFuzzer ends its process; return whether it found a failure."""
    print(f"== {name}", flush=True)
    command = [sys.executable, "-m", "tests.fuzz", name, "--here", "--seconds", str(seconds)]
    return subprocess.run(command, check=False, env={**os.environ, "PYTHONHASHSEED": "0"}).returncode != 0


def _fuzz(name: str, seconds: int) -> None:
    """Run a target until its time is over, or a promise is broken; does not return."""
    import atheris

    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tests.fuzz.targets import TARGETS, reproduction
    from tests.fuzz.mutate import HEAD_BYTES, mutate_input

    target = TARGETS[name]

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except BaseException:
            print(f"\nFailed: {reproduction(name, data)}", flush=True)
            raise

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        changed = atheris.Mutate(data, max_size) if rng.random() < 0.2 else mutate_input(rng, data, target.mutator)
        return changed[:max_size]

    found = FOLDER / name
    found.mkdir(parents=True, exist_ok=True)
    begun = FOLDER / "seeds" / name
    begun.mkdir(parents=True, exist_ok=True)
    for number, body in enumerate(target.seeds()):
        (begun / f"{number:04}").write_bytes(number.to_bytes(HEAD_BYTES, "big") + body)
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST_BYTES}", "-timeout=30", "-print_final_stats=1",
               f"-artifact_prefix={FOLDER}/{name}-", "-verbosity=0"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(found), str(begun)], check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
