"""Importance criteria: one score per coupled channel, higher = keep. One file a criterion."""
