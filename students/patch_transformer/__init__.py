"""Transformers over patches of a spectrogram: the encoders of EAT, CAT and MATPAC."""
