"""What the phantoms can show: seven modalities and twenty-six findings, with the words that people use for them."""

from dataclasses import dataclass

Degrees = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]

SIZE: Degrees = (("small", "tiny"), ("moderate", "medium-sized"), ("large", "extensive"))
DEGREE: Degrees = (("mild", "slight"), ("moderate",), ("marked", "severe"))
NUMBER: Degrees = (("a few", "scattered"), ("several", "multiple"), ("numerous", "extensive"))
GRADE: Degrees = (("well-differentiated",), ("moderately differentiated",), ("poorly differentiated",))
NORMAL = "normal"


@dataclass(frozen=True)
class Finding:
    """A finding: its key, its names (with `a` or `an` where one can count it), and how its size is said.

    Attributes:
        key: the second half of the label.
        names: synonyms, the plainest first.
        degrees: words for small, moderate and large.
        place: how the side is said after the name, such as `in the {side} lung`; empty where there is no side.
        views: the modality's views in which it can be seen; empty for all of them.
    """

    key: str
    names: tuple[str, ...]
    degrees: Degrees = SIZE
    place: str = ""
    views: tuple[str, ...] = ()


@dataclass(frozen=True)
class Modality:
    """A modality: its key, what it shows, its names, its sentences for a normal study, its findings.

    Attributes:
        share: the share of all patients.
        sided: whether every image has a side, as a photograph of one eye has.
        views: its variants, such as MRI sequences; a study name may hold `{view}` and `{side}`.
        normal: sentences for a normal study; empty where nothing is normal (a lesion is always photographed).
    """

    key: str
    body_part: str
    share: float
    studies: tuple[str, ...]
    normal: tuple[str, ...]
    findings: tuple[Finding, ...]
    sided: bool = False
    views: tuple[str, ...] = ("",)

    def finding(self, key: str) -> Finding:
        """Returns the finding of that key."""
        return next(finding for finding in self.findings if finding.key == key)


CHEST = Modality(
    key="chest-radiograph",
    body_part="chest",
    share=0.25,
    studies=("chest radiograph", "chest X-ray", "frontal chest radiograph", "PA chest film"),
    normal=(
        "The lungs are clear and the heart is of normal size",
        "Clear lungs, normal heart size",
        "Lungs and pleural spaces are clear",
    ),
    findings=(
        Finding("pleural-effusion", ("a pleural effusion", "pleural fluid", "an effusion"), SIZE, "on the {side}"),
        Finding(
            "pneumothorax",
            ("a pneumothorax", "pleural air", "free pleural air"),
            SIZE,
            "on the {side}",
        ),
        Finding("cardiomegaly", ("cardiomegaly", "cardiac enlargement", "enlargement of the heart"), DEGREE),
        Finding("lung-nodule", ("a lung nodule", "a pulmonary nodule", "a round opacity"), SIZE, "in the {side} lung"),
        Finding(
            "consolidation",
            ("a consolidation", "airspace opacity", "pneumonia", "an infiltrate"),
            SIZE,
            "in the {side} lung",
        ),
    ),
)
BRAIN = Modality(
    key="brain-mri",
    body_part="brain",
    share=0.16,
    studies=("axial {view} brain MRI", "brain MRI", "{view} MR image of the brain", "axial MRI of the head"),
    normal=("The ventricles are of normal size and there is no focal lesion", "Normal brain parenchyma and ventricles"),
    findings=(
        Finding(
            "glioma",
            ("a glioma", "a brain tumour", "a necrotic mass with oedema", "a glial tumour"),
            SIZE,
            "in the {side} hemisphere",
        ),
        Finding("ventriculomegaly", ("enlargement of the ventricles", "ventriculomegaly", "hydrocephalus"), DEGREE),
        Finding(
            "infarct",
            ("an infarct", "an ischaemic stroke", "an ischaemic lesion"),
            SIZE,
            "in the {side} hemisphere",
            ("T2", "FLAIR"),
        ),
    ),
    views=("T1", "T2", "FLAIR"),
)
FUNDUS = Modality(
    key="fundus-photograph",
    body_part="eye",
    share=0.15,
    studies=(
        "fundus photograph of the {side} eye",
        "colour fundus photograph, {side} eye",
        "retinal photograph of the {side} eye",
        "fundus photograph",
        "retinal photograph",
    ),
    normal=("The disc, vessels and macula are normal", "Normal optic disc and macula", "Healthy retina"),
    findings=(
        Finding("drusen", ("drusen", "macular drusen", "yellow deposits around the macula"), NUMBER),
        Finding(
            "retinal-haemorrhage",
            ("retinal haemorrhages", "dot and blot haemorrhages", "intraretinal bleeds"),
            NUMBER,
        ),
        Finding(
            "optic-disc-cupping", ("cupping of the optic disc", "optic disc cupping", "glaucomatous cupping"), DEGREE
        ),
    ),
    sided=True,
)
SKIN = Modality(
    key="dermoscopy",
    body_part="skin",
    share=0.11,
    studies=("dermoscopy image", "dermatoscopic photograph", "dermoscopic view of the skin", "skin lesion image"),
    normal=(),
    findings=(
        Finding(
            "benign-naevus",
            ("a benign naevus", "a common mole", "a symmetric melanocytic naevus", "a regular brown naevus"),
        ),
        Finding(
            "melanoma",
            (
                "a melanoma",
                "an asymmetric melanocytic lesion",
                "an irregular multicoloured lesion",
                "a malignant melanoma",
            ),
        ),
        Finding(
            "haemangioma", ("a haemangioma", "a vascular lesion", "an angioma with red lacunae", "a cherry angioma")
        ),
    ),
)
HISTOLOGY = Modality(
    key="histology",
    body_part="colon",
    share=0.11,
    studies=(
        "H&E section of the colon",
        "histology of colonic mucosa",
        "haematoxylin and eosin stain, colon",
        "colon biopsy",
    ),
    normal=("Regular crypts with goblet cells", "Normal colonic mucosa with even crypts"),
    findings=(
        Finding(
            "adenocarcinoma", ("an adenocarcinoma", "malignant glands", "tumour glands with crowded nuclei"), GRADE
        ),
        Finding(
            "inflammation",
            ("inflammation", "a lymphocytic infiltrate", "colitis", "inflammatory cells in the lamina propria"),
            DEGREE,
        ),
    ),
)
ULTRASOUND = Modality(
    key="breast-ultrasound",
    body_part="breast",
    share=0.11,
    studies=("breast ultrasound", "ultrasound of the breast", "breast sonogram", "B-mode image of the breast"),
    normal=("Normal fibroglandular tissue", "No focal lesion in the breast tissue"),
    findings=(
        Finding(
            "cyst", ("a simple cyst", "an anechoic cyst", "a fluid-filled cyst", "a cyst with posterior enhancement")
        ),
        Finding(
            "malignant-mass",
            (
                "a malignant mass",
                "a spiculated mass",
                "an irregular hypoechoic mass",
                "a suspicious mass with shadowing",
            ),
        ),
    ),
)
ABDOMEN = Modality(
    key="abdominal-ct",
    body_part="abdomen",
    share=0.11,
    studies=("abdominal CT", "axial CT of the abdomen", "CT scan of the abdomen", "abdominal computed tomography"),
    normal=("Liver, spleen and kidneys are normal", "No abnormality of the solid organs"),
    findings=(
        Finding(
            "kidney-stone",
            ("a kidney stone", "a renal calculus", "a nephrolith", "a renal stone"),
            SIZE,
            "in the {side} kidney",
        ),
        Finding("liver-lesion", ("a liver lesion", "a hypodense liver lesion", "a hepatic mass", "a hepatic lesion")),
    ),
)
MODALITIES = {m.key: m for m in (CHEST, BRAIN, FUNDUS, SKIN, HISTOLOGY, ULTRASOUND, ABDOMEN)}


def label_of(modality: str, finding: str) -> str:
    """Returns the label of a finding, such as `brain-mri:glioma`."""
    return f"{modality}:{finding}"


def labels() -> list[str]:
    """Returns all labels in order."""
    return [
        label_of(m.key, key)
        for m in MODALITIES.values()
        for key in [*([NORMAL] if m.normal else []), *(f.key for f in m.findings)]
    ]
