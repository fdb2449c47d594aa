"""Object detectors: photographs with labelled boxes, networks, detections and their scores.

One convention for boxes in memory: float32 (n, 4), x1 y1 x2 y2 in pixels, 0-based, with an
exclusive end: a box is x2 - x1 wide. Classes are 0 to K - 1, without the background.
"""
