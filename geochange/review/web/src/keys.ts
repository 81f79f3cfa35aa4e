// Keys: by the letter, not by the place on the keyboard; none while somebody types, or reads a dialogue.

export const KEYS: [string, string][] = [
  ["K", "keep, then the next undecided"],
  ["X", "reject, then the next undecided"],
  ["U", "unsure, then the next undecided"],
  ["→ ←", "next, previous; with Shift: undecided only"],
  ["Z Y", "undo, redo"],
  ["1 … 9", "class, and keep"],
  ["A S D", "before, both, after"],
  ["V", "side by side"],
  ["Space", "held: the other date"],
  [", .", "swipe left, right"],
  ["Q", "probability"],
  ["O", "outlines"],
  ["[ ]", "hide below a score"],
  ["I", "shows a cell; again: it is looked at, next cell"],
  ["+ - 0", "zoom, fit the change"],
  ["Home", "whole scene"],
  ["P R F", "draw a polygon, a rectangle, freehand"],
  ["E", "move, add and remove corners"],
  ["C H", "cut the change by a line, cut a hole"],
  ["M", "merge those that are chosen"],
  ["G", "grow a change from the pointer"],
  ["Del", "delete; a change that was found is rejected"],
  ["Arrows Enter", "with a tool: move the cross (Shift: tenfold), set a corner"],
  ["T", "comment"],
  ["/", "go to an id"],
  ["B", "choose several: adds the change, or takes it out"],
  ["Shift+drag", "choose all in a box"],
  ["W", "your version, where somebody was faster"],
  ["Esc", "leave the tool, the choice, your version"],
];

const REPEATING = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", ",", ".", "+", "=", "-", "[", "]"]; // while they are held
const SLIDING = ["Home", "End", "PageUp", "PageDown"];

export type Handlers = Record<string, (event: { shiftKey: boolean }) => void>;

/** Have keys handled; `first` sees each before, and may take it. */
export function listen(down: Handlers, up: Handlers, first: (event: KeyboardEvent) => boolean): void {
  window.addEventListener("keydown", (event) => press(event, down, first), { capture: true });
  window.addEventListener("keyup", (event) => press(event, up, () => false), { capture: true });
  leaveAfterPointing();
}

/** What was pressed by the pointer does not keep the focus: keys go on to be those of the review. */
function leaveAfterPointing(): void {
  let pointed = false;
  window.addEventListener("pointerdown", () => (pointed = true), { capture: true });
  window.addEventListener("keydown", () => (pointed = false), { capture: true });
  window.addEventListener("click", (event) => {
    if (event.detail > 0) (event.target as Element).closest<HTMLElement>("button, summary")?.blur();
  });
  window.addEventListener("change", (event) => {
    if (pointed) (event.target as HTMLElement).closest<HTMLElement>("select, input[type=range]")?.blur();
  });
}

function press(event: KeyboardEvent, handlers: Handlers, first: (event: KeyboardEvent) => boolean): void {
  const target = event.target instanceof HTMLElement ? event.target : document.body;
  const typing = target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== "range");
  if (typing || event.isComposing || document.querySelector("dialog[open]") !== null) return;
  const undoing = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  if ((event.ctrlKey || event.metaKey || event.altKey) && !undoing) return;
  const slider = target instanceof HTMLInputElement || target.getAttribute("role") === "slider";
  if (slider && (event.key.startsWith("Arrow") || SLIDING.includes(event.key))) return;
  if (event.repeat && !REPEATING.includes(event.key)) return event.preventDefault();
  if (first(event)) return event.preventDefault();
  const pressed = target instanceof HTMLButtonElement || target.tagName === "SUMMARY";
  if (pressed && (event.key === " " || event.key === "Enter")) return;
  const name = undoing && event.shiftKey ? "y" : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const handler = handlers[name];
  if (handler === undefined) return;
  event.preventDefault();
  handler(event);
}
