"""Plate: counts of new images, well by well."""
