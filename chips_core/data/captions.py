"""Remarks about captions: those that may name a patient, and those that say nothing. Texts are never logged."""

import re

from chips_core.data.flags import Flag

MONTHS = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
PATIENT_DATA = re.compile(
    r"""
    \b\d{1,2}[./-]\d{1,2}[./-](?:19|20)?\d\d\b                    # 3/11/2019
    | \b(?:19|20)\d\d[./-]\d{1,2}[./-]\d{1,2}\b                   # 2019-11-03
    | \b\d{1,2}(?:st|nd|rd|th)?\s+(?i:MONTHS)\s+(?:19|20)\d\d\b   # 3 November 2019
    | \b(?i:MONTHS)\s+\d{1,2}(?:st|nd|rd|th)?,?\s+(?:19|20)\d\d\b # November 3, 2019
    | \b(?i:d\.?o\.?b|date\ of\ birth|born\ on)\b
    | (?:\+\d{1,3}[\s.-]?)?(?:\(\d{2,4}\)|\b\d{2,4})[\s.-]\d{3}[\s.-]\d{4}\b  # phones
    | \b\d{3}-\d{2}-\d{4}\b                                       # social security
    | (?i:\b(?:mrn|medical\ record|patient\ id|pat\.?\ id|record\ (?:no|number)|accession)\b
        \s*[.:#]?\s*(?:no\.?)?\s*\w*\d)
    | \b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau|Mme)\b\.?\s+[A-Z][a-zA-Z'-]+
    | (?i:\b(?:patient(?:'s)?\s+name|name)\s*:\s*)[A-Z][\w'-]+
    | \b[A-Z][A-Z'-]+\^[A-Z]                                      # DOE^JANE, as DICOM writes names
    | \b[\w.+-]+@[\w-]+\.[a-zA-Z]{2,}
    """.replace("MONTHS", MONTHS),
    re.VERBOSE,
)
HINT_WORDS = (
    *(
        "^",
        "@",
        "name",
        "dob",
        "d.o.b",
        "birth",
        "born",
        "mrn",
        "record",
        "accession",
        "patient id",
        "pat id",
        "pat. id",
    ),
    *("mr", "ms", "miss ", "dr", "prof", "herr", "frau", "mme"),
)
HINT_DIGITS = re.compile(r"\d[./-]\d|\d{3}[\s.-]\d{4}|(?:19|20)\d\d")
PLACEHOLDERS = frozenset(
    [
        *("", "na", "n/a", "nan", "none", "null", "nil", "unknown", "undefined", "missing", "tbd", "todo", "test"),
        *("image", "picture", "photo", "figure", "fig", "scan", "x-ray", "xray", "untitled", "caption", "no caption"),
        *("in progress", "see text", "see report", "as above", "same", "other", "medical image", "normal", "abnormal"),
    ]
)
LETTERS = re.compile(r"[^\W\d_]", re.UNICODE)
FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|tiff?|dcm|bmp|gif)", re.IGNORECASE)
FIGURE = re.compile(r"(?:fig(?:ure)?|image|scan|photo)\.?\s*[\dA-Z]{0,4}", re.IGNORECASE)


def caption_flags(caption: str) -> tuple[str, ...]:
    """Returns the flags that a caption earns; (`may hold patient data`,) says that somebody must look, not what."""
    flags: list[str] = []
    if _hints_at_patient(caption) and PATIENT_DATA.search(caption):
        flags.append(str(Flag.PATIENT_DATA))
    if is_uninformative(caption):
        flags.append(str(Flag.UNINFORMATIVE))
    return tuple(flags)


def _hints_at_patient(caption: str) -> bool:
    """Says whether the slow pattern is worth trying: without one of these words or digits it cannot match."""
    lower = caption.lower()
    return any(word in lower for word in HINT_WORDS) or HINT_DIGITS.search(caption) is not None


def is_uninformative(caption: str) -> bool:
    """Says whether a caption is there but says nothing: a placeholder, a file name, `Figure 3`, one or two words."""
    text = caption.strip()
    if not text:
        return False  # that is an outcome of its own
    if len(text) > 60:
        return len(LETTERS.findall(text[:200])) < 10 or _in_few_words(text)
    words = len(text.split())
    if words > 4:
        return len(LETTERS.findall(text)) < 3
    plain = text.strip(" .:;,-_").lower()
    if plain in PLACEHOLDERS or FILE_NAME.fullmatch(text) or FIGURE.fullmatch(text.strip(" .:")):
        return True
    return len(LETTERS.findall(text)) < 3 or _in_few_words(text)


def _in_few_words(text: str) -> bool:
    """Says whether there are fewer than three words, in scripts that put spaces between them."""
    return len(text.split()) < 3 and not any(ord(character) >= 0x2E80 for character in text)
