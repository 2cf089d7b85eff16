"""What the gateway costs: CPU, memory and time, measured on the real process over loopback.

    python -m benchmarks [--quick] [--json FILE] [A A1 B C ttfb memory]
    python -m benchmarks --profile A

Three processes: the gateway on a core of its own; the simulated provider and the load generator (this process) on the
others. The gateway is an ``ainf serve`` on a fresh SQLite database with an account, a key and a cap: each request pays
for authentication, hold, metering, settlement and audit, all durable; after each run its ledger is read, and a figure
whose ledger is not exact is an error, not a figure.

``answers`` reads what comes back; ``generator`` asks; ``processes`` starts, pins and measures; ``rig`` puts the
processes together and ``books`` reads the ledger; ``workloads`` is what is asked; ``report`` compares with the targets;
``sampler`` and ``profiling`` show where the CPU goes.
"""
