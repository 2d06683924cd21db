"""The command line.

main.py                finds the command's module, runs it, turns errors into one sentence
parser.py              builds the help page and the parser of each command
arguments.py           arguments that several commands share
commands/              one module per command
stages.py              runs stages of the pipeline and shows the result
output.py              printing, and writing of JSON
listing.py             what `list` prints
systems.py             the systems that `list models` shows
machine_check.py       the checks of `doctor`
cohort_description.py  what `doctor dataset=NAME` shows of a cohort
tables.py              terminal tables of evaluate, list and doctor
tables_compare.py      terminal tables of compare, power and explain
"""
