"""Turns the command line and the YAML files of conf/ into one frozen RunConfig.

settings.py      RunConfig and its parts
compose.py       composes them with Hydra
hydra_errors.py  turns Hydra's errors into one sentence
paths.py         the folder of YAML files
catalogue.py     names with one line each, for `reportcard list`
"""
