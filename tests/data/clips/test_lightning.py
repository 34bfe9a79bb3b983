"""Lightning, with the unused parts of torchmetrics deferred."""

from __future__ import annotations

import subprocess
import sys


def test_torchmetrics_that_is_imported_in_part_is_whole_when_it_is_asked_for() -> None:
    script = (
        "import sys\nfrom distill.data.clips.lightning import L\nassert 'torchmetrics.functional' not in sys.modules\n"
        "import torchmetrics\nassert torchmetrics.Accuracy and torchmetrics.functional\n"
        "assert torchmetrics.Metric is torchmetrics.metric.Metric\nassert not hasattr(torchmetrics, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
