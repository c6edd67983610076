"""Where programs beside this one look for the cost of widths; it lies in `groups.budget`."""

from msip_core.groups.budget import Budget

__all__ = ["Budget"]
