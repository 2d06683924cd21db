"""Score files → ranked boards → one self-contained HTML page, JSON, CSV and a terminal table.

    details.py    details.json beside the scores: what a row is opened to, made by the score stage
      breakdown.py  from rows: subgroups, findings, errors
      reports.py    from texts: lengths, variety, comparisons without a prior (priors.py)
    files.py      which runs there are, and what their score files say
    tables.py     reads score files into one JSON-able model of boards
      disclosures.py  what a row says of itself besides its scores
    ties.py       which rows cannot be told apart from the best (paired bootstrap, cached)
    ranks.py      how sure a rank is (joint bootstrap, cached); resamples.py: what both read
    page.py       the model as HTML (page.html.j2, page.css, page.js)
    publish.py    writes leaderboard/index.html, leaderboard.json, leaderboard.csv
    terminal.py   the model as rich tables

The model is the interface: whatever a reader sees is in leaderboard.json first.
"""
