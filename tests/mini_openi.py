"""A miniature Open-I: the element order of the real XML, invented text, and awkward cases.

Study ids are real Open-I numbers, because the view table of the package is keyed by image id.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

# (study, images, findings, impression, indication, MeSH)
STUDIES = [
    ("CXR1", ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"],
     "The heart is small. Both lungs are clear.", "Nothing acute.", "Cough", ["normal"]),
    ("CXR2", ["CXR2_IM-0652-1001", "CXR2_IM-0652-2001"],
     "Large left effusion with a shift of the trachea.", "Left effusion.", "Short of breath",
     ["Pleural Effusion/left"]),
    ("CXR3", ["CXR3_IM-1384-1001", "CXR3_IM-1384-2001"],
     "Clear lungs. Heart <normal> & small.", "Normal.", "", ["normal"]),
    ("CXR4", ["CXR4_IM-2050-1001", "CXR4_IM-2050-2001"],
     "Right lower lobe opacity.", "", "Fever and cough", ["Opacity/lung/lower lobe/right"]),
    ("CXR5", ["CXR5_IM-2117-1003002", "CXR5_IM-2117-1004003"],
     "Both lungs are clear.", "Normal.", "Cough", ["normal"]),
    ("CXR6", ["CXR6_IM-2192-1001"], "", "No change.", "Follow up", []),
    ("CXR7", [], "Findings without an image.", "", "Cough", ["normal"]),
    ("CXR8", [], "Both lungs are clear.", "", None, ["normal"]),
]  # fmt: skip


def report_xml(
    study: str,
    images: list[str],
    findings: str,
    impression: str,
    indication: str | None,
    mesh: list[str],
) -> str:
    """One <eCitation> with the children that the reader uses, in the real order."""

    def abstract(label: str, text: str | None) -> str:
        if not text:
            return f'<AbstractText Label="{label}"/>'
        return f'<AbstractText Label="{label}">{escape(text)}</AbstractText>'

    sections = "".join(
        abstract(*item)
        for item in (
            ("COMPARISON", "None."),
            ("INDICATION", indication),
            ("FINDINGS", findings),
            ("IMPRESSION", impression),
        )
    )
    terms = "".join(f"<major>{escape(term)}</major>" for term in mesh)
    pictures = "".join(
        f"<parentImage id={quoteattr(name)}><caption>Chest</caption></parentImage>"
        for name in images
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f"<eCitation><uId id={quoteattr(study)}/><MedlineCitation><Article><Abstract>{sections}"
        f"</Abstract></Article></MedlineCitation><MeSH>{terms}</MeSH>{pictures}</eCitation>"
    )


def write_mini_openi(root: Path) -> Path:
    """Write the XML files as `ecgen-radiology/<n>.xml`; returns that folder."""
    folder = root / "ecgen-radiology"
    folder.mkdir(parents=True)
    for row in STUDIES:
        (folder / f"{row[0][3:]}.xml").write_text(report_xml(*row), encoding="utf-8")
    return folder
