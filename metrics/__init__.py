"""Metrics: each turns pairs of texts into additive rows, and summed rows into scores."""
