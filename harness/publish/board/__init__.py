"""The leaderboard as dataclasses: boards, columns, entries and cells, built from score files.

boards           the dataclasses, and how leaderboard.json is read and written
build            builds the boards from the score files
column_marks     which columns are headlines, which a floor leads, and which ranks the board
listed_runs      finds the runs that the leaderboard shows
disclosures      the facts next to a run's scores: provenance, inputs, speed, cost, lengths
vision           what `reportcard check` found about a model's use of images
metric_group     the group of a metric: lexical, clinical, judged, grounding
comparison       prepares the comparison of entries: rows, metric, resamples
verdicts         tests every pair of entries on a metric, with one verdict each
ties             entries that do not differ significantly from the best of a column
pairwise_matrix  the tests of every pair of entries on the primary key
ranks            the ranks that these verdicts leave open
skill            each value between the best floor and the ceiling of its column
published        figures that other people printed
"""
