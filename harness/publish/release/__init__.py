"""Exports the part of a results folder that may be published, and verifies such a release.

    export.py      `reportcard leaderboard export`: writes a release from a results folder
    manifest.py    MANIFEST.json: the release's files with their digests and sizes
    pseudonyms.py  replaces ids of closed data, paths of this machine and secrets
    reading.py     checks names, sizes and formats of a foreign folder before it is read
    verify.py      `reportcard leaderboard verify`: recomputes every number from its rows

"Closed" is all data that is not open. A release has the layout of a results folder, with relative
names only:

    MANIFEST.json       sha256 and size of every other file; versions of the code
    signatures.txt      one line per score, to paste into a paper
    current.json        the runs that the tables show
    cohorts/            cohort files; closed data has pseudonyms and no digests of texts
    predictions/        cards; and of open data predictions.jsonl, DONE and timing.jsonl
    scores/             scores.json and rows.npz
    leaderboard/        index.html, leaderboard.json, leaderboard.csv
    published/          figures as other people printed them, with their sources
"""
