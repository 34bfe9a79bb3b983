"""How good an encoder is, measured so that it can be believed: splits, protocols, scores, and what it costs."""
