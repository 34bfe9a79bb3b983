"""Losses between embeddings: functions of tensors, without a model, a batch or a configuration.

A loss is a function, or a module with options. It takes a prediction and a target, both (rows, dim), and returns a
scalar. A loss with `needs_clusters = True` takes a third argument: the cluster of each row, (rows,).

`averages_rows = True` means that the loss is the mean of the losses of single rows. Only such a loss can be weighted by
clips; one that compares clips with each other cannot.

Two optional attributes say how a loss is judged. `constant(targets)` returns the best constant prediction (dim,) for
targets (rows, dim); the loss is then shown as a share of that prediction's. `retrieves = True` means that predictions
are compared with targets of other rows; such a loss is judged by recall, as a constant is not a yardstick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from distill.data.encoders.registry import Registry
from distill.data.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[..., "Tensor"]

LOSSES: Registry[Tensor] = Registry(
    "loss",
    {
        "cluster_aware": "distill.losses.contrastive:ClusterAware",
        "contrastive": "distill.losses.contrastive:Contrastive",
        "cosine": "distill.losses.regression:cosine",
        "cosine_smooth_l1": "distill.losses.regression:CosineSmoothL1",
        "decoupled": "distill.losses.contrastive:Decoupled",
        "hybrid": "distill.losses.contrastive:Hybrid",
        "kl": "distill.losses.contrastive:KullbackLeibler",
        "l1": "distill.losses.regression:l1",
        "mse": "distill.losses.regression:mse",
        "other_clusters": "distill.losses.contrastive:OtherClusters",
        "queue_kl": "distill.losses.queue:QueueKullbackLeibler",
        "relational": "distill.losses.contrastive:Relational",
        "smooth_l1": "distill.losses.regression:smooth_l1",
    },
)


def build_loss(spec: str | Mapping[str, Any]) -> Loss:
    """Return a loss, given its name or {class_path: NAME, init_args: OPTIONS}.

    Raises:
        UserError: the name is unknown, or an option is not valid.
    """
    loss: Any = LOSSES.find(spec if isinstance(spec, str) else str(spec.get("class_path")))
    if not isinstance(loss, type):
        return loss
    try:
        return LOSSES.build(spec)  # type: ignore[return-value]
    except ValueError as error:
        raise UserError(f"--objective.loss: {error}") from error
