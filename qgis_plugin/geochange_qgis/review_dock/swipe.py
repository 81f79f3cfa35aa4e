"""Swipe: BEFORE left of a line that follows the mouse, AFTER right of it.

SPDX-License-Identifier: GPL-2.0-or-later
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import QgsMapRendererParallelJob, QgsMapSettings, QgsRectangle
from qgis.gui import QgsMapCanvas, QgsMapCanvasItem, QgsMapMouseEvent, QgsMapTool
from qgis.PyQt.QtCore import QPointF, QRectF, Qt
from qgis.PyQt.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPen

LINE = QColor(255, 255, 255)
SHADE = QColor(0, 0, 0, 160)
LINE_WIDTH = 2.0
LABEL_GAP = 8.0

LayersOf = Callable[[], list]


class SwipeItem(QgsMapCanvasItem):
    """The picture of BEFORE over the canvas, left of the line."""

    def __init__(self, canvas: QgsMapCanvas, labels: tuple[str, str]) -> None:
        """Cover nothing yet.

        Args:
            canvas: shows AFTER.
            labels: what stands left and right of the line.
        """
        super().__init__(canvas)
        self._labels = labels
        self._image = QImage()
        self._line = canvas.width() / 2
        self.setZValue(50)  # over the map, under rubber bands

    def show_image(self, image: QImage, extent: QgsRectangle) -> None:
        """Take the picture of BEFORE, and where it lies."""
        self._image = image
        self.setRect(extent)
        self.update()

    def move_line(self, x: float) -> None:
        """Put the line at a column of the canvas."""
        self._line = x
        self.update()

    def updatePosition(self) -> None:
        """Keep the picture where it lies on the ground while the map moves."""
        self.setRect(self.rect())

    def paint(self, painter: QPainter, *_: Any) -> None:
        """Draw what is left of the line, and the line."""
        if self._image.isNull():
            return
        whole = QRectF(0, 0, self.boundingRect().width() - 2, self.boundingRect().height() - 2)  # QGIS adds 2 pixels
        line = min(max(self._line - self.pos().x(), 0.0), whole.width())
        share = line / whole.width() if whole.width() else 0.0
        left = QRectF(0, 0, self._image.width() * share, self._image.height())
        painter.drawImage(QRectF(0, 0, line, whole.height()), self._image, left)
        for colour, width in ((SHADE, LINE_WIDTH + 2), (LINE, LINE_WIDTH)):
            painter.setPen(QPen(colour, width))
            painter.drawLine(QPointF(line, 0), QPointF(line, whole.height()))
        self._draw_labels(painter, line)

    def _draw_labels(self, painter: QPainter, line: float) -> None:
        font = QFont(painter.font())
        font.setBold(True)
        painter.setFont(font)
        metrics = QFontMetricsF(font)
        for text, left in zip(self._labels, (True, False)):
            width = metrics.horizontalAdvance(text) + 2 * LABEL_GAP
            box = QRectF(line - LABEL_GAP - width if left else line + LABEL_GAP, LABEL_GAP, width, metrics.height() + 4)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(SHADE)
            painter.drawRoundedRect(box, 3, 3)
            painter.setPen(LINE)
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)


class SwipeTool(QgsMapTool):
    """Move the mouse to move the line; drag to move the map."""

    def __init__(self, canvas: QgsMapCanvas, layers: LayersOf, labels: tuple[str, str]) -> None:
        """Do nothing until the tool is set.

        Args:
            canvas: shows AFTER.
            layers: gives the layers of BEFORE's picture, topmost first.
            labels: what stands left and right of the line.
        """
        super().__init__(canvas)
        self._layers, self._labels = layers, labels
        self._item: SwipeItem | None = None
        self._job: QgsMapRendererParallelJob | None = None
        self._cancelled: list[QgsMapRendererParallelJob] = []  # kept until they end: who drops one waits for it
        self._dragging = False
        self.setCursor(Qt.CursorShape.SplitHCursor)

    def activate(self) -> None:
        """Cover the canvas."""
        super().activate()
        canvas = self.canvas()
        self._item = SwipeItem(canvas, self._labels)
        canvas.renderStarting.connect(self._draw)
        canvas.layersChanged.connect(self._draw)
        self._draw()

    def deactivate(self) -> None:
        """Uncover the canvas."""
        if self._item is not None:
            canvas = self.canvas()
            canvas.renderStarting.disconnect(self._draw)
            canvas.layersChanged.disconnect(self._draw)
            self._cancel()
            canvas.scene().removeItem(self._item)
            self._item = None
        super().deactivate()

    def move_line(self, x: float) -> None:
        """Put the line at a column of the canvas."""
        if self._item is not None:
            self._item.move_line(x)

    @property
    def drawing(self) -> bool:
        """Whether BEFORE's picture is being drawn."""
        return self._job is not None

    def canvasMoveEvent(self, event: QgsMapMouseEvent) -> None:
        """Move the line, or the map while the left button is held."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._dragging = True
            self.canvas().panAction(event)
        else:
            self.move_line(event.pos().x())

    def canvasReleaseEvent(self, event: QgsMapMouseEvent) -> None:
        """Let go of the map."""
        if self._dragging:
            self.canvas().panActionEnd(event.pos())
            self._dragging = False

    def _draw(self) -> None:
        """Draw BEFORE as the canvas lies now, beside QGIS's own drawing."""
        self._cancel()
        settings = QgsMapSettings(self.canvas().mapSettings())
        settings.setLayers(self._layers())
        job = self._job = QgsMapRendererParallelJob(settings)
        job.finished.connect(self._show)
        job.start()

    def _show(self) -> None:
        job, self._job = self._job, None
        if job is not None and self._item is not None:
            self._item.show_image(job.renderedImage(), job.mapSettings().visibleExtent())

    def _cancel(self) -> None:
        if self._job is not None:
            job, self._job = self._job, None
            job.finished.disconnect(self._show)
            job.cancelWithoutBlocking()
            self._cancelled = [*(each for each in self._cancelled if each.isActive()), job]
