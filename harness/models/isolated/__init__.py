"""Runs a model in its own virtual environment, as a worker process that answers JSON messages.

adapter          IsolatedAdapter, which an adapter extends
environments     builds the virtual environment once from a requirements file
supervised       starts the worker, sends batches, and restarts it after a crash
worker_process   one process: start, exchange of messages, time limits, end
frames           the messages: length-prefixed JSON, checked byte by byte
worker_main      the script that runs in the model's environment, on Python 3.7 or newer
"""
