"""What is minimised: callables `(model, batch) -> dict[str, Tensor]`, apart from models and from the training loop."""
