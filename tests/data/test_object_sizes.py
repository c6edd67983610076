"""A model is warned of images whose objects it sees at another size, and of no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from msip_core.boxes import Box
from msip_core.data.dataset import Dataset
from msip_core.data.object_sizes import SeenImage, size_warning, trained_sizes
from msip_core.models import TrainedSizes
from tests.data.conftest import Importer, write_image

# Images of 450 px with objects of 45 px, seen at 640: 64 px for the network.
TRAINED = TrainedSizes(
    object_px=45, share_low=0.06, share=0.1, share_high=0.2,
    image_low=400, image=450, image_high=500,
)  # fmt: skip


def boxes(side: float, number: int = 6) -> list[Box]:
    return [Box(cls=0, x1=0, y1=0, x2=side, y2=side)] * number


def warn(width: int, height: int, side: float = 45, **more: float) -> str | None:
    imgsz = int(more.pop("imgsz", 640))
    trained = TRAINED.model_copy(update={"pixel_size_um": more.pop("trained_um", None)})
    seen = SeenImage(width, height, imgsz, more.get("um"))
    return size_warning(trained, 640, seen, boxes(side))


def test_a_whole_field_for_a_model_of_small_crops_is_warned_of_with_both_sizes() -> None:
    said = warn(1500, 1125)

    assert said is not None
    assert "are 19 px for the network on this image, they were 64 px in training" in said
    assert "images 1,500 px here and 450 px there" in said
    assert "tiles of about 450 px" in said


def test_a_crop_for_a_model_of_whole_fields_is_warned_of() -> None:
    assert "Take a field of about 450 px" in (warn(150, 150) or "")


@pytest.mark.parametrize(
    ("width", "height"), [(450, 450), (400, 300), (500, 400), (300, 450), (640, 640)]
)
def test_images_like_those_of_the_training_are_not(width: int, height: int) -> None:
    assert warn(width, height) is None


def test_a_larger_input_of_the_network_makes_up_for_a_larger_field() -> None:
    assert warn(900, 900) is not None
    assert warn(900, 900, side=45, imgsz=1280) is None


def test_micrometres_tell_a_camera_with_finer_pixels_from_a_larger_field() -> None:
    # Twice the pixels on half the size each: the same field.
    assert warn(900, 900, side=90, trained_um=1.0, um=0.5) is None
    said = warn(450, 450, trained_um=1.0, um=2.5) or ""
    assert "are 26 px" in said
    assert "1,125 µm here and 450 µm there" in said
    assert "tiles of about 180 px" in said


def test_boxes_of_another_size_than_learned_are_named_on_an_image_of_the_usual_size() -> None:
    assert "is 213 px large for the network (median), what it learned 64 px" in (
        warn(450, 450, side=150) or ""
    )
    assert size_warning(TRAINED, 640, SeenImage(450, 450, 640), boxes(150, 2)) is None


def test_sizes_are_measured_on_the_training_part(tmp_path: Path, bring_in: Importer) -> None:
    for n in range(20):
        write_image(tmp_path / f"x{n:02d}.png", n)
        (tmp_path / f"x{n:02d}.txt").write_text("0 0.5 0.5 0.2 0.3\n")  # 12 x 12 pixels of 60 x 40

    dataset: Dataset = bring_in(tmp_path, pixel_size_um=1.5)

    sizes = trained_sizes(dataset)
    assert sizes is not None
    assert sizes.object_px == pytest.approx(12, abs=0.01)
    assert sizes.share == pytest.approx(0.2, abs=0.001)
    assert (sizes.image_low, sizes.image, sizes.image_high) == (60, 60, 60)
    assert sizes.pixel_size_um == 1.5
    for record in dataset.images:
        seen = SeenImage(record.width, record.height, 64, 1.5)
        assert size_warning(sizes, 64, seen, dataset.boxes(record) * 5) is None
