// Both dates and the probability as tiles in the scene's pixels, with a swipe between the dates, or side by side.

import Map from "ol/Map";
import View from "ol/View";
import TileLayer from "ol/layer/Tile";
import Projection from "ol/proj/Projection";
import XYZ from "ol/source/XYZ";
import TileGrid from "ol/tilegrid/TileGrid";
import { defaults } from "ol/interaction/defaults";
import { getRenderPixel } from "ol/render";
import type RenderEvent from "ol/render/Event";
import type { Scene } from "./scene";

export type Mode = "before" | "both" | "after" | "side";

const TILE = 256;
const CLOSEST = 1 / 16; // pixels of the scene to one of the screen

export class Imagery {
  readonly map: Map;
  /** The map, and the one that shows the later date beside it; both have one view. */
  readonly maps: [Map, Map];
  readonly extent: [number, number, number, number];
  mode: Mode = "both";
  split = 0.5;
  blinking = false;
  /** Name of the bands and the stretch that are drawn. */
  look: string;
  private readonly layers: Record<"before" | "after" | "probability", TileLayer>;

  constructor(
    target: HTMLElement,
    private readonly beside: HTMLElement,
    scene: Scene,
  ) {
    this.look = scene.look.name;
    const [rows, cols] = scene.shape;
    this.extent = [0, -rows, cols, 0];
    const projection = new Projection({ code: "SCENE", units: "pixels", extent: this.extent, metersPerUnit: scene.gsd ?? 1 });
    const resolutions = Array.from({ length: scene.deepest + 1 }, (_, zoom) => 2 ** (scene.deepest - zoom));
    const tileGrid = new TileGrid({ origin: [0, 0], extent: this.extent, resolutions, tileSize: TILE });
    const layer = (name: string, opacity = 1) =>
      new TileLayer({
        opacity,
        extent: this.extent,
        preload: 1,
        source: new XYZ({ url: this.address(name, "{z}", "{x}", "{y}"), projection, tileGrid, interpolate: false, transition: 0, wrapX: false }),
      });
    this.layers = { before: layer("before"), after: layer("after"), probability: layer("probability", 0) };
    this.layers.probability.setVisible(false); // nothing is fetched of it
    this.layers.after.on("prerender", (event) => this.clip(event));
    this.layers.after.on("postrender", (event) => (event.context as CanvasRenderingContext2D).restore());
    const settings = () => ({
      controls: [],
      interactions: defaults({ keyboard: false, shiftDragZoom: false, altShiftDragRotate: false, doubleClickZoom: false, pinchRotate: false }),
    });
    this.map = new Map({
      ...settings(),
      target,
      layers: Object.values(this.layers),
      view: new View({
        projection,
        extent: this.extent,
        smoothExtentConstraint: false,
        showFullExtent: true,
        constrainOnlyCenter: true,
        maxResolution: 4 * 2 ** scene.deepest,
        minResolution: CLOSEST,
        center: [cols / 2, -rows / 2],
        resolution: 2 ** scene.deepest,
        enableRotation: false,
      }),
    });
    this.map.getView().fit(this.extent);
    const later = new TileLayer({ extent: this.extent, source: this.layers.after.getSource()! });
    this.maps = [this.map, new Map({ ...settings(), layers: [later], view: this.map.getView() })];
  }

  /** Fetch what could not be had before. */
  refresh(): void {
    for (const layer of Object.values(this.layers)) layer.getSource()!.refresh();
  }

  /** Draw the dates in other bands, or with another stretch. */
  draw(look: string): void {
    this.look = look;
    for (const name of ["before", "after"] as const) (this.layers[name].getSource() as XYZ).setUrl(this.address(name, "{z}", "{x}", "{y}"));
  }

  /** Show one date, both at the swipe's line, or both side by side. */
  show(mode: Mode): void {
    this.mode = mode;
    this.beside.hidden = mode !== "side";
    this.maps[1].setTarget(mode === "side" ? this.beside : undefined);
    this.map.render();
  }

  /** Show the other date while a key is held. */
  blink(held: boolean): void {
    this.blinking = held;
    this.map.render();
  }

  moveSplit(to: number): void {
    this.split = Math.min(1, Math.max(0, to));
    this.show("both");
  }

  set opacity(value: number) {
    this.layers.probability.setOpacity(value);
    this.layers.probability.setVisible(value > 0);
  }

  get opacity(): number {
    return this.layers.probability.getOpacity();
  }

  /** Fetch the tiles that a view would show. */
  prefetch(center: [number, number], resolution: number): void {
    const grid = (this.layers.before.getSource() as XYZ).getTileGrid()!;
    const [width, height] = this.map.getSize() ?? [0, 0];
    const zoom = grid.getZForResolution(resolution);
    const view = [center[0] - (width * resolution) / 2, center[1] - (height * resolution) / 2, center[0] + (width * resolution) / 2, center[1] + (height * resolution) / 2];
    const wanted = [Math.max(view[0], this.extent[0]), Math.max(view[1], this.extent[1]), Math.min(view[2], this.extent[2]), Math.min(view[3], this.extent[3])];
    grid.forEachTileCoord(wanted, zoom, ([z, x, y]) => {
      for (const name of ["before", "after"]) new Image().src = this.address(name, String(z), String(x), String(y));
    });
  }

  private address(layer: string, zoom: string, x: string, y: string): string {
    return `/tiles/${layer}/${this.look}/${zoom}/${x}/${y}`;
  }

  /** How much of the width, from the left, shows the earlier date. */
  private shareOfBefore(): number {
    if (this.mode === "both") return this.blinking ? (this.split > 0.5 ? 0 : 1) : this.split;
    return (this.mode !== "after") !== this.blinking ? 1 : 0;
  }

  private clip(event: RenderEvent): void {
    const context = event.context as CanvasRenderingContext2D;
    const [width, height] = this.map.getSize()!;
    const left = width * this.shareOfBefore();
    const corners = [[left, 0], [width, 0], [width, height], [left, height]].map((corner) => getRenderPixel(event, corner));
    context.save();
    context.beginPath();
    corners.forEach(([x, y], place) => (place === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
    context.closePath();
    context.clip();
  }
}
