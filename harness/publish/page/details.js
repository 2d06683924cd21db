// Shows the details of a row in a dialog: the system, its findings, subgroups, and every key to cite.
"use strict";

/** A heading with its content; null where there is none. */
const part = (title, ...content) => {
  const found = content.flat().filter(Boolean);
  return found.length ? make("section", {}, make("h3", {}, title), found) : null;
};

const facts = (pairs) => make("dl", { class: "facts" },
  pairs.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value instanceof Node ? value : bdi(value)))));

/** An interval; ‡ and, on hover, the reason where it is unreliable. */
const span = (low, high, doubt) => {
  if (typeof low !== "number" || typeof high !== "number") return "–";
  const text = `[${fixed(low)}, ${fixed(high)}]`;
  return doubt ? make("span", { title: `interval unreliable: ${doubt}` }, `${text} ‡`,
    make("span", { class: "hidden" }, ` interval unreliable: ${doubt}`)) : text;
};

/** The reasons of unreliable intervals in a part, a line each. */
const doubts = (found) => [...new Set(found.filter(Boolean))].map((why) => make("p", { class: "soft" }, "‡ interval unreliable: ", bdi(why)));

const findings = (rows, source) => (rows?.length ? [
  source && make("p", { class: "soft" }, "Labels of ", bdi(source), "; counts are means over draws."),
  plainTable("Findings", ["Finding", { text: "In references", num: 1 }, { text: "Predicted", num: 1 }, { text: "Precision", num: 1 },
    { text: "Recall", num: 1 }, { text: "F1", num: 1 }, "Interval"],
  rows.map((f) => [f.name, whole(f.support), whole(f.predicted), fixed(f.precision), fixed(f.recall), fixed(f.f1), span(f.f1_low, f.f1_high, f.f1_doubt)])),
  ...doubts(rows.map((f) => f.f1_doubt)),
] : []);

const subgroups = (groups) => Object.entries(groups ?? {}).flatMap(([name, values]) => {
  const keys = [...new Set(values.flatMap((value) => Object.keys(value.cells ?? {})))];
  if (!values.length) return [];
  return [make("h4", {}, bdi(name)), plainTable(`Subgroups by ${name}`,
    ["Value", { text: "n", num: 1 }, ...keys.map((key) => ({ text: key, num: 1 }))],
    values.map((value) => [value.value, whole(value.n), ...keys.map((key) => {
      const cell = value.cells?.[key];
      return cell ? make("span", {}, fixed(cell.value), make("small", {}, cell.ci_low == null ? "" : span(cell.ci_low, cell.ci_high, cell.doubt))) : "–";
    })])),
    ...doubts(values.flatMap((value) => Object.values(value.cells ?? {}).map((cell) => cell.ci_low == null ? null : cell.doubt)))];
});

const errors = (given) => {
  if (!given) return [];
  const prior = given.prior_comparisons_without_prior;
  const per = (name, key) => (typeof given[key] === "number"
    ? [[name, make("span", {}, `${fixed(given[key], 2)} `, given[`${key}_interval`] ? span(...given[`${key}_interval`], given[`${key}_doubt`]) : "")]] : []);
  const shown = [...per("Omissions per report", "omissions"), ...per("Hallucinations per report", "hallucinations")];
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  if (typeof prior?.share === "number") {
    const also = typeof prior.reference_share === "number" ? `; of the references ${percent(prior.reference_share)}` : "";
    shown.push(["Reports that mention an earlier exam although none was given", `${percent(prior.share)} of ${whole(prior.n)} reports${also}`]);
  }
  return [shown.length && facts(shown), given.critical?.length && plainTable("Critical findings",
    ["Critical finding", { text: "Missed", num: 1 }, { text: "Invented", num: 1 }, { text: "In references", num: 1 }],
    given.critical.map((c) => [c.name, whole(c.missed), whole(c.invented), whole(c.support)]))];
};

const scores = (columns, { cells, skill }) => plainTable("Every key",
  ["Key", { text: "Value", num: 1 }, "Interval", "Skill", "Difference from the best row", { text: "n", num: 1 }, { text: "Unscored", num: 1 }, "Signature, to cite"],
  columns.flatMap((column, i) => {
    if (!column.metric) return [];
    const cell = cells[i];
    const last = cell.why !== undefined ? bdi(`not run: ${cell.why}`)
      : make("span", {}, cell.caveat && make("strong", {}, bdi(cell.caveat), " "),
        cell.signature ? make("code", { class: "signature" }, cell.signature) : "–", cell.signature && copyButton(() => cell.signature));
    const interval = cell.doubt ? make("span", {}, cell.lines[0], make("small", {}, `unreliable: ${cell.doubt}`)) : cell.lines?.[0] ?? "–";
    return [[column.id, cell.exact ?? "–", interval, skill[column.id] ? [skill[column.id].text, skill[column.id].lines?.[0]].filter(Boolean).join(" ") : "–", cell.said === "best" ? "is the best" : cell.gap ?? "–",
      whole(cell.n), cell.bounds ? `${whole(cell.unscored)}: ${cell.bounds}` : whole(cell.unscored), last]];
  }));

/** The line to paste into a paper: the system, and what the board is ranked by. */
const citation = (columns, row) => {
  const i = columns.findIndex((column) => column.primary);
  const cell = row.cells[i];
  if (!cell?.signature) return null;
  const line = `${row.label}@${row.fingerprint}: ${columns[i].id} ${cell.text} ${cell.lines[0]}, ${cell.signature}`;
  return make("p", { class: "cite" }, make("code", { class: "signature" }, line), copyButton(() => line));
};

/** The dialog of a page: open(board, row) shows a row; closed() is called when it closes. */
const detailsDialog = (closed) => {
  const body = make("div", {});
  const title = make("h2", { id: "details-title", tabindex: "-1" });
  const dialog = make("dialog", { class: "details", "aria-labelledby": "details-title", on: { close: closed } },
    make("header", {}, title, button("Close", () => dialog.close(), { class: "close" })), body);
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  const open = (board, row) => {
    const more = row.more ?? {};
    title.replaceChildren(bdi(row.label), " ", make("code", {}, row.fingerprint));
    body.replaceChildren(...[
      make("p", { class: "tags" }, row.tags.map((tag) => make("span", { class: `tag ${tag.class}`, title: tag.tip }, tag.text))),
      make("p", { dir: "auto" }, row.about || "No run card: what this system is was not recorded."),
      citation(board.columns, row),
      board.viewer && make("p", {}, make("a", { href: `${board.viewer}#${new URLSearchParams({ system: `${row.label}@${row.fingerprint}` })}` },
        "Read its reports next to the references")),
      facts(row.facts),
      part("Findings", findings(more.findings, more.findings_from)),
      part("Errors", errors(more.errors)),
      part("Subgroups", subgroups(more.subgroups)),
      part("Every key", scores(board.columns, row)),
      part("Files behind these numbers", make("ul", { class: "files" }, row.files.map(([name, href]) => make("li", {}, make("a", { href }, bdi(name)))))),
    ].filter(Boolean));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    title.focus();
  };
  return { dialog, open };
};
