"""The command line: `python -m domain_guidance train` and `sample`, on local diffusers folders, on one device or many."""
