"""Sources of pairs, images and captions: everything that comes in from outside is checked here.

`open_source` finds out what a path is and yields its rows, `examine` gives every row its one outcome, `ImageOpener`
reads an image by its locator, `thumbnail` shows it without metadata.
"""

from chips_core.data.columns import ColumnMap
from chips_core.data.flags import Flag
from chips_core.data.intake import examine
from chips_core.data.limits import ImageLimits
from chips_core.data.opener import ImageOpener, ImageRead
from chips_core.data.rows import Row
from chips_core.data.source_kind import Source, SourceKind
from chips_core.data.sources import open_source, recognise
from chips_core.data.thumbnails import thumbnail

__all__ = [
    "ColumnMap",
    "Flag",
    "ImageLimits",
    "ImageOpener",
    "ImageRead",
    "Row",
    "Source",
    "SourceKind",
    "examine",
    "open_source",
    "recognise",
    "thumbnail",
]
