"""Stage 5 of the pipeline: score files become what people read.

publishing_stage  the stage: writes the leaderboard, shows its tables, logs the runs to MLflow
board             the leaderboard as dataclasses, built from score files
page              the leaderboard as HTML, JSON, CSV and terminal tables
mlflow            the runs in MLflow
release           exports what may be published, and verifies such a release

Everything that a reader sees on the page is in leaderboard.json too.
"""
