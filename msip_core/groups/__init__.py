"""Groups of coupled channels: which hang together, and what a width costs."""
