"""Runs in the foreground, followed, or handed over; and how a run is described."""

from __future__ import annotations
