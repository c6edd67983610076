"""Counts what makes a processor wait for a GPU."""

from __future__ import annotations

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Looks(TorchDispatchMode):
    """Counts numbers that are read, results whose shape depends on values, and copies between
    devices."""

    WAITING = ("_local_scalar_dense", "is_nonzero", "nonzero", "_unique2", "masked_select",
               "unique_dim", "unique_consecutive", "equal")  # fmt: skip

    def __init__(self, *more: str) -> None:
        super().__init__()
        self.waiting = {*self.WAITING, *more}
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        out = func(*args, **(kwargs or {}))
        if name in self.waiting or self._by_mask(name, args) or self._moved(args, out):
            self.found[name] += 1
        return out

    def _by_mask(self, name, args) -> bool:
        if name not in {"index", "index_put_", "index_put", "_index_put_impl_"}:
            return False
        masks = [one for one in args[1] if one is not None and one.dtype == torch.bool]
        return bool(masks)

    def _moved(self, args, out) -> bool:
        tensors = [one for one in args if isinstance(one, torch.Tensor)]
        return isinstance(out, torch.Tensor) and any(one.device != out.device for one in tensors)
