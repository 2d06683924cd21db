// Shows one study at a time: its images with boxes, its reference, and the report of every system.
"use strict";

const WORDS = 600; // above this a difference is not drawn: the table of an LCS grows as its square

/** Words, each with the spaces before it. */
const wordsOf = (text) => text.match(/\s*\S+/g) ?? [];
const plain = (word) => word.trim().toLowerCase().replace(/[.,;:]+$/, "");

/** [["same" | "only" | "lacks", word], …]: the candidate, with the reference's words it lacks. */
const difference = (reference, candidate) => {
  const a = wordsOf(reference);
  const b = wordsOf(candidate);
  if (a.length > WORDS || b.length > WORDS) return b.map((word) => ["same", word]);
  const x = a.map(plain);
  const y = b.map(plain);
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i][j] = x[i] === y[j] ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  const found = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && x[i] === y[j]) { found.push(["same", b[j]]); i += 1; j += 1; }
    else if (j < b.length && (i === a.length || longest[i][j + 1] >= longest[i + 1][j])) { found.push(["only", b[j]]); j += 1; }
    else { found.push(["lacks", a[i]]); i += 1; }
  }
  return found;
};

/** Join neighbouring words of one kind into one element. */
const marked = (parts) => {
  const runs = [];
  for (const [kind, given] of parts) {
    const word = runs.length && !/^\s/.test(given) ? ` ${given}` : given;
    if (runs.at(-1)?.kind === kind) runs.at(-1).text += word;
    else runs.push({ kind, text: word });
  }
  return runs.map(({ kind, text }) => (kind === "same" ? text
    : make(kind === "only" ? "ins" : "del", { title: kind === "only" ? "not in the reference" : "in the reference only" }, text)));
};

(() => {
  const { keys, primary, systems, studies } = JSON.parse(document.getElementById("data").textContent);
  const main = document.getElementById("study");
  document.querySelector("header.page").append(themeButton());
  const select = (name, pairs) => make("select", { on: { change: () => reorder() }, "aria-label": name },
    pairs.map(([value, text]) => make("option", { value }, text)));
  const key = select("Sort by", [["", "as chosen"], ...keys.map((k, i) => [String(i), k.key])]);
  const system = select("System", [["", "all systems"], ...systems.map((s, i) => [String(i), s.label])]);
  const differences = make("input", { type: "checkbox", checked: true, on: { change: () => draw() } });
  const place = make("output", { "aria-live": "polite" });
  const body = make("div", {});
  const go = (step) => { at = Math.min(Math.max(at + step, 0), order.length - 1); draw(); };
  main.replaceChildren(
    make("div", { class: "tools pager" },
      button("← Previous", () => go(-1)), button("Next →", () => go(1)), place,
      make("label", {}, "worst first by ", key), make("label", {}, "of ", system),
      make("label", {}, differences, " differences")), body);

  let order = studies.map((_, i) => i);
  let at = 0;

  /** The score of a study: that of the chosen system, or the mean over all but ceilings. */
  const valueOf = (study, k) => {
    const of = study.answers.filter((_, i) => (system.value === "" ? systems[i].kind !== "ceiling" : i === Number(system.value)))
      .map((answer) => answer.values[k]).filter((value) => typeof value === "number");
    return of.length ? of.reduce((a, b) => a + b, 0) / of.length : null;
  };

  const arrange = () => {
    order = studies.map((_, i) => i);
    if (key.value === "") return;
    const k = Number(key.value);
    const sign = keys[k].direction === "lower" ? -1 : 1;
    const value = studies.map((study) => valueOf(study, k));
    order.sort((a, b) => ((value[a] === null) - (value[b] === null)) || sign * (value[a] - value[b]) || a - b);
  };
  const reorder = () => { arrange(); at = 0; draw(); };

  /** phrases: [{text, boxes}]; boxes lie over the first image, which they refer to. */
  const overlay = (image, sets) => {
    const NS = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(NS, "svg");
    svg.setAttribute("viewBox", "0 0 1 1");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    for (const [name, phrases] of sets) {
      for (const [x0, y0, x1, y1] of phrases.flatMap((phrase) => phrase.boxes)) {
        const rect = document.createElementNS(NS, "rect");
        for (const [attribute, value] of Object.entries({ x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: name })) rect.setAttribute(attribute, value);
        svg.append(rect);
      }
    }
    return make("figure", {}, make("div", { class: "picture" },
      make("img", { src: image.file, alt: `Radiograph, ${image.view || "view unknown"}`, width: image.size[0], height: image.size[1] }), svg),
    make("figcaption", {}, image.view || "view unknown"));
  };

  const phrases = (given) => (given?.length ? make("ul", { class: "phrases" }, given.map((phrase) =>
    make("li", {}, bdi(phrase.text), phrase.boxes.length ? ` (${phrase.boxes.length} ${phrase.boxes.length === 1 ? "box" : "boxes"})` : ""))) : null);

  const answerOf = (study, answer, i) => {
    const head = make("h3", {}, bdi(systems[i].label), " ",
      systems[i].kind === "model" ? null : make("span", { class: `tag ${systems[i].kind}` }, systems[i].kind),
      answer.status ? make("span", { class: "tag warn" }, answer.status) : null);
    const text = differences.checked && systems[i].kind !== "ceiling" ? marked(difference(study.reference, answer.text)) : [answer.text];
    const said = [["missed", answer.missed], ["invented", answer.invented]].filter(([, names]) => names?.length);
    return make("section", { class: "answer" }, head,
      answer.text ? make("p", { class: "report", dir: "auto" }, text) : make("p", { class: "soft" }, "empty"),
      phrases(answer.phrases),
      said.map(([kind, names]) => make("p", { class: "labels" }, make("span", { class: "tag warn" }, kind), " ", names.join(", "))),
      make("dl", { class: "facts" }, keys.flatMap((k, n) => (typeof answer.values[n] === "number"
        ? [make("div", { class: k.key === primary ? "primary" : null }, make("dt", {}, k.key), make("dd", {}, fixed(answer.values[n])))] : []))));
  };

  const draw = () => {
    const study = studies[order[at]];
    const one = system.value === "" ? null : Number(system.value);
    place.value = `${at + 1} of ${order.length}`;
    const predicted = one === null ? [] : study.answers[one].phrases ?? [];
    body.replaceChildren(make("div", { class: "study" },
      make("div", { class: "given" }, make("h2", {}, bdi(study.id)),
        study.images.map((image, j) => overlay(image, j ? [] : [["reference", study.phrases ?? []], ["predicted", predicted]])),
        study.images.length && (study.phrases || predicted.length) ? make("p", { class: "soft" }, "Boxes: orange for the reference, dashed blue for the chosen system.") : null,
        make("dl", { class: "facts" }, study.given.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, bdi(value)))),
          make("div", {}, make("dt", {}, "prior"), make("dd", {}, study.prior ? "given" : "none"))),
        make("h3", {}, "Reference"), make("p", { class: "report", dir: "auto" }, study.reference || "empty"), phrases(study.phrases)),
      make("div", { class: "answers" }, study.answers.map((answer, i) => (one === null || one === i ? answerOf(study, answer, i) : null)))));
    const state = { study: study.id, ...(key.value && { sort: keys[Number(key.value)].key }), ...(system.value && { system: `${systems[one].label}@${systems[one].fingerprint}` }) };
    history.replaceState(null, "", `#${new URLSearchParams(state)}`);
  };

  const follow = () => {
    const state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    const k = keys.findIndex((entry) => entry.key === state.sort);
    const s = systems.findIndex((entry) => `${entry.label}@${entry.fingerprint}` === state.system);
    key.value = k < 0 ? "" : String(k);
    system.value = s < 0 ? "" : String(s);
    arrange();
    at = Math.max(order.findIndex((i) => studies[i].id === state.study), 0);
    draw();
  };

  addEventListener("keydown", (event) => {
    if (event.target.closest("select, input, textarea") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowRight") go(1);
    if (event.key === "ArrowLeft") go(-1);
  });
  addEventListener("hashchange", follow);
  if (studies.length) follow();
})();
