"""`python -m docreduce.cli`."""

from docreduce.cli import main

main()
