"""Domain guidance in the host's sampling: terms of a MODEL and what they cost."""
