"""A synthetic pair."""

from dataclasses import dataclass

from chips_core.phantoms.scene import Scene


@dataclass(frozen=True)
class PhantomPair:
    """A synthetic pair; `planted` is empty for a right one and is never written with the data set."""

    pair_id: str
    caption: str
    label: str
    class_prompt: str
    split: str
    modality: str
    body_part: str
    group: str
    source: str
    scene: Scene
    planted: str = ""

    @property
    def image(self) -> str:
        """The path of the image in the data set's folder."""
        return f"images/{self.pair_id}.jpg"
