"""Plans of many runs under one protocol, and the tables with intervals that they end in."""
