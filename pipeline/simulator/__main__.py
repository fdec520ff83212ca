"""`python -m docreduce.simulator`: the same as `docreduce simulate`."""

from docreduce.simulator.cli import simulate

simulate(prog_name="python -m docreduce.simulator")
