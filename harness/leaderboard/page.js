// Tabs, sorting and a filter. Without this script the boards are stacked and complete.
"use strict";
(() => {
  const boards = [...document.querySelectorAll(".board")];
  const tabs = [...document.querySelectorAll(".tabs a")];

  const show = (index) => {
    boards.forEach((board, i) => { board.hidden = i !== index; });
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
    });
  };

  const follow = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const index = target ? boards.findIndex((board) => board.contains(target)) : -1;
    show(Math.max(index, 0));
    const run = index < 0 ? null : target.closest("details.run");
    if (run) { run.open = true; target.scrollIntoView(); }
    // A board is a tab here: its title and the tabs above it are what one came for.
    else if (index >= 0) requestAnimationFrame(() => scrollTo(0, 0));
  };

  if (boards.length > 1) {
    document.querySelector(".tabs").setAttribute("role", "tablist");
    tabs.forEach((tab, i) => {
      tab.id = `tab-${i}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", boards[i].id);
      boards[i].setAttribute("role", "tabpanel");
      boards[i].setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", (event) => {
        event.preventDefault();
        history.replaceState(null, "", tab.hash);
        show(i);
      });
      tab.addEventListener("keydown", (event) => {
        const last = tabs.length - 1;
        const to = { ArrowRight: i < last ? i + 1 : 0, ArrowLeft: i ? i - 1 : last, Home: 0, End: last }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        tabs[to].click();
        tabs[to].focus();
      });
    });
  }
  addEventListener("hashchange", follow);
  follow();

  // Best first on the first click; ceilings stay on top and rows without a value at the end.
  const sortBy = (table, header, column) => {
    const natural = header.dataset.sort === "higher" ? "descending" : "ascending";
    const other = natural === "ascending" ? "descending" : "ascending";
    const order = header.getAttribute("aria-sort") === natural ? other : natural;
    table.querySelectorAll("th[aria-sort]").forEach((th) => th.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const read = (row) => {
      const cell = row.cells[column];
      if (header.dataset.sort === "text") return cell.querySelector("a").textContent;
      return cell.dataset.value === "" ? null : Number(cell.dataset.value);
    };
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => [row.classList.contains("ceiling") ? 0 : 1, read(row), row]);
    keyed.sort(([topA, a], [topB, b]) => {
      if (topA !== topB) return topA - topB;
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
    });
    body.append(...keyed.map(([, , row]) => row));
  };

  document.querySelectorAll("table.scores").forEach((table) => {
    table.querySelectorAll(".keys th").forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sortBy(table, header, column));
    });
    const rows = [...table.tBodies[0].rows];
    const tools = document.createElement("div");
    tools.className = "tools";
    const search = document.createElement("input");
    search.type = "search";
    search.placeholder = "Filter systems";
    search.setAttribute("aria-label", "Filter systems");
    const label = document.createElement("label");
    const bounds = document.createElement("input");
    bounds.type = "checkbox";
    bounds.checked = true;
    label.append(bounds, " floors and ceilings");
    const shown = document.createElement("output");
    const filter = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let kept = 0;
      rows.forEach((row) => {
        const text = row.cells[0].textContent.toLowerCase();
        const fits = words.every((word) => text.includes(word));
        row.hidden = !fits || !(bounds.checked || row.classList.contains("model"));
        kept += row.hidden ? 0 : 1;
      });
      shown.value = kept === rows.length ? "" : `${kept} of ${rows.length} rows`;
    };
    search.addEventListener("input", filter);
    bounds.addEventListener("change", filter);
    tools.append(search, label, shown);
    table.closest(".scroll").before(tools);
  });

  if (navigator.clipboard) {
    document.querySelectorAll(".signature").forEach((code) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      code.after(button);
    });
  }
})();
