"""Audio data: decoding, batches, data sets, sampling, the embedding store, and the base of teachers and students.

Nothing is imported here, so that commands without data start fast. Import the module that you need.
"""
