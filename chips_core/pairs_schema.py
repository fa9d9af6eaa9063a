"""The columns of pairs.parquet: what intake writes, the pool keeps and everything else reads.

It stands among the foundations because intake makes batches of it and the pool stores them, and the two do not know
each other. Text columns are kept exactly as given: "NA", "None" and "" are captions like any other, never nulls.
"""

import pyarrow as pa

PAIRS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),  # unique among kept pairs
        pa.field("image", pa.string(), nullable=False),  # where the image is, relative to the source root
        pa.field("caption", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),  # "" where the source says nothing, here and below
        pa.field("class_prompt", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # train, val, test or ""
        pa.field("modality", pa.string(), nullable=False),
        pa.field("body_part", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # the patient
        pa.field("source", pa.string(), nullable=False),
        pa.field("caption_source", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),  # a chips_core.outcomes.Outcome
        pa.field("reason", pa.string(), nullable=False),  # why it was not kept; "" when kept
        pa.field("flags", pa.list_(pa.string()), nullable=False),
        pa.field("image_sha256", pa.string(), nullable=False),  # of the file's bytes; "" where there is no file
        pa.field("width", pa.int32(), nullable=False),  # pixels; 0 where unknown
        pa.field("height", pa.int32(), nullable=False),
    ]
)
"""The schema of pairs.parquet, in column order."""
