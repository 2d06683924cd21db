"""Invents the phantom's patients: what each study shows, and how it changes to the next one.

The images (frontal.py, lateral.py) and the report (report.py) are both made from a case. Everything
follows from the patient's key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from reportcard.data.sources._phantom.canvas import Draws

EFFUSIONS = ("small", "moderate", "large")
PNEUMOTHORACES = ("small", "large")
OEDEMAS = ("mild", "moderate")
CONSOLIDATIONS = ("patchy", "dense")
SIZES = {
    "effusion": EFFUSIONS,
    "pneumothorax": PNEUMOTHORACES,
    "oedema": OEDEMAS,
    "consolidation": CONSOLIDATIONS,
}
LOBES = {
    "RUL": "right",
    "RML": "right",
    "RLL": "right",
    "LUL": "left",
    "lingula": "left",
    "LLL": "left",
}
DEVICES = ("ett", "ngt", "cvc", "pacemaker")
ENLARGED = 0.5  # cardiothoracic ratio above which a PA heart is called enlarged; 0.55 on AP


@dataclass(frozen=True)
class Finding:
    """One finding that is drawn. change: since the prior study, "" if there is none."""

    kind: str  # cardiomegaly | effusion | pneumothorax | consolidation | nodule | oedema | a device
    side: str = ""  # right | left
    size: str = ""
    lobe: str = ""
    mm: int = 0  # diameter of a nodule
    change: str = ""  # new | larger | smaller | unchanged

    @property
    def name(self) -> tuple[str, str, str]:
        """Identifies the same finding in another study."""
        return (self.kind, self.side, self.lobe)


@dataclass(frozen=True)
class Case:
    """One study of one patient. `body` seeds what is fixed for the patient, `key` the rest."""

    patient_id: str
    study_id: str
    body: str
    key: str
    age: int
    sex: str
    view: str  # PA | AP
    lateral: bool
    ratio: float  # cardiothoracic, as drawn
    findings: tuple[Finding, ...]
    resolved: tuple[Finding, ...] = ()
    days: int | None = None  # since the prior study

    @property
    def abnormal(self) -> bool:
        return any(f.kind not in DEVICES for f in self.findings)

    def has(self, kind: str) -> bool:
        return any(f.kind == kind for f in self.findings)


# Patients take these in turn, so that every part has each of them.
SCENARIOS = (
    *("normal", "effusion", "consolidation", "cardiomegaly", "pneumothorax", "normal", "oedema"),
    *("nodule", "intensive", "normal", "consolidation", "effusion", "cardiomegaly", "normal"),
    *("pneumothorax", "consolidation", "intensive", "effusion", "oedema", "normal"),
)


def patient(part: str, number: int, seed: int) -> list[Case]:
    """Return all studies of one patient, oldest first."""
    body = f"phantom/{seed}/{part}/{number}"
    draw = Draws(body)
    scenario = SCENARIOS[number % len(SCENARIOS)]
    sex, age = draw.choice("FM"), draw.whole(22, 91)
    view = "AP" if scenario == "intensive" or draw.chance(0.25) else "PA"
    findings = _first(scenario, draw)
    pid = f"phantom-{part}-{number:03d}"
    ratio = _ratio(findings, view, draw)
    cases: list[Case] = []
    for k in range(1 if draw.chance(0.55) else draw.whole(2, 3)):
        key = f"{body}/{k + 1}"
        changes = Draws(f"{key}/changes")
        resolved: tuple[Finding, ...] = ()
        days = None
        if k:
            days = changes.choice((1, 1, 2, 3, 5) if view == "AP" else (3, 5, 14, 90, 365))
            findings, resolved = _next(findings, changes)
        cases.append(
            Case(
                patient_id=pid,
                study_id=f"{pid}-{k + 1}",
                body=body,
                key=key,
                age=age,
                sex=sex,
                view=view,
                lateral=view == "PA" and changes.chance(0.6),
                ratio=ratio,
                findings=findings,
                resolved=resolved,
                days=days,
            )
        )
    return cases


def _ratio(findings: tuple[Finding, ...], view: str, draw: Draws) -> float:
    """Draw the cardiothoracic ratio; an AP view magnifies the heart."""
    magnified = 0.05 if view == "AP" else 0.0
    large = any(f.kind == "cardiomegaly" for f in findings)
    low, high = (0.54, 0.66) if large else (0.40, 0.47)
    return round(draw.between(low, high) + magnified, 3)


def _first(scenario: str, draw: Draws) -> tuple[Finding, ...]:
    found: list[Finding] = []
    if scenario == "cardiomegaly":
        found += [Finding("cardiomegaly")]
        found += [Finding("pacemaker", side="left")] if draw.chance(0.35) else []
    if scenario == "effusion":
        side = draw.choice(("right", "left", "both"))
        size = draw.choice(EFFUSIONS)
        found += _effusions(side, size)
        found += [Finding("cardiomegaly")] if draw.chance(0.3) else []
    if scenario == "pneumothorax":
        found += [
            Finding("pneumothorax", draw.choice(("right", "left")), draw.choice(PNEUMOTHORACES))
        ]
    if scenario == "consolidation":
        found += [_consolidation(draw)]
        found += _effusions(found[0].side, "small") if draw.chance(0.25) else []
    if scenario == "nodule":
        lobe = draw.choice(("RUL", "RML", "RLL", "LUL", "LLL"))
        found += [Finding("nodule", LOBES[lobe], lobe=lobe, mm=draw.whole(9, 28))]
    if scenario == "oedema":
        found += [Finding("oedema", size=draw.choice(OEDEMAS))]
        found += [Finding("cardiomegaly")] if draw.chance(0.7) else []
        found += _effusions("both", "small") if draw.chance(0.4) else []
    if scenario == "intensive":
        found += [Finding("ett")]
        found += [Finding("ngt")] if draw.chance(0.7) else []
        found += [Finding("cvc", side=draw.choice(("right", "right", "left")))]
        other = draw.choice(("none", "effusion", "consolidation", "oedema"))
        found += _effusions(draw.choice(("right", "left", "both")), draw.choice(EFFUSIONS[:2])) * (
            other == "effusion"
        )
        found += [_consolidation(draw)] * (other == "consolidation")
        found += [Finding("oedema", size=draw.choice(OEDEMAS))] * (other == "oedema")
    return tuple(found)


def _effusions(side: str, size: str) -> list[Finding]:
    sides = ("right", "left") if side == "both" else (side,)
    return [Finding("effusion", side=s, size=size) for s in sides]


def _consolidation(draw: Draws) -> Finding:
    lobe = draw.choice(tuple(LOBES))
    return Finding("consolidation", LOBES[lobe], draw.choice(CONSOLIDATIONS), lobe)


def _next(
    findings: tuple[Finding, ...], draw: Draws
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Return the findings of the next study, and the resolved ones. Both sides change alike."""
    courses = {
        f.kind: draw.weighted((("larger", 3), ("smaller", 4), ("unchanged", 3))) for f in findings
    }
    now: list[Finding] = []
    gone: list[Finding] = []
    for finding in findings:
        changed = _moved(replace(finding, change=""), courses[finding.kind])
        (gone if changed is None else now).append(changed or finding)
    if not findings and draw.chance(0.5):
        appearing = _first(draw.choice(APPEARING), draw)
        now += [replace(f, change="new") for f in appearing if f.kind != "cardiomegaly"]
    return tuple(now), tuple(replace(f, change="") for f in gone)


APPEARING = ("effusion", "pneumothorax", "consolidation")


def _moved(finding: Finding, course: str) -> Finding | None:
    """Return the finding after it changed; None when it has resolved."""
    same = replace(finding, change="unchanged")
    if finding.kind in SIZES:
        sizes = SIZES[finding.kind]
        index = sizes.index(finding.size) + {"larger": 1, "smaller": -1}.get(course, 0)
        if index < 0:
            return None
        if course == "unchanged" or index >= len(sizes):
            return same
        return replace(finding, size=sizes[index], change=course)
    if finding.kind == "nodule" and course == "larger":
        return replace(finding, mm=finding.mm + 4, change="larger")
    if finding.kind in ("ett", "ngt") and course == "smaller":
        return None
    return same
