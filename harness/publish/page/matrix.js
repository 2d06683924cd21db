// The pairwise section: a matrix of differences, row minus column, drawn when it is first opened.
"use strict";

const chance = (p) => (p < 0.001 ? "below 0.001" : fixed(p));
const signed = (value, places) => (value > 0 ? "+" : "") + fixed(value + 0, places).replace(/^−(0\.?0*)$/, "$1");

/** One cell's words: sign, arrow and sentence. The arrow says who is better, whatever the sign. */
const comparison = (matrix, a, b, [difference, low, high, p, holm, apart, tail]) => {
  const { places, better, systems } = matrix;
  const ahead = (difference > 0) === (better === "higher");
  const figure = signed(difference, places);
  const interval = low === null ? "no interval" : `${matrix.confidence} interval [${signed(low, places + 1)}, ${signed(high, places + 1)}]`;
  return {
    apart,
    text: `${apart ? (ahead ? "▲" : "▼") : "≈"} ${figure}`,
    ahead,
    said: [`${systems[a][0]} minus ${systems[b][0]}: ${figure}, ${interval}, p ${chance(p)}, Holm-adjusted ${chance(holm)}${tail ? " (normal tail)" : ""}`,
      apart ? `${systems[ahead ? a : b][0]} is better` : "no significant difference"].join(": "),
  };
};

/** The section: matrix as matrix.py wrote it; changed() is called when it opens or closes. */
class Matrix {
  constructor(section, matrix, changed) {
    this.matrix = matrix;
    this.box = section.querySelector("details.pairs");
    this.box.addEventListener("toggle", () => { if (this.box.open) this.#draw(); changed(); });
  }

  get open() { return this.box.open; }

  set open(open) {
    this.box.open = open;
    if (open) this.#draw();
  }

  #draw() {
    if (this.line) return;
    const { systems, pairs } = this.matrix;
    this.line = make("p", { class: "pair" }, "Choose a cell: click it, or step with the arrow keys.");
    const found = systems.map(() => []);
    for (const [a, b, difference, low, high, ...rest] of pairs) {
      found[a][b] = [difference, low, high, ...rest];
      found[b][a] = [-difference, high === null ? null : -high, low === null ? null : -low, ...rest];
    }
    this.cells = systems.map((_, a) => systems.map((__, b) => this.#cell(a, b, found[a][b])));
    const table = make("table", { class: "matrix", role: "grid", "aria-label": `Differences in ${this.matrix.key}, row minus column`,
      on: { keydown: (event) => this.#step(event), focusin: (event) => this.#show(event.target) } },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "row − column"),
      systems.map(([label], i) => make("th", { scope: "col", class: "num", title: label },
        String(i + 1), make("span", { class: "hidden" }, " ", bdi(label)))))),
    make("tbody", {}, systems.map(([label, fingerprint], i) => make("tr", {},
      make("th", { scope: "row", title: `${label}@${fingerprint}` }, make("span", { class: "at" }, `${i + 1} `), bdi(label)), this.cells[i]))));
    this.cells[0][systems.length > 1 ? 1 : 0].tabIndex = 0;
    this.box.append(this.line, make("div", { class: "scroll", role: "region", "aria-label": "Pairwise differences" }, table));
  }

  #cell(a, b, pair) {
    if (a === b || !pair) {
      return make("td", { class: "same", tabindex: "-1", "aria-label": a === b ? "the same system" : "no study in common" }, a === b ? "·" : "–");
    }
    const { apart, ahead, text, said } = comparison(this.matrix, a, b, pair);
    return make("td", { class: `num ${apart ? (ahead ? "ahead" : "behind") : "alike"}`, tabindex: "-1", title: said, "aria-label": said }, text);
  }

  #show(cell) {
    if (cell.tagName !== "TD") return;
    this.cells.flat().forEach((other) => { other.tabIndex = other === cell ? 0 : -1; });
    this.line.replaceChildren(bdi(cell.getAttribute("aria-label")), ".");
  }

  #step(event) {
    const [across, down] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1],
      Home: [-Infinity, 0], End: [Infinity, 0] }[event.key] ?? [0, 0];
    if (!across && !down) return;
    event.preventDefault();
    const last = this.cells.length - 1;
    const cell = event.target.closest("td");
    const row = this.cells.findIndex((cells) => cells.includes(cell));
    const within = (value) => Math.min(Math.max(value, 0), last);
    this.cells[within(row + down)][within(this.cells[row].indexOf(cell) + across)].focus();
  }
}
