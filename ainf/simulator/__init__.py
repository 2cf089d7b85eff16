"""A scriptable provider, for the demo, the tests and the benchmarks.

``Simulator`` serves any stream, or a loopback port; the model's name says how it behaves (``ainf.simulator.behaviour``
lists the words), or a ``Script`` gives the exact steps; its ``books`` say what it produced, billed and saw.

The way of a request: ``http`` reads it, a wire (``wires``) says what it asks for, ``behaviour`` what its model's name
means, ``answer`` composes what is said, ``plan`` has the wire put it into bytes and turns that into ``steps``,
``connection`` plays them. It shares nothing with the formats of the gateway, so that no mistake is made twice alike.
"""

from ainf.simulator.behaviour import OPTIONS, parse_model
from ainf.simulator.books import Books, End, Entry, Totals
from ainf.simulator.memory import MemoryStream, memory_connection
from ainf.simulator.server import Simulator, run_simulator
from ainf.simulator.steps import Close, Reset, Script, Send, Stall, Step, Wait, chunk, head, last_chunk, whole

__all__ = [
    "OPTIONS",
    "Books",
    "Close",
    "End",
    "Entry",
    "MemoryStream",
    "Reset",
    "Script",
    "Send",
    "Simulator",
    "Stall",
    "Step",
    "Totals",
    "Wait",
    "chunk",
    "head",
    "last_chunk",
    "memory_connection",
    "parse_model",
    "run_simulator",
    "whole",
]
