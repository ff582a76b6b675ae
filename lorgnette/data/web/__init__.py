"""Interleaved documents from real sources: saved web pages, MMC4, OBELICS, WebDataset tars; M3W's rules and windows."""
