"""Options of the students of HEAR with tiny networks."""

HEAR_OPTIONS = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 1}


# With windows of 0.8 s, so that short clips have several.
SIZES = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 2, "window": 40, "overlap": 10, "dropout": 0.0}
