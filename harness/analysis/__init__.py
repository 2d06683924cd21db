"""Questions about finished runs, metrics and adapters, each behind a command.

paired_comparison  `compare`: do two systems differ by more than chance?
difference_doubts  why the interval of a difference is unreliable
sample_size        `power`: how many studies does a difference need?
recorded_facts     what is recorded of one score
printed_names      names of metrics and data sets as papers print them
score_difference   `explain`: why do two scores differ?
audit              `audit`: which errors does a metric or judge see?
validation         `validate`: does a metric agree with radiologists?
check              `check`: does an adapter keep the contract, and does it look at its image?
"""
