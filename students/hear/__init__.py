"""HEAR (Kawano and Sasaki 2026, arXiv 2603.26098): tokenizer, acoustic model and task model."""
