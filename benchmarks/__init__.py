"""What the gateway costs: CPU, memory and time, measured on the real process over loopback.

    python -m benchmarks [--quick] [--json FILE] [WORKLOAD ...]
    python -m benchmarks --profile A

Workloads: ``A`` and ``A1`` (JSON), ``B`` (a stream at once) and ``C`` (paced streams) are chat from a chat provider, as
are ``ttfb`` and ``memory``; ``B-messages``, ``C-messages`` and ``B-responses`` are the same in those formats, and
``B-translated`` is a client of messages with a chat provider. ``A-alike`` is A with one body for all requests, where
each is marked as asking the one before again; everywhere else no two bodies are the same.

Three processes: the gateway on a core of its own; the simulated provider and the load generator (this process) on the
others. The gateway is an ``ainf serve`` on a fresh SQLite database with an account, a key and a cap: each request pays
for authentication, hold, metering, settlement and audit, all durable; after each run its ledger is read, and a figure
whose ledger is not exact is an error, not a figure.

``dialects`` is what clients speak; ``generator`` asks, and ``answers`` reads what comes back; ``processes`` starts,
pins and measures; ``rig`` puts the processes together and ``books`` reads the ledger; ``workloads`` is what is asked;
``report`` compares with the targets; ``sampler`` and ``profiling`` show where the CPU goes.
"""
