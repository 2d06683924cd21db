// One board's table: sorting, searching, filtering, choosing columns, scores or skill.
"use strict";

/** A cell of data as a td: the same markup as the macro of page.html.j2. */
const cellOf = (cell) => {
  const at = cell.whisker;
  const marks = [cell.class, at?.length && "plot", at?.length && cell.lines.length > 1 && `lines-${cell.lines.length}`, at?.length === 0 && "beyond"].filter(Boolean);
  const td = make("td", { class: ["num", ...marks].join(" "), title: cell.tip });
  if (at?.length) {
    td.style.backgroundPositionX = `${at[0]}%,${at[1]}%,0`;
    td.style.backgroundSize = `7px 7px,${at[2]}% 3px,100% 1px`;
  }
  if (cell.why !== undefined) {
    td.append(make("details", {}, make("summary", {}, cell.text), bdi(cell.why)));
    return td;
  }
  if (cell.mark) td.append(make("span", { "aria-hidden": "true" }, `${cell.mark} `));
  td.append(cell.text + (cell.dagger ? "†" : ""));
  if (cell.said) td.append(make("span", { class: "hidden" }, ` ${cell.said}`));
  if (cell.lines) td.append(make("small", {}, cell.lines.join("\n")));
  if (cell.doubt) td.append(make("span", { class: "hidden" }, ` interval unreliable: ${cell.doubt}`));
  if (cell.caveat) td.append(" ", make("span", { class: "tag warn", title: cell.caveat }, "caution"));
  return td;
};

// Cells that are laid out within a frame on a slow machine: eight rows of sixty columns.
const VISIBLE = 500;

class Board {
  /** section: as the template wrote it. changed(): called when its state has changed. */
  constructor(section, changed, open) {
    this.section = section;
    this.changed = changed;
    const { columns, rows, viewer, matrix, zero } = JSON.parse(section.querySelector("script.data").textContent);
    this.columns = columns;
    this.data = rows;
    this.viewer = viewer; // the study viewer's page, or null
    this.matrix = matrix ? new Matrix(section, matrix, changed) : null;
    this.defaults = columns.flatMap((column, i) => (column.shown ? [i] : []));
    this.table = section.querySelector("table.scores");
    this.table.style.setProperty("--zero", zero); // where skill 0 lies on its axis
    this.body = this.table.tBodies[0];
    const written = [...this.body.rows];
    this.rows = rows.map((data, k) => {
      const row = written[k];
      const cells = { "": new Map(this.defaults.map((column, i) => [column, row.cells[i + 1]])), skill: new Map() };
      const system = row.cells[0];
      const label = system.querySelector("a.label");
      label.setAttribute("aria-haspopup", "dialog");
      label.addEventListener("click", (event) => { event.preventDefault(); open(this, data); });
      const text = `${data.label} ${data.about || ""} ${data.read} ${data.tags.map((tag) => tag.text).join(" ")}`;
      return { data, row, cells, system, text: text.toLowerCase() };
    });
    this.view = ""; // "skill": each value between the best floor and the ceiling
    this.views = { "": new Map(), skill: new Map() }; // the headers of each view
    const keys = this.table.querySelector("tr.keys");
    this.corner = keys.cells[0];
    this.corner.replaceChildren(this.#sorter(null, [...this.corner.childNodes]));
    this.defaults.forEach((column, i) => this.#header(column, keys.cells[i + 1]));
    this.shown = this.defaults;
    this.tools = this.#tools();
    this.table.closest(".scroll").before(this.tools);
    this.sort = null; // [column or null for the label, "ascending" or "descending"]; null: by rank
    this.kinds = "";
    this.tier = "";
    this.#mark();
  }

  /** The state of this board that a permalink holds; {} is the first view. */
  get state() {
    const found = {};
    if (this.sort) found.sort = `${this.sort[0] === null ? "" : this.columns[this.sort[0]].id}:${this.sort[1] === "ascending" ? "up" : "down"}`;
    if (this.search.value) found.q = this.search.value;
    if (this.kinds) found.kind = this.kinds;
    if (this.tier) found.tier = this.tier;
    if (this.shown !== this.defaults) found.cols = this.shown.map((i) => this.columns[i].id).join(",");
    if (this.view) found.view = this.view;
    if (this.matrix?.open) found.pairs = "open";
    return found;
  }

  restore(state) {
    if (this.matrix) this.matrix.open = state.pairs === "open";
    const index = (id) => this.columns.findIndex((column) => column.id === id);
    const asked = (state.cols ?? "").split(",").map(index).filter((i) => i >= 0);
    const view = state.view === "skill" && this.switch ? "skill" : "";
    const turned = view !== this.view;
    this.#turn(view);
    const wanted = state.cols === undefined || !asked.length ? this.defaults : asked;
    if (turned || wanted.join() !== this.shown.join()) this.#show(wanted);
    this.search.value = state.q ?? "";
    this.kindSelect.value = state.kind ?? "";
    this.kinds = this.kindSelect.value;
    if (this.tierSelect) { this.tierSelect.value = state.tier ?? ""; this.tier = this.tierSelect.value; }
    const [, id, way] = /^(.*):(up|down)$/.exec(state.sort ?? "") || [];
    const column = id ? index(id) : null;
    this.sort = way && column !== -1 ? [column, way === "up" ? "ascending" : "descending"] : null;
    this.#order();
    this.#filter();
  }

  get headers() { return this.views[this.view]; }

  /** A cell's data in the present view: in that of skill, scores without one are a dash. */
  #data(data, i) {
    const column = this.columns[i];
    return this.view && column.metric ? data.skill[column.id] ?? { text: "–", class: "none" } : data.cells[i];
  }

  /** More skill is always better, whatever the score. */
  #better(i) {
    return this.view && this.columns[i].metric ? "higher" : this.columns[i].better;
  }

  #turn(view) {
    this.view = view;
    this.switch?.forEach((button, i) => button.setAttribute("aria-pressed", String((i === 1) === (view === "skill"))));
    const legend = this.section.querySelector(".legend.skill");
    if (legend) legend.hidden = !view;
    this.table.classList.toggle("skill", view === "skill");
  }

  /** Show scores or skill: the same rows, order and filters. */
  #choose(view) {
    if (view === this.view) return;
    const best = this.sort && this.sort[0] !== null && this.sort[1] === (this.#better(this.sort[0]) === "higher" ? "descending" : "ascending");
    this.#turn(view);
    if (this.sort && this.sort[0] !== null) this.sort[1] = best === (this.#better(this.sort[0]) === "higher") ? "descending" : "ascending";
    this.#show(this.shown);
    this.#order(VISIBLE);
    this.said.value = view ? "Showing skill" : "Showing scores";
    this.changed();
  }

  #header(column, th) {
    const led = [...th.querySelectorAll(".led")]; // below the button, whose last sign is the order
    led.forEach((mark) => mark.remove());
    th.replaceChildren(this.#sorter(column, [...th.childNodes]), ...led);
    this.headers.set(column, th);
    return th;
  }

  #sorter(column, content) {
    return make("button", { type: "button", on: { click: () => this.#sortBy(column) } }, content);
  }

  #headerOf(i) {
    if (this.headers.has(i)) return this.headers.get(i);
    const column = this.columns[i];
    const skill = this.view && column.metric;
    return this.#header(i, make("th", { scope: "col", class: `num${column.primary ? " primary" : ""}`,
      title: skill ? `Skill in ${column.id}: ${column.skill ?? "only of headline columns"}` : column.tip },
      bdi(column.name), ...(column.arrow ? [" ", make("span", { class: "arrow", "aria-hidden": "true" }, skill ? "↑" : column.arrow),
        make("span", { class: "hidden" }, `, ${this.#better(i)} is better`)] : []),
      column.led ? make("small", { class: "led", title: column.led }, "floor leads") : null));
  }

  /** Draw these columns, in the board's own order. */
  #show(columns) {
    const same = columns.join() === this.defaults.join();
    this.shown = same ? this.defaults : [...columns].sort((a, b) => a - b);
    const span = (name) => {
      const spans = [];
      for (const i of this.shown) {
        const of = name === "group" ? this.columns[i].group : `${this.columns[i].group}\n${this.columns[i].metric}`;
        if (spans.at(-1)?.of === of) spans.at(-1).n += 1;
        else spans.push({ of, text: this.columns[i][name], n: 1 });
      }
      return spans.map(({ text, n }) => (text
        ? make("th", { colspan: n, scope: "colgroup" }, bdi(text)) : make("td", { colspan: n })));
    };
    const [groups, metrics, keys] = this.table.tHead.rows;
    groups.replaceChildren(groups.cells[0], ...span("group"));
    metrics.replaceChildren(metrics.cells[0], ...span("metric"));
    keys.replaceChildren(this.corner, ...this.shown.map((i) => this.#headerOf(i)));
    for (const { data, row, cells, system } of this.rows) {
      row.replaceChildren(system, ...this.shown.map((i) => {
        const made = cells[this.view];
        if (!made.has(i)) made.set(i, cellOf(this.#data(data, i)));
        return made.get(i);
      }));
    }
    this.boxes?.forEach((box, i) => { box.checked = this.shown.includes(i); });
    this.#mark();
  }

  /** Best first on the first click, the other way on the second, the board's own order on the third. */
  #sortBy(column) {
    const better = column === null ? "lower" : this.#better(column);
    const natural = better === "higher" ? "descending" : "ascending";
    const other = natural === "ascending" ? "descending" : "ascending";
    if (!this.sort || this.sort[0] !== column) this.sort = [column, natural];
    else this.sort = this.sort[1] === natural ? [column, other] : null;
    this.#order(VISIBLE);
    this.said.value = this.sort
      ? `Sorted by ${column === null ? "system" : this.columns[column].name}, ${this.sort[1]}` : "Sorted by rank";
    this.changed();
  }

  /** Ceilings stay on top, rows without a value at the end. cells: how many move per frame. */
  #order(cells = Infinity) {
    let rows = this.rows;
    if (this.sort) {
      const [column, way] = this.sort;
      const sign = way === "ascending" ? 1 : -1;
      const read = ({ data }) => (column === null ? data.label : this.#data(data, column).sort ?? null);
      const keyed = rows.map((row) => [row.data.kind === "ceiling" ? 0 : 1, read(row), row]);
      keyed.sort(([topA, a], [topB, b]) => {
        if (topA !== topB) return topA - topB;
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
      });
      rows = keyed.map(([, , row]) => row);
    }
    this.#place(rows.map(({ row }) => row), Math.ceil(cells / this.shown.length));
    this.#mark();
  }

  /** Rows in view move at once and those below in the next frames, so that a click feels instant. */
  #place(rows, most, before = this.body.firstElementChild) {
    cancelAnimationFrame(this.placing);
    const now = rows.slice(0, most);
    const rest = rows.slice(most);
    now.forEach((row) => { if (row === before) before = before.nextElementSibling; else before ? before.before(row) : this.body.append(row); });
    if (rest.length) this.placing = requestAnimationFrame(() => this.#place(rest, most, now.at(-1).nextElementSibling));
  }

  #mark() {
    this.table.querySelectorAll("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
    if (this.sort) {
      const th = this.sort[0] === null ? this.corner : this.headers.get(this.sort[0]);
      th?.setAttribute("aria-sort", this.sort[1]);
      return;
    }
    const primary = this.columns.findIndex((column) => column.primary);
    const way = primary >= 0 && this.#better(primary) === "higher" ? "descending" : "ascending";
    this.headers.get(primary)?.setAttribute("aria-sort", way);
  }

  #filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let kept = 0;
    for (const { data, row, text } of this.rows) {
      row.hidden = !(words.every((word) => text.includes(word))
        && (!this.kinds || data.kind === this.kinds) && (!this.tier || data.tier === this.tier));
      kept += row.hidden ? 0 : 1;
    }
    this.shownRows.value = kept === this.rows.length ? "" : `${kept} of ${this.rows.length} rows`;
  }

  #tools() {
    const again = () => { this.kinds = this.kindSelect.value; this.tier = this.tierSelect?.value ?? ""; this.#filter(); this.changed(); };
    const choice = (name, all, values) => make("select", { "aria-label": name, on: { change: again } },
      make("option", { value: "" }, all), values.map(([value, text]) => make("option", { value }, text)));
    this.search = make("input", { type: "search", placeholder: "Search systems", "aria-label": "Search systems", on: { input: again } });
    this.kindSelect = choice("Kind of system", "all kinds", [["model", "systems only"], ["floor", "floors only"], ["ceiling", "ceilings only"]]);
    const tiers = [...new Set(this.data.map((row) => row.tier).filter(Boolean))].sort();
    this.tierSelect = tiers.length > 1 ? choice("Tier", "all tiers", tiers.map((tier) => [tier, tier])) : null;
    this.shownRows = make("output", {});
    this.said = make("output", { class: "hidden", "aria-live": "polite" });
    this.switch = this.section.querySelector(".legend.skill")
      ? [["", "Scores", "The scores as the metrics give them"], ["skill", "Skill", "Each value between the best floor (0) and the ceiling (1) of its column"]].map(([view, text, title]) =>
        button(text, () => this.#choose(view), { title, "aria-pressed": String(view === "") })) : null;
    const views = this.switch && make("div", { class: "view", role: "group", "aria-label": "Scores or skill" }, this.switch);
    return make("div", { class: "tools" }, views, this.search, this.kindSelect, this.tierSelect, this.#picker(), this.shownRows, this.said);
  }

  #picker() {
    const picker = make("details", { class: "picker" }, make("summary", {}, "Columns"));
    picker.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { picker.open = false; picker.querySelector("summary").focus(); }
    });
    picker.addEventListener("toggle", () => { if (picker.open && !this.boxes) this.#fillPicker(picker); });
    return picker;
  }

  #fillPicker(picker) {
    const pick = (columns) => { this.#show(columns); this.changed(); };
    this.boxes = this.columns.map((_, i) => make("input", { type: "checkbox", on: { change: () =>
      pick(this.boxes.flatMap((box, k) => (box.checked ? [k] : []))) } }));
    this.boxes.forEach((box, i) => { box.checked = this.shown.includes(i); });
    const groups = [...new Set(this.columns.map((column) => column.group))];
    picker.append(make("div", { class: "choices" },
      make("p", {}, button("First view", () => pick(this.defaults)), " ",
        button("All columns", () => pick(this.columns.map((_, i) => i)))),
      groups.map((group) => make("fieldset", {}, make("legend", {}, group),
        this.columns.map((column, i) => (column.group === group
          ? make("label", {}, this.boxes[i], " ", bdi(column.metric ? column.id : column.name)) : null))))));
  }
}
