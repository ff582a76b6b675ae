"""One file per system: typed functions that return a Run. Their signatures are the command line."""
