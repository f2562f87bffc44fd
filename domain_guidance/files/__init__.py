"""Files that are whole or not there, and names that are free."""
