"""`python -m pipeline.simulator`: the same as `docreduce simulate`."""

from pipeline.simulator.cli import simulate

simulate(prog_name="python -m pipeline.simulator")
