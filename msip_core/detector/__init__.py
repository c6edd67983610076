"""YOLOv8 itself: load, build, train, evaluate, weigh, predict, export.

Large fields: `data/tiling` decides whether an image is cut, from the sizes that the model card
keeps of its training (`models.TrainedSizes`: pixels, micrometres where known), and says why.
`data/regions` reads a field some rows at a time (`tiff_rows` decodes single strips), `tiles` shows
a row of tiles after the other, `joining` joins what was found: sahi's greedy merging, kept to
pieces (its docstring has the measurement). For a run `data/cut` gives a dataset of tiles
(`open_for_run`; files in the cache), which every reader takes for a dataset; only evaluation knows
of the whole (`images.WholeFields`) and judges that.
"""
