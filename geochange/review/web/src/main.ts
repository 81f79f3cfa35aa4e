// The review: one change after another, decided with one key.

import "ol/ol.css";
import DragBox from "ol/interaction/DragBox";
import { containsExtent } from "ol/extent";
import { shiftKeyOnly } from "ol/events/condition";
import { Cells } from "./cells";
import { Conflicts } from "./conflicts";
import { Corrections } from "./corrections";
import { Imagery, type Mode } from "./imagery";
import { DELETED, Index, UNREVIEWED, UNSURE, type Status, type Told } from "./index";
import { listen, type Handlers } from "./keys";
import { Marks } from "./marks";
import { Others } from "./others";
import { Outbox, type Item, type Waiting } from "./outbox";
import { ask, element, heading, paragraph, Panel } from "./panel";
import { beginSession, get, getBytes, post, Refused, type Scene } from "./scene";
import type { Place } from "./tools";

const AHEAD = 3; // changes whose tiles and outlines are fetched beforehand
const CELL_ORDERS = ["cells", "random cells"];
const UNSURE_ORDER = "unsure";
const WAIT = 2000; // ms between questions whether the pictures are there
const AGAIN = 3000; // ms until the news are asked for again
const SPARE = 4; // how many times as wide as the change the view is, where it has to be fitted
const NAME = "geochange reviewer"; // where a browser keeps its user's name
const LONGEST_NAME = 40;

class Review {
  private readonly imagery: Imagery;
  private readonly cells: Cells;
  private readonly marks: Marks;
  private readonly outbox: Outbox;
  private readonly corrections: Corrections;
  private readonly conflicts: Conflicts;
  private readonly panel: Panel;
  private readonly others: Others;
  private pointer: Place | null = null;
  private order: Uint32Array = new Uint32Array();
  private begun = false; // whether there is an order
  private at = -1;
  private following = 0;
  private awaited: string | null = null;
  private seq: number;
  several: number[] = [];
  label: string;

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
    const place = `geochange ${scene.review}`;
    this.conflicts = new Conflicts(`${place} conflict`, index, scene.classes, this.marks, (message) => this.say(message));
    this.outbox = new Outbox(`${place} action`, who, {
      learned: (told, asked) => this.acknowledged(told, asked),
      refused: (asked, now, why) => this.refused(asked, now, why),
      waiting: (waiting, why) => this.showWaiting(waiting, why),
    });
    this.others = new Others(who, () => this.describe());
    this.corrections = new Corrections(scene, index, this.imagery, this.marks, this.outbox, this);
  }

  async begin(): Promise<void> {
    this.bind();
    this.panel.showMode();
    this.outbox.tell(this.scene.read_only);
    if (this.scene.preparing) void this.awaitPictures();
    if (!(await this.others.say())) this.call(this.scene.reviewer); // a name that the server does not take
    this.showName();
    this.hear();
    await this.follow(this.scene.orders[0]);
    void this.conflicts.show();
    if (this.others.namesake) this.say(`${this.others.who} is here already: give another name, at the top`);
    await this.outbox.send();
  }

  // What is recorded, and what waits.

  /** What waits is shown on top of what is recorded. */
  private showWaiting(waiting: Waiting[], why: string | null): void {
    this.index.show(waiting, this.scene.cell_columns, this.scene.classes);
    this.panel.showSaved(waiting.length, why);
    this.refresh();
  }

  /** What the server has recorded of this page's own actions; what was drawn becomes the current change. */
  private acknowledged(told: Told[], asked: Waiting): void {
    this.learn(told);
    const drawn = told.filter((each) => each.box !== undefined && each.status !== "deleted" && Number(each.key) > this.scene.top);
    if (asked.op !== this.awaited || drawn.length === 0 || this.corrections.correcting) return;
    this.awaited = null;
    void this.choose(this.index.places.get(Number(drawn[0].key))!);
  }

  await(op: string): void {
    this.awaited = op;
  }

  /** What the server has refused, because somebody was faster or it cannot be; returns what is asked for again. */
  private refused(asked: Waiting, now: Told[], why: string): Item[] {
    this.learn(now);
    if (asked.kind === "reshape") void this.renew(asked.items.map((item) => Number(item.key)));
    const later = now.length > 0 ? this.outbox.takeOut(new Set(now.map((each) => each.key))) : new Map();
    const items = asked.items.map((item) => ({ ...item, after: { ...item.after, ...later.get(item.key) } }));
    return this.conflicts.take({ ...asked, items }, now, why);
  }

  private learn(told: Told[]): void {
    const known = this.index.ids.length;
    if (!this.index.learn(told, this.scene.cell_columns, this.scene.classes)) return; // of this page's own actions
    const { current } = this.cells;
    const fresh = Array.from({ length: this.index.ids.length - known }, (_, place) => known + place);
    const here = current === null ? fresh.filter(() => this.name !== UNSURE_ORDER) : fresh.filter((place) => this.cells.holds(current, place));
    if (here.length > 0) this.order = Uint32Array.from([...this.order, ...here]);
    this.refresh();
    const shaped = told.filter((each) => each.geometry !== undefined || each.status === "deleted").map((each) => Number(each.key));
    if (shaped.length > 0) void this.renew(shaped);
  }

  /** Fetch outlines anew; corners that are being corrected are those of the new outline. */
  private async renew(ids: number[]): Promise<void> {
    await this.marks.renew(ids);
    const { current } = this;
    if (current === null || !ids.includes(this.index.ids[current])) return;
    this.mark();
    await this.corrections.renew(ids);
  }

  /** Hear of what others decide, and of what this page has undone. */
  private hear(): void {
    const events = new EventSource(`/api/events?after=${this.seq}`);
    events.onopen = () => this.panel.showConnected(true);
    events.onmessage = (event) => {
      const action = JSON.parse(event.data);
      this.seq = Math.max(this.seq, action.seq);
      this.learn(action.items);
    };
    events.addEventListener("pages", (event) => this.others.hear(JSON.parse(event.data)));
    events.onerror = () => {
      this.panel.showConnected(false);
      if (events.readyState !== EventSource.CLOSED) return; // the browser tries again itself
      setTimeout(() => {
        this.hear();
        void this.outbox.send();
      }, AGAIN);
    };
  }

  // Where the reviewer is.

  /** The current change; null where there is none, or no more. */
  get current(): number | null {
    const place = this.at < 0 ? undefined : this.order[this.at];
    return place === undefined || this.index.statuses[place] === DELETED ? null : place;
  }

  /** Name of the order that is followed. */
  private get name(): string {
    return element<HTMLSelectElement>("order").value;
  }

  private async follow(name: string): Promise<void> {
    const turn = ++this.following;
    if (CELL_ORDERS.includes(name)) {
      this.cells.follow(name === CELL_ORDERS[1]);
      return this.nextCell(null);
    }
    const unsure = () => Uint32Array.from(this.index.ids.keys()).filter((place) => this.index.statuses[place] === UNSURE);
    const order = name === UNSURE_ORDER ? unsure() : await this.fetchOrder(name);
    if (turn !== this.following) return;
    this.cells.current = null;
    this.marks.refresh();
    this.order = order;
    this.begun = true;
    this.at = -1;
    this.step(1, name !== UNSURE_ORDER);
  }

  private async fetchOrder(name: string): Promise<Uint32Array> {
    const ids = new Uint32Array(await getBytes(`/api/order/${name}`));
    const found = Array.from(ids, (id) => this.index.places.get(id)!);
    const drawn = Array.from(this.index.ids.keys()).filter((place) => this.index.ids[place] > this.scene.top);
    return Uint32Array.from([...found, ...drawn]);
  }

  /** Go on to the next change in the order: one that is not hidden and, where asked, not decided; at best one that nobody
   * else is at. */
  private step(by: 1 | -1, undecided: boolean): void {
    const next = (undecided ? this.find(this.at, by, undecided, this.others.keys) : null) ?? this.find(this.at, by, undecided);
    if (next !== null) {
      this.at = next;
      return void this.show();
    }
    if (this.cells.current === null && this.order.length > 0) this.say(undecided ? "everything here is decided" : "there is no further one");
    if (this.cells.current !== null || this.current === null) this.at = -1; // what is left is to look, or to draw
    this.describe();
    this.mark();
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

  private async show(fit = false): Promise<void> {
    if (this.corrections.tools.tool !== null) this.corrections.leave();
    this.describe();
    this.mark();
    const { current } = this;
    if (current === null) return;
    const view = this.imagery.map.getView();
    const resolution = this.resolutionFor(current, fit);
    const seen = containsExtent(view.calculateExtent(), this.index.box(current));
    if (this.cells.current === null || fit || !seen) {
      if (this.cells.current === null || fit) view.setResolution(resolution);
      view.setCenter(this.index.middle(current));
    }
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

  /** Outline the current change and those that are chosen, and tell others where this page is. */
  private mark(): void {
    const { current } = this;
    if (this.several.length > 0) void this.marks.choose(this.several, current);
    else void this.marks.choose(current === null ? [] : [current]);
    const cell = this.cells.current;
    this.others.move(cell !== null ? this.cells.key(cell) : current === null ? "" : String(this.index.ids[current]));
  }

  /** Make a change the current one; where the order does not hold it, go on in the first order. */
  private async choose(place: number): Promise<void> {
    if (!this.order.includes(place)) {
      const [first] = this.scene.orders;
      const turn = ++this.following;
      const order = await this.fetchOrder(first);
      if (turn !== this.following) return;
      element<HTMLSelectElement>("order").value = first;
      this.cells.current = null;
      this.order = order;
    }
    this.at = this.order.indexOf(place);
    this.refresh();
    this.mark();
  }

  private async goTo(): Promise<void> {
    const answer = await ask("Number of the change", "", 12);
    if (answer === null) return;
    const known = this.index.places.has(Number(answer));
    if (!known && /^\d+$/.test(answer)) this.learn([await get(`/api/changes/${answer}`)]); // drawn a moment ago
    const place = this.index.places.get(Number(answer));
    if (place === undefined || this.index.statuses[place] === DELETED) return this.say(`there is no change ${answer}`);
    await this.choose(place);
    await this.show();
  }

  // What the reviewer decides.

  private decide(status: Status, label?: string): void {
    if (this.corrections.tools.tool !== null) return this.say("Esc leaves the tool first");
    if (label !== undefined) this.label = label;
    const { current, several } = this;
    this.several = [];
    this.act(several.length > 0 ? several : current === null ? [] : [current], status, label);
    if (several.length > 0) void this.show();
    else this.step(1, true);
  }

  private act(places: number[], status: Status, label?: string): void {
    if (places.length === 0) return;
    const after: Record<string, string> = label === undefined ? { status } : { status, label };
    this.outbox.add("decide", places.map((place) => ({ key: String(this.index.ids[place]), rev: this.index.revs[place], after })));
  }

  private rejectHidden(): void {
    const hidden = Array.from(this.index.ids.keys()).filter(
      (place) => this.index.statuses[place] === UNREVIEWED && this.index.scores[place] < this.marks.least,
    );
    this.act(hidden, "rejected");
    this.say(`${hidden.length} rejected`);
  }

  /** Say that the cell was looked at, and go on to the next; where no cell is shown, show one first. */
  private look(): void {
    if (this.corrections.tools.tool !== null) return this.say("Esc leaves the tool first");
    const cell = this.cells.current;
    if (cell === null) {
      const [x, y] = this.current === null ? this.imagery.map.getView().getCenter()! : this.index.middle(this.current);
      this.showCell(this.cells.holding(x, y));
      return this.say("I again, where you have looked at all of this cell");
    }
    if (this.index.looked[cell] === 0) {
      const undecided = this.cells.undecided(cell);
      this.outbox.add("look", [{ key: this.cells.key(cell), rev: this.index.cellRevs[cell], after: { looked: true } }]);
      this.say(undecided > 0 ? `looked at; ${undecided} changes in it are undecided and will not be labels` : "looked at");
    }
    this.nextCell(cell);
  }

  /** Show the next cell that nobody has looked at, and its first undecided change. */
  private nextCell(after: number | null): void {
    const next = this.cells.next(after, this.others.keys);
    if (next !== null) return this.showCell(next);
    this.cells.current = null;
    this.marks.refresh();
    this.say("all cells are looked at");
  }

  private showCell(cell: number): void {
    this.following += 1;
    const order = element<HTMLSelectElement>("order");
    if (!CELL_ORDERS.includes(order.value)) order.value = CELL_ORDERS[0];
    this.cells.current = cell;
    this.order = this.cells.changes(cell);
    this.imagery.map.getView().fit(this.cells.box(cell), { padding: [24, 24, 24, 24] });
    this.marks.refresh();
    this.at = -1;
    this.step(1, true);
  }

  /** Delete what was drawn; what was found is rejected. */
  private remove(): void {
    const { current } = this;
    if (current === null || this.several.length > 0) return this.say("choose one change first");
    if (this.index.ids[current] <= this.scene.top) return this.decide("rejected");
    this.corrections.remove(current);
    this.step(1, true);
  }

  /** Add the current change to those that are chosen, or take it out. */
  private gather(): void {
    const { current } = this;
    if (current === null) return this.say("choose one change first");
    this.several = this.several.includes(current) ? this.several.filter((each) => each !== current) : [...this.several, current];
    this.describe();
    this.mark();
  }

  /** Leave what was begun last: a tool, a choice, a version of one's own. */
  private escape(): void {
    if (this.corrections.tools.tool !== null) return this.corrections.leave();
    if (this.several.length === 0) return this.conflicts.resolve(false, this.outbox);
    this.several = [];
    this.describe();
    this.mark();
  }

  private async comment(): Promise<void> {
    const { current } = this;
    if (current === null) return this.say("choose one change first");
    const id = this.index.ids[current];
    const before = String((await get(`/api/changes/${id}`)).comment);
    const text = await ask(`Comment on change ${id}`, before, 2000);
    if (text === null || text === before) return;
    this.outbox.add("decide", [{ key: String(id), rev: this.index.revs[this.index.places.get(id)!], after: { comment: text } }]);
  }

  /** Record what was edited in review.gpkg with a GIS; what was left is listed. */
  private async takeIn(): Promise<void> {
    const { count, conflicts } = await post("/api/take-in", {});
    if (conflicts.length === 0) return this.say(count === 0 ? "nothing was edited" : `${count} edits taken in`);
    this.panel.open(heading(`${count} edits taken in, ${conflicts.length} left`), ...(conflicts as string[]).map(paragraph));
  }

  /** Take another name, where the server takes it. */
  private async rename(): Promise<void> {
    const answer = (await ask("Name of the reviewer", this.others.who, LONGEST_NAME))?.replace(/\s+/g, " ").trim();
    if (answer === undefined || answer === "") return;
    if (!(await this.others.say(answer))) return this.say("that cannot be a name");
    localStorage.setItem(NAME, answer);
    this.call(answer);
  }

  private call(who: string): void {
    this.others.who = this.outbox.who = who;
    this.showName();
  }

  // What is shown.

  private showName(): void {
    element("reviewer").textContent = this.others.who;
  }

  /** Wait until all of the scene can be shown fast. */
  private async awaitPictures(): Promise<void> {
    element("message").textContent = "preparing the overview; full scale works meanwhile";
    while ((await get("/api/progress")).preparing) await new Promise((done) => setTimeout(done, WAIT));
    element("message").textContent = "";
    this.imagery.refresh();
  }

  private refresh(): void {
    this.marks.refresh();
    this.describe();
    this.panel.showTally();
  }

  private hide(least: number): void {
    this.marks.least = Math.min(1, Math.max(0, least));
    element<HTMLInputElement>("least").value = String(this.marks.least);
    element("least-value").textContent = this.marks.least.toFixed(2);
    this.refresh();
  }

  say(message: string): void {
    this.panel.say(message);
  }

  private describe(): void {
    if (!this.begun) return;
    const { current } = this;
    const others = current === null ? [] : this.others.at(String(this.index.ids[current]));
    this.panel.describe(current === null ? null : { place: current, at: this.at, count: this.order.length, others }, this.several.length);
    this.panel.showClasses(this.label);
  }

  // What keys, buttons and the pointer do.

  private bind(): void {
    const { imagery, marks, panel, corrections } = this;
    const mode = (name: Mode) => () => {
      imagery.show(name);
      panel.showMode();
    };
    const swipe = (by: number) => () => {
      imagery.moveSplit(imagery.split + by);
      panel.showMode();
    };
    const blink = (held: boolean) => () => {
      imagery.blink(held);
      panel.showMode();
    };
    const zoom = (by: number) => () => imagery.map.getView().setResolution(imagery.map.getView().getResolution()! * by);
    const down: Handlers = {
      k: () => this.decide("kept"),
      x: () => this.decide("rejected"),
      u: () => this.decide("unsure"),
      z: () => this.outbox.undo(),
      y: () => this.outbox.redo(),
      ArrowRight: (event) => this.step(1, event.shiftKey),
      ArrowLeft: (event) => this.step(-1, event.shiftKey),
      a: mode("before"),
      s: mode("both"),
      d: mode("after"),
      v: () => mode(imagery.mode === "side" ? "both" : "side")(),
      " ": blink(true),
      ",": swipe(-0.05),
      ".": swipe(0.05),
      q: () => panel.showProbability(imagery.opacity > 0 ? 0 : 0.7),
      o: () => marks.toggle(),
      "[": () => this.hide(marks.least - 0.05),
      "]": () => this.hide(marks.least + 0.05),
      i: () => this.look(),
      "+": zoom(0.5),
      "=": zoom(0.5),
      "-": zoom(2),
      "0": () => void this.show(true),
      Home: () => imagery.map.getView().fit(imagery.extent),
      p: () => void corrections.use("polygon"),
      r: () => void corrections.use("rectangle"),
      f: () => void corrections.use("freehand"),
      e: () => void corrections.use("vertices"),
      c: () => void corrections.use("cut"),
      h: () => void corrections.use("hole"),
      b: () => this.gather(),
      m: () => corrections.merge(),
      w: () => this.conflicts.resolve(true, this.outbox),
      g: () => void corrections.grow(this.pointer),
      t: () => void this.comment(),
      Delete: () => this.remove(),
      "/": () => void this.goTo(),
      "?": () => panel.showKeys(),
      Escape: () => this.escape(),
      ...Object.fromEntries(this.scene.classes.slice(0, 9).map((name, place) => [String(place + 1), () => this.decide("kept", name)])),
    };
    const first = (event: KeyboardEvent) => {
      this.awaited = null;
      return corrections.tools.press(event);
    };
    listen(down, { " ": blink(false) }, first);
    window.addEventListener("blur", blink(false));
    window.addEventListener("pagehide", () => this.others.leave());
    for (const button of document.querySelectorAll<HTMLButtonElement>("button[data-key]")) button.onclick = (event) => down[button.dataset.key!](event);
    element("theirs").onclick = () => this.conflicts.resolve(false, this.outbox);
    element("take-in").onclick = () => void this.takeIn();
    element("reviewer").onclick = () => void this.rename();
    element("reject-hidden").onclick = () => this.rejectHidden();
    element("show-conflict").onclick = () => void this.choose(this.index.places.get(this.conflicts.id!)!).then(() => this.show());
    element<HTMLInputElement>("least").oninput = (event) => this.hide(Number((event.target as HTMLInputElement).value));
    element<HTMLInputElement>("opacity").oninput = (event) => panel.showProbability(Number((event.target as HTMLInputElement).value));
    const order = element<HTMLSelectElement>("order");
    order.replaceChildren(...[...this.scene.orders, UNSURE_ORDER, ...CELL_ORDERS].map((name) => new Option(name)));
    order.onchange = () => void this.follow(order.value);
    panel.makeClasses((name) => this.decide("kept", name));
    this.bindPicture();
    this.bindMap();
    this.bindLine(swipe);
  }

  /** Have the bands that are shown, and their stretch, chosen. */
  private bindPicture(): void {
    const { bands, look } = this.scene;
    const choices = ["red", "green", "blue"].map((name) => element<HTMLSelectElement>(name));
    const cut = element<HTMLInputElement>("cut");
    let asked = 0;
    const draw = async () => {
      const number = ++asked;
      const chosen = choices.map((choice) => choice.value);
      const { name } = await get(`/api/look?bands=${chosen.join(",")}&cut=${cut.value}`);
      if (number === asked) this.imagery.draw(name); // answers may overtake each other
    };
    choices.forEach((choice, place) => {
      choice.replaceChildren(...bands.map((band) => new Option(String(band))));
      choice.value = String(look.bands[place] ?? look.bands[0]);
      choice.onchange = () => void draw();
    });
    cut.onchange = () => void draw();
  }

  /** Have the line between the dates follow the pointer that holds it, and the arrows. */
  private bindLine(swipe: (by: number) => () => void): void {
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
    line.onkeydown = (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowDown") swipe(-0.05)();
      if (event.key === "ArrowRight" || event.key === "ArrowUp") swipe(0.05)();
    };
  }

  private bindMap(): void {
    const { map, maps } = this.imagery;
    map.on("rendercomplete", () => (element("map").dataset.complete = this.imagery.look)); // all its tiles are there
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
      return x >= left && x <= right && y >= bottom && y <= top && this.seen(place);
    });
    this.mark();
    this.describe();
  }

  /** Choose the smallest change at a place. */
  private click([x, y]: number[]): void {
    if (this.corrections.tools.tool !== null) return;
    const { areas, ids } = this.index;
    const hits = Array.from(ids.keys()).filter((place) => {
      const [left, bottom, right, top] = this.index.box(place);
      return x >= left - 2 && x <= right + 2 && y >= bottom - 2 && y <= top + 2 && this.seen(place);
    });
    this.awaited = null;
    if (hits.length > 0) void this.choose(hits.reduce((least, place) => (areas[place] < areas[least] ? place : least)));
  }

  /** Whether a change is neither hidden nor deleted. */
  private seen(place: number): boolean {
    return !(this.index.scores[place] < this.marks.least) && this.index.statuses[place] !== DELETED;
  }
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
