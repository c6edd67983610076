"""The command line: the verbs, words and configs of the pages. No torch until a verb needs it."""
