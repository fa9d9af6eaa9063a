"""What scores and methods are called before a person: on the pages, in the data card, in notes."""

LABELS_OF_SCORES = {
    "queue": "Misalignment queue",
    "misalignment": "Misalignment queue",
    "peer_loss": "Peer loss",
    "influence": "Influence",
    "label_contradiction": "Caption against label",
    "utility": "CHIPS utility",
    "alignment": "CHIPS alignment",
    "learnability": "CHIPS learnability",
    "relevance": "CHIPS relevance",
    "delta_loss_if_removed": "ECIF: loss if removed",
    "posi_if": "ECIF: as its own match",
    "nega_if": "ECIF: as others' negative",
    "clipscore": "CLIPScore",
    "negcliploss": "negCLIPLoss",
}
TITLES_OF_METHODS = {
    "queue": "Misalignment queue",
    "clipscore": "CLIPScore",
    "negcliploss": "negCLIPLoss",
    "normsim": "NormSim",
    "chips_audit": "CHIPS, audit mode",
    "chips_paper": "CHIPS, paper mode",
    "ecif_audit": "ECIF, audit mode",
    "ecif_paper": "ECIF, paper mode",
    "trak": "TRAK",
    "tracin": "TracIn",
    "knn_shapley": "kNN-Shapley",
}


def title_of(column: str) -> str:
    """Returns a score's name for a person."""
    method, _, name = column.rpartition(".")
    title = LABELS_OF_SCORES.get(name) or name.replace("_", " ").capitalize()
    return f"{title} ({method})" if method else title


def title_of_method(name: str) -> str:
    """Returns a method's name for a person."""
    return TITLES_OF_METHODS.get(name) or name.replace("_", " ").capitalize()
