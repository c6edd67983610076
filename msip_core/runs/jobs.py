"""Interactive work by name. Each job is a function of the room that knows how to do it:

    def job(workspace: Workspace, params: dict[str, Any], out: Path, progress: Progress)
        -> dict[str, Any]

It returns a JSON result, writes files into `out`, and calls `progress(share done, message)`,
which raises `errors.Stopped` once the job was cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

Progress = Callable[[float, str], None]

JOBS: Mapping[str, str] = MappingProxyType(
    {
        "data-inspect": "msip_core.data.jobs:inspect_job",
        "data-import": "msip_core.data.jobs:import_job",
        "data-draw": "msip_core.data.jobs:draw_job",
        "predict": "msip_core.detector.jobs:predict_job",
        "compare": "msip_core.detector.jobs:compare_job",
        "latency": "msip_core.detector.jobs:latency_job",
        "export": "msip_core.detector.jobs:export_job",
        "upload": "msip_core.detector.jobs:upload_job",
        "estimate": "msip_core.pruning.jobs:estimate_job",
        "preview": "msip_core.pruning.jobs:preview_job",
        "gradcam": "msip_core.explain.jobs:gradcam",
        "shap": "msip_core.explain.jobs:shap",
        "boundary": "msip_core.explain.jobs:boundary",
        "attention": "msip_core.explain.jobs:attention",
    }
)
