"""What is left out of a set of documents, and why: duplicates, evaluation pictures, dirt; and what the rest is like.

Imports nothing by itself: `lorgnette.curation.curate.curate` needs Ray.
"""
