// Sort, the view: what is shown of the list, 50 at a time. Cards keep their places while a person decides; the order is
// made anew when something else is asked for: a filter, a word, a page, an order.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const PAGE = 50,
    PRELOADED = 8,
    REDRAW = 120; // milliseconds
  const ORDER = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const FILTERS = {
    all: "All",
    review: "To check",
    unknown: "Not sure",
    error: "Couldn't be read",
    ok: "Ready",
    decided: "Decided by you",
  };
  const SORTS = {
    added: (one, other) => one.order - other.order,
    category: (one, other) => byCategory(one, other) || one.order - other.order,
    least: (one, other) => (one.answer?.confidence ?? -1) - (other.answer?.confidence ?? -1),
    most: (one, other) => (other.answer?.confidence ?? -1) - (one.answer?.confidence ?? -1),
    file: (one, other) => ORDER.compare(one.name, other.name),
  };
  const view = {
    filter: "all",
    query: "",
    sort: "added",
    isGrouped: true,
    look: "grid",
    page: 0,
    current: null,
    selected: new Set(),
    order: [],
    groups: new Map(),
  };
  const elements = new Map(); // cards by row
  let parts = null,
    preloaded = [],
    scheduled = false,
    lastSelected = null;

  const shownName = (row) =>
    workbench.state.category(row) ? workbench.cards.display(workbench.state.category(row)) : "";
  const nameFor = (row) => {
    if (shownName(row)) return shownName(row);
    return workbench.state.decisionOf(row) ? "Not usable" : workbench.cards.VERDICTS[workbench.state.kind(row)];
  };
  const byCategory = (one, other) => ORDER.compare(nameFor(one), nameFor(other));

  // ---- which rows, in which order

  function passes(row) {
    const { kind, decisionOf, category } = workbench.state;
    if (view.filter === "decided" ? !decisionOf(row) : view.filter !== "all" && kind(row) !== view.filter) return false;
    if (!view.query) return true;
    const label = category(row);
    const text = [row.name, row.title, label, label && shownName(row), ...(row.answer?.path ?? [])].join(" ");
    return text.toLowerCase().includes(view.query);
  }

  function arrange() {
    const rows = [...workbench.state.rows.values()].filter(passes);
    const sort = SORTS[view.sort];
    rows.sort(
      (one, other) => (view.isGrouped && byCategory(one, other)) || sort(one, other) || one.order - other.order,
    );
    view.order = rows.map(({ id }) => id);
    view.groups = new Map();
    for (const row of rows) {
      const name = view.isGrouped ? nameFor(row) : "";
      if (!view.groups.has(name)) view.groups.set(name, []);
      view.groups.get(name).push(row.id);
    }
    view.page = Math.min(view.page, Math.max(0, Math.ceil(rows.length / PAGE) - 1));
    for (const id of view.selected) if (!workbench.state.rows.has(id)) view.selected.delete(id);
  }

  const pageIds = () => view.order.slice(PAGE * view.page, PAGE * (view.page + 1));
  const row = (id) => workbench.state.rows.get(id);
  const rowsOf = (ids) => ids.map(row).filter(Boolean);

  // ---- drawing

  function draw() {
    scheduled = false;
    if (!parts) return;
    arrange();
    drawTools();
    drawList();
    drawBar();
    workbench.cards.forgetAddresses(new Set(workbench.state.rows.keys()));
  }

  // Soon; while photos arrive, not for each of them.
  function refresh() {
    if (!scheduled) setTimeout(draw, REDRAW);
    scheduled = true;
  }

  function drawTools() {
    const { counts, model } = workbench.state,
      { h } = workbench.cards;
    const count = counts();
    parts.tools.hidden = parts.bar.hidden = !count.all;
    parts.root.classList.toggle("wb-empty", !count.all);
    const buttons = Object.entries(FILTERS).filter(([name]) => name === "all" || count[name] || view.filter === name);
    parts.filters.replaceChildren(
      ...buttons.map(([name, text]) =>
        h(
          "button",
          { type: "button", "data-act": "filter", "data-value": name, "aria-pressed": String(view.filter === name) },
          `${text} `,
          h("b", {}, count[name].toLocaleString("en")),
        ),
      ),
    );
    if (parts.model) parts.model.value = model();
    parts.dataset.hidden = !workbench.review.isOn() || workbench.review.isOver();
    for (const button of parts.looks.children)
      button.setAttribute("aria-pressed", String(button.dataset.value === view.look));
  }

  function drawList() {
    const { h } = workbench.cards;
    const focused = focusedPlace();
    const shown = new Set(pageIds());
    const sections = [];
    for (const [name, ids] of view.groups) {
      const here = ids.filter((id) => shown.has(id));
      if (!here.length) continue;
      const list = h("ul", { class: `wb-cards wb-${view.look}` }, ...rowsOf(here).map(elementOf));
      sections.push(
        h("section", { "aria-label": name || null, "data-group": name }, name ? groupHead(name, ids) : null, list),
      );
    }
    const nothing = workbench.state.rows.size ? "Nothing here. Choose another filter or search for another word." : "";
    parts.list.replaceChildren(
      h("div", { class: "wb-sections" }, ...(sections.length ? sections : [h("p", { class: "wb-nothing" }, nothing)])),
    );
    for (const id of elements.keys()) if (!shown.has(id)) elements.delete(id);
    if (focused) (parts.list.querySelector(focused) ?? parts.list).focus({ preventScroll: true });
    if (!shown.has(view.current))
      view.current = pageIds().find((id) => workbench.state.isOpen(row(id))) ?? pageIds()[0] ?? null;
    mark();
  }

  // The card of a row, made anew only where there is another answer.
  function elementOf(one) {
    const made = elements.get(one.id);
    if (made?.answer === one.answer && made.thumbnail === one.thumbnail && made.title === one.title) {
      workbench.cards.update(made.element, one);
      return made.element;
    }
    const element = workbench.cards.card(one, view.selected.has(one.id));
    elements.set(one.id, { element, answer: one.answer, thumbnail: one.thumbnail, title: one.title });
    return element;
  }

  // A selector of what has the focus in the list: cards that move would lose it.
  function focusedPlace() {
    const focused = parts.list.contains(document.activeElement) ? document.activeElement.closest("[data-id]") : null;
    if (!focused) return null;
    const card = `[data-id="${CSS.escape(focused.dataset.id)}"]`,
      { act, value } = document.activeElement.dataset;
    if (!act) return card;
    return `${card} [data-act=${act}]${value === undefined ? "" : `[data-value="${CSS.escape(value)}"]`}`;
  }

  function groupHead(name, ids) {
    const { h } = workbench.cards;
    const head = h(
      "div",
      { class: "wb-group" },
      h("h2", {}, `${name} `, h("span", {}, ids.length.toLocaleString("en"))),
    );
    head.append(h("button", { type: "button", "data-act": "accept-group", "data-value": name }));
    updateGroup(head, name);
    return head;
  }

  // The rows of a group that its button accepts: as they are named, and not decided.
  function acceptable(name) {
    const rows = rowsOf(view.groups.get(name) ?? []);
    return rows.filter((one) => one.answer?.label && !workbench.state.decisionOf(one) && nameFor(one) === name);
  }

  function updateGroup(head, name) {
    const number = acceptable(name).length,
      button = head.querySelector("button");
    button.hidden = !number;
    button.textContent = number === 1 ? "Accept" : `Accept all ${number} ${name}`;
    button.setAttribute("aria-label", number === 1 ? `Accept ${name}` : button.textContent);
  }

  function drawBar() {
    const count = workbench.state.counts(),
      pages = Math.max(1, Math.ceil(view.order.length / PAGE));
    const decided = count.needed - count.open;
    parts.count.textContent = count.needed ? `${decided} of ${count.needed} checked` : "Nothing to check";
    parts.done.max = Math.max(1, count.needed);
    parts.done.value = count.needed ? decided : 1;
    const undo = workbench.state.canUndo();
    parts.undo.disabled = !undo;
    parts.undo.title = undo ? `Undo: ${undo}` : "";
    const from = PAGE * view.page + 1,
      to = Math.min(view.order.length, PAGE * (view.page + 1));
    parts.pages.hidden = pages === 1;
    parts.place.textContent = `${from}–${to} of ${view.order.length}`;
    parts.before.disabled = view.page === 0;
    parts.after.disabled = view.page >= pages - 1;
    drawSelection();
  }

  function drawSelection() {
    const number = view.selected.size;
    parts.selection.hidden = !number;
    parts.usual.hidden = Boolean(number);
    parts.selected.textContent = `${number} selected`;
  }

  // Decisions change cards in their places.
  function updateCards(ids) {
    if (!parts) return;
    const known = new Set(ids),
      touched = new Set();
    for (const element of parts.list.querySelectorAll(".wb-card")) {
      if (!known.has(element.dataset.id)) continue;
      workbench.cards.update(element, row(element.dataset.id));
      touched.add(element.closest("section"));
    }
    for (const section of parts.list.querySelectorAll("section[data-group]")) {
      const head = section.querySelector(".wb-group");
      if (head && (touched.has(section) || ids.length > 1)) updateGroup(head, section.dataset.group);
    }
    drawBar();
    parts.filters
      .querySelector("[data-value=decided] b")
      ?.replaceChildren(workbench.state.counts().decided.toLocaleString("en"));
  }

  // ---- the current card

  function mark(withFocus = false) {
    for (const element of parts.list.querySelectorAll(".wb-current")) {
      element.classList.remove("wb-current");
      element.tabIndex = -1;
    }
    const element = cardOf(view.current);
    if (!element) return;
    element.classList.add("wb-current");
    element.tabIndex = 0;
    if (withFocus) {
      element.focus({ preventScroll: true });
      element.scrollIntoView({ block: "nearest" });
    }
    preload();
  }

  const cardOf = (id) => (id ? parts?.list.querySelector(`.wb-card[data-id="${CSS.escape(id)}"]`) : null);

  function goTo(id, withFocus = true) {
    if (!id) return;
    view.current = id;
    const page = Math.floor(view.order.indexOf(id) / PAGE);
    if (page !== view.page && page >= 0) {
      view.page = page;
      drawList();
      drawBar();
    }
    mark(withFocus);
  }

  const beside = (step) => view.order[view.order.indexOf(view.current) + step] ?? null;

  // The next row that waits for a person, from the current one on and then from the start.
  function nextOpen() {
    const at = view.order.indexOf(view.current);
    const following = [...view.order.slice(at + 1), ...view.order.slice(0, at + 1)];
    return following.find((id) => workbench.state.isOpen(row(id))) ?? null;
  }

  // Where keys go on: the next row of this page that waits.
  function markOpen() {
    const next = nextOpen();
    if (next && pageIds().includes(next)) view.current = next;
    mark();
  }

  // The large images of the next rows are decoded before they are asked for.
  function preload() {
    const at = view.order.indexOf(view.current);
    const addresses = rowsOf(view.order.slice(at + 1, at + 1 + PRELOADED))
      .map(workbench.cards.picture)
      .filter(Boolean);
    if (addresses.join() === preloaded.map(({ src }) => src).join()) return;
    preloaded = addresses.map(
      (src) => preloaded.find((image) => image.src === src) ?? Object.assign(new Image(), { src }),
    );
  }

  // ---- for the other parts

  function turn(step) {
    view.page += step;
    view.current = null;
    drawList();
    drawBar();
    parts.tools.scrollIntoView({ block: "start" });
    parts.list.focus({ preventScroll: true });
  }

  function select(id, isOn, isRange) {
    const [from, to] = [view.order.indexOf(lastSelected), view.order.indexOf(id)].sort((one, other) => one - other);
    const ids = isRange && from >= 0 ? view.order.slice(from, to + 1) : [id];
    for (const one of ids) {
      if (isOn) view.selected.add(one);
      else view.selected.delete(one);
      const box = cardOf(one)?.querySelector("[data-act=select]");
      if (box) box.checked = isOn;
    }
    lastSelected = id;
    drawSelection();
  }

  function selectPage(isOn) {
    pageIds().forEach((id) => select(id, isOn));
  }

  function change(values) {
    Object.assign(view, values, values.page === undefined ? { page: 0 } : {});
    draw();
  }

  let saying;
  function say(text, kind = "") {
    if (!parts) {
      saying = [text, kind];
      return;
    }
    parts.message.textContent = text;
    parts.message.className = `wb-message ${kind}`;
  }

  function progress(share, stopped) {
    if (!parts) return;
    parts.progress.hidden = share === null || Boolean(stopped);
    const percent = Math.floor(100 * (share ?? 0));
    parts.amount.value = percent;
    parts.percent.textContent = `Sorting: ${percent}%`;
    parts.again.hidden = !stopped;
    if (stopped) say(stopped, "error");
  }

  // With other names for the categories.
  function redraw() {
    elements.clear();
    draw();
  }

  function attach(built) {
    parts = built;
    workbench.state.onChange((what, ids) => (what === "decisions" ? updateCards(ids) : refresh()));
    draw();
    progress(workbench.upload.share(), "");
    if (saying) say(...saying);
  }

  const selectNone = () => [...view.selected].forEach((id) => select(id, false));
  const given = { view, attach, refresh, redraw, change, turn, select, selectPage, selectNone, goTo, beside, nextOpen };
  workbench.view = {
    ...given,
    ...{ rowsOf, acceptable, say, progress, mark, markOpen },
    isDrawn: () => Boolean(parts) && !scheduled,
    current: () => row(view.current) ?? null,
    selection: () => rowsOf([...view.selected]),
  };
})();
