"""CHIPS Lens: audit, trace and curate medical image-text data for CLIP."""

__version__ = "0.1.0"
