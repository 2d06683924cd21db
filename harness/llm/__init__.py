"""Asks language models, and keeps report text from going where it must not.

client   asks an endpoint many questions: workers, retries, budget
judge    judges of report text: live, recorded, and the verdict cache
egress   the gate that decides to which endpoints text may be sent
custody  whose text it is, for pairs and requests outside a run
"""
