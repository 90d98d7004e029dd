// Sort, the dialogs: one image large beside similar ones, any category by its name, and what can be downloaded.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const SIMILAR = 4,
    LISTED = 200;
  const ZIP = "A zip with one folder per category";
  let dialogs = null,
    choosing = null,
    active = 0;

  const h = (...all) => workbench.cards.h(...all);
  const isOpen = (name) => Boolean(dialogs?.[name].open);

  function build() {
    const close = (text) =>
      h("button", { type: "button", class: "wb-close", "data-act": "close", "aria-label": text }, "×");
    const large = h("dialog", { class: "wb-large", "aria-label": "Photo", tabindex: "-1" });
    const choose = h(
      "dialog",
      { class: "wb-choose", "aria-label": "Choose a category" },
      close("Close without choosing"),
      h("h2", {}, "Choose a category"),
      h("p", { class: "wb-of" }),
      h("input", {
        type: "search",
        role: "combobox",
        "aria-label": "Search for a category",
        "aria-expanded": "true",
        "aria-controls": "wb-labels",
        "aria-autocomplete": "list",
        autocomplete: "off",
        placeholder: "Type a few letters",
      }),
      h("ul", { id: "wb-labels", role: "listbox", "aria-label": "Categories", tabindex: "-1" }),
      h("p", { class: "wb-nothing", role: "status" }),
    );
    const download = h(
      "dialog",
      { class: "wb-save", "aria-label": "Download the list" },
      close("Close"),
      h("h2", {}, "Download the list"),
      h("p", { class: "wb-left" }),
      ...[
        ["csv", "CSV", "One line per photo with its final category and who decided"],
        ["xlsx", "Excel", "The same as a workbook"],
        ["zip", "Sorted photos", ZIP],
        ["corrections", "Corrections", "What you decided, for training: data_prep --corrections"],
      ].map(([value, name, text]) =>
        h(
          "button",
          { type: "button", "data-act": "save", "data-value": value },
          h("strong", {}, name),
          h("span", {}, text),
        ),
      ),
    );
    dialogs = { large, choose, download };
    const field = choose.querySelector("input");
    field.addEventListener("input", () => list(field.value));
    field.addEventListener("keydown", onKey);
    choose.querySelector("ul").addEventListener("click", (event) => take(event.target.closest("[role=option]")));
    for (const dialog of Object.values(dialogs)) {
      dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
    }
    large.addEventListener("close", () => workbench.view.mark(true));
    return Object.values(dialogs);
  }

  // ---- one image large

  function enlarge(row) {
    if (!row?.thumbnail) return;
    workbench.view.goTo(row.id, false);
    fillLarge(row);
    if (!dialogs.large.open) dialogs.large.showModal();
    dialogs.large.focus();
  }

  function fillLarge(row) {
    const { view } = workbench.view,
      { cards } = workbench;
    const at = view.order.indexOf(row.id); // -1: a similar one, which the filter leaves out
    const place = at < 0 ? "" : `${at + 1} of ${view.order.length}`;
    const card = cards.card(row, view.selected.has(row.id));
    card.querySelector(".wb-photo").remove();
    const step = (by, text, sign) =>
      h(
        "button",
        {
          type: "button",
          "data-act": "step",
          "data-value": by,
          "aria-label": text,
          disabled: !workbench.view.beside(by),
        },
        sign,
      );
    const alike = workbench.state.similar(row, SIMILAR).filter(({ thumbnail }) => thumbnail);
    dialogs.large.replaceChildren(
      h(
        "div",
        { class: "wb-top" },
        step(-1, "Previous photo", "‹"),
        h("p", {}, place),
        step(1, "Next photo", "›"),
        h("button", { type: "button", class: "wb-close", "data-act": "close", "aria-label": "Close" }, "×"),
      ),
      h(
        "div",
        { class: "wb-sides" },
        h("img", {
          class: "wb-whole",
          src: cards.address(row, workbench.cards.picture(row) ? "image" : "thumbnail"),
          alt: row.name,
        }),
        h(
          "div",
          { class: "wb-side" },
          h("ul", { class: "wb-cards wb-one" }, card),
          alike.length ? h("h2", {}, "Similar photos") : null,
          h("ul", { class: "wb-similar" }, ...alike.map((other) => similar(other))),
        ),
      ),
    );
  }

  function similar(row) {
    const { cards, state } = workbench;
    const label = state.category(row),
      decision = state.decisionOf(row);
    return h(
      "li",
      { "data-id": row.id },
      h(
        "button",
        { type: "button", class: "wb-enlarge", "data-act": "enlarge", "aria-label": `Enlarge ${row.name}` },
        h("img", { src: cards.address(row), alt: "" }),
      ),
      label
        ? h(
            "button",
            {
              type: "button",
              "data-act": "same",
              "data-value": label,
              "aria-label": `This photo is ${cards.display(label)}, too`,
            },
            `${decision ? "✓ " : ""}${cards.display(label)}`,
          )
        : null,
    );
  }

  // After a decision: the next image that waits, or the same one if there is none.
  function follow(row) {
    if (isOpen("large") && row) fillLarge(row);
    if (isOpen("large")) dialogs.large.focus();
  }

  // ---- any category

  // rows: to which the category is given. then: what is called with the label.
  function choose(rows, then) {
    if (!rows.length) return;
    choosing = { rows, then };
    dialogs.choose.querySelector(".wb-of").textContent = rows.length === 1 ? rows[0].name : `${rows.length} photos`;
    dialogs.choose.querySelector("input").value = "";
    list("");
    dialogs.choose.showModal();
    dialogs.choose.querySelector("input").focus();
  }

  // The likeliest ones first where nothing is typed; names that start with the word before those that hold it.
  function matching(query) {
    const { display } = workbench.cards;
    const likely =
      choosing.rows.length === 1 ? workbench.state.candidates(choosing.rows[0]).map(({ label }) => label) : [];
    const named = workbench.state
      .modelSettings()
      .labels.map(([label, path]) => ({ label, path, name: display(label) }));
    named.sort((one, other) => one.name.localeCompare(other.name));
    const rank = ({ label, path, name }) => {
      if (!query) return likely.includes(label) ? likely.indexOf(label) : LISTED;
      const texts = [name, label, ...path.map(display)].map((text) => text.toLowerCase());
      if (texts[0] === query || texts[1] === query) return 0;
      if (texts[0].startsWith(query) || texts[1].startsWith(query)) return 1;
      if (texts.slice(0, 2).some((text) => text.includes(query))) return 2;
      return texts.some((text) => text.includes(query)) ? 3 : Infinity;
    };
    const ranked = named.map((one) => [rank(one), one]).filter(([place]) => place < Infinity);
    const sorted = ranked.sort(([one], [other]) => one - other).map(([, one]) => one);
    const byName = new Map(); // several of ours may be one of theirs
    for (const one of sorted) if (!byName.has(one.name)) byName.set(one.name, one);
    return [...byName.values()].slice(0, LISTED);
  }

  function list(text) {
    const found = matching(text.trim().toLowerCase());
    const options = found.map(({ label, path, name }, at) =>
      h(
        "li",
        { role: "option", id: `wb-label-${at}`, "data-value": label, "aria-selected": "false" },
        h("strong", {}, name),
        h("span", {}, path.slice(0, -1).map(workbench.cards.display).join(" › ")),
      ),
    );
    dialogs.choose.querySelector("ul").replaceChildren(...options);
    dialogs.choose.querySelector(".wb-nothing").textContent = found.length ? "" : "There is no such category.";
    point(0);
  }

  function point(at) {
    const options = [...dialogs.choose.querySelectorAll("[role=option]")];
    active = Math.max(0, Math.min(options.length - 1, at));
    options.forEach((option, number) => option.setAttribute("aria-selected", String(number === active)));
    dialogs.choose.querySelector("input").setAttribute("aria-activedescendant", options[active]?.id ?? "");
    options[active]?.scrollIntoView({ block: "nearest" });
  }

  function onKey(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
    if (step) point(active + step);
    else if (event.key === "Escape")
      dialogs.choose.close(); // the field would only be emptied
    else if (event.key === "Enter") take(dialogs.choose.querySelectorAll("[role=option]")[active]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  function take(option) {
    if (!option) return;
    dialogs.choose.close();
    choosing.then(choosing.rows, option.dataset.value);
  }

  // ---- downloads

  function download() {
    const { open } = workbench.state.counts();
    const left =
      open === 1
        ? "1 photo is still to check: it is in the list without a final category."
        : `${open} photos are still to check: they are in the list without a final category.`;
    dialogs.download.querySelector(".wb-left").textContent = open ? left : "";
    const smaller = [...workbench.state.rows.values()].some(({ isSmaller, original }) => isSmaller && !original);
    const copies = smaller ? ". Photos you added before reloading the page are smaller copies." : "";
    dialogs.download.querySelector("[data-value=zip] span").textContent = ZIP + copies;
    dialogs.download.showModal();
  }

  async function save(value) {
    dialogs.download.close();
    try {
      await workbench.download[value]();
    } catch {
      workbench.view.say("This browser could not make the file. Please try again with fewer photos.", "error");
    }
  }

  workbench.dialogs = {
    build,
    enlarge,
    follow,
    choose,
    download,
    save,
    isOpen,
    closeAll: () => Object.values(dialogs).forEach((one) => one.close()),
  };
})();
