// Drawing and correcting outlines, with the pointer or with the keyboard alone: one sketch for both.

import Feature from "ol/Feature";
import Interaction from "ol/interaction/Interaction";
import Snap from "ol/interaction/Snap";
import VectorLayer from "ol/layer/Vector";
import type MapBrowserEvent from "ol/MapBrowserEvent";
import LineString from "ol/geom/LineString";
import Point from "ol/geom/Point";
import Polygon from "ol/geom/Polygon";
import VectorSource from "ol/source/Vector";
import { Circle, Fill, RegularShape, Stroke, Style } from "ol/style";
import type { Imagery } from "./imagery";

export type Place = [number, number];
export type Rings = Place[][];
export type Tool = "polygon" | "rectangle" | "freehand" | "cut" | "hole" | "vertices";

const SNAP = 8; // px on the screen
const NEAR = 10; // px on the screen, to a vertex or an edge that is grabbed
const SPACING = 3; // px on the screen between vertices of a freehand outline

export const HINTS: Record<Tool, string> = {
  polygon: "Polygon: click, or Enter at the cross, for each corner; double-click, or Enter twice, ends. Esc leaves.",
  rectangle: "Rectangle: click, or Enter at the cross, at two opposite corners. Esc leaves.",
  freehand: "Freehand: draw with the button held. With the keyboard, as a polygon. Esc leaves.",
  cut: "Cut: a line across the change; double-click, or Enter twice, ends. Esc leaves.",
  hole: "Hole: an outline inside the change; double-click, or Enter twice, ends. Esc leaves.",
  vertices: "Corners: drag one, or an edge for a new one; Enter takes and drops the one at the cross, Del removes it. Esc leaves.",
};

export interface Finished {
  /** An outline or a line was drawn. */
  drawn(tool: Tool, places: Place[]): void;
  /** The outline that is being corrected is another now. */
  reshaped(rings: Rings): void;
  say(message: string): void;
}

export class Tools {
  tool: Tool | null = null;
  private places: Place[] = [];
  private rings: Rings = [];
  private grabbed: [number, number] | null = null; // ring, and vertex in it
  private moved = false;
  private cross: Place = [0, 0];
  private readonly source = new VectorSource();
  private readonly snapped = new VectorSource();

  constructor(
    private readonly imagery: Imagery,
    near: VectorSource,
    private readonly finished: Finished,
  ) {
    for (const map of imagery.maps) {
      map.addLayer(new VectorLayer({ source: this.source, style: (feature) => styleOf(feature.get("kind")) }));
      map.addInteraction(new Interaction({ handleEvent: (event) => this.handle(event) }));
      for (const source of [near, this.snapped]) map.addInteraction(new Snap({ source, pixelTolerance: SNAP }));
    }
  }

  /** Begin with a tool; `rings` is the outline that is corrected. */
  begin(tool: Tool, rings: Rings = []): void {
    this.tool = tool;
    this.places = [];
    this.rings = rings.map((ring) => ring.slice(0, -1));
    this.grabbed = null;
    const [x, y] = this.imagery.map.getView().getCenter()!;
    this.cross = [Math.round(x), Math.round(y)];
    if (tool === "vertices") this.cross = [...this.rings[0][0]] as Place;
    this.draw();
  }

  /** The outline that is corrected has become another one: by undo, or by somebody else. */
  renew(rings: Rings): void {
    if (this.tool !== "vertices" || this.grabbed !== null) return;
    this.rings = rings.map((ring) => ring.slice(0, -1));
    this.draw();
  }

  leave(): void {
    this.tool = null;
    this.places = [];
    this.rings = [];
    this.grabbed = null;
    this.draw();
  }

  /** Where the cross of the tool is; null where there is none. */
  get at(): Place | null {
    return this.tool === null ? null : this.cross;
  }

  /** Keys that a tool has for itself; whether it took the key. */
  press(event: KeyboardEvent): boolean {
    if (this.tool === null) return false;
    const step = event.shiftKey ? 10 : 1; // pixels of the scene
    const moves: Record<string, Place> = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key in moves) this.moveCross(moves[event.key]);
    else if (event.key === "Enter") this.enter();
    else if (event.key === "Delete" || event.key === "Backspace") this.remove();
    else if (event.key.toLowerCase() === "z" && this.places.length > 0) this.places.pop();
    else return false;
    this.draw();
    return true;
  }

  private moveCross([dx, dy]: Place): void {
    const [left, bottom, right, top] = this.imagery.extent;
    this.cross = [clamp(this.cross[0] + dx, left, right), clamp(this.cross[1] + dy, bottom, top)];
    if (this.grabbed !== null) this.moveGrabbed(this.cross);
    const [width, height] = this.imagery.map.getSize()!;
    const [x, y] = this.imagery.map.getPixelFromCoordinate(this.cross);
    if (x < 0 || y < 0 || x > width || y > height) this.imagery.map.getView().setCenter(this.cross);
  }

  private enter(): void {
    if (this.tool === "vertices") {
      if (this.grabbed !== null) this.drop();
      else if (!this.grab(this.cross)) this.finished.say("no corner and no edge at the cross");
      return;
    }
    this.add([...this.cross] as Place);
  }

  /** Add a corner; the same place twice ends the outline, as a rectangle ends with its second corner. */
  private add(place: Place): void {
    const last = this.places.at(-1);
    if (last !== undefined && this.distance(last, place) < 1) return this.end();
    this.places.push(this.inside(place));
    if (this.tool === "rectangle" && this.places.length === 2) {
      const [[x, y], [u, v]] = this.places;
      this.places = [[x, y], [u, y], [u, v], [x, v]];
      this.end();
    }
  }

  private end(): void {
    const tool = this.tool!;
    const least = tool === "cut" ? 2 : 3;
    if (this.places.length < least) return this.finished.say(`${least} corners are needed`);
    const places = this.places;
    this.places = [];
    this.finished.drawn(tool, tool === "cut" ? places : [...places, places[0]]);
  }

  private remove(): void {
    if (this.tool !== "vertices") {
      this.places.pop();
      return;
    }
    const found = this.grabbed ?? this.vertexNear(this.cross);
    if (found === null) return this.finished.say("no corner at the cross");
    if (this.rings[found[0]].length <= 3) return this.finished.say("an outline has three corners at least");
    this.rings[found[0]].splice(found[1], 1);
    this.grabbed = null;
    this.finished.reshaped(this.closed());
  }

  private handle(event: MapBrowserEvent): boolean {
    if (this.tool === null) return true;
    const place = event.coordinate as Place;
    const free = this.freehand(event, place) ?? this.corners(event, place);
    if (free !== null) return free;
    if (event.type === "pointermove") this.cross = place;
    else if (event.type === "click" && this.tool !== "vertices") this.add(place);
    else if (event.type === "dblclick") return false;
    else return true;
    this.draw();
    return event.type !== "click";
  }

  /** Follow a pointer that draws freehand; null for other tools and events. */
  private freehand(event: MapBrowserEvent, place: Place): boolean | null {
    if (this.tool !== "freehand") return null;
    if (event.type === "pointerdown") this.places = [this.inside(place)];
    else if (event.type === "pointerdrag") {
      if (this.distance(this.places.at(-1)!, place) >= SPACING) this.places.push(this.inside(place));
    } else if (event.type === "pointerup" && this.places.length > 2) this.end();
    else return null;
    this.draw();
    return false;
  }

  /** Follow a pointer that drags a corner; null for other tools and events. */
  private corners(event: MapBrowserEvent, place: Place): boolean | null {
    if (this.tool !== "vertices") return null;
    if (event.type === "pointerdown") {
      if (!this.grab(place)) return null;
    } else if (event.type === "pointerdrag" && this.grabbed !== null) this.moveGrabbed(place);
    else if (event.type === "pointerup" && this.grabbed !== null) this.drop();
    else return null;
    this.cross = place;
    this.draw();
    return false;
  }

  /** Take the corner at a place, or make one of the edge there. */
  private grab(place: Place): boolean {
    this.moved = false;
    this.grabbed = this.vertexNear(place);
    if (this.grabbed !== null) return true;
    const edge = this.edgeNear(place);
    if (edge === null) return false;
    this.rings[edge[0]].splice(edge[1] + 1, 0, this.inside(place));
    this.grabbed = [edge[0], edge[1] + 1];
    return true;
  }

  private moveGrabbed(place: Place): void {
    const [ring, vertex] = this.grabbed!;
    this.rings[ring][vertex] = this.inside(place);
    this.moved = true;
  }

  private drop(): void {
    this.grabbed = null;
    if (this.moved) this.finished.reshaped(this.closed());
  }

  private vertexNear(place: Place): [number, number] | null {
    let [found, least]: [[number, number] | null, number] = [null, NEAR];
    this.rings.forEach((ring, number) =>
      ring.forEach((vertex, at) => {
        const away = this.distance(vertex, place);
        if (away < least) [found, least] = [[number, at], away];
      }),
    );
    return found;
  }

  private edgeNear(place: Place): [number, number] | null {
    let [found, least]: [[number, number] | null, number] = [null, NEAR];
    this.rings.forEach((ring, number) =>
      ring.forEach((vertex, at) => {
        const next = ring[(at + 1) % ring.length];
        const closest = new LineString([vertex, next]).getClosestPoint(place) as Place;
        const away = this.distance(closest, place);
        if (away < least) [found, least] = [[number, at], away];
      }),
    );
    return found;
  }

  private closed(): Rings {
    return this.rings.map((ring) => [...ring, ring[0]]);
  }

  /** Pixels on the screen between two places. */
  private distance(one: Place, other: Place): number {
    return Math.hypot(one[0] - other[0], one[1] - other[1]) / this.imagery.map.getView().getResolution()!;
  }

  private inside([x, y]: Place): Place {
    const [left, bottom, right, top] = this.imagery.extent;
    return [clamp(x, left, right), clamp(y, bottom, top)];
  }

  private draw(): void {
    this.source.clear();
    this.snapped.clear();
    if (this.tool === null) return;
    const add = (geometry: LineString | Point | Polygon, kind: string) => this.source.addFeature(new Feature({ geometry, kind }));
    if (this.tool === "vertices") {
      add(new Polygon(this.closed()), "outline");
      for (const ring of this.rings) for (const vertex of ring) add(new Point(vertex), "corner");
    } else if (this.places.length > 0) {
      add(new LineString([...this.places, this.cross]), "outline");
      this.snapped.addFeature(new Feature(new Point(this.places[0])));
    }
    add(new Point(this.cross), "cross");
  }
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(Math.max(value, low), high);
}

function styleOf(kind: string): Style[] {
  const lines = (colour: string, width: number) => new Stroke({ color: colour, width });
  if (kind === "corner") return [new Style({ image: new Circle({ radius: 4, fill: new Fill({ color: "#ffffff" }), stroke: lines("#000000", 1) }) })];
  if (kind === "cross") {
    const cross = (colour: string, width: number) => new Style({ image: new RegularShape({ points: 4, radius: 11, radius2: 0, stroke: lines(colour, width) }) });
    return [cross("#000000", 4), cross("#ffffff", 2)];
  }
  return [new Style({ stroke: lines("#000000", 4) }), new Style({ stroke: lines("#ffe600", 2) })];
}
