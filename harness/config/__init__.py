"""Turns the command line and the YAML files of conf/ into one frozen RunConfig.

settings.py           RunConfig and its parts
endpoint_settings.py  a judge or chat model behind an endpoint
compose.py            composes them with Hydra
hydra_errors.py       turns Hydra's errors into one sentence
paths.py              the folder of YAML files
catalogue.py          names with one line each, for `reportcard list`
"""
