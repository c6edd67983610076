"""What is wrong with what a command did; nothing where all is right."""

from __future__ import annotations

from tests.campaign.case import Case, Outcome

SECONDS = 20.0
MEGABYTES = 1500.0
_LINES = 12  # one sentence, and what stands with it


def faults(case: Case, outcome: Outcome, *, kept: int | None, left: list[str]) -> list[str]:
    """Every rule that the outcome breaks, in words.

    Args:
        kept: images of the dataset that was made, if one was.
        left: files and canaries that lie where nothing may be.
    """
    said = outcome.out + outcome.err
    found: list[str] = []
    if outcome.exit is None:
        found.append("did not end")
    elif outcome.exit not in case.exits:
        found.append(f"exit {outcome.exit}")
    if "Traceback (most recent call last)" in said:
        found.append("traceback")
    if "Something went wrong that should not" in said:
        found.append("error report")
    if outcome.exit and not outcome.err.strip():
        found.append("ended with an error and said nothing")
    if outcome.exit == 2 and len(outcome.err.strip().splitlines()) > _LINES:
        found.append(f"{len(outcome.err.strip().splitlines())} lines instead of a sentence")
    if outcome.seconds > SECONDS:
        found.append(f"{outcome.seconds:.0f} s")
    if outcome.megabytes > MEGABYTES:
        found.append(f"{outcome.megabytes:.0f} MB")
    if case.keeps is not None and (kept or 0) < case.keeps:
        found.append(f"{kept or 0} of {case.keeps} good images came in")
    return [*found, *outcome.code, *outcome.outside, *left]
