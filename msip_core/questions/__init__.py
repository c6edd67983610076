"""What can be asked of data and models, each question a class and each answer too. No torch.

    question ─► key ─► kept answer? ─► else its job, in the compute process or here ─► answer

A question is frozen: a model (`sources`), an image, and all that decides the answer. `base` says
how it is asked: which files it depends on, under which key its answer is kept, and who answers it.

    asks about                          answered in
    looking     heat maps, SHAP, borders    explain
    detecting   predict, compare, export    detector; plates (counts)
    speed       milliseconds                detector
    planning    preview, estimate           pruning
    data.questions  look into, import, draw  data
"""
