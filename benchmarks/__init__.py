"""Speed benchmarks (`make bench`): each measures both sides in one run and prints a ratio."""
