"""Statistics over additive rows: intervals, tests and effect sizes, with NumPy only.

resampling.py         bootstrap weights and intervals
paired_difference.py  the test of two systems, and Holm's correction
pairwise.py           tests of every pair of systems
family.py             which comparisons are corrected together, and the one verdict on each pair
effect_size.py        effect sizes, power, and studies needed
pilot.py              the studies that a test needs, and how far a pilot pins that down
"""
