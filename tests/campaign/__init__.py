"""Malformed and hostile input by the thousand, and a hundred kills: `python -m tests.campaign`."""
