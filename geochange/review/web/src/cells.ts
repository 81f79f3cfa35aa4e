// The cells in which the scene is looked at: squares that training reads whole.

import type { Index } from "./index";
import type { Scene } from "./scene";
import { DELETED, UNREVIEWED } from "./index";

export class Cells {
  /** The cell that is being looked at; null while changes are gone through in another order. */
  current: number | null = null;
  /** The order in which cells are gone through. */
  private sequence: number[];

  constructor(
    private readonly scene: Scene,
    private readonly index: Index,
  ) {
    this.sequence = [...scene.cells.keys()];
  }

  /** Number of the cell that holds a place, or of the nearest one. */
  holding(x: number, y: number): number {
    const { cells, cell_columns: columns } = this.scene;
    let row = 0;
    while (row + columns < cells.length && cells[row + columns][0] <= -y) row += columns;
    let col = 0;
    while (col + 1 < columns && cells[col + 1][1] <= x) col += 1;
    return row + col;
  }

  key(cell: number): string {
    return `cell ${Math.floor(cell / this.scene.cell_columns)} ${cell % this.scene.cell_columns}`;
  }

  /** The cell's box in the page's coordinates. */
  box(cell: number): [number, number, number, number] {
    const [row, col, height, width] = this.scene.cells[cell];
    return [col, -row - height, col + width, -row];
  }

  /** Whether the middle of a change lies in a cell. */
  holds(cell: number, place: number): boolean {
    return this.holding(...this.index.middle(place)) === cell;
  }

  /** Changes whose middle lies in a cell. */
  changes(cell: number): Uint32Array {
    const there = (place: number) => this.index.statuses[place] !== DELETED && this.holds(cell, place);
    return Uint32Array.from(Array.from(this.index.ids.keys()).filter(there));
  }

  undecided(cell: number): number {
    return this.changes(cell).filter((place) => this.index.statuses[place] === UNREVIEWED).length;
  }

  /** Go through cells row by row, or at random. */
  follow(random: boolean): void {
    this.sequence = random ? this.scene.cell_sample : [...this.scene.cells.keys()];
  }

  /** The next cell, after another one or from the first on, that nobody has looked at, at best one that nobody is at; null
   * where all are looked at. */
  next(after: number | null, taken: Set<string>): number | null {
    const count = this.sequence.length;
    const from = after === null ? -1 : this.sequence.indexOf(after);
    const following = Array.from({ length: count }, (_, step) => this.sequence[(from + 1 + step) % count]);
    const open = following.filter((cell) => this.index.looked[cell] === 0);
    return open.find((cell) => !taken.has(this.key(cell))) ?? open[0] ?? null;
  }
}
