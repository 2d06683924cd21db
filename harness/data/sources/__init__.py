"""Datasets: one file per source, and the tools they share."""
