// What reviewers draw and correct: from the tools, through the server's geometry, into the outbox.

import { DELETED, STATUSES, type Index } from "./index";
import type { Imagery } from "./imagery";
import type { Marks } from "./marks";
import type { Outbox } from "./outbox";
import { element } from "./panel";
import { post, Refused, type Scene } from "./scene";
import { HINTS, Tools, type Place, type Rings, type Tool } from "./tools";

const CORRECTING: (Tool | null)[] = ["cut", "hole", "vertices"];

/** Where the reviewer is. */
export interface Standing {
  /** The current change; null where there is none. */
  readonly current: number | null;
  several: number[];
  /** The class of what is drawn. */
  readonly label: string;
  /** What is drawn becomes the current change when it is recorded, unless the reviewer does something else before. */
  await(op: string): void;
  say(message: string): void;
}

export class Corrections {
  readonly tools: Tools;
  /** Id of the change that a tool corrects. */
  private id = 0;

  constructor(
    private readonly scene: Scene,
    private readonly index: Index,
    private readonly imagery: Imagery,
    private readonly marks: Marks,
    private readonly outbox: Outbox,
    private readonly standing: Standing,
  ) {
    this.tools = new Tools(imagery, marks.near, {
      drawn: (tool, places) => void this.drawn(tool, places),
      reshaped: (rings) => this.reshape(rings.map(upright)),
      say: (message) => standing.say(message),
    });
  }

  /** Whether a tool corrects an outline: what is recorded meanwhile must not change which. */
  get correcting(): boolean {
    return CORRECTING.includes(this.tools.tool);
  }

  /** Begin or leave a tool. */
  async use(tool: Tool): Promise<void> {
    if (this.tools.tool === tool) return this.leave();
    const { current, several } = this.standing;
    if (!CORRECTING.includes(tool)) return this.begin(tool, []);
    if (current === null || several.length > 0) return this.standing.say("choose one change first");
    this.id = this.index.ids[current];
    if (tool !== "vertices") this.begin(tool, []); // clicks count from now on; only corners need the outline
    const rings = await this.marks.rings();
    if (this.standing.current !== current || (tool !== "vertices" && this.tools.tool !== tool)) return;
    if (rings === null) {
      this.leave();
      return this.standing.say("this change has several parts; it cannot be corrected here");
    }
    if (tool === "vertices") this.begin(tool, rings);
  }

  private begin(tool: Tool, rings: Rings): void {
    this.tools.begin(tool, rings);
    element("tool").textContent = HINTS[tool];
    element("main").dataset.tool = tool;
  }

  leave(): void {
    this.tools.leave();
    element("tool").textContent = "";
    delete element("main").dataset.tool;
  }

  /** Corners are those of the outline that is recorded now, where it is another. */
  async renew(ids: number[]): Promise<void> {
    if (!this.correcting || !ids.includes(this.id)) return;
    const rings = await this.marks.rings();
    if (rings !== null) this.tools.renew(rings);
  }

  /** What was drawn becomes a change, or corrects one. */
  private async drawn(tool: Tool, places: Place[]): Promise<void> {
    if (tool === "cut") return this.become("split", { ids: [this.id], line: upright(places) });
    if (tool === "hole") return this.become("hole", { ids: [this.id], polygon: [upright(places)] });
    const after = { geometry: [upright(places)], label: this.standing.label, status: "kept" };
    this.standing.await(this.outbox.add("draw", [{ key: "", rev: 0, after }]));
  }

  private reshape(geometry: number[][][]): void {
    this.outbox.add("reshape", [{ key: String(this.id), rev: this.index.revs[this.index.places.get(this.id)!], after: { geometry } }]);
  }

  /** Ask for what becomes of changes, and record it. */
  private async become(kind: "split" | "merge" | "hole", asked: { ids: number[] } & Record<string, unknown>): Promise<void> {
    const shapes = await this.shapes("/api/geometry", { kind, ...asked });
    if (shapes === null) return;
    this.leave();
    if (kind === "hole") return this.reshape(shapes[0]);
    const olds = asked.ids.map((id) => this.index.places.get(id)!);
    const status = STATUSES[this.index.statuses[olds[0]]];
    const label = this.scene.classes[this.index.labels[olds[0]]];
    const ended = olds.map((place) => ({ key: String(this.index.ids[place]), rev: this.index.revs[place], after: { status: "deleted" } }));
    const begun = shapes.map((geometry) => ({ key: "", rev: 0, after: { geometry, label, status } }));
    this.standing.several = [];
    this.standing.await(this.outbox.add(kind, [...ended, ...begun]));
  }

  merge(): void {
    const { several } = this.standing;
    if (several.length < 2) return this.standing.say("choose several changes first: B, or Shift and drag");
    void this.become("merge", { ids: several.map((place) => this.index.ids[place]) });
  }

  /** Grow a change from the cross of a tool, from the pointer, or from the middle of the view. */
  async grow(pointer: Place | null): Promise<void> {
    const [x, y] = this.tools.at ?? pointer ?? (this.imagery.map.getView().getCenter() as Place);
    const shapes = await this.shapes("/api/grow", { at: [x, -y] });
    if (shapes === null) return;
    const { label } = this.standing;
    this.standing.await(this.outbox.add("grow", shapes.map((geometry) => ({ key: "", rev: 0, after: { geometry, label, status: "kept" } }))));
  }

  /** Delete a change that was drawn. */
  remove(place: number): void {
    this.outbox.add("delete", [{ key: String(this.index.ids[place]), rev: this.index.revs[place], after: { status: STATUSES[DELETED] } }]);
  }

  /** What the server makes of changes; null, and a message, where it refuses. */
  private async shapes(path: string, asked: object): Promise<number[][][][] | null> {
    try {
      return (await post(path, asked)).shapes;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.standing.say(error.message);
      return null;
    }
  }
}

/** From the page's coordinates to columns and rows, and back. */
function upright(places: Place[]): number[][] {
  return places.map(([x, y]) => [x, -y]);
}
