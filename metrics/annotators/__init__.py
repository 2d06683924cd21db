"""Annotators: each makes notes of texts, at some expense, that one or several metrics read."""
