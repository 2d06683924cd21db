"""Released results: what may be published of a results folder, and whether a release is what its
numbers say.

    export.py       results_dir → release-dir: scores, rows, cards, cohorts, leaderboard, MANIFEST
    pseudonyms.py   ids of closed data, paths and secrets do not leave
    reading.py      a folder from elsewhere: sizes, names and formats are checked before it is read
    verify.py       every number again from its rows

A release has the layout of a results folder, with relative names only:

    MANIFEST.json       sha256 and size of every other file; versions of the code
    signatures.txt      one line per score, to paste into a paper
    current.json        the rows of the tables
    cohorts/            of closed data with pseudonyms instead of ids, and without text digests
    predictions/        cards; predictions.jsonl, DONE and timing.jsonl of open data only
    scores/             scores.json and rows.npz
    leaderboard/        index.html, leaderboard.json, leaderboard.csv
    published/          figures as printed, with their sources
"""
