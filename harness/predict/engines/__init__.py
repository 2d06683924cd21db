"""Where models and annotators run. Every engine gives the same predictions.

engine         the interface of an engine, and how to open one
local          this process, one batch at a time
job            what an engine runs; batches; retries when a batch fails
prefetch       inputs of the next batches, prepared in threads
failures       an exception as one line without report text
ray            replicas on the GPUs of a machine or cluster
ray_replicas   distributes work over Ray actors and replaces lost ones
ray_cluster    what a cluster has, for `reportcard doctor`
ray_tempdir    a private temporary folder for Ray's files
"""
