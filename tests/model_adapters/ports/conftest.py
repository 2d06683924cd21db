"""Torch with one thread: two are slower than one on a busy machine, and sums keep their order."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

try:
    import torch
except ImportError:
    pass
else:
    torch.set_num_threads(1)
