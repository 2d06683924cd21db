"""Tools below everything else: they know neither the plugin contract nor a pipeline stage.

errors        every exception of the package
files         atomic files, append-only JSONL, locks, digests
layout        the paths below results/; the only module that spells them
registry      finds plugins by name
python_source reads Python files without importing them
fingerprint   digests the code that decides the answers of a model
records       reads JSON objects into dataclasses and writes them back
user_files    reads CSV, TSV, JSON and JSONL of users; errors name the line
weights       published weights: fetched at a fixed commit and verified
download      files out of registries: the Open-I reports, the model of the local judge
environment   versions, git state and GPUs, for run cards
model_answer  a language model's answer without its thoughts
imaging       image files as grey arrays
console       the rich console
progress      progress bars
version       the version of the package
"""
