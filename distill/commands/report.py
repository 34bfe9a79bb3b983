"""`distill report`: pictures of a run, ended or not."""

from __future__ import annotations

import torch

from distill.data.errors import UserError
from distill.job import Job
from distill.runs import Run


def report(run: str = "") -> None:
    """Draw losses, what the objective observed, and the objective's own pictures, from the newest checkpoint.

    Args:
        run: Run folder; the pictures go into its `report/`.

    Raises:
        UserError: there is no run, or it has no checkpoint yet.
    """
    if not run:
        raise UserError("--run RUN is wanted: the folder of a run")
    folder = Run(run)
    job = Job(folder, folder.config)
    checkpoint, _ = folder.newest_checkpoint()
    if checkpoint is None:
        raise UserError(f"{run} has no checkpoint yet")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    objective = job.objective(job.teachers)
    objective.load_state_dict({key.removeprefix("objective."): tensor for key, tensor in state.items()})
    job.draw(objective.eval())
    print("\n".join(str(path) for path in sorted(folder.report.glob("*.png"))))
