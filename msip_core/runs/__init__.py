"""The life of a run: state, events, store, supervisor, worker, compute."""
