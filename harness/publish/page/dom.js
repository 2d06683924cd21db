// Elements from data. Text is set as text: nothing here, or anywhere on the page, parses markup.
"use strict";

/** An element: properties, then children (nodes or text; null and "" are left out). */
const make = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
};

/** Text of unknown direction, which cannot change the direction of its neighbours. */
const bdi = (text) => make("bdi", {}, String(text));

const button = (text, act, properties = {}) =>
  make("button", { type: "button", ...properties, on: { click: act } }, text);

/** A table in a box that scrolls: headers "text" or {text, num}, rows of nodes or text. */
const plainTable = (label, headers, rows) => {
  const numeric = headers.map((header) => Boolean(header.num));
  const cell = (content, i) => make("td", { class: numeric[i] ? "num" : null }, content instanceof Node ? content : bdi(content ?? "–"));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, make("table", { class: "plain" },
    make("thead", {}, make("tr", {}, headers.map((h, i) => make("th", { scope: "col", class: numeric[i] ? "num" : null }, h.text ?? h)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map(cell))))));
};

const fixed = (value, places = 3) =>
  (typeof value === "number" ? value.toFixed(places).replace("-", "−") : "–");

const whole = (value) => (typeof value === "number" ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : "–");

/** A button that copies what `text()` gives; nothing where the browser has no clipboard. */
const copyButton = (text, says = "Copy") => {
  if (!navigator.clipboard) return null;
  const copy = button(says, async () => {
    try {
      await navigator.clipboard.writeText(text());
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Not allowed: select the text";
    }
    setTimeout(() => { copy.textContent = says; }, 1500);
  }, { class: "copy" });
  return copy;
};

/** Light, dark, or as the system is set; remembered if the browser allows it. */
const themeButton = () => {
  const names = ["auto", "light", "dark"];
  const memory = (value) => {
    try { // a page from disk may have no storage
      if (value === undefined) return localStorage.getItem("reportcard-theme");
      localStorage.setItem("reportcard-theme", value);
    } catch { /* then it is not remembered */ }
    return null;
  };
  let at = Math.max(names.indexOf(memory()), 0);
  const apply = () => {
    document.documentElement.dataset.theme = names[at];
    toggle.textContent = `Theme: ${names[at]}`;
  };
  const toggle = button("", () => { at = (at + 1) % names.length; memory(names[at]); apply(); }, { class: "theme" });
  apply();
  return toggle;
};
