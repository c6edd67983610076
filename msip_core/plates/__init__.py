"""Counts of plates: from any folder, zip or file of micrographs to a table a well.

    plan      which pictures a source holds, and of which plate, well and field each is
    reading   pictures read ahead in confined processes, so that the detector never waits
    counting  the work of a run of kind `count` (loads torch; the worker names it)
    journal   what was counted, appended line by line: a run that was killed goes on behind it
    rows      objects, images, wells as everything else reads them; `folder` reads them

What the rows say is told by `analysis` (through `outcome`, of a run's folder):

    nested, fractions   shares and rates with intervals: objects in fields in wells
    sheet, design       which well holds what; the units that a statement rests on
    conditions, dose    conditions beside a control, EC50
    agreement           counts against labels, a lighter model against the baseline
    book, report, figures    workbook and CSV, HTML, figures as data for `views`

A run's folder holds

    plan.json                       the pictures, in the order of the work
    count.json                      models, classes, what was taken for wells
    counts/<role>/objects.jsonl     one line an object   (roles: model, baseline)
    counts/<role>/images.jsonl      one line an image; written behind its objects

An image without a line was not counted yet. One that could not be read has a line that says why,
and is never taken for one without organoids.
"""
