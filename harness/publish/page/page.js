// Tabs, the theme and the permalink. Without the scripts the boards are stacked and complete.
"use strict";
(() => {
  const sections = [...document.querySelectorAll(".board")];
  const tabs = [...document.querySelectorAll(".tabs a")];
  const boards = new Map();
  let current = 0;
  let shownRow = null;

  document.querySelector("header.page").append(themeButton());

  const { dialog, open } = detailsDialog(() => { shownRow = null; remember(); });
  const show = (board, row) => { shownRow = row.id; open(board, row); remember(); };

  /** The scripts of a board's table start when its tab is first opened. */
  const boardOf = (i) => {
    if (!boards.has(i)) {
      const live = sections[i].querySelector("script.data");
      boards.set(i, live ? new Board(sections[i], remember, show) : null);
    }
    return boards.get(i);
  };

  const select = (i) => {
    current = i;
    sections.forEach((section, k) => { section.classList.toggle("open", k === i); });
    tabs.forEach((tab, k) => {
      tab.setAttribute("aria-selected", String(k === i));
      tab.tabIndex = k === i ? 0 : -1;
    });
    return boardOf(i);
  };

  /** The address holds tab, sort, filters, columns and the open row. */
  function remember() {
    const state = { ...boards.get(current)?.state, ...(shownRow ? { row: shownRow } : {}) };
    const id = sections[current].id;
    const hash = Object.keys(state).length ? `#${new URLSearchParams({ board: id, ...state })}` : `#${id}`;
    if (hash !== location.hash) history.replaceState(null, "", hash);
  }

  const follow = () => {
    const hash = location.hash.slice(1);
    const state = hash.includes("=") ? Object.fromEntries(new URLSearchParams(hash)) : { board: decodeURIComponent(hash) };
    const target = document.getElementById(state.board);
    const i = target ? sections.findIndex((section) => section.contains(target)) : -1;
    const board = select(Math.max(i, 0));
    board?.restore(state);
    const wanted = state.row ?? state.board; // the link of a row without the scripts is its id
    const row = board?.data.find((data) => data.id === wanted);
    if (row) show(board, row);
    else if (dialog.open) dialog.close();
    // A board is a tab here, so the page scrolls to the tabs above it.
    if (i >= 0 && target === sections[i]) requestAnimationFrame(() => scrollTo(0, 0));
  };

  if (sections.length > 1) {
    document.querySelector(".tabs").setAttribute("role", "tablist");
    tabs.forEach((tab, i) => {
      tab.id = `tab-${i}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", sections[i].id);
      sections[i].setAttribute("role", "tabpanel");
      sections[i].setAttribute("aria-labelledby", tab.id);
      tab.addEventListener("click", (event) => {
        event.preventDefault();
        select(i);
        remember();
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
})();
