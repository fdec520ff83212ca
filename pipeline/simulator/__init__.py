"""A provider on loopback with limits, latency and faults, to rehearse a run without paying.

It speaks the three dialects (OpenAI, Anthropic, ModelsLab) over real HTTP and counts what it billed to the token."""

from pipeline.simulator.answers import Answerer, echo, gold, gold_from_files
from pipeline.simulator.dialects import Ask
from pipeline.simulator.server import Server, serve
from pipeline.simulator.settings import BILLED_FAULTS, FREE_FAULTS, UNSEEN_FAULTS, Settings

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
