"""Reads image files as grey arrays: (height, width) uint8, 0 black to 255 white.

read     the entry: PNG and JPEG here, DICOM by its own module
dicom    DICOM files
pixels   size limits, and colour to grey
"""
