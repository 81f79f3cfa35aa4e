// Changes as boxes, all of them, on one canvas that is painted when the view rests; and outlines of those nearby.

import ImageLayer from "ol/layer/Image";
import VectorLayer from "ol/layer/Vector";
import ImageCanvas from "ol/source/ImageCanvas";
import VectorSource from "ol/source/Vector";
import GeoJSON from "ol/format/GeoJSON";
import Feature from "ol/Feature";
import MultiPolygon from "ol/geom/MultiPolygon";
import Polygon, { fromExtent } from "ol/geom/Polygon";
import { Circle, Fill, Stroke, Style } from "ol/style";
import Point from "ol/geom/Point";
import type { Cells } from "./cells";
import type { Imagery } from "./imagery";
import { DELETED, Index, STATUSES } from "./index";
import { get } from "./scene";
import type { Rings } from "./tools";

const COLOURS: Record<string, string> = { unreviewed: "#ff0090", kept: "#2fd06a", rejected: "#ff6a5c", unsure: "#ffc400" };
const DASHES: Record<string, number[]> = { unreviewed: [], kept: [], rejected: [2, 4], unsure: [8, 5] };
const SMALLEST = 2; // px of a mark on the screen
const RING = 12; // px; a smaller change gets a ring
const KEPT = 20; // outlines that are fetched beforehand
const TICKED = 40; // px on the screen of a cell that has room for a tick
const TICK = [[9, 16], [14, 21], [23, 10]];
const NEAR = 2; // scene pixels to a screen pixel, from which on outlines are drawn

const MINE = [
  new Style({ stroke: new Stroke({ color: "#000000", width: 5 }) }),
  new Style({ stroke: new Stroke({ color: "#59c2ff", width: 3, lineDash: [10, 6] }) }),
];

export class Marks {
  least = 0;
  outlines = true;
  private readonly painted: ImageCanvas;
  readonly near = new VectorSource();
  private readonly chosen = new VectorSource();
  private readonly mine = new VectorSource();
  private readonly format = new GeoJSON();
  private readonly ahead = new Map<number, Promise<object>>();
  private asked = 0;
  private nearAsked = 0;
  private beside: number | null = null;
  private arriving: Promise<void> = Promise.resolve();

  constructor(
    private readonly imagery: Imagery,
    private readonly index: Index,
    private readonly cells: Cells,
    private readonly cellCount: number,
  ) {
    this.painted = new ImageCanvas({
      ratio: 1.5,
      projection: imagery.map.getView().getProjection(),
      canvasFunction: (extent, resolution, ratio, size) => this.paint(extent, resolution, ratio, size),
    });
    for (const map of imagery.maps) {
      map.addLayer(new ImageLayer({ source: this.painted }));
      map.addLayer(new VectorLayer({ source: this.near, style: (feature) => this.outline(Number(feature.getId()), 2) }));
      map.addLayer(new VectorLayer({ source: this.chosen, style: (feature, resolution) => this.chosenStyle(feature as Feature, resolution) }));
      map.addLayer(new VectorLayer({ source: this.mine, style: MINE }));
    }
    imagery.map.on("moveend", () => void this.fetchNear());
  }

  /** Draw this page's own outlines, as columns and rows, where those of the changes are somebody else's. */
  showMine(shapes: number[][][][]): void {
    this.mine.clear();
    this.mine.addFeatures(shapes.map((rings) => new Feature(new Polygon(rings.map((ring) => ring.map(([x, y]) => [x, -y]))))));
  }

  /** Show outlines, or hide them, and the boxes. */
  toggle(): void {
    this.outlines = !this.outlines;
    void this.fetchNear();
  }

  refresh(): void {
    this.painted.changed();
    this.near.changed();
    this.chosen.changed();
  }

  /** Mark some changes as those that the next decision is about, and another one that it is not about. */
  choose(decided: number[], beside: number | null = null): Promise<void> {
    this.arriving = this.fetchChosen(decided, beside);
    return this.arriving;
  }

  private async fetchChosen(decided: number[], beside: number | null): Promise<void> {
    this.chosen.clear();
    const turn = ++this.asked;
    this.beside = beside === null || decided.includes(beside) ? null : beside;
    const places = this.beside === null ? decided : [...decided, this.beside];
    this.chosen.addFeatures(places.map((place) => new Feature({ geometry: fromExtent(this.index.box(place)), place, box: true })));
    const ids = places.slice(0, 1500).map((place) => this.index.ids[place]);
    if (ids.length === 0) return;
    const fetched = (ids.length === 1 && this.ahead.get(ids[0])) || get(`/api/shapes?ids=${ids.join(",")}`);
    this.ahead.delete(ids[0]);
    const shapes = this.upright(await fetched);
    if (turn !== this.asked) return;
    this.chosen.clear();
    shapes.forEach((shape) => shape.set("place", this.index.places.get(Number(shape.getId()))));
    this.chosen.addFeatures(shapes);
  }

  /** Fetch the outline of a change that comes next. */
  prefetch(place: number): void {
    const id = this.index.ids[place];
    if (this.ahead.has(id)) return;
    const fetched = get(`/api/shapes?ids=${id}`);
    fetched.catch(() => this.ahead.delete(id)); // it is fetched when it is there
    this.ahead.set(id, fetched);
    for (const old of this.ahead.keys()) {
      if (this.ahead.size <= KEPT) break;
      this.ahead.delete(old);
    }
  }

  async fetchNear(): Promise<void> {
    const view = this.imagery.map.getView();
    if (!this.outlines || view.getResolution()! > NEAR) {
      this.nearAsked += 1;
      this.near.clear();
      this.painted.changed();
      return;
    }
    const [left, bottom, right, top] = view.calculateExtent();
    const turn = ++this.nearAsked;
    const answer = await get(`/api/shapes?box=${left},${-top},${right},${-bottom}`);
    if (turn !== this.nearAsked) return; // another view has been asked for since
    this.near.clear();
    if (!("too_many" in answer)) this.near.addFeatures(this.upright(answer));
    this.painted.changed();
  }

  /** Shapes come with x = column and y = row; the page's y is -row. */
  private upright(answer: object): Feature[] {
    const features = this.format.readFeatures(answer) as Feature[];
    features.forEach((feature) =>
      feature.getGeometry()!.applyTransform((input, output, stride) => {
        for (let at = 1; at < input.length; at += stride ?? 2) output![at] = -input[at];
        return output!;
      }),
    );
    return features;
  }

  private outline(id: number, width: number): Style | undefined {
    const place = this.index.places.get(id);
    if (place === undefined || this.index.scores[place] < this.least || this.index.statuses[place] === DELETED) return undefined;
    const status = STATUSES[this.index.statuses[place]];
    return new Style({ stroke: new Stroke({ color: COLOURS[status], width, lineDash: DASHES[status] }) });
  }

  /** Rings of the change that is chosen, once they are there; null where it is not one outline. */
  async rings(): Promise<Rings | null> {
    await this.arriving;
    const [feature, ...others] = this.chosen.getFeatures();
    if (feature === undefined || others.length > 0 || feature.get("box")) return null;
    const geometry = feature.getGeometry() as Polygon | MultiPolygon;
    const parts = geometry instanceof MultiPolygon ? geometry.getCoordinates() : [geometry.getCoordinates()];
    return parts.length === 1 ? (parts[0] as Rings) : null;
  }

  /** Fetch outlines anew after some have changed. */
  async renew(ids: number[]): Promise<void> {
    for (const id of ids) this.ahead.delete(id);
    await this.fetchNear();
  }

  private chosenStyle(feature: Feature, resolution: number): Style[] | undefined {
    const place = feature.get("place") as number;
    if (this.index.statuses[place] === DELETED) return undefined;
    const status = STATUSES[this.index.statuses[place]];
    const dash = feature.get("box") ? [] : DASHES[status];
    const line = new Style({ stroke: new Stroke({ color: COLOURS[status], width: 2, lineDash: dash }) });
    const halo = [
      new Style({ stroke: new Stroke({ color: "#000000", width: 5 }) }),
      new Style({ stroke: new Stroke({ color: "#ffffff", width: 3.5 }), fill: new Fill({ color: "rgba(0,0,0,0.01)" }) }),
    ];
    const styles = place === this.beside ? [line] : [...halo, line];
    const [left, bottom, right, top] = this.index.box(place);
    if (Math.max(right - left, top - bottom) / resolution < RING) {
      const middle = new Point([(left + right) / 2, (bottom + top) / 2]);
      const ring = (color: string, width: number) => new Style({ geometry: middle, image: new Circle({ radius: 16, stroke: new Stroke({ color, width }) }) });
      styles.push(ring("#000000", 4), ring("#ffffff", 2));
    }
    return styles;
  }

  private paint(extent: number[], resolution: number, ratio: number, size: number[]): HTMLCanvasElement {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = size.map(Math.round);
    const context = canvas.getContext("2d")!;
    const scale = ratio / resolution;
    const { boxes, scores, statuses } = this.index;
    this.paintCells(context, extent, scale, ratio);
    if (!this.outlines || (resolution <= NEAR && this.near.getFeatures().length > 0)) return canvas;
    for (const [code, status] of STATUSES.slice(0, 4).entries()) {
      context.fillStyle = COLOURS[status];
      for (let place = 0; place < scores.length; place += 1) {
        if (statuses[place] !== code || scores[place] < this.least) continue;
        const x = (boxes[4 * place] - extent[0]) * scale;
        const y = (extent[3] + boxes[4 * place + 1]) * scale;
        const width = Math.max((boxes[4 * place + 2] - boxes[4 * place]) * scale, SMALLEST * ratio);
        const height = Math.max((boxes[4 * place + 3] - boxes[4 * place + 1]) * scale, SMALLEST * ratio);
        if (x + width < 0 || y + height < 0 || x > canvas.width || y > canvas.height) continue;
        if (width > 6 * ratio && height > 6 * ratio) {
          context.fillRect(x, y, width, ratio);
          context.fillRect(x, y + height - ratio, width, ratio);
          context.fillRect(x, y, ratio, height);
          context.fillRect(x + width - ratio, y, ratio, height);
        } else context.fillRect(x, y, width, height);
      }
    }
    return canvas;
  }

  /** Paint the outlines of cells: full with a tick where somebody has looked, dashed where it is to be looked at now. */
  private paintCells(context: CanvasRenderingContext2D, extent: number[], scale: number, ratio: number): void {
    for (let cell = 0; cell < this.cellCount; cell += 1) {
      const looked = this.index.looked[cell] === 1;
      const current = this.cells.current === cell;
      if (!looked && !current) continue;
      const [left, bottom, right, top] = this.cells.box(cell);
      const [x, y, width, height] = [(left - extent[0]) * scale, (extent[3] - top) * scale, (right - left) * scale, (top - bottom) * scale];
      if (x + width < 0 || y + height < 0 || x > context.canvas.width || y > context.canvas.height) continue;
      for (const [colour, thick] of [["#000000", 4], [looked ? COLOURS.kept : "#ffffff", 2]] as const) {
        context.strokeStyle = colour;
        context.lineWidth = thick * ratio;
        context.setLineDash(looked || thick > 2 ? [] : [8 * ratio, 6 * ratio]);
        context.strokeRect(x + 2 * ratio, y + 2 * ratio, width - 4 * ratio, height - 4 * ratio);
        if (!looked || width < TICKED * ratio) continue;
        context.beginPath();
        for (const [dx, dy] of TICK) context.lineTo(x + dx * ratio, y + dy * ratio);
        context.stroke();
      }
    }
    context.setLineDash([]);
  }
}
