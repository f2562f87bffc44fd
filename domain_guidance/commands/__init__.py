"""The command line, `python -m domain_guidance`: one command a file, on local files, on one device or several."""
