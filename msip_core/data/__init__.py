"""Micrographs and labels: any microscope file to 8-bit RGB, any box format to one dataset."""
