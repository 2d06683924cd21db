"""Annotators: expensive reading of texts that several metrics share."""
