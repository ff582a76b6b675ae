"""Disk to documents: sources, mixtures, packing, embedded sets, scenes."""

from lorgnette.data.source import Source as Source
