// All changes and cells: the page's whole state, which depends on nothing that is drawn.

import type { Waiting } from "./outbox";
import { getBytes } from "./scene";

export const STATUSES = ["unreviewed", "kept", "rejected", "unsure", "deleted"] as const;
export type Status = (typeof STATUSES)[number];
export const UNREVIEWED = 0;
export const UNSURE = 3;
export const DELETED = 4;

export interface Told {
  key: string;
  rev: number;
  status?: Status;
  label?: string;
  comment?: string;
  looked?: boolean;
  geometry?: boolean;
  box?: [number, number, number, number];
  area?: number;
}

/** Columns hold what is recorded, with what waits on top of it; revisions are those recorded. */
export class Index {
  readonly places: Map<number, number>;
  private waiting: Waiting[] = [];
  /** What is recorded where something waits: place -> status and class, and cell -> whether it was looked at. */
  private readonly recorded = new Map<number, [number, number]>();
  private readonly recordedCells = new Map<number, number>();

  constructor(
    readonly seq: number,
    public ids: Uint32Array,
    public revs: Uint32Array,
    public areas: Float32Array,
    public scores: Float32Array,
    public boxes: Float32Array,
    readonly cellRevs: Uint32Array,
    public statuses: Uint8Array,
    public labels: Uint8Array,
    readonly looked: Uint8Array,
  ) {
    this.places = new Map(Array.from(ids, (id, place) => [id, place]));
  }

  static async load(): Promise<Index> {
    const bytes = await getBytes("/api/index");
    const [count, cells] = new Uint32Array(bytes, 0, 2);
    const seq = Number(new BigUint64Array(bytes, 8, 1)[0]);
    let at = 16;
    const take = <T>(kind: { new (b: ArrayBuffer, o: number, n: number): T; BYTES_PER_ELEMENT: number }, n: number): T => {
      const part = new kind(bytes, at, n);
      at += n * kind.BYTES_PER_ELEMENT;
      return part;
    };
    return new Index(
      seq,
      take(Uint32Array, count),
      take(Uint32Array, count),
      take(Float32Array, count),
      take(Float32Array, count),
      take(Float32Array, 4 * count),
      take(Uint32Array, cells),
      take(Uint8Array, count),
      take(Uint8Array, count),
      take(Uint8Array, cells),
    );
  }

  /** The box of a change in the page's coordinates: x = column, y = -row. */
  box(place: number): [number, number, number, number] {
    const [left, top, right, bottom] = this.boxes.subarray(4 * place, 4 * place + 4);
    return [left, -bottom, right, -top];
  }

  middle(place: number): [number, number] {
    const [left, bottom, right, top] = this.box(place);
    return [(left + right) / 2, (bottom + top) / 2];
  }

  tally(): Record<Status, number> {
    const counts = new Uint32Array(STATUSES.length);
    for (const status of this.statuses) counts[status] += 1;
    return Object.fromEntries(STATUSES.map((name, code) => [name, counts[code]])) as Record<Status, number>;
  }

  /** Show what waits on top of what is recorded. */
  show(waiting: Waiting[], columns: number, classes: string[]): void {
    this.restore();
    this.waiting = waiting;
    this.lay(columns, classes);
  }

  private restore(): void {
    for (const [place, [status, label]] of this.recorded) [this.statuses[place], this.labels[place]] = [status, label];
    for (const [cell, looked] of this.recordedCells) this.looked[cell] = looked;
    this.recorded.clear();
    this.recordedCells.clear();
  }

  private lay(columns: number, classes: string[]): void {
    const undone = new Set(this.waiting.map((each) => each.of));
    for (const { op, items } of this.waiting) {
      if (undone.has(op)) continue;
      for (const { key, after } of items) {
        if (key.startsWith("cell ")) {
          const cell = cellOf(key, columns);
          if (!this.recordedCells.has(cell)) this.recordedCells.set(cell, this.looked[cell]);
          this.looked[cell] = Number(after.looked);
          continue;
        }
        const place = this.places.get(Number(key));
        if (place === undefined) continue;
        if (!this.recorded.has(place)) this.recorded.set(place, [this.statuses[place], this.labels[place]]);
        if (after.status !== undefined) this.statuses[place] = STATUSES.indexOf(after.status as Status);
        if (after.label !== undefined) this.labels[place] = classes.indexOf(after.label as string);
      }
    }
  }

  /** Take over what the server says of changes and cells, unless as much is known already; whether anything is new. */
  learn(told: Told[], columns: number, classes: string[]): boolean {
    let news = false;
    this.restore();
    for (const each of told) {
      if (each.key.startsWith("cell ")) {
        const cell = cellOf(each.key, columns);
        if (each.rev <= this.cellRevs[cell]) continue;
        news = true;
        this.cellRevs[cell] = each.rev;
        this.looked[cell] = Number(each.looked);
        continue;
      }
      const place = this.places.get(Number(each.key)) ?? (each.box === undefined ? undefined : this.append(Number(each.key)));
      if (place === undefined || each.rev <= this.revs[place]) continue;
      news = true;
      this.revs[place] = each.rev;
      if (each.box !== undefined) this.boxes.set(each.box, 4 * place);
      if (each.area !== undefined) this.areas[place] = each.area;
      if (each.status !== undefined) this.statuses[place] = STATUSES.indexOf(each.status);
      if (each.label !== undefined) this.labels[place] = Math.max(0, classes.indexOf(each.label));
    }
    this.lay(columns, classes);
    return news;
  }

  /** Make room for a change that somebody has drawn. */
  private append(id: number): number {
    const place = this.ids.length;
    const longer = <T extends Uint32Array | Float32Array | Uint8Array>(old: T, each = 1): T => {
      const found = new (old.constructor as new (n: number) => T)(old.length + each);
      found.set(old);
      return found;
    };
    this.ids = longer(this.ids);
    this.revs = longer(this.revs);
    this.areas = longer(this.areas);
    this.scores = longer(this.scores);
    this.boxes = longer(this.boxes, 4);
    this.statuses = longer(this.statuses);
    this.labels = longer(this.labels);
    this.ids[place] = id;
    this.scores[place] = NaN; // nobody has scored it
    this.places.set(id, place);
    return place;
  }
}

function cellOf(key: string, columns: number): number {
  const [row, col] = key.slice(5).split(" ").map(Number);
  return row * columns + col;
}
