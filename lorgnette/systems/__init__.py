"""One file per system: the model, and how it lays a document out."""
