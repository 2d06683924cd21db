"""One module per command: `add_arguments(parser)` and `run(arguments)`.

A module's docstring is the command's help. `reportcard --help` imports every module here, so none
may import NumPy, Hydra or a stage before `run`.

Run a benchmark:     fetch, leaderboard, predict, run, score
Work on one model:   check, generate, new_model, prompt
Compare results:     compare, explain, power
Metrics and judges:  audit, evaluate, judge, validate
Look around:         dashboard, doctor, list, sections, serve
"""
