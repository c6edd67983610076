"""Whether what a count wrote is whole; the worker names this before it says that it is done."""

from __future__ import annotations

from msip_core.errors import WorkError
from msip_core.events import RunContext
from msip_core.plates.folder import read_facts
from msip_core.plates.journal import image_rows, object_rows


def check(ctx: RunContext) -> None:
    """Every picture has a row of every model, and every count its objects.

    Raises:
        WorkError: something is missing.
    """
    facts = read_facts(ctx.run_dir)
    for role in facts.models:
        images = image_rows(ctx.run_dir, role)
        wanted = sum(sum(image.counts.values()) for image in images)
        found = sum(1 for _ in object_rows(ctx.run_dir, role, images))
        if len(images) != facts.total or found != wanted:
            raise WorkError(
                "The files of this count are not whole ({n} of {total} images, "
                "{found} of {wanted} objects): resume it, which counts what is missing.",
                n=len(images),
                total=facts.total,
                found=found,
                wanted=wanted,
            )
