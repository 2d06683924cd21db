"""Tools for model adapters: what the files in model_adapters/ are built with.

staged        StagedAdapter, the base class of models that load weights in this process
isolated      IsolatedAdapter, the base class of models with an environment of their own
chat          a client for chat models behind an endpoint
checkpoints   finds, checks and downloads weights
views         chooses the frontal, lateral or prior image of a request
scaffold      `reportcard new-model`: writes an adapter that works as a toy
skeleton      the text files that scaffold copies
"""
