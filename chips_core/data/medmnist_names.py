"""The class names of the MedMNIST v2 sets (Yang et al., Scientific Data 10:41, 2023), and words for their captions."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MedMnistSet:
    """What is known about one set.

    Args:
        words: the caption's beginning, such as `a chest X-ray showing`.
        modality: of its images.
        body_part: of its images.
        classes: in the order of the label numbers.
    """

    words: str
    modality: str
    body_part: str
    classes: tuple[str, ...]


_ORGANS = (
    *("bladder", "left femur", "right femur", "heart", "left kidney", "right kidney", "liver", "left lung"),
    *("right lung", "pancreas", "spleen"),
)
_ORGANS_3D = (
    *("liver", "right kidney", "left kidney", "right femur", "left femur", "bladder", "heart", "right lung"),
    *("left lung", "spleen", "pancreas"),
)
_TISSUE = (
    *("collecting duct, connecting tubule", "distal convoluted tubule", "glomerular endothelial cells"),
    *("interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments", "thick ascending limb"),
)
_COLON = (
    *("adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa"),
    *("cancer-associated stroma", "colorectal adenocarcinoma epithelium"),
)
_CHEST = (
    *("atelectasis", "cardiomegaly", "effusion", "infiltration", "mass", "nodule", "pneumonia", "pneumothorax"),
    *("consolidation", "edema", "emphysema", "fibrosis", "pleural thickening", "hernia"),
)
_SKIN = (
    *("actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions"),
    *("dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions"),
)
_BLOOD = (
    *("basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte", "neutrophil"),
    "platelet",
)

SETS = {
    "pathmnist": MedMnistSet("a histopathology image showing", "histopathology", "colon", _COLON),
    "chestmnist": MedMnistSet("a chest X-ray showing", "X-ray", "chest", _CHEST),
    "dermamnist": MedMnistSet("a dermatoscopic image showing", "dermatoscopy", "skin", _SKIN),
    "octmnist": MedMnistSet(
        "a retinal OCT image showing",
        "OCT",
        "retina",
        ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal"),
    ),
    "pneumoniamnist": MedMnistSet("a chest X-ray showing", "X-ray", "chest", ("normal", "pneumonia")),
    "retinamnist": MedMnistSet(
        "a fundus photograph showing diabetic retinopathy",
        "fundus photography",
        "retina",
        tuple(f"grade {i}" for i in range(5)),
    ),
    "breastmnist": MedMnistSet("a breast ultrasound showing", "ultrasound", "breast", ("malignant", "normal, benign")),
    "bloodmnist": MedMnistSet("a blood smear showing", "microscopy", "blood", _BLOOD),
    "tissuemnist": MedMnistSet("a kidney cortex microscopy image showing", "microscopy", "kidney", _TISSUE),
    "organamnist": MedMnistSet("an axial abdominal CT showing the", "CT", "abdomen", _ORGANS),
    "organcmnist": MedMnistSet("a coronal abdominal CT showing the", "CT", "abdomen", _ORGANS),
    "organsmnist": MedMnistSet("a sagittal abdominal CT showing the", "CT", "abdomen", _ORGANS),
    "organmnist3d": MedMnistSet("an abdominal CT showing the", "CT", "abdomen", _ORGANS_3D),
    "nodulemnist3d": MedMnistSet("a chest CT showing a nodule that is", "CT", "chest", ("benign", "malignant")),
    "adrenalmnist3d": MedMnistSet(
        "an abdominal CT showing an adrenal gland that is", "CT", "adrenal gland", ("normal", "hyperplasia")
    ),
    "fracturemnist3d": MedMnistSet(
        "a chest CT showing",
        "CT",
        "rib",
        ("buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture"),
    ),
    "vesselmnist3d": MedMnistSet("a brain MRA showing", "MRA", "brain", ("vessel", "aneurysm")),
    "synapsemnist3d": MedMnistSet(
        "an electron microscopy image showing",
        "electron microscopy",
        "brain",
        ("inhibitory synapse", "excitatory synapse"),
    ),
}
