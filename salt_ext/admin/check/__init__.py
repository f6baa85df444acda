"""One module for each group of findings that `check` prints."""
