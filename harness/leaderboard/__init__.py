"""Score files → ranked boards → one self-contained HTML page, JSON, CSV and a terminal table.

    tables.py     reads score files into one JSON-able model of boards
    ties.py       which rows cannot be told apart from the best (paired bootstrap, cached)
    page.py       the model as HTML (page.html.j2, page.css, page.js)
    publish.py    writes leaderboard/index.html, leaderboard.json, leaderboard.csv
    terminal.py   the model as rich tables

The model is the interface: whatever a reader sees is in leaderboard.json first.
"""
