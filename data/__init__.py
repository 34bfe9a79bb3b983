"""What crosses borders: batches of audio, embeddings, and everything that stores, draws or decodes them.

Nothing is imported here, so that a command that only prints help stays quick; import the module you need.
"""
