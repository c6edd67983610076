"""What microscopes write into file names: plate, well, field, z plane, time point, channel.

`SCHEMES` is the table of what is known; a name that fits none of them is read word by word, and a
word such as A01 is a well only where several names together say so (see `read_names`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import PurePosixPath

from msip_core.data.image_name import ImageName
from msip_core.data.plane_marks import STAGE, WHEN, later_in, without_marks
from msip_core.data.plate_words import DATE, glued_plate, named_plate, plate_of
from msip_core.data.same_field import alike
from msip_core.data.well_words import find_well_words
from msip_core.data.wells import plain_well
from msip_core.messages import mark

# Rows A to P of 384 wells, AA to AF of 1536; columns 1 to 48.
ROW = "A[A-F]|[A-P]"
COLUMN = r"0?[1-9]|[1-3]\d|4[0-8]"
_WELL = rf"(?P<row>{ROW})(?P<col>{COLUMN})(?!\d)"
_START = r"(?<![A-Za-z0-9])"
_GAP = r"[ _]*"


_INCUCYTE = (
    r"(?:phase|(?:dark[-_ ]?field)?bright[-_ ]?field|green|red|nir|orange|confluence"
    r"|organoid|spheroid|cell|object)(?:[ _](?:[a-z]+[ _]){0,2}mask)?"
)


def _scheme(name: str, pattern: str, flags: re.RegexFlag = re.I) -> tuple[str, re.Pattern[str]]:
    return name, re.compile(pattern, flags)


# One row a microscope or its program. Groups: row, col or number (the well), z, time, channel.
# What z, time and channel match is cut out of the name to give the field.
SCHEMES = (
    # r01c02f03p01-ch1sk1fk1fl1.tiff
    _scheme(
        mark("Operetta or Opera Phenix"),
        rf"{_START}r(?P<row>\d\d)c(?P<col>\d\d)f\d+(?:p(?P<z>\d+))?(?:rc\d+)?"
        r"(?:-?ch(?P<channel>\d+))?(?:sk(?P<time>\d+))?(?:fk\d+)?(?:fl\d+)?(?![a-z0-9])",
    ),
    # 002003-1-001001001.tif: row 2, column 3, field 1, plane, time, channel
    _scheme(
        "Operetta",
        r"^(?P<row>\d{3})(?P<col>\d{3})-\d+-(?P<z>\d{3})(?P<time>\d{3})(?P<channel>\d{3})$",
    ),
    # A - 01(fld 1 wv Green - dsRed z 3).tif, also with _ for blanks and brackets
    _scheme(
        "IN Cell",
        rf"{_START}(?P<row>{ROW}){_GAP}-{_GAP}(?P<col>{COLUMN})(?!\d){_GAP}\(?{_GAP}"
        rf"fld{_GAP}\d+(?:{_GAP}time{_GAP}(?P<time>\d+)(?: - \d+ ms)?)?"
        rf"(?:{_GAP}wv{_GAP}(?P<channel>[^()]*?))?(?:{_GAP}z{_GAP}(?P<z>\d+))?"
        rf"(?:{_GAP}time{_GAP}(?P<time2>\d+)[^()]*)?{_GAP}\)?$",
    ),
    # plate_A01_T0001F001L01A01Z01C01.tif
    _scheme(
        "CellVoyager", rf"{_START}{_WELL}_T(?P<time>\d+)F\d+L\d+A\d+Z(?P<z>\d+)C(?P<channel>\d+)"
    ),
    # W0001F0001T0001Z01C1.tif
    _scheme(
        "CellVoyager", rf"{_START}W(?P<number>\d+)F\d+T(?P<time>\d+)Z(?P<z>\d+)C(?P<channel>\d+)"
    ),
    # VID123_A1_1_2020y05m01d_10h00m.tif, Exp_Phase_A1_1_00d04h00m.tif
    _scheme(
        "Incucyte",
        rf"{_START}(?:(?P<channel>{_INCUCYTE})_)?{_WELL}_\d+_(?P<time>(?:\d{{4}}y\d\dm\d\dd_\d\dh\d\dm)|(?:\d+d\d+h\d+m))",
    ),
    # scan_Plate_R_p00_z03_0_A01f00d0.TIF (EVOS), MFGTMP_A01f00d0.TIF (Cellomics)
    _scheme(
        mark("EVOS or Cellomics"),
        rf"(?:_z(?P<z>\d+))?(?:_(?P<time>\d{{1,2}}))?(?:_|{_START}){_WELL}"
        r"f\d+d(?P<channel>\d+)",
    ),
    # exp_A01_s1_w1UUID.tif, exp_A01_w2.tif, exp_A01_s1_w10A1B2C3D.tif
    _scheme(
        "ImageXpress",
        rf"{_START}{_WELL}(?=_[sw]\d)(?:_s\d+)?(?:_w(?P<channel>\d))?"
        r"(?:(?P<gone>[0-9A-F]{8}(?:(?:-[0-9A-F]{4}){3}-[0-9A-F]{12})?)(?![a-z0-9])"
        r"|(?<=\d)(?P<also>[a-z][a-z0-9-]*)|(?![a-z0-9]))",
    ),
    # A1_02_1_1_Bright Field_001_02.tif: well, read, channel, field, name, time, z, which is -1 of
    # several; A1_02_1_1Z0_…
    _scheme(
        "Gen5",
        rf"^{_WELL}_-?\d+_(?P<channel>\d+)_\d+(?:Z(?P<z2>\d+))?(?:_(?P<also>[^_\d][^_]*))?"
        r"(?:_(?P<time>\d{3}))?(?:_(?P<z>-1|\d{2,3}))?$",
    ),
    # 2021--W00001--P00001--Z00000--T00000--DAPI.tif
    _scheme(
        "ScanR", r"W(?P<number>\d{5})--P\d{5}--Z(?P<z>\d{5})--T(?P<time>\d{5})--(?P<channel>[^.]+)$"
    ),
    # Image_XY01_00001_Z001_CH1.tif, Image_T0001_XY01_Z003_CH4.tif
    _scheme(
        "Keyence",
        rf"(?:{_START}T(?P<time>\d{{4}})_)?(?:(?<=_)|{_START})XY(?P<number>\d+)(?:_\d{{5}})?"
        r"(?:_Z(?P<z>\d{3}))?(?:_CH(?P<channel>\d+))?(?![a-z0-9])",
    ),
    # Image_W001_P00001_CH4.tif
    _scheme(
        "Keyence",
        rf"{_START}W(?P<number>\d{{3}})_P\d{{5}}(?:_Z(?P<z>\d{{3}}))?(?:_CH(?P<channel>\d+))?"
        r"(?![a-z0-9])",
    ),
    # scan001t01xy03z2c1.tif: a position, all behind the name without a gap
    _scheme(
        "NIS-Elements",
        r"(?:t(?P<time>\d{2,}))?xy(?P<number>\d{2,})(?:t(?P<time2>\d+))?(?:z(?P<z>\d+))?"
        r"(?:c(?P<channel>\d+))?$",
    ),
    # TileScan 1_A_1_R1_ch00.tif, TileScan_001--A01--R02.tif
    _scheme(
        "LAS X",
        rf"{_START}(?P<row>[A-H])(?:_|--?)?(?P<col>{COLUMN})(?!\d)(?:_|--)R[ _]?\d+"
        r"(?:_t(?P<time>\d+))?(?:_z(?P<z>\d+))?(?:_ch(?P<channel>\d+))?(?![A-Za-z0-9])",
        re.NOFLAG,
    ),
    # image--L00--S00--U01--V02--J00--E00--O00--X00--Y00--T00--Z00--C00.tif: column U, row V, from 0
    _scheme(
        mark("LAS X (Matrix Screener)"),
        r"--U(?P<col0>\d\d)--V(?P<row0>\d\d)--.*?X\d\d--Y\d\d"
        r"(?:--T(?P<time>\d+))?(?:--Z(?P<z>\d+))?(?:--C(?P<channel>\d+))?$",
        re.NOFLAG,
    ),
    # A1-1-Ph.tif, A1-1-C1.tif: as the Incucyte itself keeps them
    _scheme("Incucyte", rf"^{_WELL}-\d+-(?P<channel>Ph|C\d)$", re.NOFLAG),
    # A01f01z02c1.tif, A01-F1-C2.tif: behind a field, c is a channel
    _scheme(
        "",
        rf"{_START}{_WELL}(?P<gap>[-_ ]?)f\d{{1,4}}(?:(?P=gap)t(?P<time>\d+))?"
        r"(?:(?P=gap)z(?P<z>\d+))?(?P=gap)c(?:h)?(?P<channel>\d+)(?![A-Za-z0-9])",
    ),
    # exp-01-Scene-07-P3-B02_ORG.tif, exp-01-Scene-7-B02-3.tif: where the scene lies says the end
    _scheme("ZEN", rf"{_START}Scene-\d+-(?:P\d+-)?{_WELL}(?:-P?\d+)?(?![A-Za-z0-9])"),
    # Row1_Col2_Field3.tif, R01C02_F03.tif; not A01_r1c2, where these are tiles of one well
    _scheme(
        mark("row and column"),
        rf"^(?:(?!{_START}(?:{ROW})(?:{COLUMN})(?![A-Za-z0-9])).)*?(?<![A-Za-z0-9])"
        r"(?:row[-_ ]?(?P<row>\d{1,2}|[A-P])[-_ ]*col(?:umn)?[-_ ]?(?P<col>\d{1,2})(?!\d)"
        r"|r(?P<row3>\d{1,2})[-_]?c(?P<col3>\d{1,2})(?=[-_]?(?:f|field|s|site)[-_ ]?\d))"
        r"(?:[-_ ]*(?:f|field|s|site)[-_ ]?\d+)?",
    ),
    # well12_field3.tif
    _scheme("", r"(?<![A-Za-z0-9])well[-_ ]?(?P<number>\d{1,4})(?!\d)"),
    # WellB03_PointB03_0001_ChannelBF_Seq0012.tif
    _scheme(
        "NIS-Elements",
        rf"{_START}(?:Well|Point){_WELL}(?:_Point\w+?)?_\d+_Channel(?P<channel>[^_]+)(?:_Seq\d+)?",
    ),
)
_CUT = ("z", "z2", "time", "time2", "channel", "also", "gone")
# What the microscope counts; else "well".
_COUNTED = {"Keyence": "position", "NIS-Elements": "position"}

# Words of a name that tell planes of one field apart, where no scheme is known. A chain such as
# t01z03c2 is one word.
_Z = r"z[-_ ]?(?:plane|slice|pos|step)|z|plane|slice"
_PART = rf"(?:{_Z}|t|ch|time|tp|timepoint|channel)[-_ =]?\d+"
# z-10um, z=+0.5um: a height, whose sign is no gap.
_HEIGHT = r"z[_ =]?(?P<z>[-+]?\d+(?:[.,]\d+)?)[_ ]?(?:um|[\u00b5\u03bc]m)"
_PLANES = re.compile(rf"(?<![A-Za-z0-9])(?:{_HEIGHT}|(?:{_PART}|[cz]=?\d+)+)(?![A-Za-z0-9])", re.I)
# ZEN writes scene, tile, block and planes without a gap: s1z01c1, b0v0t0z3c0x0-2048y0-2048.
_SCENES = re.compile(
    r"(?<![A-Za-z0-9])(?=[a-z][a-z\d]*(?:z\d|c\d+_ORG))[bvsmh]\d+(?:[bvsmhtzc]\d+)+"
)
_OF_SCENE = re.compile(r"([tzc])(\d+)")
# MetaMorph: exp_w1BF_s3_t2, the number of a wavelength and its name before stage and time.
_WAVE = re.compile(r"(?<![A-Za-z0-9])w\d(?P<name>[A-Za-z][A-Za-z0-9-]*)(?=_[st]\d)")
_ONE = re.compile(rf"({_Z}|t|time|tp|timepoint|ch|channel|c)[-_ =]?(\d+)", re.I)
_SURE_CHANNEL = re.compile(
    r"(?<![a-z0-9])(?:(?:ch(?:annel)?[-_ =]?|c=)\d|w\d[a-z])|c\d+_ORG(?![a-z])", re.I
)
_KIND = {"plane": "z", "slice": "z", "ch": "channel", "channel": "channel", "c": "channel"}
# Channels by their names, as words of a name or as folders; what microscopes draw of all of them.
_STAIN = (
    r"bf|bright[-_ ]?field|phase(?:[-_ ]?contrast)?|dic|tl|trans|gfp|egfp|rfp|yfp|cfp|dapi"
    r"|hoechst|fitc|tritc|mcherry|tdtomato|texas[-_ ]?red|cy[357]|calcein"
    r"|overlay|merged?|composite|rgb|hellfeld|phasenkontrast|champ[-_ ]clair"
    r"|contraste[-_ ]de[-_ ]phase|明场|亮场|相差|荧光"
)
_STAINS = re.compile(rf"(?<![A-Za-z0-9])(?:{_STAIN})(?![A-Za-z0-9])", re.I)
# Micro-Manager: img_000000000_BF_003.tif in a folder of the position, such as 1-Pos_002_000.
_MICRO_MANAGER = re.compile(r"img_(?P<time>\d{9})_(?P<channel>.+)_(?P<z>\d{3})")
_NUMBERED_WELL = re.compile(r"well[-_ ]?(\d{1,4})", re.I)
_GRID_POSITION = re.compile(r"(\d+)-Pos[-_]?\d+[-_]\d+", re.I)
# Copies of one original that Roboflow writes.
_ROBOFLOW = re.compile(r"[._](?:jpe?g|png|bmp|tiff?)\.rf\.[0-9a-f]{8,}$", re.I)

# Folders that sort files and are no plate: parts of a split, kinds, days, channels.
_SORTING = re.compile(
    r"(?:train|val|valid|validation|test|images?|imgs?|labels?|raw|data|dataset|tiff?s?|pngs?|jpe?gs?"
    r"|fields?|tiles?|wells?|plates?|export(?:ed)?|timepoint[-_ ]?\d+|zstep[-_ ]?\d+|t\d+|z\d+"
    rf"|{WHEN}|ch(?:annel)?[-_ ]?\d+|{STAGE}|{_STAIN})",
    re.I,
)
_DAY = re.compile(rf"{WHEN}|{STAGE}", re.I)
# 2024/03/15/12-00, and as the Incucyte itself keeps its scans: 2403/15/1200.
_MONTH_DAY = r"(?:0[1-9]|1[0-2])/(?:0[1-9]|[12]\d|3[01])"
_HOUR = r"/(?:[01]\d|2[0-3])"
_CLOCK = re.compile(
    rf"(?<![^/])(?:\d\d{_MONTH_DAY}(?P<own>{_HOUR}[0-5]\d)|(?:(?P<day>(?:19|20)\d\d/{_MONTH_DAY})"
    rf"|{DATE.pattern}(?=/))(?P<hour>{_HOUR}[-_.h][0-5]\dm?)?)(?![^/])"
)


def read_names(sources: Sequence[str]) -> list[ImageName]:
    """Every path (POSIX, relative), taken apart.

    A word such as A01 in a name or folder is a well if the microscope's scheme says so, if "well"
    stands before it, or if the words at this place of most names are several different wells.
    """
    return list(_read(tuple(sources)))


@lru_cache(maxsize=2)  # who takes a folder in asks several times for all of it: 1 s for 10,000
def _read(sources: Sequence[str]) -> list[ImageName]:
    sources, planes = zip(*without_marks(sources)) if sources else ((), ())
    known = [_by_scheme(source) for source in sources]
    unknown = [s for s, name in zip(sources, known) if name is None]
    words = find_well_words([s for s in dict.fromkeys(unknown) if not _in_numbered_well(s)])
    names = [
        replace(
            _with_folders(source, name or _by_words(source, words.get(source)), words.get(source)),
            **told,
        )
        for source, name, told in zip(sources, known, planes)
    ]
    return alike(names)


def _in_numbered_well(source: str) -> bool:
    return any(map(_NUMBERED_WELL.fullmatch, PurePosixPath(source).parts[:-1]))


def _by_scheme(source: str) -> ImageName | None:
    stem = _ROBOFLOW.sub("", PurePosixPath(source).stem)
    for scheme, pattern in SCHEMES:
        match = pattern.search(stem)
        well = _well_of(match.groupdict(), _COUNTED.get(scheme, "well")) if match else None
        if match is None or well is None:
            continue
        parts = match.groupdict()
        lead = match.start()
        cuts = [match.span(k) for k in _CUT if parts.get(k)]
        told = {
            "z": parts.get("z2") or parts.get("z"),
            "time": parts.get("time") or parts.get("time2"),
            "channel": parts.get("also") or parts.get("channel"),
        }
        for span, more in _planes(stem):  # behind what the scheme knows: A01_s1_w1_z3
            sure = set(more) != {"channel"} or _SURE_CHANNEL.search(stem, *span)
            if span[0] >= match.end() and sure and not any(told[kind] for kind in more):
                told |= more
                cuts.append(span)
        if not told["time"] and (later := later_in(stem, match.end())):  # A01_s1_24h
            told["time"] = later[0]
            cuts.append(later[1])
        if not told["channel"] and (stain := _STAINS.search(stem, match.end())):
            told["channel"] = stain.group()
            cuts.append(stain.span())
        return ImageName(
            well=well,
            plate=None,
            folders="",
            lead=_cut(stem[:lead], []),
            rest=_cut(stem[lead:], [(start - lead, end - lead) for start, end in cuts]),
            z=_number(told["z"]),
            time=_number(told["time"]),
            channel=_number(told["channel"]),
            scheme=scheme,
        )
    return None


def _well_of(parts: dict[str, str | None], counted: str) -> str | None:
    row, col = parts.get("row") or parts.get("row3"), parts.get("col") or parts.get("col3")
    if (row0 := parts.get("row0")) and (col0 := parts.get("col0")):
        row, col = str(int(row0) + 1), str(int(col0) + 1)
    if number := parts.get("number"):
        return f"{counted} {int(number)}"
    if row is None or col is None:
        return None
    if row.isdigit():
        return plain_well(int(row) - 1, int(col) - 1)
    return f"{row.upper()}{int(col):02d}"


def _by_words(source: str, found: tuple[str, str] | None) -> ImageName:
    """Planes as words of the stem; the well as `find_well_words` found it, with its text."""
    stem = _ROBOFLOW.sub("", PurePosixPath(source).stem)
    at = stem.find(found[1]) if found else -1
    if (match := _MICRO_MANAGER.fullmatch(stem)) and at < 0:
        time, channel, z = match.groups()
        well = found[0] if found else None
        return ImageName(well, None, "", "", "img", _number(z), _number(time), channel)
    parts: dict[str, str] = {}
    cuts: list[tuple[int, int]] = []
    for span, told in _planes(stem):
        if not found or not span[0] <= at < span[1]:
            parts = told | parts
            cuts.append(span)
    later = later_in(stem, at + len(found[1])) if found and at >= 0 else None
    if later and "time" not in parts:
        parts["time"], span = later
        cuts.append(span)
    stain = _STAINS.search(stem)
    if stain and "channel" not in parts and not (found and stain.start() <= at < stain.end()):
        parts["channel"] = stain.group()
        cuts.append(stain.span())
    elif set(parts) == {"channel"} and not _SURE_CHANNEL.search(stem):
        parts, cuts = {}, []  # c1 alone may be a clone, a crypt or a copy
    if not found and not _cut(stem, cuts) and "z" not in parts:
        parts, cuts = {}, []  # t1.png, t2.png: treatments, tiles, takes
    lead = max(at, 0)
    before = [(start, end) for start, end in cuts if end <= lead]
    after = [(start - lead, end - lead) for start, end in cuts if start >= lead]
    rest = _cut(stem[lead:], after)
    return ImageName(
        well=found[0] if found else None,
        plate=None,
        folders="",
        lead=_cut(stem[:lead], before),
        rest=rest,
        **parts,
    )


def _planes(stem: str) -> list[tuple[tuple[int, int], dict[str, str]]]:
    """The words of a name that tell its plane: where each stands, and what it tells."""
    found = []
    for match in _PLANES.finditer(stem):
        told: dict[str, str] = {}
        for word, number in _ONE.findall(match.group()) if match["z"] is None else ():
            told.setdefault(_kind(word), _number(number) or "0")
        if match["z"] is not None:
            told["z"] = match["z"].lstrip("+").replace(",", ".")
        found.append((match.span(), told))
    found += [(match.span(), {"channel": match["name"]}) for match in _WAVE.finditer(stem)]
    for match in _SCENES.finditer(stem):
        for part in _OF_SCENE.finditer(stem, match.start(), match.end()):
            found.append((part.span(), {_kind(part[1]): _number(part[2]) or "0"}))
    return found


def _kind(word: str) -> str:
    """What a word such as zpos or tp counts: z planes, channels or time points."""
    low = word.lower()
    return "z" if low.startswith("z") else _KIND.get(low, "time")


def _with_folders(source: str, name: ImageName, word: tuple[str, str] | None) -> ImageName:
    """What folders say: the plate, the plane, and what may tell plates apart."""
    lights = re.compile(_INCUCYTE if name.scheme == "Incucyte" else "(?!)", re.I)
    parts, time, date = _without_clock(source)
    name = replace(name, time=name.time or time)
    folders = [p for p in parts if not (_SORTING.fullmatch(p) or lights.fullmatch(p))]
    folders = [p for p in folders if not (_ONE.fullmatch(p) and not p.lower().startswith("c"))]
    for part in parts:
        if match := _ONE.fullmatch(part):
            if getattr(name, kind := _kind(match.group(1))) is None:
                name = replace(name, **{kind: _number(match.group(2)) or "0"})
        elif name.channel is None and (_STAINS.fullmatch(part) or lights.fullmatch(part)):
            name = replace(name, channel=part)
    texts = [*reversed(folders), name.lead] if name.well else [*reversed(folders), name.rest]
    # A01_plate2, P2A01
    behind = named_plate(name.rest) or glued_plate(word[1] if word else "") if name.well else None
    plate = next(filter(None, (*map(plate_of, reversed(texts)), behind)), None)
    rest = name.rest
    for part in parts if name.well is None else ():
        if match := _GRID_POSITION.fullmatch(part):  # the others are its row and column of tiles
            name = replace(name, well=f"position {match.group(1)}")
        elif match := _NUMBERED_WELL.fullmatch(part):
            name = replace(name, well=f"well {int(match.group(1))}")
        if match:
            rest, folders = f"{part}_{rest}", [p for p in folders if p != part]
    if word is not None and name.well is not None and word[1] not in PurePosixPath(source).stem:
        folders, folder = _without_well(folders, word[1])
        rest = f"{folder}_{rest}" if folder else rest
    day = "/".join([*date, *filter(_DAY.fullmatch, parts)])
    return replace(name, plate=plate, folders="/".join(folders), rest=rest, day=day)


def _without_clock(source: str) -> tuple[list[str], str | None, list[str]]:
    """The folders of a path without those that tell when it was taken; the time that they tell,
    and the date where they tell no hour."""
    text = str(PurePosixPath(source).parent)
    clock = _CLOCK.search(text)
    hour = clock and (clock["own"] or clock["hour"])
    if clock is None or not (hour or clock["day"]):
        return list(PurePosixPath(source).parts[:-1]), None, []
    parts = [*text[: clock.start()].split("/"), *text[clock.end() :].split("/")]
    time = "".join(filter(str.isdigit, clock.group())) if hour else None
    return [p for p in parts if p], time, [] if time else [clock["day"]]


def _without_well(folders: Sequence[str], well: str) -> tuple[list[str], str]:
    """Folders with only what stands before the well in its own (`exp1_A01-Site_0` -> `exp1`), and
    that folder from the well on: a field or site, but no plate."""
    for at in reversed(range(len(folders))):
        if (start := folders[at].find(well)) >= 0:
            before = folders[at][:start].rstrip("-_ .")
            kept = [*folders[:at], *([before] if before else []), *folders[at + 1 :]]
            return kept, folders[at][start:]
    return list(folders), ""


def _cut(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """`text` without the spans, the letters that announce them, and the gaps they leave."""
    for start, end in sorted(spans, reverse=True):
        text = (
            re.sub(r"(?:[-_ ]?[A-Za-z]+)?$", "", text[:start]) + text[end:]
            if (text[start:end].isdigit())
            else text[:start] + text[end:]
        )
    return re.sub(r"[-_ .]{2,}", "_", text).strip("-_ .")


def _number(text: str | None) -> str | None:
    """007 -> 7; words stay."""
    if text is None:
        return None
    return str(int(text)) if text.isascii() and text.isdigit() else text.strip()
