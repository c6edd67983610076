"""Micrographs and labels: any microscope file to 8-bit RGB, any box format to one dataset.

A reader (`labels_*.py`, `formats_*.py`; listed in `label_formats`) gives what a label file says, in
the units and for the picture size that the file states. `fitting` brings it onto the stored image
(size, turn by the camera's tag, fractions), `references` finds which image a name means,
`companions` tells micrographs from masks and previews. Each converts what is certain, says so in
the report, and leaves the image out by name otherwise. An image that lost its boxes is never kept
as background.

Labels can be corrected (`correcting`): each save is a version (`versions`), older ones stay
readable (`label_files`), and who comes too late for an image keeps a draft (`drafts`). A run reads
the version that it was submitted with. `worth_looking` says which images to look at first.

The way out is `export`: a zip with the originals' names and folders (wells and plates are read from
them), the part of the split as a folder, labels by one function a format (`export_formats`), and a
card, `msip-lab.json`, for what label formats have no place for: order of the classes, pixel sizes,
whether images were drawn or boxes predicted. A box beside an outline counts as long as both still
agree: outlines are mended in other programs.
"""
