"""What every run is told, whatever it does: its name, its device, the size of its images."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from msip_core.bounded import plain_text
from msip_core.measures import MeasureOptions
from msip_core.messages import msg
from msip_core.recipes import Frozen

# Words that become names, ids and paths.
Word = Annotated[str, AfterValidator(plain_text)]
MAX_SEED = 2**32 - 1  # what NumPy takes


Precision = Literal["auto", "fp32"]
Loader = Literal["auto", "device", "ultralytics"]
Tiles = Literal["auto", "never"] | Annotated[int, Field(ge=32, le=16384)]


class RunBase(Frozen):
    """What every run needs.

    Attributes:
        dataset_version: of the dataset's labels (`data.versions`); None is the newest. Whoever
            submits a run writes down the one of that moment.
        parts: a batch of training goes to the device in so many parts, whose gradients are added:
            less memory, the same steps of the optimizer. Divides `batch`.
        precision: of training; "auto" takes bfloat16 where the device multiplies in it.
        loader: of training: "device" keeps the images there and augments a whole batch at once,
            "ultralytics" augments image by image on the processor, "auto" takes the first on an
            NVIDIA GPU, else the second, which is faster there.
        tiles: large fields are cut into tiles: "auto" (where objects would come to the network
            smaller than they were in training), "never", or always into tiles of so many pixels.
        tile_overlap: of two tiles, as a share of their side; None takes what most objects need.
    """

    name: Word = ""
    dataset: Word
    dataset_version: int | None = Field(default=None, ge=1)
    imgsz: int = Field(default=640, ge=32, le=4096, multiple_of=32)
    batch: int = Field(default=16, ge=1, le=1024)
    parts: int = Field(default=1, ge=1, le=1024, description="a batch is worked through in")
    workers: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="data-loading processes; None chooses by the computer",
    )
    device: Word = "auto"
    seed: int = Field(default=0, ge=0, le=MAX_SEED)
    precision: Precision = "auto"
    loader: Loader = "auto"
    tiles: Tiles = "auto"
    tile_overlap: float | None = Field(default=None, ge=0, le=0.9)
    measure: MeasureOptions | None = Field(
        default=None, description="what a study measures of the finished model"
    )

    @model_validator(mode="after")
    def _equal_parts(self) -> Self:
        if self.batch % self.parts:
            raise ValueError(
                msg(
                    "a batch of {batch} images cannot be cut into {parts} equal parts",
                    batch=self.batch,
                    parts=self.parts,
                )
            )
        return self
