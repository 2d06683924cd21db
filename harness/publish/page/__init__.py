"""The leaderboard as people read it: one HTML page, the study viewer, a terminal table, files.

write           writes index.html, leaderboard.json and leaderboard.csv
page            renders the page (page.html.j2, page.css and the scripts)
score_columns   the columns of scores: from a score to what its cell shows
fact_columns    the other columns: rank, studies and answers, speed and cost
skill_view      the view of skill: between the best floor and the ceiling
cells           a cell of the page, and how numbers are written in it
row_view        what is known of a system besides its scores
matrix          the pairwise section
viewer          the study viewer: reports beside their references
per_report      what each report scores for itself, for the viewer
terminal_board  the boards as tables in the terminal
http_server     `reportcard serve`
"""
