// Two versions of one change, where somebody else was faster: both are shown, and one key takes this page's own.

import type { Index, Told } from "./index";
import { STATUSES } from "./index";
import type { Item, Waiting } from "./outbox";
import { element, heading, list, paragraph } from "./panel";
import { get } from "./scene";

export interface Conflict {
  /** What this page asked for, and was refused. */
  kind: string;
  items: Item[];
  /** Ids of the changes that others had changed meanwhile. */
  ids: number[];
}

const SINGLE = ["decide", "look"]; // each of their items stands for itself
const DONE: Record<string, string> = { reshape: "another outline", delete: "deleted", split: "cut", merge: "merged", draw: "drawn" };

/** Divide what was refused: what can be asked for again at once, and what somebody has changed meanwhile. */
export function divide(refused: Waiting, now: Told[]): { again: Item[]; conflict: Conflict | null } {
  if (refused.items.length === 0 || now.length === 0) return { again: [], conflict: null };
  const theirs = new Map(now.map((each) => [each.key, each as unknown as Record<string, unknown>]));
  const same = (item: Item) => Object.entries(item.after).every(([name, value]) => theirs.get(item.key)![name] === value);
  const stale = refused.items.filter((item) => theirs.has(item.key));
  const single = SINGLE.includes(refused.kind);
  const items = single ? stale.filter((item) => !same(item)) : refused.items;
  const again = single ? refused.items.filter((item) => !theirs.has(item.key)) : [];
  const ids = now.filter((each) => !each.key.startsWith("cell ")).map((each) => Number(each.key));
  return { again, conflict: items.length === 0 || ids.length === 0 ? null : { kind: refused.kind, items, ids } };
}

/** Show the versions of a conflict; nothing where there is none. */
export async function showConflict(conflict: Conflict | null, index: Index, classes: string[]): Promise<void> {
  const section = element("conflict");
  section.hidden = conflict === null;
  if (conflict === null) return;
  const [id] = conflict.ids;
  const place = index.places.get(id)!;
  const known = await get(`/api/changes/${id}`);
  const last = known.history.at(-1);
  const theirs = [STATUSES[index.statuses[place]], classes[index.labels[place]], known.comment, DONE[last.kind]];
  const mine = conflict.items.find((item) => item.key === String(id))!;
  const { status, label, comment } = mine.after;
  const yours = [status, label, comment, DONE[conflict.kind]];
  const told = (parts: unknown[]) => [...new Set(parts.filter((part) => typeof part === "string" && part !== ""))].join(", ");
  const more = conflict.ids.length > 1 ? [paragraph(`and ${conflict.ids.length - 1} more of the same action`)] : [];
  element("versions").replaceChildren(heading(`Change ${id}: two versions`), list([[last.who, told(theirs)], ["You", told(yours)]]), ...more);
}
