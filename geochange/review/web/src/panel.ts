// What stands beside the map and on it: the change, the tally, which date is where, messages, questions.

import type { Cells } from "./cells";
import type { Imagery } from "./imagery";
import { STATUSES, type Index } from "./index";
import { KEYS } from "./keys";
import { get, type Scene } from "./scene";

const READ = 6000; // ms that a message stands

export const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

export function heading(text: string): HTMLElement {
  return Object.assign(document.createElement("h2"), { textContent: text });
}

export function paragraph(text: string): HTMLElement {
  return Object.assign(document.createElement("p"), { textContent: text });
}

export function pair(name: string, value: string, kind = ""): HTMLElement[] {
  return [
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: value, className: kind }),
  ];
}

export function list(rows: [string, string, string?][]): HTMLElement {
  const found = document.createElement("dl");
  for (const [name, value, kind] of rows) found.append(...pair(name, value, kind));
  return found;
}

/** Ask for a text; null where the question is left. */
export async function ask(title: string, before: string, most: number): Promise<string | null> {
  const dialog = element<HTMLDialogElement>("ask");
  const field = element<HTMLTextAreaElement>("answer");
  element("question").textContent = title;
  field.value = before;
  field.maxLength = most;
  dialog.returnValue = "";
  dialog.showModal();
  field.select();
  field.onkeydown = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    dialog.close("given");
  };
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  return dialog.returnValue === "given" ? field.value : null;
}

/** What is shown of the current change: where it stands in its order, who else is there. */
export interface Standing {
  place: number;
  at: number;
  count: number;
  others: string[];
}

export class Panel {
  private place: number | null = null;
  private saved: string | null = null;
  private connected = true;

  constructor(
    private readonly scene: Scene,
    private readonly index: Index,
    private readonly cells: Cells,
    private readonly imagery: Imagery,
  ) {
    element("name").textContent = scene.name;
    document.title = `${scene.name} · geochange review`;
  }

  /** Describe the current change, those that are chosen, or what is left of the current cell. */
  describe(standing: Standing | null, chosen: number): void {
    this.place = standing?.place ?? null;
    void this.showComment();
    const parts = standing === null ? [] : this.change(standing);
    if (chosen > 0) parts.unshift(heading(chosen === 1 ? "1 change chosen" : `${chosen} changes chosen`), paragraph("What you decide now holds for all of them. B adds or removes the current one, Esc lets them go."));
    if (parts.length === 0) parts.push(...(this.cells.current === null ? this.nothing() : this.restOfCell(this.cells.current)));
    element("change").replaceChildren(...parts);
  }

  private nothing(): HTMLElement[] {
    return [heading("No change is chosen"), paragraph("P draws one that was missed; another order may hold more.")];
  }

  /** Make a button of each class, where there are several. */
  makeClasses(choose: (name: string) => void): void {
    const { classes } = this.scene;
    const buttons = classes.map((name, place) => {
      const button = Object.assign(document.createElement("button"), { onclick: () => choose(name) });
      if (place < 9) button.append(Object.assign(document.createElement("kbd"), { textContent: String(place + 1) }));
      button.append(name);
      return button;
    });
    element("classes").hidden = classes.length < 2;
    element("classes").replaceChildren(...buttons);
  }

  /** Mark the class that is drawn. */
  showClasses(drawn: string): void {
    const { classes } = this.scene;
    [...element("classes").children].forEach((button, place) => button.setAttribute("aria-pressed", String(classes[place] === drawn)));
  }

  private change({ place, at, count, others }: Standing): HTMLElement[] {
    const { ids, scores, areas, statuses, labels } = this.index;
    const status = STATUSES[statuses[place]];
    const { gsd, classes } = this.scene;
    const area = gsd === null ? `${areas[place]} px` : `${(areas[place] * gsd ** 2).toLocaleString("en", { maximumFractionDigits: 0 })} m²`;
    const facts: [string, string, string?][] = [
      ["Status", status, status],
      ["Class", classes[labels[place]]],
      ["Mean score", Number.isNaN(scores[place]) ? "drawn" : scores[place].toFixed(2)],
      ["Area", area],
      [this.cells.current === null ? "In the order" : `In cell ${this.cells.current + 1}`, `${at + 1} of ${count}`],
    ];
    if (others.length > 0) facts.push(["Also here", others.join(", ")]);
    return [heading(`Change ${ids[place]}`), list(facts)];
  }

  /** Show what reviewers have said of the current change; a change that nobody has touched has no comment. */
  private async showComment(): Promise<void> {
    const { place } = this;
    if (place === null || this.index.revs[place] === 0) {
      element("comment").textContent = "";
      return;
    }
    const told = await get(`/api/changes/${this.index.ids[place]}`).catch(() => ({ comment: "" })); // it is shown next time
    if (this.place === place) element("comment").textContent = told.comment;
  }

  private restOfCell(cell: number): HTMLElement[] {
    const count = this.cells.changes(cell).length;
    const undecided = this.cells.undecided(cell);
    const decided = undecided > 0 ? `${undecided} of ${count} changes in it are undecided.` : `${count} changes in it are decided.`;
    const text = `${decided} Where nothing else has changed, press I.`;
    return [heading(`Cell ${cell + 1} of ${this.scene.cells.length}`), paragraph(text)];
  }

  showTally(): void {
    const counts = this.index.tally();
    const looked = this.index.looked.reduce((sum, each) => sum + each, 0);
    element("tally").textContent =
      `${counts.kept} kept · ${counts.rejected} rejected · ${counts.unsure} unsure · ${counts.unreviewed} to do · ` +
      `${looked} of ${this.scene.cells.length} cells looked at`;
  }

  showMode(): void {
    const [before, after] = this.scene.dates.map((each, place) => each.date?.slice(0, 10) ?? ["before", "after"][place]);
    const { mode, split, blinking } = this.imagery;
    const single = mode === "before" || mode === "after" ? (mode === "before") !== blinking : null;
    const parts = single === null ? [`${before} ◂`, `▸ ${after}`] : [single ? before : after];
    element("main").className = mode;
    element("shown").replaceChildren(...parts.map((text) => Object.assign(document.createElement("b"), { textContent: text })));
    element("shown").style.left = mode === "both" ? `clamp(7.5rem, ${100 * split}%, calc(100% - 7.5rem))` : "50%";
    if (mode !== "side") element("twin").hidden = true;
    const line = element("line");
    line.hidden = mode !== "both";
    line.style.left = `${100 * split}%`;
    line.setAttribute("aria-valuenow", String(Math.round(100 * split)));
  }

  /** Show the probability on top, more or less of it. */
  showProbability(opacity: number): void {
    if (!this.scene.layers.includes("probability")) return this.say("there is no probability");
    this.imagery.opacity = opacity;
    element<HTMLInputElement>("opacity").value = String(opacity);
  }

  showSaved(count: number, why: string | null): void {
    this.saved = why ?? (count > 0 ? `${count} being saved` : null);
    this.showState();
  }

  /** Show whether what others decide is heard of. */
  showConnected(connected: boolean): void {
    this.connected = connected;
    this.showState();
  }

  private showState(): void {
    element("saved").textContent = this.saved ?? (this.connected ? "all saved" : "no connection");
  }

  showPlace([x, y]: number[]): void {
    const [a, b, c, d, e, f] = this.scene.transform;
    const [col, row] = [x, -y];
    const inside = col >= 0 && row >= 0 && col < this.scene.shape[1] && row < this.scene.shape[0];
    const [mx, my] = [a * col + b * row + c, d * col + e * row + f];
    element("place").textContent = inside ? `${mx.toFixed(1)}, ${my.toFixed(1)} · row ${Math.floor(row)}, column ${Math.floor(col)}` : "";
  }

  /** Show where the pointer of one map lies on the map beside it; null: nowhere. */
  showTwin(pixel: number[] | null, map: number): void {
    const twin = element("twin");
    twin.hidden = pixel === null || this.imagery.mode !== "side";
    if (pixel === null) return;
    const other = element(map === 0 ? "beside" : "map");
    twin.style.left = `${other.offsetLeft + pixel[0]}px`;
    twin.style.top = `${other.offsetTop + pixel[1]}px`;
  }

  showKeys(): void {
    const table = document.createElement("dl");
    for (const [key, what] of KEYS) table.append(...pair(key, what));
    this.open(heading("Keys"), table);
  }

  /** Show something in a dialogue, until it is closed. */
  open(...parts: HTMLElement[]): void {
    const dialog = element<HTMLDialogElement>("keys");
    const close = Object.assign(document.createElement("button"), { textContent: "Close", onclick: () => dialog.close() });
    dialog.onclick = (event) => event.target === dialog && dialog.close();
    dialog.replaceChildren(...parts, close);
    dialog.showModal();
  }

  say(message: string): void {
    element("message").textContent = message;
    setTimeout(() => {
      if (element("message").textContent === message) element("message").textContent = "";
    }, READ);
  }
}

