"""Where generate() runs."""
