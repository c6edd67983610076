"""Readers of files that hold more than one picture: a file each, behind one protocol."""
