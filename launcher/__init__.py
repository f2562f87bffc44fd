"""What `run.py` is made of: the standard library only, because it runs before anything is installed."""


class LauncherError(Exception):
    """One sentence for the user: what was found, what was expected, what to do."""
