"""Stage 2 of the pipeline: a model answers a cohort's requests, stored in predictions.jsonl.

prediction_stage   the stage: generates what a run lacks and writes DONE last
system             a model on a cohort: construct it, check it, ask for the missing answers
predictions_file   reads and writes predictions.jsonl, card.json and DONE
shards             one part of a run per process, merged afterwards
generation         `reportcard generate`: answers a user's own file of requests
generated_files    the files that it writes, and whether they belong to the same command
show_prompt        `reportcard prompt`: what a model is given for one study
engines            where models run: in this process or on Ray
"""
