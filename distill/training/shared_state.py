"""State that training changes besides the weights, and that several processes must share.

DDP averages the gradients, so the weights stay equal. Batch normalisation and the objective keep statistics of the
batches, of which each process sees its part.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from distill.objectives.objective import Objective
from distill.training.world import World


class SharedState:
    """The state of an objective that all processes share. With a single process, nothing is done.

    Args:
        objective: Objective in training.
        world: Processes of the run.
    """

    def __init__(self, objective: Objective, world: World) -> None:
        self.objective, self.world = objective, world
        self._before: dict[str, Tensor] = {}  # the statistics of the objective when they were last shared

    @torch.no_grad()
    def begin(self) -> None:
        """Give all processes the state of rank 0."""
        if self.world.size > 1:
            for tensor in (*self.objective.parameters(), *self.objective.buffers()):
                self.world.share(tensor)
            self._before = {name: buffer.clone() for name, buffer in self._statistics().items()}

    @torch.no_grad()
    def average_batch_norm(self) -> None:
        """Replace the running statistics of batch normalisation by those of all processes' batches together."""
        layers = [layer for layer in self.objective.modules() if _has_statistics(layer)]
        if self.world.size == 1 or not layers:
            return
        means = torch.cat([layer.running_mean for layer in layers]).double()  # type: ignore[misc]
        variances = torch.cat([layer.running_var for layer in layers]).double()  # type: ignore[misc]
        moments = self.world.sum(torch.stack([means, variances + means.square()])) / self.world.size
        sizes = [len(layer.running_mean) for layer in layers]  # type: ignore[arg-type]
        for layer, mean, square in zip(layers, moments[0].split(sizes), moments[1].split(sizes), strict=True):
            layer.running_mean.copy_(mean)  # type: ignore[operator]
            layer.running_var.copy_((square - mean.square()).clamp(min=0))  # type: ignore[operator]

    @torch.no_grad()
    def average_statistics(self) -> None:
        """Replace the change of each of the objective's statistics by the mean of all processes, after a step."""
        statistics = self._statistics() if self.world.size > 1 else {}
        if not statistics:
            return
        changes = {name: value - self._before.get(name, value) for name, value in statistics.items()}
        total = self.world.sum(torch.cat([change.double().flatten() for change in changes.values()]))
        parts = (total / self.world.size).split([change.numel() for change in changes.values()])
        for (name, value), part in zip(statistics.items(), parts, strict=True):
            if name in self._before:
                value.copy_(self._before[name] + part.view_as(value).to(value.dtype))
            self._before[name] = value.clone()

    def _statistics(self) -> dict[str, Tensor]:
        """Return the buffers that the objective's modules name in `shared_statistics`, by their path."""
        return {
            f"{path}.{name}": getattr(module, name)
            for path, module in self.objective.named_modules()
            for name in getattr(module, "shared_statistics", ())
        }


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None
