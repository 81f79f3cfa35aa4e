// The review: one change after another, decided with one key.

import "ol/ol.css";
import DragBox from "ol/interaction/DragBox";
import { shiftKeyOnly } from "ol/events/condition";
import { Cells } from "./cells";
import { Imagery, type Mode } from "./imagery";
import { DELETED, Index, STATUSES, UNREVIEWED, UNSURE, type Status, type Told } from "./index";
import { divide, showConflict, type Conflict } from "./conflicts";
import { listen } from "./keys";
import { Marks } from "./marks";
import { Others } from "./others";
import { Outbox, type Item, type Waiting } from "./outbox";
import { ask, element, heading, paragraph, Panel } from "./panel";
import { beginSession, get, getBytes, post, Refused, type Scene } from "./scene";
import { HINTS, Tools, type Place, type Rings, type Tool } from "./tools";

const AHEAD = 3; // changes whose tiles and outlines are fetched beforehand
const DRAWING = ["draw", "grow", "split", "merge"];
const CELL_ORDERS = ["cells", "random cells"];
const MOST_ITEMS = 10_000; // of one action
const WAIT = 2000; // ms between questions whether the pictures are there
const SPARE = 4; // how many times as wide as the change the view is, where it has to be fitted
const NAME = "geochange reviewer"; // where a browser keeps its user's name
const LONGEST_NAME = 40;

class Review {
  private readonly imagery: Imagery;
  private readonly cells: Cells;
  private readonly marks: Marks;
  private readonly outbox: Outbox;
  private readonly tools: Tools;
  private readonly panel: Panel;
  private readonly others: Others;
  private conflicts: Conflict[] = [];
  private pointer: Place | null = null;
  private order: Uint32Array = new Uint32Array();
  private at = -1;
  private several: number[] = [];
  private seq: number;
  private label: string;

  constructor(
    private readonly scene: Scene,
    private readonly index: Index,
  ) {
    this.seq = index.seq;
    this.label = scene.classes[0];
    this.imagery = new Imagery(element("map"), element("beside"), scene);
    this.cells = new Cells(scene, index);
    this.marks = new Marks(this.imagery, index, this.cells, scene.cells.length);
    this.panel = new Panel(scene, index, this.cells, this.imagery);
    const who = localStorage.getItem(NAME) ?? scene.reviewer;
    this.outbox = new Outbox(`geochange ${scene.name} ${scene.look.name}`, who, {
      learned: (told, kind) => this.acknowledged(told, kind),
      refused: (asked, now, why) => this.refused(asked, now, why),
      waiting: (count, why) => this.panel.showSaved(count, why),
    });
    this.others = new Others(who, () => this.describe());
    this.tools = new Tools(this.imagery, this.marks.near, {
      drawn: (tool, places) => void this.drawn(tool, places),
      reshaped: (rings) => this.reshape(rings),
      say: (message) => this.say(message),
    });
  }

  /** What the server has recorded of this page's own actions; what was drawn becomes the current change. */
  private acknowledged(told: Told[], kind: string): void {
    this.learn(told);
    const drawn = told.filter((each) => each.box !== undefined && Number(each.key) > this.scene.top).map((each) => this.index.places.get(Number(each.key))!);
    if (DRAWING.includes(kind) && drawn.length > 0) void this.choose(drawn[0]);
  }

  /** What the server has refused, because somebody was faster or it cannot be; returns what is asked for again. */
  private refused(asked: Waiting, now: Told[], why: string): Item[] {
    this.learn(now, true);
    const { again, conflict } = divide(asked, now);
    if (conflict === null) this.say(again.length > 0 || now.length > 0 ? "somebody was faster, and agrees" : why);
    else {
      this.conflicts.push(conflict);
      if (this.conflicts.length === 1) this.showConflict();
    }
    return again;
  }

  private showConflict(): void {
    const conflict = this.conflicts[0] ?? null;
    const outlines = conflict?.items.map((item) => item.after.geometry).filter((shape): shape is number[][][] => Array.isArray(shape));
    this.marks.showMine(outlines ?? []);
    void showConflict(conflict, this.index, this.scene.classes);
  }

  /** End the conflict that is shown: with what this page asked for, or with what is there. */
  private resolve(mine: boolean): void {
    const conflict = this.conflicts.shift();
    if (conflict === undefined) return;
    if (mine) this.insist(conflict);
    this.showConflict();
  }

  /** Ask again for what was refused, of what is there now; an outline of what was deleted becomes a new change. */
  private insist({ kind, items }: Conflict): void {
    const placeOf = (item: Item) => this.index.places.get(Number(item.key));
    const gone = (item: Item) => item.key !== "" && this.index.statuses[placeOf(item)!] === DELETED;
    const there = items.filter((item) => !gone(item)).map((item) => (item.key === "" ? item : { ...item, rev: this.index.revs[placeOf(item)!] }));
    const lost = items.filter((item) => gone(item) && item.after.geometry !== undefined);
    const begun = lost.map(({ key, after }) => ({ key: "", rev: 0, after: { ...after, label: this.scene.classes[this.index.labels[this.index.places.get(Number(key))!]] } }));
    if (there.length > 0) this.outbox.add(kind, there);
    if (begun.length > 0) this.outbox.add("draw", begun);
    if (there.length + begun.length === 0) this.say("it is deleted");
  }

  async begin(): Promise<void> {
    this.bind();
    this.panel.showMode();
    this.panel.showTally();
    this.panel.showSaved(this.outbox.count, this.scene.read_only);
    this.showName();
    if (this.scene.preparing) void this.await();
    await this.others.say();
    await this.follow(this.scene.orders[0]);
    await this.outbox.send();
    this.hear();
    if (this.others.namesake) this.say(`${this.others.who} is here already: give another name, at the top`);
  }

  private showName(): void {
    element("reviewer").textContent = this.others.who;
  }

  private async rename(): Promise<void> {
    const answer = (await ask("Name of the reviewer", this.others.who, LONGEST_NAME))?.trim();
    if (answer === undefined || answer === "") return;
    localStorage.setItem(NAME, answer);
    this.others.who = this.outbox.who = answer;
    this.showName();
    await this.others.say();
  }

  /** Wait until all of the scene can be shown fast. */
  private async await(): Promise<void> {
    element("message").textContent = "preparing the overview; full scale works meanwhile";
    while ((await get("/api/progress")).preparing) await new Promise((done) => setTimeout(done, WAIT));
    element("message").textContent = "";
    this.imagery.refresh();
  }

  private async follow(name: string): Promise<void> {
    if (CELL_ORDERS.includes(name)) {
      this.cells.follow(name === CELL_ORDERS[1]);
      return this.nextCell(null);
    }
    this.cells.current = null;
    this.marks.refresh();
    if (name === "unsure") {
      this.order = Uint32Array.from(this.index.ids.keys()).filter((place) => this.index.statuses[place] === UNSURE);
      this.at = -1;
      if (this.order.length === 0) this.say("nothing is unsure");
      else this.step(1, false);
      return;
    }
    await this.fetchOrder(name);
    this.at = -1;
    this.step(1, true);
  }

  private async fetchOrder(name: string): Promise<void> {
    const ids = new Uint32Array(await getBytes(`/api/order/${name}`));
    const found = Array.from(ids, (id) => this.index.places.get(id)!);
    const drawn = Array.from(this.index.ids.keys()).filter((place) => this.index.ids[place] > this.scene.top);
    this.order = Uint32Array.from([...found, ...drawn]);
  }

  /** Go on to the next change in the order: one that is not hidden and, where asked, not decided; at best one that nobody
   * else is at. */
  private step(by: 1 | -1, undecided: boolean): void {
    const next = (undecided ? this.find(this.at, by, undecided, this.others.keys) : null) ?? this.find(this.at, by, undecided);
    if (next === null && undecided && this.cells.current !== null) return this.rest();
    if (next === null) {
      this.say(undecided ? "everything here is decided" : "there is no further one");
      return;
    }
    this.at = next;
    void this.show();
  }

  /** All changes of a cell are decided: what is left is to say that it was looked at. */
  private rest(): void {
    this.at = -1;
    this.describe();
    this.mark();
  }

  /** Outline the current change and those that are chosen, and tell others where this page is. */
  private mark(): void {
    const place = this.at < 0 ? null : this.place;
    if (this.several.length > 0) void this.marks.choose(this.several, place);
    else void this.marks.choose(place === null ? [] : [place]);
    const { current } = this.cells;
    this.others.move(current !== null ? this.cells.key(current) : place === null ? "" : String(this.index.ids[place]));
  }

  private find(from: number, by: 1 | -1, undecided: boolean, taken?: Set<string>): number | null {
    const count = this.order.length;
    if (from < 0) from = by > 0 ? -1 : 0;
    for (let step = 1; step <= count; step += 1) {
      const at = (((from + by * step) % count) + count) % count;
      const place = this.order[at];
      if (this.index.scores[place] < this.marks.least || this.index.statuses[place] === DELETED) continue;
      if (taken?.has(String(this.index.ids[place]))) continue;
      if (!undecided || this.index.statuses[place] === UNREVIEWED) return at;
    }
    return null;
  }

  private get place(): number {
    return this.order[this.at];
  }

  private async show(fit = false): Promise<void> {
    if (this.tools.tool !== null) this.leave();
    const view = this.imagery.map.getView();
    const resolution = this.resolutionFor(this.place, fit);
    if (this.cells.current === null || fit) {
      view.setResolution(resolution);
      view.setCenter(this.index.middle(this.place));
    }
    this.describe();
    this.mark();
    let at: number | null = this.at;
    for (let step = 0; step < AHEAD && at !== null; step += 1) {
      at = this.find(at, 1, true);
      if (at === null || at === this.at) break;
      this.imagery.prefetch(this.index.middle(this.order[at]), this.resolutionFor(this.order[at], fit));
      this.marks.prefetch(this.order[at]);
    }
  }

  /** The view keeps its scale unless the change does not fit, or all of the scene is shown. New scales are powers of two,
   * at which pixels are drawn as they are. */
  private resolutionFor(place: number, fit: boolean): number {
    const [left, bottom, right, top] = this.index.box(place);
    const [width, height] = this.imagery.map.getSize() ?? [800, 600];
    const needed = Math.max((right - left) / width, (top - bottom) / height);
    const now = this.imagery.map.getView().getResolution()!;
    const first = now > 1 && this.several.length === 0;
    if (!fit && !first && now >= 1.1 * needed) return now;
    return 2 ** Math.ceil(Math.log2(Math.max(0.25, (fit || first ? SPARE : 1.1) * needed)));
  }

  private decide(status: Status, label?: string): void {
    if (this.tools.tool !== null) return this.say("Esc leaves the tool first");
    if (label !== undefined) this.label = label;
    const places = this.several.length > 0 ? this.several : this.at < 0 ? [] : [this.place];
    this.act(places, status, label);
    if (this.several.length > 0) {
      this.several = [];
      void this.show();
    } else this.step(1, true);
  }

  private act(places: number[], status: Status, label?: string): void {
    const after: Record<string, string> = label === undefined ? { status } : { status, label };
    for (let start = 0; start < places.length; start += MOST_ITEMS) {
      const part = places.slice(start, start + MOST_ITEMS);
      const items: Item[] = part.map((place) => ({ key: String(this.index.ids[place]), rev: this.index.revs[place], after }));
      for (const place of part) {
        this.index.statuses[place] = STATUSES.indexOf(status);
        this.index.revs[place] += 1; // what the server will say
        if (label !== undefined) this.index.labels[place] = this.scene.classes.indexOf(label);
      }
      this.outbox.add("decide", items);
    }
    this.refresh();
  }

  /** Say that a cell was looked at: the current one, else the one in the middle of the view; and go on to the next. */
  private look(): void {
    const [x, y] = this.imagery.map.getView().getCenter()!;
    const cell = this.cells.current ?? this.cells.holding(x, y);
    const undecided = this.cells.undecided(cell);
    if (this.index.looked[cell] === 0) {
      this.outbox.add("look", [{ key: this.cells.key(cell), rev: this.index.cellRevs[cell], after: { looked: true } }]);
      this.index.cellRevs[cell] += 1;
      this.index.looked[cell] = 1;
      this.say(undecided > 0 ? `looked at; ${undecided} changes in it are undecided and will not be labels` : "looked at");
    }
    this.nextCell(cell);
    this.panel.showTally();
  }

  /** Show the next cell that nobody has looked at, and its first undecided change. */
  private nextCell(after: number | null): void {
    const order = element<HTMLSelectElement>("order");
    if (!CELL_ORDERS.includes(order.value)) order.value = CELL_ORDERS[0];
    const next = this.cells.next(after, this.others.keys);
    if (next === null) {
      this.cells.current = null;
      this.marks.refresh();
      return this.say("all cells are looked at");
    }
    this.cells.current = next;
    this.order = this.cells.changes(next);
    this.imagery.map.getView().fit(this.cells.box(next), { padding: [24, 24, 24, 24] });
    this.marks.refresh();
    this.at = -1;
    this.step(1, true);
  }

  private rejectHidden(): void {
    const hidden = Array.from(this.index.ids.keys()).filter(
      (place) => this.index.statuses[place] === UNREVIEWED && this.index.scores[place] < this.marks.least,
    );
    this.act(hidden, "rejected");
    this.say(`${hidden.length} rejected`);
  }

  private learn(told: Told[], all = false): void {
    this.index.learn(told, this.scene.cell_columns, this.scene.classes, all);
    this.order = withAll(this.order, told.filter((each) => each.box !== undefined).map((each) => this.index.places.get(Number(each.key))));
    this.refresh();
    const shaped = told.filter((each) => each.geometry !== undefined || each.status === "deleted").map((each) => Number(each.key));
    if (shaped.length > 0) void this.renew(shaped);
  }

  /** Fetch outlines anew; corners that are being corrected are those of the new outline. */
  private async renew(ids: number[]): Promise<void> {
    await this.marks.renew(ids);
    if (this.at < 0 || !ids.includes(this.index.ids[this.place])) return;
    await this.marks.choose([this.place]);
    const rings = await this.marks.rings();
    if (rings !== null) this.tools.renew(rings);
  }

  /** Begin or leave a tool. */
  private async use(tool: Tool): Promise<void> {
    const corrects = tool === "cut" || tool === "hole" || tool === "vertices";
    if (this.tools.tool === tool) return this.leave();
    if (corrects && (this.at < 0 || this.several.length > 0)) return this.say("choose one change first");
    const rings = corrects ? await this.marks.rings() : [];
    if (rings === null) return this.say("this change has several parts; it cannot be corrected here");
    this.tools.begin(tool, rings);
    element("tool").textContent = HINTS[tool];
  }

  private leave(): void {
    this.tools.leave();
    element("tool").textContent = "";
  }

  /** What was drawn becomes a change, or corrects the current one. */
  private async drawn(tool: Tool, places: Place[]): Promise<void> {
    if (tool === "cut") return this.become("split", { ids: [this.index.ids[this.place]], line: upright(places) });
    if (tool === "hole") return this.become("hole", { ids: [this.index.ids[this.place]], polygon: [upright(places)] });
    this.outbox.add("draw", [{ key: "", rev: 0, after: { geometry: [upright(places)], label: this.label, status: "kept" } }]);
  }

  private reshape(rings: Rings): void {
    this.reshapeTo(rings.map(upright));
  }

  private reshapeTo(geometry: number[][][]): void {
    const place = this.place;
    this.outbox.add("reshape", [{ key: String(this.index.ids[place]), rev: this.index.revs[place], after: { geometry } }]);
    this.index.revs[place] += 1;
  }

  /** Ask for what becomes of changes, and record it. */
  private async become(kind: "split" | "merge" | "hole", asked: { ids: number[] } & Record<string, unknown>): Promise<void> {
    let shapes: number[][][][];
    try {
      shapes = (await post("/api/geometry", { kind, ...asked })).shapes;
    } catch (error) {
      return this.say((error as Error).message);
    }
    this.leave();
    if (kind === "hole") return this.reshapeTo(shapes[0]);
    const olds = asked.ids.map((id) => this.index.places.get(id)!);
    const status = STATUSES[this.index.statuses[olds[0]]];
    const label = this.scene.classes[this.index.labels[olds[0]]];
    const ended = olds.map((place) => ({ key: String(this.index.ids[place]), rev: this.index.revs[place], after: { status: "deleted" } }));
    const begun = shapes.map((geometry) => ({ key: "", rev: 0, after: { geometry, label, status } }));
    for (const place of olds) this.index.revs[place] += 1;
    this.several = [];
    this.outbox.add(kind, [...ended, ...begun]);
  }

  /** Add the current change to those that are chosen, or take it out. */
  private gather(): void {
    if (this.at < 0) return this.say("choose one change first");
    const { place } = this;
    this.several = this.several.includes(place) ? this.several.filter((each) => each !== place) : [...this.several, place];
    this.describe();
    this.mark();
  }

  /** Leave what was begun last: a tool, a choice, a conflict. */
  private escape(): void {
    if (this.tools.tool !== null) return this.leave();
    if (this.several.length === 0) return this.resolve(false);
    this.several = [];
    this.describe();
    this.mark();
  }

  private merge(): void {
    if (this.several.length < 2) return this.say("choose several changes first: B, or Shift and drag");
    void this.become("merge", { ids: this.several.map((place) => this.index.ids[place]) });
  }

  /** Grow a change from the pointer, or from the middle of the view. */
  private async grow(): Promise<void> {
    const [x, y] = this.pointer ?? (this.imagery.map.getView().getCenter() as Place);
    try {
      const { shapes } = await post("/api/grow", { at: [x, -y] });
      this.outbox.add("grow", shapes.map((geometry: number[][][]) => ({ key: "", rev: 0, after: { geometry, label: this.label, status: "kept" } })));
    } catch (error) {
      this.say((error as Error).message);
    }
  }

  /** Delete what was drawn; what was found is rejected. */
  private remove(): void {
    if (this.at < 0 || this.several.length > 0) return this.say("choose one change first");
    const place = this.place;
    if (this.index.ids[place] <= this.scene.top) return this.decide("rejected");
    this.outbox.add("delete", [{ key: String(this.index.ids[place]), rev: this.index.revs[place], after: { status: "deleted" } }]);
    this.index.statuses[place] = DELETED;
    this.index.revs[place] += 1;
    this.refresh();
    this.step(1, true);
  }

  /** Record what was edited in review.gpkg with a GIS; what was left is listed. */
  private async takeIn(): Promise<void> {
    try {
      const { count, conflicts } = await post("/api/take-in", {});
      if (conflicts.length === 0) return this.say(count === 0 ? "nothing was edited" : `${count} edits taken in`);
      const lines = (conflicts as string[]).map(paragraph);
      element("keys").replaceChildren(heading(`${count} edits taken in, ${conflicts.length} left`), ...lines);
      element<HTMLDialogElement>("keys").showModal();
    } catch (error) {
      this.say((error as Error).message);
    }
  }

  private async comment(): Promise<void> {
    if (this.at < 0) return this.say("choose one change first");
    const [id, rev] = [this.index.ids[this.place], this.index.revs[this.place]];
    const before = String((await get(`/api/changes/${id}`)).comment);
    const text = await ask(`Comment on change ${id}`, before, 2000);
    if (text === null || text === before) return;
    this.outbox.add("decide", [{ key: String(id), rev, after: { comment: text } }]);
    this.index.revs[this.index.places.get(id)!] += 1;
  }

  private refresh(): void {
    this.marks.refresh();
    this.describe();
    this.panel.showTally();
  }

  /** Hear of what others decide, and of what this page has undone. */
  private hear(): void {
    const events = new EventSource(`/api/events?after=${this.seq}`);
    events.onmessage = (event) => {
      const action = JSON.parse(event.data);
      this.seq = action.seq;
      this.learn(action.items);
    };
    events.addEventListener("pages", (event) => this.others.hear(JSON.parse(event.data)));
  }

  private hide(least: number): void {
    this.marks.least = Math.min(1, Math.max(0, least));
    element<HTMLInputElement>("least").value = String(this.marks.least);
    element("least-value").textContent = this.marks.least.toFixed(2);
    this.refresh();
  }

  private bind(): void {
    const { imagery, marks } = this;
    const mode = (name: Mode) => () => {
      imagery.show(name);
      this.panel.showMode();
    };
    const swipe = (by: number) => () => {
      imagery.moveSplit(imagery.split + by);
      this.panel.showMode();
    };
    const zoom = (by: number) => () => imagery.map.getView().setResolution(imagery.map.getView().getResolution()! * by);
    const down = {
      k: () => this.decide("kept"),
      x: () => this.decide("rejected"),
      u: () => this.decide("unsure"),
      z: () => this.outbox.add("undo", []),
      y: () => this.outbox.add("redo", []),
      ArrowRight: (event: KeyboardEvent) => this.step(1, event.shiftKey),
      ArrowLeft: (event: KeyboardEvent) => this.step(-1, event.shiftKey),
      a: mode("before"),
      s: mode("both"),
      d: mode("after"),
      " ": () => imagery.blink(true),
      v: () => mode(imagery.mode === "side" ? "both" : "side")(),
      ",": swipe(-0.05),
      ".": swipe(0.05),
      q: () => this.panel.showProbability(imagery.opacity > 0 ? 0 : 0.7),
      o: () => {
        marks.outlines = !marks.outlines;
        void marks.fetchNear();
      },
      "[": () => this.hide(marks.least - 0.05),
      "]": () => this.hide(marks.least + 0.05),
      i: () => this.look(),
      "+": zoom(0.5),
      "=": zoom(0.5),
      "-": zoom(2),
      "0": () => void this.show(true),
      Home: () => imagery.map.getView().fit(imagery.extent),
      p: () => void this.use("polygon"),
      r: () => void this.use("rectangle"),
      f: () => void this.use("freehand"),
      e: () => void this.use("vertices"),
      c: () => void this.use("cut"),
      h: () => void this.use("hole"),
      b: () => this.gather(),
      m: () => this.merge(),
      w: () => this.resolve(true),
      g: () => void this.grow(),
      t: () => void this.comment(),
      Delete: () => this.remove(),
      "/": () => void this.goTo(),
      "?": () => this.panel.showKeys(),
      Escape: () => this.escape(),
      ...Object.fromEntries(this.scene.classes.slice(0, 9).map((name, place) => [String(place + 1), () => this.decide("kept", name)])),
    };
    listen(down, { " ": () => imagery.blink(false) }, (event) => this.tools.press(event));
    for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-key]"))
      button.onclick = (event) => {
        if (event.detail > 0) button.blur(); // of the pointer: keys go on to be those of the map
        window.dispatchEvent(new KeyboardEvent("keydown", { key: button.dataset.key }));
      };
    const order = element<HTMLSelectElement>("order");
    order.replaceChildren(...[...this.scene.orders, "unsure", ...CELL_ORDERS].map((name) => new Option(name)));
    order.onchange = () => {
      order.blur();
      void this.follow(order.value);
    };
    element<HTMLInputElement>("least").oninput = (event) => this.hide(Number((event.target as HTMLInputElement).value));
    element("reject-hidden").onclick = () => this.rejectHidden();
    element("take-in").onclick = () => void this.takeIn();
    element("reviewer").onclick = () => void this.rename();
    element("show-conflict").onclick = () => {
      const place = this.index.places.get(this.conflicts[0].ids[0])!;
      void this.choose(place).then(() => this.show());
    };
    element<HTMLInputElement>("opacity").oninput = (event) => this.panel.showProbability(Number((event.target as HTMLInputElement).value));
    this.bindPicture();
    this.bindMap();
    this.bindLine();
  }

  /** Have the bands that are shown, and their stretch, chosen. */
  private bindPicture(): void {
    const { bands, look } = this.scene;
    const choices = ["red", "green", "blue"].map((name) => element<HTMLSelectElement>(name));
    const cut = element<HTMLInputElement>("cut");
    const draw = async () => {
      const chosen = choices.map((choice) => choice.value);
      this.imagery.draw((await get(`/api/look?bands=${chosen.join(",")}&cut=${cut.value}`)).name);
    };
    choices.forEach((choice, place) => {
      choice.replaceChildren(...bands.map((band) => new Option(String(band))));
      choice.value = String(look.bands[place] ?? look.bands[0]);
      choice.onchange = () => {
        choice.blur();
        void draw();
      };
    });
    cut.onchange = () => void draw();
  }

  /** Have the line between the dates follow the pointer that holds it. */
  private bindLine(): void {
    const line = element("line");
    line.onpointerdown = (event) => {
      line.setPointerCapture(event.pointerId);
      event.preventDefault();
    };
    line.onpointermove = (event) => {
      if (!line.hasPointerCapture(event.pointerId)) return;
      const { left, width } = element("map").getBoundingClientRect();
      this.imagery.moveSplit((event.clientX - left) / width);
      this.panel.showMode();
    };
  }

  private bindMap(): void {
    const { map, maps } = this.imagery;
    map.on("rendercomplete", () => (element("map").dataset.complete = String(performance.now()))); // all tiles are there
    maps.forEach((each, number) => {
      const box = new DragBox({ condition: shiftKeyOnly });
      each.addInteraction(box);
      box.on("boxend", () => this.chooseIn(box.getGeometry()!.getExtent()));
      each.on("pointermove", (event) => {
        this.pointer = event.coordinate as Place;
        this.panel.showPlace(event.coordinate);
        this.panel.showTwin(event.pixel, number);
      });
      each.getViewport()!.addEventListener("pointerleave", () => {
        this.pointer = null;
        this.panel.showTwin(null, number);
      });
      each.on("click", (event) => this.click(event.coordinate));
    });
  }

  /** Choose all changes whose middle lies in a box. */
  private chooseIn([left, bottom, right, top]: number[]): void {
    this.several = Array.from(this.index.ids.keys()).filter((place) => {
      const [x, y] = this.index.middle(place);
      return x >= left && x <= right && y >= bottom && y <= top && !(this.index.scores[place] < this.marks.least) && this.index.statuses[place] !== DELETED;
    });
    this.mark();
    this.describe();
  }

  /** Choose the smallest change at a place. */
  private click([x, y]: number[]): void {
    if (this.tools.tool !== null) return;
    const { areas, ids } = this.index;
    const hits = Array.from(ids.keys()).filter((place) => {
      if (this.index.statuses[place] === DELETED) return false;
      const [left, bottom, right, top] = this.index.box(place);
      return x >= left - 2 && x <= right + 2 && y >= bottom - 2 && y <= top + 2;
    });
    if (hits.length > 0) void this.choose(hits.reduce((least, place) => (areas[place] < areas[least] ? place : least)));
  }

  /** Make a change the current one; where the order does not hold it, go on in the first order. */
  private async choose(place: number, several: number[] = []): Promise<void> {
    if (!this.order.includes(place)) {
      const [first] = this.scene.orders;
      element<HTMLSelectElement>("order").value = first;
      this.cells.current = null;
      await this.fetchOrder(first);
    }
    this.at = this.order.indexOf(place);
    this.several = several;
    this.refresh();
    this.mark();
  }

  private async goTo(): Promise<void> {
    const answer = await ask("Number of the change", "", 12);
    if (answer === null) return;
    const wanted = Number(answer);
    const place = this.index.places.get(wanted);
    if (place === undefined) return this.say(`there is no change ${answer}`);
    void this.choose(place, this.several).then(() => this.show());
  }

  say(message: string): void {
    this.panel.say(message);
  }

  private describe(): void {
    const place = this.at < 0 ? null : this.place;
    const others = place === null ? [] : this.others.at(String(this.index.ids[place]));
    this.panel.describe(place === null ? null : { place, at: this.at, count: this.order.length, others }, this.several.length);
  }
}

/** The order, with places that it lacks at its end. */
function withAll(order: Uint32Array, places: (number | undefined)[]): Uint32Array {
  const fresh = places.filter((place): place is number => place !== undefined && !order.includes(place));
  return fresh.length > 0 ? Uint32Array.from([...order, ...fresh]) : order;
}

/** From the page's coordinates to columns and rows, and back. */
function upright(places: Place[]): number[][] {
  return places.map(([x, y]) => [x, -y]);
}

async function main(): Promise<void> {
  try {
    await beginSession();
    const [scene, index] = await Promise.all([get("/api/scene") as Promise<Scene>, Index.load()]);
    const review = new Review(scene, index);
    window.addEventListener("unhandledrejection", (event) => {
      if (!(event.reason instanceof Refused)) return; // a fault of the page's own
      event.preventDefault();
      review.say(event.reason.message);
    });
    await review.begin();
  } catch (error) {
    element("message").textContent = (error as Error).message;
  }
}

window.addEventListener("hashchange", () => location.reload()); // a new address in the same tab
void main();
