"""Stage 4 of the pipeline: metrics turn pairs of reports into scores with intervals.

scoring_stage.py  writes the missing and stale scores of a cohort's runs
pairs.py          a cohort's references, a run's answers beside them, and their rows
scorer.py         a metric with its annotators; scores from rows
normalise.py      texts as a protocol wants them
signature.py      the line that says how a score was made
rows_file.py      reads and writes rows.npz
score_file.py     the content of scores.json as dataclasses
evaluation.py     scores a user's own pairs: the Python API and `reportcard evaluate`
details/          details.json: what the tables show when a row is opened
stats/            intervals, tests and effect sizes
"""
