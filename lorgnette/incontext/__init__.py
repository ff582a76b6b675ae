"""Few-shot prompting: prompts of worked examples, and the engine that answers and scores them."""
