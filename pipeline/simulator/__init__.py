"""A provider on loopback with limits, latency and faults, to rehearse a run without paying.

It speaks the three dialects (OpenAI, Anthropic, ModelsLab) over real HTTP and counts what it billed to the token."""

from docreduce.simulator.answers import Answerer, echo, gold, gold_from_files
from docreduce.simulator.dialects import Ask
from docreduce.simulator.server import Server, serve
from docreduce.simulator.settings import BILLED_FAULTS, FREE_FAULTS, UNSEEN_FAULTS, Settings

__all__ = [
    "BILLED_FAULTS",
    "FREE_FAULTS",
    "UNSEEN_FAULTS",
    "Answerer",
    "Ask",
    "Server",
    "Settings",
    "echo",
    "gold",
    "gold_from_files",
    "serve",
]
