// Who else has the review open, and where they are: a hint, so that two do not look at the same change.

import { post, Refused } from "./scene";

const PAGE = "geochange page";
const LASTS = 60_000; // ms that somebody is taken to be where they said
const AGAIN = 25_000; // ms until this page says again where it is
const SETTLED = 150; // ms at one place, before this page says so

interface At {
  page: string;
  who: string;
  key: string;
}

export class Others {
  private readonly page = pageOf();
  private told: At[] = [];
  private heard = 0;
  private timer = 0;
  private key = "";

  constructor(
    public who: string,
    private readonly changed: () => void,
  ) {
    setInterval(() => document.visibilityState === "visible" && void this.say(), AGAIN);
  }

  /** Say where this page is, once it has been there for a moment. */
  move(key: string): void {
    if (key === this.key) return;
    this.key = key;
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.say(), SETTLED);
  }

  /** Say where this page is, and who; whether the server takes the name. */
  async say(who = this.who): Promise<boolean> {
    try {
      this.hear((await post("/api/lease", { page: this.page, who, key: this.key })).pages);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // a hint that does not arrive is no loss
      return error.status !== 422;
    }
    return true;
  }

  /** Say that this page is being closed. */
  leave(): void {
    void post("/api/lease", { page: this.page, key: null }, true).catch(() => undefined);
  }

  hear(pages: At[]): void {
    this.told = pages.filter((each) => each.page !== this.page);
    this.heard = performance.now();
    this.changed();
  }

  private get now(): At[] {
    return performance.now() - this.heard < LASTS ? this.told : [];
  }

  /** Names of those who are at a change or cell. */
  at(key: string): string[] {
    return this.now.filter((each) => each.key === key).map((each) => each.who);
  }

  /** Keys of all that others are at. */
  get keys(): Set<string> {
    return new Set(this.now.map((each) => each.key));
  }

  /** Whether another page reviews under the same name, and so takes back what this one has done. */
  get namesake(): boolean {
    return this.now.some((each) => each.who === this.who);
  }
}

/** The name of this page: the same after it was loaded again, another one in a copy of its tab. */
function pageOf(): string {
  const kept = performance.getEntriesByType("navigation").some((each) => (each as PerformanceNavigationTiming).type === "reload") ? sessionStorage.getItem(PAGE) : null;
  const page = kept ?? crypto.randomUUID();
  sessionStorage.setItem(PAGE, page);
  return page;
}
