"""Writes the report of a case from templates: a sentence per finding, and per absent group.

Each sentence records which findings it describes, so a grounded report has exactly their boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

from reportcard.data.sources._phantom.canvas import Draws
from reportcard.data.sources._phantom.case import DEVICES, Case, Finding

Sentence = tuple[str, tuple[Finding, ...]]

LOBE_NAMES = {
    "RUL": "right upper lobe",
    "RML": "right middle lobe",
    "RLL": "right lower lobe",
    "LUL": "left upper lobe",
    "lingula": "lingula",
    "LLL": "left lower lobe",
}
CHANGES = {
    "": ("",),
    "new": (", new since the prior study", ", which is new"),
    "larger": (", increased since the prior study", ", larger than before", ", which has worsened"),
    "smaller": (", decreased since the prior study", ", smaller than before", ", improved"),
    "unchanged": (", unchanged", ", similar to the prior study", ", stable since the prior study"),
}
EFFUSION = (
    "There is a {size} {side} pleural effusion{change}.",
    "{Size} {side} pleural effusion{change}.",
    "A {size} pleural effusion is seen on the {side}{change}.",
    "A {size} amount of {side} pleural fluid{change}.",
)
BLUNTED = "Blunting of the {side} costophrenic angle by a small pleural effusion{change}."
EFFUSIONS = (
    "There are {size} bilateral pleural effusions{change}.",
    "{Size} bilateral pleural effusions{change}.",
    "{Size} pleural effusions are present on both sides{change}.",
)
PNEUMOTHORAX = (
    "There is a {size} {side} pneumothorax{change}.",
    "{Size} {side} pneumothorax with a visible pleural line{change}.",
    "A {size} pneumothorax is present on the {side}{change}.",
)
CONSOLIDATION = (
    "There is {size} consolidation in the {lobe}{change}.",
    "{Size} airspace consolidation of the {lobe} with air bronchograms{change}.",
    "{Size} opacity in the {lobe}, in keeping with consolidation{change}.",
)
NODULE = (
    "There is a {mm} mm nodule in the {lobe}{change}.",
    "A well-defined nodule in the {lobe} measures {mm} mm{change}.",
    "{mm} mm pulmonary nodule projecting over the {lobe}{change}.",
)
OEDEMA = (
    "There is {size} pulmonary edema with perihilar haze{change}.",
    "{Size} interstitial pulmonary edema with septal lines{change}.",
    "Bilateral perihilar opacities and septal lines are in keeping with {size} edema{change}.",
)
LUNG = {"consolidation": CONSOLIDATION, "nodule": NODULE, "oedema": OEDEMA}
CARDIOMEGALY = {
    "mildly": (
        "The heart is mildly enlarged{change}.",
        "Mild cardiomegaly with a cardiothoracic ratio of {ratio}{change}.",
        "The cardiac silhouette is mildly enlarged{change}.",
    ),
    "moderately": (
        "The heart is moderately enlarged{change}.",
        "Moderate cardiomegaly with a cardiothoracic ratio of {ratio}{change}.",
        "The cardiac silhouette is moderately enlarged{change}.",
    ),
    "severely": (
        "The heart is severely enlarged{change}.",
        "Severe cardiomegaly with a cardiothoracic ratio of {ratio}{change}.",
        "The cardiac silhouette is markedly enlarged{change}.",
    ),
}
DEVICE = {
    "ett": (
        "An endotracheal tube ends {cm} cm above the carina.",
        "The tip of the endotracheal tube lies {cm} cm above the carina.",
        "Endotracheal tube in place, {cm} cm above the carina.",
    ),
    "ngt": (
        "A nasogastric tube courses into the stomach.",
        "The nasogastric tube ends in the stomach.",
        "Nasogastric tube passes below the diaphragm.",
    ),
    "cvc": (
        "A {side} central venous catheter ends in the superior vena cava.",
        "{Side} internal jugular central venous catheter with its tip in the superior vena cava.",
        "Central venous line from the {side} with its tip at the cavoatrial junction.",
    ),
    "pacemaker": (
        "A {side} chest wall pacemaker has leads in the right atrium and right ventricle.",
        "{Side} pectoral dual chamber pacemaker.",
        "Dual lead pacemaker in the {side} chest wall with intact leads.",
    ),
}
GONE = {
    "effusion": "The previously seen {side} pleural effusion has resolved.",
    "pneumothorax": "The previously seen {side} pneumothorax has resolved.",
    "consolidation": "The previously seen consolidation in the {lobe} has resolved.",
    "oedema": "The previously seen pulmonary edema has resolved.",
    "ett": "The endotracheal tube has been removed.",
    "ngt": "The nasogastric tube has been removed.",
}
HEART_NORMAL = (
    "The heart is normal in size.",
    "Heart size is within normal limits.",
    "The cardiac silhouette is normal in size.",
    "Normal heart size.",
)
MEDIASTINUM = (
    "Mediastinal contours are normal.",
    "The mediastinal silhouette is unremarkable.",
    "",
)
LUNGS_CLEAR = (
    "The lungs are clear.",
    "Both lungs are clear.",
    "Lungs are clear without focal airspace disease.",
    "No focal consolidation.",
)
NOT_FOCAL = (  # for studies with fluid or air, whose lungs are not clear
    "No focal consolidation is seen.",
    "No focal consolidation.",
    "There is no focal airspace disease.",
)
BONES = ("No acute bony abnormality.", "The bones are unremarkable.", "No acute fracture.", "", "")
ABSENT = {"effusion": "pleural effusion", "pneumothorax": "pneumothorax"}
NORMAL = (
    "No acute cardiopulmonary abnormality.",
    "Normal chest radiograph.",
    "No acute disease.",
)
DEVICES_ONLY = "No acute finding; support devices as described."
INDICATIONS = {
    "normal": ("Chest pain.", "Cough.", "Preoperative evaluation.", "Positive tuberculin test."),
    "cardiomegaly": ("Dyspnea on exertion.", "Leg swelling.", "Hypertension."),
    "effusion": ("Shortness of breath.", "Decreased breath sounds.", "Pleuritic pain."),
    "pneumothorax": ("Sudden chest pain.", "Trauma.", "Status post biopsy."),
    "consolidation": ("Fever and cough.", "Productive cough.", "Fever."),
    "nodule": ("Weight loss.", "Smoker with cough.", "Hemoptysis."),
    "oedema": ("Shortness of breath.", "Orthopnea.", "Heart failure."),
    "device": ("Tube placement.", "Respiratory failure.", "Intubated."),
}


def sentences(case: Case, tip_mm: int) -> list[Sentence]:
    """Return the sentences of the findings section, each with the findings that it describes.

    tip_mm: how far above the carina the endotracheal tube ends.
    """
    draw = Draws(f"{case.key}/words")
    said: list[Sentence] = []
    for finding in case.findings:
        if finding.kind in DEVICES:
            text = draw.choice(DEVICE[finding.kind])
            side = finding.side
            cm = f"{tip_mm / 10:.1f}"
            said.append((text.format(side=side, Side=side.capitalize(), cm=cm), (finding,)))
    lungs = [_lung(f, draw) for f in case.findings if f.kind in LUNG]
    pleural = any(case.has(kind) for kind in ABSENT)
    said += lungs or [(draw.choice(NOT_FOCAL if pleural else LUNGS_CLEAR), ())]
    said += _pleura(case, draw)
    said += [_heart(case, draw)]
    for finding in case.resolved:
        if finding.kind in GONE:
            text = GONE[finding.kind]
            said.append((text.format(side=finding.side, lobe=_lobe(finding)), ()))
    said += [(text, ()) for text in (draw.choice(MEDIASTINUM), draw.choice(BONES)) if text]
    return said


def impression(case: Case) -> str:
    """Return the impression: the positive findings, numbered when there are several."""
    lines = [_short(f) for f in case.findings if f.kind not in DEVICES]
    lines = list(dict.fromkeys(lines))
    if not lines and case.findings:
        return DEVICES_ONLY
    if not lines:
        return Draws(f"{case.key}/impression").choice(NORMAL)
    if len(lines) == 1:
        return lines[0]
    return " ".join(f"{i}. {line}" for i, line in enumerate(lines, 1))


def indication(case: Case) -> str:
    """Return the indication; it fits the first finding in about half of the cases."""
    draw = Draws(f"{case.key}/indication")
    kinds = [f.kind for f in case.findings]
    main = "device" if "ett" in kinds else next((k for k in kinds if k in INDICATIONS), "normal")
    if draw.chance(0.5):  # an indication that does not reveal the finding
        main = draw.choice(tuple(INDICATIONS))
    return draw.choice(INDICATIONS[main])


def technique(case: Case) -> str:
    if case.view == "AP":
        return "Single portable AP view of the chest."
    return "PA and lateral views of the chest." if case.lateral else "PA view of the chest."


def comparison(case: Case) -> str | None:
    if case.days is None:
        return None
    return f"Chest radiograph from {'1 day' if case.days == 1 else f'{case.days} days'} earlier."


def _lobe(finding: Finding) -> str:
    return LOBE_NAMES.get(finding.lobe, "")


def _change(finding: Finding, draw: Draws) -> str:
    return draw.choice(CHANGES[finding.change])


def _fill(templates: Sequence[str], finding: Finding, draw: Draws, **more: str) -> str:
    return draw.choice(templates).format(
        size=finding.size,
        Size=finding.size.capitalize(),
        side=finding.side,
        lobe=_lobe(finding),
        mm=finding.mm,
        change=_change(finding, draw),
        **more,
    )


def _lung(finding: Finding, draw: Draws) -> Sentence:
    return _fill(LUNG[finding.kind], finding, draw), (finding,)


def _pleura(case: Case, draw: Draws) -> list[Sentence]:
    said: list[Sentence] = []
    fluid = [f for f in case.findings if f.kind == "effusion"]
    if len(fluid) == 2 and len({(f.size, f.change) for f in fluid}) == 1:
        said.append((_fill(EFFUSIONS, fluid[0], draw), tuple(fluid)))
    else:
        for f in fluid:
            templates = (*EFFUSION, BLUNTED) if f.size == "small" else EFFUSION
            said.append((_fill(templates, f, draw), (f,)))
    air = [f for f in case.findings if f.kind == "pneumothorax"]
    said += [(_fill(PNEUMOTHORAX, f, draw), (f,)) for f in air]
    absent = [name for kind, name in ABSENT.items() if not case.has(kind)]
    if absent:
        lead = draw.choice(("There is no {}.", "No {}.", "No evidence of {}."))
        said.append((lead.format(" or ".join(absent)), ()))
    return said


def _heart(case: Case, draw: Draws) -> Sentence:
    found = [f for f in case.findings if f.kind == "cardiomegaly"]
    if not found:
        return draw.choice(HEART_NORMAL), ()
    text = _fill(CARDIOMEGALY[degree(case)], found[0], draw, ratio=f"{case.ratio:.2f}")
    return text, (found[0],)


def degree(case: Case) -> str:
    """Return the degree of cardiomegaly for the ratio as drawn; an AP view magnifies it."""
    ratio = case.ratio - (0.05 if case.view == "AP" else 0)
    return "mildly" if ratio < 0.57 else "moderately" if ratio < 0.62 else "severely"


def _short(finding: Finding) -> str:
    change = {"larger": "worsened ", "smaller": "improved ", "unchanged": "unchanged "}
    lead = change.get(finding.change, finding.change + " " if finding.change else "")
    names = {
        "effusion": f"{finding.size} {finding.side} pleural effusion",
        "pneumothorax": f"{finding.size} {finding.side} pneumothorax",
        "consolidation": f"{_lobe(finding)} consolidation, suspicious for pneumonia",
        "nodule": f"{finding.mm} mm {_lobe(finding)} nodule; CT is recommended",
        "oedema": f"{finding.size} pulmonary edema",
        "cardiomegaly": "cardiomegaly",
    }
    text = lead + names[finding.kind]
    return text[0].upper() + text[1:] + "."
