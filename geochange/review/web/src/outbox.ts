// Actions on their way: drawn at once, sent one after another, kept until they are acknowledged.

import { post, Refused } from "./scene";
import type { Told } from "./index";

const SHORTEST = 500; // ms until it is tried again
const LONGEST = 8000;

export interface Item {
  key: string;
  rev: number;
  after: Record<string, string | boolean | number[][][]>;
}

export interface Waiting {
  op: string;
  kind: string;
  who: string;
  items: Item[];
}

export interface Listener {
  /** What the server has recorded. */
  learned(told: Told[], kind: string): void;
  /** What cannot be recorded, what is there instead, and why; returns what of it is to be asked for again. */
  refused(asked: Waiting, now: Told[], why: string): Item[];
  waiting(count: number, why: string | null): void;
}

export class Outbox {
  private waiting: Waiting[] = [];
  private sending = false;
  private pause = SHORTEST;

  constructor(
    private readonly place: string,
    public who: string,
    private readonly listener: Listener,
  ) {
    this.waiting = JSON.parse(localStorage.getItem(place) ?? "[]");
  }

  get count(): number {
    return this.waiting.length;
  }

  add(kind: string, items: Item[]): void {
    this.waiting.push({ op: crypto.randomUUID(), kind, who: this.who, items });
    this.keep();
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
    let items: Told[];
    try {
      items = (await post("/api/actions", next)).items;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return this.notTaken(next, error);
    }
    this.replaceFirst([]);
    this.listener.learned(items, next.kind);
    return true;
  }

  /** Wait where the server cannot be reached or cannot write; what it will never take goes out. */
  private async notTaken(asked: Waiting, refusal: Refused): Promise<boolean> {
    const { status, message } = refusal;
    if (status === 401) {
      this.listener.waiting(this.count, "open the address that was printed last; nothing is lost");
      return false;
    }
    if (status < 400 || status >= 500) {
      this.listener.waiting(this.count, status === 507 ? message : "no connection; trying again");
      await new Promise((done) => setTimeout(done, this.pause));
      this.pause = Math.min(2 * this.pause, LONGEST);
      return true;
    }
    const again = this.listener.refused(asked, (refusal.answer.now as Told[] | undefined) ?? [], message);
    this.replaceFirst(again.length > 0 ? [{ ...asked, op: crypto.randomUUID(), items: again }] : []);
    return true;
  }

  /** Put what is to be asked for in the place of what waited first. */
  private replaceFirst(instead: Waiting[]): void {
    this.pause = SHORTEST;
    this.waiting.splice(0, 1, ...instead);
    this.keep();
  }

  private keep(): void {
    localStorage.setItem(this.place, JSON.stringify(this.waiting));
    this.listener.waiting(this.count, null);
  }
}
