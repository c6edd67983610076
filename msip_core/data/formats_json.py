"""labelme, VGG Image Annotator (JSON and CSV), QuPath's GeoJSON, Label Studio, Supervisely and
CreateML: from the parsed file to records (see `labels_records`)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from msip_core.data.labels import ImageLabels, LabelledObject, size_of
from msip_core.data.labels_records import (
    Parser,
    Record,
    boxed,
    ellipse,
    labels_of,
    not_an_object,
    polygon,
    rectangle,
    turned,
)
from msip_core.data.outline_boxes import is_upright_box
from msip_core.data.verdicts import check_taken
from msip_core.messages import msg

_NO_SHAPES = ("choices", "textarea", "rating", "number", "taxonomy")
_CLASS_KEYS = ("class", "type", "label", "name", "category", "object", "species")

# --- labelme --------------------------------------------------------------------


def labelme(value: Any) -> list[Record] | None:
    """One file an image: {"shapes": [{"label", "points", "shape_type"}], "imagePath", …}."""
    if not isinstance(value, dict) or not isinstance(value.get("shapes"), list):
        return None
    size = (value.get("imageWidth"), value.get("imageHeight"))
    labels = labels_of(
        value["shapes"],
        _labelme_shape,
        size,
        lambda shape: shape.get("group_id"),
        whole=value.get("flags"),
    )
    return [Record([str(value.get("imagePath") or "")], labels, own=True)]


def _labelme_shape(shape: dict[str, Any]) -> LabelledObject:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind == "mask":  # its last pixel is inside
        (x1, y1), (x2, y2) = points
        return rectangle(shape.get("label"), (x1, y1, float(x2) + 1, float(y2) + 1))
    if kind == "rectangle" or (kind in ("rotation", "oriented_rectangle") and len(points) == 4):
        return polygon(shape.get("label"), points, outline=False)
    if kind == "polygon":
        return polygon(shape.get("label"), points)
    if kind == "circle":
        (x, y), (edge_x, edge_y) = points
        radius = ((x - edge_x) ** 2 + (y - edge_y) ** 2) ** 0.5
        return ellipse(shape.get("label"), (x, y), (radius, radius))
    raise not_an_object(kind)


# --- VGG Image Annotator ----------------------------------------------------------


def via(value: Any) -> list[Record] | None:
    """A project or an export: {key: {"filename", "regions": [{"shape_attributes", …}]}}.

    Images without a region are listed too, finished or not: they are not taken as labelled.
    """
    if not isinstance(value, dict):
        return None
    entries = value.get("_via_img_metadata", value)
    if not isinstance(entries, dict) or not entries:
        return None
    if not all(
        isinstance(e, dict) and "filename" in e and "regions" in e for e in entries.values()
    ):
        return None
    records, called = [], _via_options(value.get("_via_attributes"))
    for entry in entries.values():
        regions = entry["regions"]
        regions = list(regions.values()) if isinstance(regions, dict) else regions
        if regions:
            whole = entry.get("file_attributes")
            labels = labels_of(regions, lambda region: _via_region(region, called), whole=whole)
            records.append(Record([str(entry["filename"])], labels))
    return records


def via_table(rows: Any) -> list[Record] | None:
    """VIA's CSV: one row a region, shapes and classes as JSON in cells."""
    header = [cell.strip().lstrip("#").lower() for cell in rows[0]] if rows else []
    if "region_shape_attributes" not in header:
        return None
    image = header.index("filename")
    shape, kind = header.index("region_shape_attributes"), header.index("region_attributes")
    whole = header.index("file_attributes") if "file_attributes" in header else None
    regions: dict[str, list[tuple[str, str]]] = {}
    said: dict[str, Any] = {}
    for row in rows[1:]:
        if len(row) > max(shape, kind) and row[shape].strip() not in ("", "{}"):
            regions.setdefault(row[image], []).append((row[shape], row[kind]))
            said[row[image]] = {} if whole is None else json.loads(row[whole] or "{}")
    return [
        Record([name], labels_of(found, _via_cells, whole=said[name]))
        for name, found in regions.items()
    ]


def label_studio_table(rows: Any) -> list[Record] | None:
    """Label Studio's CSV: its JSON-MIN with the shapes as JSON in a cell."""
    header = [cell.strip() for cell in rows[0]] if rows else []
    if "image" not in header or ("annotator" not in header and "annotation_id" not in header):
        return None
    tasks = []
    for row in rows[1:]:
        task = {key: _parsed(cell) for key, cell in zip(header, row)}
        if task.get("image"):
            tasks.append(task)
    return [_flat_task(task) for task in tasks]


def _parsed(cell: str) -> Any:
    return json.loads(cell) if cell.lstrip().startswith("[") else cell


def _via_cells(cells: tuple[str, str]) -> LabelledObject:
    shape, attributes = (json.loads(cell or "{}") for cell in cells)
    check_taken(attributes)
    return _via_region({"shape_attributes": shape, "region_attributes": attributes})


def _via_options(attributes: Any) -> dict[str, str]:
    """Number of an option -> what a project shows for it: people see "crypt" and VIA stores "1".

    A number that two attributes show differently has no name.
    """
    of_regions = attributes.get("region") if isinstance(attributes, dict) else None
    found: dict[str, set[str]] = {}
    for attribute in of_regions.values() if isinstance(of_regions, dict) else ():
        options = attribute.get("options") if isinstance(attribute, dict) else None
        for key, shown in options.items() if isinstance(options, dict) else ():
            if key.isdecimal() and isinstance(shown, str) and shown.strip():
                found.setdefault(key, set()).add(shown.strip())
    return {key: shown.pop() for key, shown in found.items() if len(shown) == 1}


def _via_region(region: dict[str, Any], called: dict[str, str] | None = None) -> LabelledObject:
    shape, name = region["shape_attributes"], _via_class(region.get("region_attributes") or {})
    name = (called or {}).get(str(name), name)
    kind = shape["name"]
    if kind == "rect":
        x, y = float(shape["x"]), float(shape["y"])
        return rectangle(name, (x, y, x + float(shape["width"]), y + float(shape["height"])))
    if kind == "polygon":
        points = list(zip(shape["all_points_x"], shape["all_points_y"], strict=True))
        return polygon(name, points)
    if kind == "circle":
        return ellipse(name, (shape["cx"], shape["cy"]), (shape["r"], shape["r"]))
    if kind == "ellipse":
        degrees = math.degrees(float(shape.get("theta") or 0))
        return ellipse(name, (shape["cx"], shape["cy"]), (shape["rx"], shape["ry"]), degrees)
    raise not_an_object(kind)


def _via_class(attributes: dict[str, Any]) -> Any:
    """The class among free attributes: the only one, or the one that is called so."""
    named = {key.lower(): value for key, value in attributes.items()}
    value = next(iter(named.values())) if len(named) == 1 else None
    if len(named) > 1:
        key = next((key for key in _CLASS_KEYS if key in named), None)
        if key is None:
            raise ValueError(
                msg(
                    "which of its attributes is the class is not said ({named})",
                    named=", ".join(named),
                )
            )
        value = named[key]
    if isinstance(value, dict):  # check boxes
        return _only([key for key, on in value.items() if on])
    return value


def _only(classes: list[Any]) -> Any:
    """The one class of a shape that may be given several; None if it has none."""
    different = list(dict.fromkeys(map(str, classes)))
    if len(different) > 1:
        raise ValueError(msg("it has several classes ({chosen})", chosen=", ".join(different)))
    return classes[0] if classes else None


# --- QuPath -----------------------------------------------------------------------


def geojson(value: Any) -> list[Record] | None:
    """One file an image: a FeatureCollection, or a list of Features, as QuPath exports them."""
    if isinstance(value, dict) and value.get("type") == "FeatureCollection":
        features = value.get("features")
    else:
        features = [value] if isinstance(value, dict) else value
        if not features or not isinstance(features, list) or not all(map(_is_feature, features)):
            return None
    if not isinstance(features, list):
        raise ValueError(msg("its 'features' are no list"))
    objects, areas = _without_areas(features)
    if len(set(map(_plane, objects))) > 1:
        raise ValueError(msg("its shapes lie on several planes: save those of one plane"))
    labels = labels_of(objects, _feature)
    if areas:
        labels.notes.append(
            msg(
                "areas in which QuPath looked for objects, or was to ignore, are none: {areas}",
                areas=areas,
            )
        )
    return [Record([], labels, own=True)]


def _without_areas(features: list[Any]) -> tuple[list[Any], int]:
    """The features that are objects, and how many are areas: QuPath marks their classes with a
    star (Region*, Ignore*), and draws one without a class around the detections inside."""
    kinds = [_kind(feature) for feature in features]
    detected = any(kind in ("detection", "cell") for kind, _ in kinds)
    areas = [
        name.endswith("*")
        or kind in ("tile", "tma_core", "root")
        or (detected and kind == "annotation" and not name)
        for kind, name in kinds
    ]
    return [f for f, is_area in zip(features, areas, strict=True) if not is_area], sum(areas)


def _kind(feature: Any) -> tuple[str, str]:
    """What QuPath says a feature is, and its class; "" where it does not."""
    properties = feature.get("properties") if isinstance(feature, dict) else None
    if not isinstance(properties, dict):
        return "", ""
    return str(properties.get("objectType") or ""), str(_qupath_class(properties) or "")


def _qupath_class(properties: dict[str, Any]) -> Any:
    kind = properties.get("classification")
    if isinstance(kind, dict) and isinstance(kind.get("names"), list):  # of a derived class
        return ": ".join(map(str, kind["names"]))
    return kind.get("name") if isinstance(kind, dict) else kind


def _plane(feature: Any) -> tuple[str, str]:
    """The z plane and time point that QuPath says a shape lies on; of the first it says nothing."""
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    plane = geometry.get("plane") if isinstance(geometry, dict) else None
    plane = plane if isinstance(plane, dict) else {}
    return str(plane.get("z") or 0), str(plane.get("t") or 0)


def _is_feature(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "Feature"


def _feature(feature: dict[str, Any]) -> LabelledObject:
    properties = feature.get("properties") or {}
    name = _qupath_class(properties)
    # QuPath's own "name" is that of one object, such as "Organoid 17", and "type" is no class.
    for key in () if name or "objectType" in properties else _CLASS_KEYS:
        name = name or properties.get(key)
    geometry = feature["geometry"]
    if geometry["type"] == "Polygon":
        found = polygon(name, _open(geometry["coordinates"][0]))
        if found.outline is not None and is_upright_box(found.outline):
            return replace(found, outline=None)  # QuPath's rectangles are polygons too
        return boxed(found, feature.get("bbox"))
    if geometry["type"] == "MultiPolygon":
        rings = [_open(part[0]) for part in geometry["coordinates"]]
        whole = polygon(name, [point for ring in rings for point in ring])
        return LabelledObject(whole.name, whole.xyxy, polygon(name, max(rings, key=len)).outline)
    raise not_an_object(geometry["type"])


def _open(ring: list[Any]) -> list[Any]:
    """A ring without its last point, which is the first one again."""
    return ring[:-1] if len(ring) > 3 and ring[0] == ring[-1] else ring


# --- Label Studio -----------------------------------------------------------------


def label_studio(value: Any) -> list[Record] | None:
    """A list of tasks (JSON), or of flat ones (JSON-MIN); positions are percents.

    A task without an annotation is not labelled; one whose annotation is empty is background.
    """
    if not isinstance(value, list) or not value:
        return None
    if all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in value):
        return [record for task in value if (record := _task(task)) is not None]
    if all(
        isinstance(task, dict) and "image" in task and "annotation_id" in task for task in value
    ):
        return [_flat_task(task) for task in value]
    return None


def _task(task: dict[str, Any]) -> Record | None:
    done = task.get("annotations") or task.get("completions") or []
    done = [a for a in done if isinstance(a, dict) and not a.get("was_cancelled")]
    if not done:
        return None
    data = task["data"]
    image = data.get("image") or next((v for v in data.values() if isinstance(v, str)), "")
    chosen = [a for a in done if a.get("ground_truth") is True]
    taken = chosen[0] if len(chosen) == 1 else done[0]
    results = [r for r in taken.get("result") or [] if isinstance(r, dict) and "value" in r]
    reviews = [r for r in taken.get("reviews") or [] if isinstance(r, dict)]
    shapes, said = _regions({**r, **r["value"]} for r in results)
    labels = _studio_labels(shapes, [*said, *reviews[-1:]])
    if len(pictures := {r.get("to_name") for r in results if r.get("type") not in _NO_SHAPES}) > 1:
        what = msg("its task shows {n} pictures, and each has labels of its own", n=len(pictures))
        labels = ImageLabels(problems=[what])
    if chosen == [taken] and len(done) > 1:
        labels.notes.append(
            msg("labelled {n} times: the labels marked as ground truth were taken", n=len(done))
        )
    elif len(done) > 1:
        labels.notes.append(msg("labelled {n} times: the first labels were taken", n=len(done)))
    return Record([str(task.get("file_upload") or ""), *_names_in(str(image))], labels)


def _regions(results: Iterable[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
    """One shape a region: where shapes and classes are two tags, both are results of one id. What
    was answered to a question about a region lies in it; and the answers about the whole image."""
    regions: dict[Any, dict[str, Any]] = {}
    answers: dict[Any, list[Any]] = {}
    for number, result in enumerate(results):
        key = result.get("id")
        key = key if isinstance(key, str) else number
        if result.get("type") in _NO_SHAPES:
            given = {kind: result.get(kind) for kind in _NO_SHAPES if kind in result}
            answers[key] = [*answers.get(key, []), given]
        else:
            regions[key] = {**regions.get(key, {}), **result}
    for key in regions.keys() & answers.keys():
        regions[key]["answers"] = answers.pop(key)
    return list(regions.values()), [answer for given in answers.values() for answer in given]


def _flat_task(task: dict[str, Any]) -> Record:
    shapes = [
        shape
        for value in task.values()
        if isinstance(value, list)
        for shape in value
        if isinstance(shape, dict)
    ]
    said = {key: value for key, value in task.items() if isinstance(value, str)}
    return Record(_names_in(str(task["image"])), _studio_labels(shapes, [said]))


def _studio_labels(shapes: list[dict[str, Any]], whole: Any = None) -> ImageLabels:
    shapes = [s for s in shapes if s.get("type") not in _NO_SHAPES]
    sizes = {
        size
        for s in shapes
        if (size := size_of((s.get("original_width"), s.get("original_height"))))
    }
    if len(sizes) == 1:
        (width, height), unit = next(iter(sizes)), "pixels"
    else:
        (width, height), unit = (1.0, 1.0), "fractions"

    def read(shape: dict[str, Any]) -> LabelledObject:
        return _studio_shape(shape, width / 100, height / 100)

    picture = (width, height) if unit == "pixels" else None
    labels = labels_of(shapes, read, picture, whole={"answers": whole})
    labels.unit = "pixels" if unit == "pixels" else "fractions"
    return labels


def _studio_shape(shape: dict[str, Any], across: float, along: float) -> LabelledObject:
    key = next((k for k in shape if k.endswith("labels") and isinstance(shape[k], list)), None)
    name = _only(shape[key]) if key else None
    if float(shape.get("image_rotation") or 0):
        raise ValueError(
            msg("the image was turned in Label Studio: turn it back, and export again")
        )
    if "points" in shape:
        found = polygon(name, [(x * across, y * along) for x, y in shape["points"]])
        meta = shape.get("meta")
        beside = meta.get("box") if isinstance(meta, dict) else None
        if not isinstance(beside, list):
            return found
        return boxed(found, [v * side for v, side in zip(beside, (across, along) * 2)])
    if "radiusX" in shape:
        radii = shape["radiusX"] * across, shape["radiusY"] * along
        centre = shape["x"] * across, shape["y"] * along
        return ellipse(name, centre, radii, shape.get("rotation") or 0)
    if "width" in shape and "height" not in shape:
        raise not_an_object("point")
    if "width" not in shape:
        raise ValueError(msg("a brush stroke: export COCO or masks instead"))
    x, y = shape["x"] * across, shape["y"] * along
    x2, y2 = x + shape["width"] * across, y + shape["height"] * along
    if not float(shape.get("rotation") or 0):
        return rectangle(name, (x, y, x2, y2))
    corners = [(x, y), (x2, y), (x2, y2), (x, y2)]
    return polygon(name, turned(x, y, corners, float(shape["rotation"])), outline=False)


def _names_in(address: str) -> list[str]:
    """Names of an image by its address: /data/local-files/?d=plate1/a.png, s3://lab/a%20b.png."""
    parts = urlsplit(address.replace("\\", "/"))
    asked = parse_qs(parts.query).get("d", [])
    return [name for name in (*asked, unquote(parts.path), address) if name]


# --- Supervisely, CreateML ----------------------------------------------------------


def supervisely(value: Any) -> list[Record] | None:
    """One file an image: {"size": {…}, "objects": [{"classTitle", "points": {"exterior"}}]}."""
    if not isinstance(value, dict) or not isinstance(value.get("objects"), list):
        return None
    size = value.get("size")
    if not isinstance(size, dict) or "width" not in size:
        return None
    picture = (size.get("width"), size.get("height"))
    labels = labels_of(value["objects"], _figure, picture, whole={"tags": value.get("tags")})
    return [Record([], labels, own=True)]


def _figure(figure: dict[str, Any]) -> LabelledObject:
    kind, name = figure.get("geometryType"), figure.get("classTitle")
    if kind == "rectangle":
        return polygon(name, figure["points"]["exterior"], outline=False)
    if kind == "polygon":
        return polygon(name, figure["points"]["exterior"])
    if kind == "bitmap":
        raise ValueError(msg("a bitmap: export polygons, COCO or masks instead"))
    raise not_an_object(kind)


def create_ml(value: Any) -> list[Record] | None:
    """[{"image", "annotations": [{"label", "coordinates": {"x", "y", "width", "height"}}]}]."""
    if not isinstance(value, list) or not value:
        return None
    if not all(
        isinstance(e, dict) and "image" in e and isinstance(e.get("annotations"), list)
        for e in value
    ):
        return None
    return [Record([str(e["image"])], labels_of(e["annotations"], _centred)) for e in value]


def _centred(annotation: dict[str, Any]) -> LabelledObject:
    """CreateML's x and y are the centre."""
    place = {key: float(annotation["coordinates"][key]) for key in ("x", "y", "width", "height")}
    half = (place["width"] / 2, place["height"] / 2)
    return ellipse(annotation.get("label"), (place["x"], place["y"]), half)


PARSERS: tuple[tuple[str, Parser], ...] = (
    ("labelme", labelme),
    ("VIA", via),
    ("Label Studio", label_studio),
    ("CreateML", create_ml),
    ("QuPath GeoJSON", geojson),
    ("Supervisely", supervisely),
)
TABLES: tuple[tuple[str, Parser], ...] = (("VIA", via_table), ("Label Studio", label_studio_table))
