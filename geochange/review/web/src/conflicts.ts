// Two versions of one change, where somebody else was faster: both are shown, and one key takes this page's own.

import { DELETED, STATUSES, type Index, type Told } from "./index";
import type { Marks } from "./marks";
import type { Item, Outbox, Waiting } from "./outbox";
import { element, heading, list, paragraph } from "./panel";
import { get } from "./scene";

interface Conflict {
  /** The action that this page asked for, and was refused. */
  op: string;
  kind: string;
  items: Item[];
  /** Ids of the changes that others had changed meanwhile. */
  ids: number[];
}

const SINGLE = ["decide", "look"]; // each of their items stands for itself
const DONE: Record<string, string> = { reshape: "another outline", delete: "deleted", split: "cut", merge: "merged", draw: "drawn" };

export class Conflicts {
  private readonly waiting: Conflict[];

  constructor(
    /** Where the browser keeps them, so that nothing of this page's own is lost. */
    private readonly place: string,
    private readonly index: Index,
    private readonly classes: string[],
    private readonly marks: Marks,
    private readonly say: (message: string) => void,
  ) {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(`${place} `));
    this.waiting = names.map((name) => JSON.parse(localStorage.getItem(name)!));
  }

  /** Take up what was refused; returns what of it can be asked for again at once, as nobody has touched it. */
  take(refused: Waiting, now: Told[], why: string): Item[] {
    if (refused.items.length === 0 || now.length === 0) {
      this.say(why);
      return [];
    }
    const theirs = new Map(now.map((each) => [each.key, each as unknown as Record<string, unknown>]));
    const same = (item: Item) => Object.entries(item.after).every(([name, value]) => theirs.get(item.key)![name] === value);
    const single = SINGLE.includes(refused.kind);
    const items = single ? refused.items.filter((item) => theirs.has(item.key) && !same(item)) : refused.items;
    const ids = now.filter((each) => !each.key.startsWith("cell ")).map((each) => Number(each.key));
    if (items.length === 0 || ids.length === 0) this.say("somebody was faster, and agrees");
    else this.add({ op: refused.op, kind: refused.kind, items, ids });
    return single ? refused.items.filter((item) => !theirs.has(item.key)) : [];
  }

  private add(conflict: Conflict): void {
    this.waiting.push(conflict);
    try {
      localStorage.setItem(`${this.place} ${conflict.op}`, JSON.stringify(conflict));
    } catch {
      this.say("two versions of a change; leave this page open until you have chosen");
    }
    if (this.waiting.length === 1) void this.show();
  }

  /** Id of the change that is shown in two versions; null where there is none. */
  get id(): number | null {
    return this.waiting[0]?.ids[0] ?? null;
  }

  /** Show the first one; nothing where there is none. */
  async show(): Promise<void> {
    const [conflict] = this.waiting;
    const outlines = (conflict?.items ?? []).map((item) => item.after.geometry).filter((shape): shape is number[][][] => Array.isArray(shape));
    this.marks.showMine(outlines);
    element("conflict").hidden = conflict === undefined;
    if (conflict === undefined) return;
    const [id] = conflict.ids;
    const place = this.index.places.get(id)!;
    const known = await get(`/api/changes/${id}`);
    const last = known.history.at(-1);
    const theirs = [STATUSES[this.index.statuses[place]], this.classes[this.index.labels[place]], known.comment, DONE[last?.kind]];
    const { status, label, comment } = conflict.items.find((item) => item.key === String(id))!.after;
    const told = (parts: unknown[]) => [...new Set(parts.filter((part) => typeof part === "string" && part !== ""))].join(", ");
    const facts: [string, string][] = [
      [last?.who ?? "Now", told(theirs)],
      ["You", told([status, label, comment, DONE[conflict.kind]])],
    ];
    const more = conflict.ids.length > 1 ? [paragraph(`and ${conflict.ids.length - 1} more of the same action`)] : [];
    element("versions").replaceChildren(heading(`Change ${id}: two versions`), list(facts), ...more);
  }

  /** End the one that is shown: with what this page asked for, or with what is there. */
  resolve(mine: boolean, outbox: Outbox): void {
    const conflict = this.waiting.shift();
    if (conflict === undefined) return;
    localStorage.removeItem(`${this.place} ${conflict.op}`);
    if (mine) this.insist(conflict, outbox);
    void this.show();
  }

  /** Ask again for what was refused, of what is there now; an outline of what was deleted becomes a new change. */
  private insist({ kind, items }: Conflict, outbox: Outbox): void {
    const { index } = this;
    const placeOf = (item: Item) => index.places.get(Number(item.key))!;
    const gone = (item: Item) => item.key !== "" && index.statuses[placeOf(item)] === DELETED;
    const there = items.filter((item) => !gone(item)).map((item) => (item.key === "" ? item : { ...item, rev: index.revs[placeOf(item)] }));
    const lost = items.filter((item) => gone(item) && item.after.geometry !== undefined);
    const begun = lost.map((item) => ({ key: "", rev: 0, after: { ...item.after, label: this.classes[index.labels[placeOf(item)]] } }));
    if (there.length > 0) outbox.add(kind, there);
    if (begun.length > 0) outbox.add("draw", begun);
    if (there.length + begun.length === 0) this.say("it is deleted");
  }
}
