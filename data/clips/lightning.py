"""Lightning without the unused parts of torchmetrics. All modules import `L` from here.

Lightning imports torchmetrics for two classes, `Metric` and `MetricCollection`. Torchmetrics then imports all of its
metrics, transformers and scipy. This takes a third of the time until the first batch.
"""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import Any


def defer_torchmetrics() -> None:
    """Import two classes of torchmetrics now, and the rest at the first access to another name.

    The module in `sys.modules` is torchmetrics itself. Only the code of its `__init__.py` runs later. The function does
    nothing if torchmetrics is already imported, or if its version cannot be imported in parts.
    """
    spec = find_spec("torchmetrics") if "torchmetrics" not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    package: Any = module_from_spec(spec)
    loader = spec.loader

    def get(name: str) -> Any:
        if "__getattr__" in vars(package):
            del package.__getattr__
            loader.exec_module(package)
            return getattr(package, name)
        raise AttributeError(f"module 'torchmetrics' has no attribute {name!r}")

    package._logger = logging.getLogger("torchmetrics")  # the two classes use it
    sys.modules["torchmetrics"] = package
    try:
        import_module("torchmetrics.utilities")  # before `metric`: the two import each other
        package.__version__ = import_module("torchmetrics.__about__").__version__
        package.Metric = import_module("torchmetrics.metric").Metric
        package.MetricCollection = import_module("torchmetrics.collections").MetricCollection
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
            del sys.modules[name]
    else:
        package.__getattr__ = get


defer_torchmetrics()

import lightning as L  # noqa: E402
from lightning.fabric.plugins import TorchCheckpointIO  # noqa: E402
from lightning.fabric.plugins.environments.lightning import LightningEnvironment  # noqa: E402
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment  # noqa: E402
from lightning.pytorch.strategies import DDPStrategy  # noqa: E402

__all__ = ["DDPStrategy", "L", "LightningEnvironment", "TorchCheckpointIO", "TorchElasticEnvironment"]
