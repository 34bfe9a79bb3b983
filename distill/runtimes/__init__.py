"""A trained student as a file for other runtimes."""
