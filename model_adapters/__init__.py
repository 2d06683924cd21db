"""Systems under test: one file per model, known to the harness only through reportcard.api."""
