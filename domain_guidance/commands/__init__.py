"""The command line: `python -m domain_guidance train`, `sample`, `adapt` and others, on local files, on one device or
many.
"""
