"""Options of the students of HEAR with tiny networks."""

HEAR_OPTIONS = {"hidden": 16, "intermediate": 32, "heads": 2, "layers": 1}
