"""The names of torch that the reader needs and that torch does not document, in this file alone.

A release of torch may rename them without notice; the reader then stops with one sentence that names what is missing.
"""

import torch

try:
    from torch._ops import HigherOrderOperator
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
    from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
except ImportError as error:
    raise ImportError(f"The reader of NN-Mass needs a name that torch {torch.__version__} lacks: {error}.") from error

__all__ = ["FakeTensor", "FakeTensorMode", "HigherOrderOperator", "get_proxy_mode", "make_fx", "unset_fake_temporarily"]
