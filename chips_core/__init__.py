"""CHIPS Lens: audit, trace and curate medical image-text data for CLIP."""
