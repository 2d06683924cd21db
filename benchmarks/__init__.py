"""Speed figures (`make bench`): both sides are measured in one run, and a ratio is printed."""
