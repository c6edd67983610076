"""Pruning: surgery, schedule and the iterative run as a stream of events."""
