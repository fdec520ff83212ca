"""`python -m docreduce`: the command where its folder is not on the path."""

from docreduce.cli import main

main()
