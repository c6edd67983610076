"""MSIP Lab: lighter YOLOv8 detectors for organoid micrographs, and a look at what they see.

Importing this package loads no torch and no streamlit; a test holds it to that.
"""

__version__ = "0.1.0"
