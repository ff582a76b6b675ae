"""Tasks made of documents, the floors they stand beside, and reports one can look at."""
