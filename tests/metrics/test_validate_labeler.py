"""Tags to labels, and the reports and tags of Open-I that the comparison reads."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("negspacy")

from reportcard.data.sources.openi import OpenI
from reportcard.metrics._label_f1 import LABELS

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
        (["Thoracic Vertebrae/degenerative"], {"No Finding"}),
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


def test_every_label_has_a_rule(script):
    assert list(script.tag_rules()) == list(LABELS[:-1])


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
