"""Published weights under our names: one file per peer, each a table of names.

State dicts are as they lie in the files (`safetensors.torch.load_file`), not as some version of the peer's code names
them in memory.
"""
