"""Tags to labels, and the reports and tags of Open-I that the comparison reads."""

import importlib.util
from pathlib import Path

import pytest
import yaml

pytest.importorskip("negspacy")

from reportcard.data.sources.openi import OpenI
from reportcard.metrics._label_f1 import LABELS, UNCERTAIN

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "validate_labeler.py"

XML = """<eCitation><uId id="{id}"/><MedlineCitation><Article><Abstract>
<AbstractText Label="FINDINGS">{findings}</AbstractText>
<AbstractText Label="IMPRESSION">None.</AbstractText></Abstract></Article></MedlineCitation>
<MeSH>{tags}</MeSH></eCitation>"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("validate_labeler", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("tags", "want"),
    [
        (["normal"], {"No Finding"}),
        (["Thoracic Vertebrae/degenerative"], set()),
        (["Calcified Granuloma/lung/upper lobe"], set()),
        (["Osteophyte/thoracic vertebrae"], {"No Finding"}),
        (["Aorta/tortuous"], {"No Finding"}),
        (["Catheters, Indwelling/left"], {"Support Devices", "No Finding"}),
        (["Cardiomegaly/mild"], {"Cardiomegaly"}),
        (["Cardiac Shadow/enlarged/mild"], {"Cardiomegaly"}),
        (["Cardiac Shadow"], {"No Finding"}),
        (["Pulmonary Atelectasis/base/left", "Pleural Effusion"],
         {"Atelectasis", "Pleural Effusion"}),
        (["Thickening/pleura/apex"], {"Pleural Other"}),
        (["Density/lung/base/round"], {"Lung Opacity", "Lung Lesion"}),
        (["Hydropneumothorax"], {"Pneumothorax", "Pleural Effusion"}),
    ],
)  # fmt: skip
def test_tags_become_labels(script, tags, want):
    found = script.labels_of(tags, script.tag_rules())
    assert {label for label, f in zip(LABELS, found, strict=True) if f} == want


def test_borderline_tags_are_uncertain_and_open_tags_unknown(script):
    codes = script.labels_of(["Cardiomegaly/borderline"], script.tag_rules())
    assert codes[LABELS.index("Cardiomegaly")] == UNCERTAIN
    assert codes[LABELS.index("No Finding")] == 0
    found = script.labels_of(
        ["Cardiac Shadow/enlarged"], script.tag_rules(), script.tag_rules("unknown")
    )
    assert found[LABELS.index("Enlarged Cardiomediastinum")] == script.UNKNOWN


def test_findings_of_radlabels_become_labels(script):
    table = yaml.safe_load((SCRIPT.parent / "radlabels_to_chexpert.yaml").read_text())
    assert list(table["labels"]) == list(LABELS[:-1])
    said = {
        "pneumothorax": "definitely absent",
        "pulmonary_edema": "uncertain",
        "emphysema": "definitely present",
        "tortuous_aorta": "definitely present",
    }
    codes = dict(zip(LABELS, script.radlabels_codes(said, table), strict=True))
    assert (codes["Pneumothorax"], codes["Edema"], codes["No Finding"]) == (2, 3, 0)
    only = script.radlabels_codes({"tortuous_aorta": "definitely present"}, table)
    assert only[-1] == 1


def test_history_is_left_out(script):
    text = "INDICATION: rule out edema\n\nFINDINGS: No effusion.\nHISTORY: edema\n\nEdema."
    assert script.without_history(text).split() == ["FINDINGS:", "No", "effusion.", "Edema."]


def test_every_label_has_a_rule(script):
    assert list(script.tag_rules()) == list(LABELS)


def test_untagged_studies_are_known(script):
    assert not script.is_tagged(["No Indexing"])
    assert not script.is_tagged([])
    assert script.is_tagged(["normal"])


def test_reports_and_tags_of_every_study(tmp_path):
    folder = tmp_path / "ecgen-radiology"
    folder.mkdir()
    for number, tags in ((1, "<major>normal</major>"), (2, "<major>Nodule/lung</major>")):
        text = XML.format(id=f"CXR{number}", findings="Invented." if number == 1 else "", tags=tags)
        (folder / f"{number}.xml").write_text(text)
    source = OpenI(str(tmp_path))
    assert source.mesh_tags() == {"CXR1": ("normal",), "CXR2": ("Nodule/lung",)}
    assert source.reports()["CXR1"].findings == "Invented."
    assert source.reports()["CXR2"].findings == ""
