// The review: one change after another, decided with one key.

import "ol/ol.css";
import DragBox from "ol/interaction/DragBox";
import { shiftKeyOnly } from "ol/events/condition";
import { Cells } from "./cells";
import { Imagery, type Mode } from "./imagery";
import { DELETED, Index, STATUSES, UNREVIEWED, UNSURE, type Status, type Told } from "./index";
import { KEYS, listen } from "./keys";
import { Marks } from "./marks";
import { Outbox, type Item } from "./outbox";
import { beginSession, get, getBytes, post, type Scene } from "./scene";
import { HINTS, Tools, type Place, type Rings, type Tool } from "./tools";

const AHEAD = 3; // changes whose tiles and outlines are fetched beforehand
const DRAWING = ["draw", "grow", "split", "merge"];
const CELL_ORDERS = ["cells", "random cells"];
const WAIT = 2000; // ms between questions whether the pictures are there
const SPARE = 4; // how many times as wide as the change the view is, where it has to be fitted

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

class Review {
  private readonly imagery: Imagery;
  private readonly cells: Cells;
  private readonly marks: Marks;
  private readonly outbox: Outbox;
  private readonly tools: Tools;
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
    this.imagery = new Imagery(element("map"), scene);
    this.cells = new Cells(scene, index);
    this.marks = new Marks(this.imagery, index, this.cells, scene.cells.length);
    this.outbox = new Outbox(`geochange ${scene.name} ${scene.look}`, scene.reviewer, {
      learned: (told, kind) => this.acknowledged(told, kind),
      refused: (message) => this.say(message),
      waiting: (count, why) => this.showSaved(count, why),
    });
    this.tools = new Tools(this.imagery, this.marks.near, {
      drawn: (tool, places) => void this.drawn(tool, places),
      reshaped: (rings) => this.reshape(rings),
      say: (message) => this.say(message),
    });
  }

  /** What the server has recorded of this page's own actions; what was drawn becomes the current change. */
  private acknowledged(told: Told[], kind: string | null): void {
    this.learn(told);
    const drawn = told.filter((each) => each.box !== undefined && Number(each.key) > this.scene.top).map((each) => this.index.places.get(Number(each.key))!);
    if (kind !== null && DRAWING.includes(kind) && drawn.length > 0) void this.choose(drawn[0]);
  }

  async begin(): Promise<void> {
    element("name").textContent = this.scene.name;
    document.title = `${this.scene.name} · geochange review`;
    this.bind();
    this.showMode();
    this.showTally();
    this.showSaved(this.outbox.count, this.scene.read_only);
    if (this.scene.preparing) void this.await();
    await this.follow(this.scene.orders[0]);
    await this.outbox.send();
    this.hear();
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

  /** Go on to the next change in the order: one that is not hidden and, where asked, not decided. */
  private step(by: 1 | -1, undecided: boolean): void {
    const next = this.find(this.at, by, undecided);
    if (next === null && undecided && this.cells.current !== null) return this.rest();
    if (next === null) {
      this.say(undecided ? "everything here is decided" : "there is no further one");
      return;
    }
    this.at = next;
    this.several = [];
    void this.show();
  }

  /** All changes of a cell are decided: what is left is to say that it was looked at. */
  private rest(): void {
    this.at = -1;
    this.several = [];
    this.describe();
    void this.marks.choose([]);
  }

  private find(from: number, by: 1 | -1, undecided: boolean): number | null {
    const count = this.order.length;
    if (from < 0) from = by > 0 ? -1 : 0;
    for (let step = 1; step <= count; step += 1) {
      const at = (((from + by * step) % count) + count) % count;
      const place = this.order[at];
      if (this.index.scores[place] < this.marks.least || this.index.statuses[place] === DELETED) continue;
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
    void this.marks.choose([this.place]);
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
    if (places.length === 0) return;
    const after: Record<string, string> = label === undefined ? { status } : { status, label };
    const items: Item[] = places.map((place) => ({ key: String(this.index.ids[place]), rev: this.index.revs[place], after }));
    for (const place of places) {
      this.index.statuses[place] = STATUSES.indexOf(status);
      this.index.revs[place] += 1; // what the server will say
      if (label !== undefined) this.index.labels[place] = this.scene.classes.indexOf(label);
    }
    this.outbox.add("decide", items);
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
    this.showTally();
  }

  /** Show the next cell that nobody has looked at, and its first undecided change. */
  private nextCell(after: number | null): void {
    const order = element<HTMLSelectElement>("order");
    if (!CELL_ORDERS.includes(order.value)) order.value = CELL_ORDERS[0];
    const next = this.cells.next(after);
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
    for (let start = 0; start < hidden.length; start += 10_000) this.act(hidden.slice(start, start + 10_000), "rejected");
    this.say(`${hidden.length} rejected`);
  }

  private learn(told: Told[]): void {
    this.index.learn(told, this.scene.cell_columns, this.scene.classes);
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
    const rings = this.marks.rings();
    if (rings !== null) this.tools.renew(rings);
  }

  /** Begin or leave a tool. */
  private use(tool: Tool): void {
    const corrects = tool === "cut" || tool === "hole" || tool === "vertices";
    if (this.tools.tool === tool) return this.leave();
    if (corrects && (this.at < 0 || this.several.length > 0)) return this.say("choose one change first");
    const rings = corrects ? this.marks.rings() : [];
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

  private merge(): void {
    if (this.several.length < 2) return this.say("choose several changes first: Shift and drag");
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
      const lines = (conflicts as string[]).map((text) => Object.assign(document.createElement("p"), { textContent: text }));
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
    this.showTally();
  }

  /** Hear of what others decide, and of what this page has undone. */
  private hear(): void {
    const events = new EventSource(`/api/events?after=${this.seq}`);
    events.onmessage = (event) => {
      const action = JSON.parse(event.data);
      this.seq = action.seq;
      this.learn(action.items);
    };
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
      this.showMode();
    };
    const swipe = (by: number) => () => {
      imagery.moveSplit(imagery.split + by);
      this.showMode();
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
      ",": swipe(-0.05),
      ".": swipe(0.05),
      q: () => this.showProbability(imagery.opacity > 0 ? 0 : 0.7),
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
      p: () => this.use("polygon"),
      r: () => this.use("rectangle"),
      f: () => this.use("freehand"),
      e: () => this.use("vertices"),
      c: () => this.use("cut"),
      h: () => this.use("hole"),
      m: () => this.merge(),
      g: () => void this.grow(),
      t: () => void this.comment(),
      Delete: () => this.remove(),
      "/": () => void this.goTo(),
      "?": () => this.showKeys(),
      Escape: () => this.leave(),
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
    element<HTMLInputElement>("opacity").oninput = (event) => this.showProbability(Number((event.target as HTMLInputElement).value));
    this.bindMap();
    this.bindLine();
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
      this.showMode();
    };
  }

  private bindMap(): void {
    const { map } = this.imagery;
    const box = new DragBox({ condition: shiftKeyOnly });
    map.addInteraction(box);
    box.on("boxend", () => {
      const [left, bottom, right, top] = box.getGeometry().getExtent();
      this.several = Array.from(this.index.ids.keys()).filter((place) => {
        const [x, y] = this.index.middle(place);
        return x >= left && x <= right && y >= bottom && y <= top && !(this.index.scores[place] < this.marks.least) && this.index.statuses[place] !== DELETED;
      });
      void this.marks.choose(this.several);
      this.describe();
    });
    map.on("rendercomplete", () => (element("map").dataset.complete = String(performance.now()))); // all tiles are there
    map.on("pointermove", (event) => {
      this.pointer = event.coordinate as Place;
      void this.showPlace(event.coordinate);
    });
    map.getViewport()!.addEventListener("pointerleave", () => (this.pointer = null));
    map.on("click", (event) => {
      if (this.tools.tool !== null) return;
      const [x, y] = event.coordinate;
      const { areas, ids } = this.index;
      const hits = Array.from(ids.keys()).filter((place) => {
        if (this.index.statuses[place] === DELETED) return false;
        const [left, bottom, right, top] = this.index.box(place);
        return x >= left - 2 && x <= right + 2 && y >= bottom - 2 && y <= top + 2;
      });
      if (hits.length > 0) void this.choose(hits.reduce((least, place) => (areas[place] < areas[least] ? place : least)));
    });
  }

  /** Make a change the current one; where the order does not hold it, go on in the first order. */
  private async choose(place: number): Promise<void> {
    if (!this.order.includes(place)) {
      const [first] = this.scene.orders;
      element<HTMLSelectElement>("order").value = first;
      this.cells.current = null;
      await this.fetchOrder(first);
    }
    this.at = this.order.indexOf(place);
    this.several = [];
    this.refresh();
    void this.marks.choose([place]);
  }

  private async goTo(): Promise<void> {
    const answer = await ask("Number of the change", "", 12);
    if (answer === null) return;
    const wanted = Number(answer);
    const place = this.index.places.get(wanted);
    if (place === undefined) return this.say(`there is no change ${answer}`);
    void this.choose(place).then(() => this.show());
  }

  private describe(): void {
    const section = element("change");
    void this.showComment();
    if (this.several.length > 0) {
      section.replaceChildren(heading(`${this.several.length} changes chosen`));
      return;
    }
    if (this.at < 0) {
      if (this.cells.current !== null) section.replaceChildren(...this.restOfCell(this.cells.current));
      return;
    }
    const { ids, scores, areas, statuses, labels } = this.index;
    const status = STATUSES[statuses[this.place]];
    const area = this.scene.gsd === null ? `${areas[this.place]} px` : `${(areas[this.place] * this.scene.gsd ** 2).toLocaleString("en", { maximumFractionDigits: 0 })} m²`;
    section.replaceChildren(
      heading(`Change ${ids[this.place]}`),
      list([
        ["Status", status, status],
        ["Class", this.scene.classes[labels[this.place]]],
        ["Mean score", Number.isNaN(scores[this.place]) ? "drawn" : scores[this.place].toFixed(2)],
        ["Area", area],
        [this.cells.current === null ? "In the order" : `In cell ${this.cells.current + 1}`, `${this.at + 1} of ${this.order.length}`],
      ]),
    );
  }

  /** Show what reviewers have said of the current change; a change that nobody has touched has no comment. */
  private async showComment(): Promise<void> {
    const place = this.at < 0 || this.several.length > 0 ? null : this.place;
    if (place === null || this.index.revs[place] === 0) {
      element("comment").textContent = "";
      return;
    }
    const told = await get(`/api/changes/${this.index.ids[place]}`).catch(() => ({ comment: "" })); // it is shown next time
    if (this.at >= 0 && this.place === place) element("comment").textContent = told.comment;
  }

  private restOfCell(cell: number): HTMLElement[] {
    const count = this.cells.changes(cell).length;
    const text = `${count} changes found in it are decided. Where nothing else has changed, press I.`;
    return [heading(`Cell ${cell + 1} of ${this.scene.cells.length}`), Object.assign(document.createElement("p"), { textContent: text })];
  }

  private showTally(): void {
    const counts = this.index.tally();
    const looked = this.index.looked.reduce((sum, each) => sum + each, 0);
    element("tally").textContent =
      `${counts.kept} kept · ${counts.rejected} rejected · ${counts.unsure} unsure · ${counts.unreviewed} to do · ` +
      `${looked} of ${this.scene.cells.length} cells looked at`;
  }

  private showMode(): void {
    const [before, after] = this.scene.dates.map((each, place) => each.date?.slice(0, 10) ?? ["before", "after"][place]);
    const { mode, split } = this.imagery;
    const parts = mode === "before" ? [before] : mode === "after" ? [after] : [`${before} ◂`, `▸ ${after}`];
    element("shown").replaceChildren(...parts.map((text) => Object.assign(document.createElement("b"), { textContent: text })));
    element("shown").style.left = mode === "both" ? `${100 * split}%` : "50%";
    const line = element("line");
    line.hidden = mode !== "both";
    line.style.left = `${100 * split}%`;
    line.setAttribute("aria-valuenow", String(Math.round(100 * split)));
  }

  private showProbability(opacity: number): void {
    if (!this.scene.layers.includes("probability")) return this.say("there is no probability");
    this.imagery.opacity = opacity;
    element<HTMLInputElement>("opacity").value = String(opacity);
  }

  private showSaved(count: number, why: string | null): void {
    element("saved").textContent = why ?? (count > 0 ? `${count} being saved` : "all saved");
  }

  private async showPlace([x, y]: number[]): Promise<void> {
    const [a, b, c, d, e, f] = this.scene.transform;
    const [col, row] = [x, -y];
    const inside = col >= 0 && row >= 0 && col < this.scene.shape[1] && row < this.scene.shape[0];
    const [mx, my] = [a * col + b * row + c, d * col + e * row + f];
    element("place").textContent = inside ? `${mx.toFixed(1)}, ${my.toFixed(1)} · row ${Math.floor(row)}, column ${Math.floor(col)}` : "";
  }

  private showKeys(): void {
    const dialog = element<HTMLDialogElement>("keys");
    const table = document.createElement("dl");
    for (const [key, what] of KEYS) table.append(...pair(key, what));
    dialog.replaceChildren(heading("Keys"), table);
    dialog.showModal();
  }

  private say(message: string): void {
    element("message").textContent = message;
    setTimeout(() => {
      if (element("message").textContent === message) element("message").textContent = "";
    }, 4000);
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

/** Ask for a text; null where the question is left. */
async function ask(title: string, before: string, most: number): Promise<string | null> {
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

function heading(text: string): HTMLElement {
  return Object.assign(document.createElement("h2"), { textContent: text });
}

function pair(name: string, value: string, kind = ""): HTMLElement[] {
  return [
    Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: value, className: kind }),
  ];
}

function list(rows: [string, string, string?][]): HTMLElement {
  const found = document.createElement("dl");
  for (const [name, value, kind] of rows) found.append(...pair(name, value, kind));
  return found;
}

async function main(): Promise<void> {
  try {
    await beginSession();
    const [scene, index] = await Promise.all([get("/api/scene") as Promise<Scene>, Index.load()]);
    await new Review(scene, index).begin();
  } catch (error) {
    element("message").textContent = (error as Error).message;
  }
}

window.addEventListener("hashchange", () => location.reload()); // a new address in the same tab
void main();
