"""What the answers of jobs mean: kept ones from before a change are not given again. No torch."""

from __future__ import annotations

# Job -> how often the meaning of its answer has changed, from the second on.
_MEANING = {"shap": 2, "gradcam": 2, "attention": 2}


def meant(job: str) -> str:
    """The job's name, with the number of its meaning from the second on."""
    number = _MEANING.get(job, 1)
    return job if number == 1 else f"{job} {number}"
