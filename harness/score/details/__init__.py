"""What the tables show when a row is opened, made by the score stage and kept in details.json.

update.py             writes and reads details.json
details_file.py       the content of details.json as dataclasses
breakdown.py          subgroups of the studies, and findings that were missed or invented
report_texts.py       lengths, variety and inputs of the reports
prior_comparisons.py  reports that mention an earlier exam although none was given
"""
