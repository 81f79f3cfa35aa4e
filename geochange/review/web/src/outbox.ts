// Actions on their way: drawn at once, sent one after another, kept until they are acknowledged.

import { post, Refused } from "./scene";
import type { Told } from "./index";

export interface Item {
  key: string;
  rev: number;
  after: Record<string, string | boolean | number[][][]>;
}

interface Waiting {
  op: string;
  kind: string;
  who: string;
  items: Item[];
}

export interface Listener {
  /** What the server has recorded, or what is there instead. */
  learned(told: Told[], kind: string | null): void;
  refused(message: string): void;
  waiting(count: number, why: string | null): void;
}

export class Outbox {
  private waiting: Waiting[] = [];
  private sending = false;

  constructor(
    private readonly place: string,
    private readonly who: string,
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
    let pause = 500;
    while (this.waiting.length > 0) {
      const next = this.waiting[0];
      try {
        const answer = await post("/api/actions", next);
        this.listener.learned(answer.items, next.kind);
      } catch (error) {
        const status = error instanceof Refused ? error.status : 0;
        if (status === 401) {
          this.listener.waiting(this.count, "open the address that was printed last; nothing is lost");
          break;
        }
        if (status !== 409 && status !== 422) {
          this.listener.waiting(this.count, status === 507 ? (error as Error).message : "no connection; trying again");
          await new Promise((done) => setTimeout(done, pause));
          pause = Math.min(2 * pause, 8000);
          continue;
        }
        const refused = error as Refused;
        this.listener.learned((refused.answer.now as Told[] | undefined) ?? [], null);
        this.listener.refused(refused.message);
      }
      pause = 500;
      this.waiting.shift();
      this.keep();
    }
    this.sending = false;
  }

  private keep(): void {
    localStorage.setItem(this.place, JSON.stringify(this.waiting));
    this.listener.waiting(this.count, null);
  }
}
