// Actions on their way: shown at once, sent one after another, kept in the browser until they are acknowledged.

import { post, Refused } from "./scene";
import type { Told } from "./index";

const SHORTEST = 500; // ms until it is tried again
const LONGEST = 8000;
const ALIKE = 100; // items, from which on decisions that are alike are sent as numbers

export interface Item {
  key: string;
  /** Revision that is recorded, as far as this page knows. */
  rev: number;
  after: Record<string, string | boolean | number[][][]>;
}

export interface Waiting {
  op: string;
  kind: string;
  who: string;
  items: Item[];
  /** Of an undo: the op of what it takes back, where that waits too. */
  of?: string;
  /** Whether the server may have it already. */
  tried?: boolean;
}

export interface Listener {
  /** What the server has recorded. */
  learned(told: Told[], asked: Waiting): void;
  /** What cannot be recorded, what is there instead, and why; returns what of it is to be asked for again. */
  refused(asked: Waiting, now: Told[], why: string): Item[];
  /** What waits is another now; why it waits, where something is wrong. */
  waiting(waiting: Waiting[], why: string | null): void;
}

export class Outbox {
  private waiting: Waiting[] = [];
  /** What was taken back before it was sent: the last one last. */
  private withdrawn: Waiting[] = [];
  private readonly names = new Map<string, string>(); // of what the browser keeps, by op
  private sending = false;
  private pause = SHORTEST;
  private count = 0;

  constructor(
    private readonly place: string,
    public who: string,
    private readonly listener: Listener,
  ) {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(`${place} `)).sort();
    for (const name of names) {
      const found = { ...unpacked(JSON.parse(localStorage.getItem(name)!)), tried: true };
      this.names.set(found.op, name);
      this.waiting.push(found);
    }
  }

  /** Ask for an action; returns its op. */
  add(kind: string, items: Item[], of?: string): string {
    const op = crypto.randomUUID();
    this.withdrawn = [];
    this.put(this.waiting.length, { op, kind, who: this.who, items, ...(of === undefined ? {} : { of }) });
    void this.send();
    return op;
  }

  /** Take back what waits last, else the reviewer's last action. */
  undo(): void {
    const last = this.waiting.at(-1);
    if (last === undefined || last.kind === "undo" || last.kind === "redo") this.add("undo", []);
    else if (last.tried) this.add("undo", [], last.op);
    else {
      this.withdrawn.push(last);
      this.drop(last);
      this.tell(null);
    }
  }

  /** Do again what was taken back last. */
  redo(): void {
    const last = this.waiting.at(-1);
    const again = this.withdrawn.pop();
    if (again !== undefined) this.put(this.waiting.length, again);
    else if (last?.kind === "undo" && !last.tried) this.drop(last);
    else this.add("redo", []);
    this.tell(null);
    void this.send();
  }

  async send(): Promise<void> {
    if (this.sending) return;
    this.sending = true;
    try {
      while (this.waiting.length > 0 && (await this.sendFirst()));
    } finally {
      this.sending = false;
    }
  }

  /** Send what waits first; whether to go on. */
  private async sendFirst(): Promise<boolean> {
    const [next] = this.waiting;
    next.tried = true;
    let items: Told[];
    try {
      items = (await post("/api/actions", packed(next))).items;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return this.notTaken(next, error);
    }
    this.pause = SHORTEST;
    this.drop(next);
    const revs = new Map(items.map((each) => [each.key, each.rev]));
    for (const later of this.waiting) for (const item of later.items) item.rev = revs.get(item.key) ?? item.rev;
    this.listener.learned(items, next);
    this.tell(null);
    return true;
  }

  /** Wait where the server cannot be reached or cannot write; what it will never take goes out. */
  private async notTaken(asked: Waiting, refusal: Refused): Promise<boolean> {
    const { status, message } = refusal;
    if (status === 401) {
      this.tell("open the address that was printed last; nothing is lost");
      return false;
    }
    if (status < 400 || status >= 500) {
      this.tell(status === 507 ? message : "no connection; trying again");
      await new Promise((done) => setTimeout(done, this.pause));
      this.pause = Math.min(2 * this.pause, LONGEST);
      return true;
    }
    this.pause = SHORTEST;
    this.drop(asked);
    for (const undo of this.waiting.filter((each) => each.of === asked.op)) this.drop(undo);
    const again = this.listener.refused(asked, (refusal.answer.now as Told[] | undefined) ?? [], message);
    if (again.length > 0) this.put(0, { ...asked, op: crypto.randomUUID(), items: again, tried: false });
    this.tell(null);
    return true;
  }

  /** Take later decisions on some changes out of what waits: key -> their values. */
  takeOut(keys: Set<string>): Map<string, Item["after"]> {
    const found = new Map<string, Item["after"]>();
    for (const each of this.waiting.filter((waiting) => waiting.kind === "decide")) {
      for (const item of each.items.filter((one) => keys.has(one.key))) found.set(item.key, { ...found.get(item.key), ...item.after });
      each.items = each.items.filter((item) => !keys.has(item.key));
      if (each.items.length === 0) this.drop(each);
      else this.keep(each);
    }
    return found;
  }

  private put(at: number, waiting: Waiting): void {
    this.waiting.splice(at, 0, waiting);
    this.count += 1;
    const order = at === 0 ? 0 : Date.now() * 1000 + (this.count % 1000);
    this.names.set(waiting.op, `${this.place} ${String(order).padStart(17, "0")} ${waiting.op}`);
    this.keep(waiting);
    this.tell(null);
  }

  private keep(waiting: Waiting): void {
    try {
      localStorage.setItem(this.names.get(waiting.op)!, JSON.stringify(packed(waiting)));
    } catch {
      this.names.delete(waiting.op); // there is no room: `tell` says that it is kept by this page alone
    }
  }

  private drop(waiting: Waiting): void {
    this.waiting = this.waiting.filter((each) => each !== waiting);
    localStorage.removeItem(this.names.get(waiting.op) ?? "");
    this.names.delete(waiting.op);
  }

  /** Tell what waits, and why where something is wrong. */
  tell(why: string | null): void {
    const unkept = this.waiting.some((each) => !this.names.has(each.op));
    this.listener.waiting(this.waiting, why ?? (unkept ? "being saved; leave this page open" : null));
  }
}

/** What an action is sent and kept as. */
function packed({ tried, ...asked }: Waiting): object {
  const { items, ...rest } = asked;
  const [first] = items;
  const alike = asked.kind === "decide" && items.length >= ALIKE && items.every((item) => item.after === first.after || JSON.stringify(item.after) === JSON.stringify(first.after));
  if (!alike) return asked;
  return { ...rest, ids: items.map((item) => Number(item.key)), revs: items.map((item) => item.rev), after: first.after };
}

function unpacked(kept: Record<string, any>): Waiting {
  const { ids, revs, after, ...rest } = kept;
  if (ids === undefined) return kept as Waiting;
  return { ...rest, items: ids.map((id: number, place: number) => ({ key: String(id), rev: revs[place], after })) } as Waiting;
}
