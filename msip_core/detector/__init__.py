"""YOLOv8 itself: load, build, train, evaluate, weigh, predict, export."""
