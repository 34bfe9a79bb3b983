"""A transformer over patches of a spectrogram: the encoder of EAT, CAT and MATPAC."""
