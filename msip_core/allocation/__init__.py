"""Allocation: how many channels each group of coupled channels loses, at equal MACs."""
