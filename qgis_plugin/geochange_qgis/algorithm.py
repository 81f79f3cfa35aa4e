"""A command of geochange as a Processing algorithm, made from its description.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

import html
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from qgis.core import (
    QgsProcessing,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputHtml,
    QgsProcessingOutputRasterLayer,
    QgsProcessingOutputString,
    QgsProcessingOutputVectorLayer,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFile,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterMapLayer,
    QgsProcessingParameterMultipleLayers,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingParameterVectorLayer,
    QgsProcessingUtils,
)
from qgis.PyQt.QtGui import QIcon

from geochange_qgis import results
from geochange_qgis.arguments import argument_line
from geochange_qgis.environment import CommandMissing, Environment
from geochange_qgis.parameters import GROUPS, Field, fields_of, is_output, is_report
from geochange_qgis.process import Follower, Outcome, event_words, run
from geochange_qgis.values import Values

ICON = Path(__file__).with_name("icon.svg")
LOAD, ANSWER, REPORT = "LOAD_RESULTS", "ANSWER", "REPORT"
IN_FOLDER = ("detect",)
"""Commands that leave a folder with layers: these are loaded from there."""

LAYERS = [QgsProcessing.TypeRaster, QgsProcessing.TypeVectorPolygon]
FILTERS = {
    "picture": "PNG (*.png)",
    "save_model": "JSON (*.json)",
    "export": "Layers (*.gpkg *.geojson *.fgb *.parquet);;COCO (*.json);;Labels (*.tif)",
}
"""What is written to files that are no layers of the project."""


class GeochangeAlgorithm(QgsProcessingAlgorithm):
    """One command. It starts `geochange`, follows it, and hands its results to QGIS."""

    def __init__(self, command: dict[str, Any], environment: Callable[[], Environment]) -> None:
        super().__init__()
        self.command, self.environment = command, environment
        self.fields: list[Field] = fields_of(command)
        self.words: list[str] = []
        self.variables: dict[str, str] = {}
        self.written: dict[str, str] = {}
        self.loads = False

    def createInstance(self) -> GeochangeAlgorithm:
        return GeochangeAlgorithm(self.command, self.environment)

    def name(self) -> str:
        return str(self.command["name"])

    def displayName(self) -> str:
        return str(self.command["name"]).capitalize()

    def group(self) -> str:
        return next(group for group, names in GROUPS.items() if self.name() in names)

    def groupId(self) -> str:
        return self.group().lower().replace(" ", "_")

    def icon(self) -> QIcon:
        return QIcon(str(ICON))

    def shortDescription(self) -> str:
        return str(self.command["summary"])

    def tags(self) -> list[str]:
        return ["change detection", "geochange", *self.shortDescription().lower().strip(".").split()]

    def shortHelpString(self) -> str:
        lines = [f"<p>{_marked(self.command['summary'])}</p>"]
        for field in (each for each in self.fields if not each.advanced):
            lines.append(f"<p><b>{_marked(field.label)}</b>: {_marked(field.help)}</p>")
        return "\n".join(lines)

    def initAlgorithm(self, configuration: Any = None) -> None:
        for field in self.fields:
            self.addParameter(with_notes(parameter_of(field), field))
        if self.name() in IN_FOLDER:
            self.addParameter(QgsProcessingParameterBoolean(LOAD, "Open the results in the project", True))
            self.addOutput(QgsProcessingOutputVectorLayer("CHANGES", "Changes"))
            self.addOutput(QgsProcessingOutputRasterLayer("PROBABILITY", "Probability of change"))
        self.addOutput(QgsProcessingOutputString(ANSWER, "Answer, as JSON"))
        if is_report(self.command):
            self.addOutput(QgsProcessingOutputHtml(REPORT, "Report"))

    def prepareAlgorithm(
        self, parameters: Mapping[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> bool:
        """Read all values here, on the main thread, where layers of the project may be looked at."""
        reader = Values(self, parameters, context)
        values = {field.name: reader.read(field) for field in self.fields}
        self.written = {
            field.name: values[field.name] for field in self.fields if is_output(field) and values[field.name]
        }
        if values.get("BEFORE") and values.get("BEFORE") == values.get("AFTER"):
            feedback.pushWarning("Before and after are the same image: nothing can have changed.")
        self.loads = self.name() in IN_FOLDER and self.parameterAsBool(parameters, LOAD, context)
        try:
            environment = self.environment()
            self.words = event_words(environment.command(), argument_line(self.command, values))
            self.variables = environment.variables()
        except CommandMissing as error:
            raise QgsProcessingException(str(error)) from error
        return True

    def processAlgorithm(
        self, parameters: Mapping[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        feedback.pushCommandInfo(shlex.join(self.words))
        try:
            outcome = run(self.words, self.variables, Shown(feedback))
        except OSError as error:
            raise QgsProcessingException(f"{self.words[0]} cannot be started: {error}") from error
        if outcome.cancelled:
            feedback.pushWarning(outcome.error or "cancelled")
            return {}
        if outcome.code:
            raise QgsProcessingException(outcome.error)
        return self._results(outcome, context)

    def _results(self, outcome: Outcome, context: QgsProcessingContext) -> dict[str, Any]:
        answer = outcome.answer or {}
        found: dict[str, Any] = {**self.written, ANSWER: json.dumps(answer, ensure_ascii=False)}
        if self.name() in IN_FOLDER:
            layers = results.layers_of(answer, Path(self.written["OUTPUT"]))
            found.update({name: str(path) for name, path in layers.items()})
            if self.loads:
                results.load_on_completion(layers, context)
        if is_report(self.command):
            found[REPORT] = QgsProcessingUtils.generateTempFilename(f"{self.name()}.html")
            Path(found[REPORT]).write_text(report_of(self.command, outcome), encoding="utf-8")
        return found


def _marked(text: str) -> str:
    """Return a text of the help as HTML, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


class Shown(Follower):
    """Shows what happens in the dialogue of the algorithm."""

    def __init__(self, feedback: QgsProcessingFeedback) -> None:
        self.feedback = feedback
        self.shown = ""

    def stage(self, name: str) -> None:
        if name != self.shown:  # a stage may pass over the scene several times
            self.feedback.setProgressText(name)
        self.shown = name
        self.feedback.setProgress(0)

    def progress(self, share: float) -> None:
        self.feedback.setProgress(100 * share)

    def end(self, name: str, seconds: float) -> None:
        self.feedback.pushDebugInfo(f"{name}: {seconds:.2f} s")

    def notice(self, text: str) -> None:
        self.feedback.pushInfo(text)

    def line(self, text: str) -> None:
        self.feedback.pushConsoleInfo(text)

    def stray(self, text: str) -> None:
        self.feedback.pushDebugInfo(text)

    def cancelled(self) -> bool:
        return bool(self.feedback.isCanceled())


def parameter_of(field: Field) -> QgsProcessingParameterDefinition:
    """Return the parameter of a field."""
    return MAKERS.get(field.kind, _text)(field)


def with_notes(parameter: QgsProcessingParameterDefinition, field: Field) -> QgsProcessingParameterDefinition:
    """Return a parameter with its help, and among the advanced ones if it is rare."""
    parameter.setHelp(field.help)
    if field.advanced:
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
    return parameter


def _text(field: Field) -> QgsProcessingParameterDefinition:
    return QgsProcessingParameterString(field.name, field.label, field.default, optional=field.optional)


def _flag(field: Field) -> QgsProcessingParameterDefinition:
    return QgsProcessingParameterBoolean(field.name, field.label, bool(field.default))


def _integer(field: Field) -> QgsProcessingParameterDefinition:
    kind = QgsProcessingParameterNumber.Integer
    return QgsProcessingParameterNumber(field.name, field.label, kind, field.default, optional=field.optional)


def _number(field: Field) -> QgsProcessingParameterDefinition:
    kind = QgsProcessingParameterNumber.Double
    return QgsProcessingParameterNumber(field.name, field.label, kind, field.default, optional=field.optional)


def _choice(field: Field) -> QgsProcessingParameterDefinition:
    return QgsProcessingParameterEnum(
        field.name,
        field.label,
        list(field.choices),
        allowMultiple=field.kind == "choices",
        defaultValue=field.default,
        optional=field.optional,
        usesStaticStrings=True,
    )


def _raster(field: Field) -> QgsProcessingParameterDefinition:
    return QgsProcessingParameterRasterLayer(field.name, field.label, optional=field.optional)


def _layer(field: Field) -> QgsProcessingParameterDefinition:
    kinds = [QgsProcessing.TypeVectorPolygon]
    return QgsProcessingParameterVectorLayer(field.name, field.label, kinds, optional=field.optional)


def _map(field: Field) -> QgsProcessingParameterDefinition:
    return QgsProcessingParameterMapLayer(field.name, field.label, optional=field.optional, types=LAYERS)


def _several(field: Field) -> QgsProcessingParameterDefinition:
    kinds = {"rasters": QgsProcessing.TypeRaster, "layers": QgsProcessing.TypeVectorPolygon}
    kind = kinds.get(field.kind, QgsProcessing.TypeMapLayer)
    return QgsProcessingParameterMultipleLayers(field.name, field.label, kind, optional=field.optional)


def _bands(field: Field) -> QgsProcessingParameterDefinition:
    return QgsProcessingParameterBand(
        field.name, field.label, parentLayerParameterName=field.parent, optional=field.optional, allowMultiple=True
    )


def _extent(field: Field) -> QgsProcessingParameterDefinition:
    return QgsProcessingParameterExtent(field.name, field.label, optional=field.optional)


def _file(field: Field) -> QgsProcessingParameterDefinition:
    return QgsProcessingParameterFile(field.name, field.label, optional=field.optional)


def _folder(field: Field) -> QgsProcessingParameterDefinition:
    kind = QgsProcessingParameterFile.Folder
    return QgsProcessingParameterFile(field.name, field.label, behavior=kind, optional=field.optional)


def _output(field: Field) -> QgsProcessingParameterDefinition:
    if field.kind == "file output":
        kinds = FILTERS.get(field.option["name"], "")
        return QgsProcessingParameterFileDestination(
            field.name, field.label, kinds, optional=field.optional, createByDefault=not field.optional
        )
    kind = {
        "raster output": QgsProcessingParameterRasterDestination,
        "layer output": QgsProcessingParameterVectorDestination,
        "folder output": QgsProcessingParameterFolderDestination,
    }[field.kind]
    return kind(field.name, field.label, optional=field.optional, createByDefault=not field.optional)


MAKERS: dict[str, Callable[[Field], QgsProcessingParameterDefinition]] = {
    "flag": _flag,
    "integer": _integer,
    "number": _number,
    **dict.fromkeys(("choice", "choices", "switch"), _choice),
    "raster": _raster,
    "layer": _layer,
    "map": _map,
    **dict.fromkeys(("rasters", "layers", "maps"), _several),
    "bands": _bands,
    "extent": _extent,
    "file": _file,
    "folder": _folder,
    **dict.fromkeys(("raster output", "layer output", "file output", "folder output"), _output),
}


def report_of(command: dict[str, Any], outcome: Outcome) -> str:
    """Return a page with what the command printed, and its answer as JSON below."""
    printed = html.escape("\n".join(outcome.printed))
    answer = html.escape(json.dumps(outcome.answer, indent=2, ensure_ascii=False))
    title = html.escape(f"geochange {command['name']}")
    return (
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h3>{title}</h3><pre>{printed}</pre><h4>JSON</h4><pre>{answer}</pre></body></html>\n"
    )
