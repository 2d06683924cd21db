"""The contract between the harness and its plugins: import everything from `reportcard.api`.

study     the data of a study: Request, Study, Prediction and their parts
cards     what a plugin declares about itself, and whose data it reads
plugins   the protocols of datasets, model adapters, annotators and metrics

It needs only the standard library and NumPy, so that importing a plugin is cheap. What else a
plugin may import is stated once, in the import rules of pyproject.toml.
"""

from __future__ import annotations

from reportcard.api.cards import (
    Custody,
    DataClass,
    DatasetCard,
    Direction,
    Key,
    Kind,
    MetricGroup,
    MetricSpec,
    ModelCard,
    Progress,
)
from reportcard.api.plugins import (
    Annotator,
    Array,
    BoundedMetric,
    Dataset,
    FittedAdapter,
    JudgedAnnotator,
    Metric,
    ModelAdapter,
    Pair,
    ReferenceAdapter,
    SampleMetric,
    StopRunError,
    pack_floats,
    unpack_floats,
)
from reportcard.api.study import (
    FRONTAL_VIEWS,
    LATERAL_VIEWS,
    MASKS_VIEW,
    Box,
    Image,
    Phrase,
    Prediction,
    Prior,
    Report,
    Request,
    Selection,
    Status,
    Step,
    Study,
    Task,
)
from reportcard.core.errors import ImageError, Json, ReportCardError

__all__ = [
    "FRONTAL_VIEWS",
    "LATERAL_VIEWS",
    "MASKS_VIEW",
    "Annotator",
    "Array",
    "BoundedMetric",
    "Box",
    "Custody",
    "DataClass",
    "Dataset",
    "DatasetCard",
    "Direction",
    "FittedAdapter",
    "Image",
    "ImageError",
    "Json",
    "JudgedAnnotator",
    "Key",
    "Kind",
    "Metric",
    "MetricGroup",
    "MetricSpec",
    "ModelAdapter",
    "ModelCard",
    "Pair",
    "Phrase",
    "Prediction",
    "Prior",
    "Progress",
    "ReferenceAdapter",
    "Report",
    "ReportCardError",
    "Request",
    "SampleMetric",
    "Selection",
    "Status",
    "Step",
    "StopRunError",
    "Study",
    "Task",
    "pack_floats",
    "unpack_floats",
]
