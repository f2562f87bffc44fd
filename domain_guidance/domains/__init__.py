"""A domain on disk and in memory: its file, card, adapter, prompt and text-free network."""
