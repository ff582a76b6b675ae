"""How the streams meet: visual embeddings inline among the words, and other ways."""
