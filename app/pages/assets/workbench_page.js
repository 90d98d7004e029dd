// Sort, the tab: what it consists of, and what its buttons do. Gradio makes and removes the place for it, so it is
// built once and put there whenever the place is empty.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const SORTS = {
    added: "As added",
    category: "Exact category",
    least: "Least certain first",
    most: "Most certain first",
    file: "File name",
  };
  const KEYS = [
    ["A or Enter", "accept"],
    ["1–5", "pick a candidate"],
    ["L", "any category"],
    ["X", "not usable"],
    ["S", "skip"],
    ["U", "undo"],
    ["← →", "previous, next"],
    ["O", "enlarge"],
    ["Space", "select"],
  ];
  const IMAGES = "image/*,.heic,.heif,.tif,.tiff,.zip,.csv,.tsv";
  let root = null;

  const h = (...all) => workbench.cards.h(...all);
  const button = (act, text, more = {}) => h("button", { type: "button", "data-act": act, ...more }, text);

  function build() {
    const parts = {};
    const part = (name, element) => (parts[name] = element);
    root = h(
      "div",
      { class: "wb", "data-intake": "own" },
      intake(part),
      part("message", h("p", { class: "wb-message", role: "status" })),
      part(
        "progress",
        h(
          "div",
          { class: "wb-progress", hidden: true },
          part("percent", h("span", { id: "wb-percent" })),
          part("amount", h("progress", { max: 100, value: 0, "aria-labelledby": "wb-percent" })),
        ),
      ),
      part("again", button("again", "Try again", { hidden: true, class: "wb-main" })),
      tools(part),
      part("list", h("div", { class: "wb-list", tabindex: "-1", role: "region", "aria-label": "Photos" })),
      bar(part),
      ...workbench.dialogs.build(),
    );
    parts.root = root;
    listen();
    return parts;
  }

  function intake(part) {
    const { models, dataset, corrections } = workbench.server.settings();
    const choice =
      models.length < 2
        ? null
        : h(
            "label",
            { class: "wb-model" },
            "Model",
            part(
              "model",
              h(
                "select",
                { "data-act": "model" },
                ...models.map(({ name, title }) => h("option", { value: name }, title)),
              ),
            ),
          );
    return h(
      "div",
      { class: "wb-intake" },
      h(
        "div",
        { class: "wb-drop" },
        h(
          "p",
          {},
          h("strong", {}, "Drop photos, a folder or a zip here"),
          h("span", {}, "They stay in this browser. The server looks at each photo and deletes it at once."),
        ),
        h(
          "div",
          { class: "wb-row" },
          button("files", "Choose photos", { class: "wb-main" }),
          button("folder", "Choose a folder"),
        ),
        choice,
        h("input", {
          type: "file",
          multiple: true,
          accept: IMAGES,
          hidden: true,
          "data-act": "chosen",
          "aria-label": "Photos or a zip",
        }),
        h("input", {
          type: "file",
          webkitdirectory: true,
          hidden: true,
          "data-act": "chosen",
          "aria-label": "A folder of photos",
        }),
      ),
      part(
        "dataset",
        h(
          "div",
          { class: "wb-row", hidden: true },
          button("dataset", `Load photos of ${dataset}`, { class: "wb-main" }),
          h("span", {}, `Decisions on these are written to ${corrections} on the server.`),
        ),
      ),
    );
  }

  function tools(part) {
    const search = h("input", {
      type: "search",
      "data-act": "search",
      "aria-label": "Search",
      placeholder: "Search names and categories",
    });
    const sort = h(
      "select",
      { "data-act": "sort" },
      ...Object.entries(SORTS).map(([value, text]) => h("option", { value }, text)),
    );
    const grouped = h("input", { type: "checkbox", "data-act": "group", checked: true });
    const keys = h("input", { type: "checkbox", "data-act": "keys" });
    keys.checked = workbench.keys.isOn();
    return part(
      "tools",
      h(
        "div",
        { class: "wb-tools", hidden: true },
        part("filters", h("div", { class: "wb-filters", role: "group", "aria-label": "Show" })),
        h(
          "div",
          { class: "wb-row" },
          search,
          h("label", {}, "Sort by ", sort),
          h("label", { class: "wb-check" }, grouped, "In groups"),
          part(
            "looks",
            h(
              "div",
              { class: "wb-looks", role: "group", "aria-label": "Layout" },
              button("look", "Grid", { "data-value": "grid" }),
              button("look", "Table", { "data-value": "table" }),
            ),
          ),
          button("select-page", "Select this page"),
          button("clear", "Empty the list"),
        ),
        h(
          "details",
          { class: "wb-keys" },
          h("summary", {}, "Keyboard"),
          h("label", { class: "wb-check" }, keys, "Use single keys"),
          h("dl", {}, ...KEYS.map(([key, text]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)))),
        ),
      ),
    );
  }

  function bar(part) {
    const usual = part(
      "usual",
      h(
        "div",
        { class: "wb-row" },
        h(
          "div",
          { class: "wb-count" },
          part("count", h("span", { role: "status", id: "wb-count" })),
          part("done", h("progress", { value: 0, max: 1, "aria-labelledby": "wb-count" })),
        ),
        part("undo", button("undo", "Undo")),
        part(
          "pages",
          h(
            "div",
            { class: "wb-pages", role: "group", "aria-label": "Pages" },
            part("before", button("turn", "‹", { "data-value": -1, "aria-label": "Previous page" })),
            part("place", h("span")),
            part("after", button("turn", "›", { "data-value": 1, "aria-label": "Next page" })),
          ),
        ),
        button("download", "Download", { class: "wb-main" }),
      ),
    );
    const selection = part(
      "selection",
      h(
        "div",
        { class: "wb-row", hidden: true },
        part("selected", h("strong", { role: "status" })),
        button("accept-selected", "Accept", { class: "wb-main" }),
        button("choose-selected", "Choose a category"),
        button("reject-selected", "Not usable"),
        button("reopen-selected", "Not decided"),
        button("remove-selected", "Remove from the list"),
        button("deselect", "Deselect"),
      ),
    );
    return part(
      "bar",
      h(
        "div",
        { class: "wb-bar", role: "region", "aria-label": "Progress and download", hidden: true },
        usual,
        selection,
      ),
    );
  }

  // ---- what buttons do

  const rowOf = (element) => workbench.state.rows.get(element.closest("[data-id]")?.dataset.id);
  const named = (row) => `${workbench.cards.display(workbench.state.category(row) ?? "") || "photo"}: ${row.name}`;
  const many = (number) => `${number} ${number === 1 ? "photo" : "photos"}`;

  // A decision on the image that is large shows the next one; in the list everything stays in its place.
  function decided(row) {
    workbench.view.view.current = row.id;
    if (workbench.dialogs.isOpen("large")) moveOn(row);
    else workbench.view.mark();
  }

  function moveOn(row) {
    const next = workbench.view.nextOpen();
    if (next) workbench.view.goTo(next, !workbench.dialogs.isOpen("large"));
    else if (!workbench.state.counts().open) workbench.view.say("All checked. Download your list.");
    workbench.dialogs.follow(next ? workbench.view.current() : row);
  }

  function pickFor(rows, label) {
    workbench.state.pick(
      rows,
      label,
      rows.length === 1 ? named(rows[0]) : `${workbench.cards.display(label)} for ${many(rows.length)}`,
    );
    if (rows.length > 1) workbench.view.selectNone();
    else if (rows[0].id === workbench.view.view.current) moveOn(rows[0]);
  }

  function selected(name, action) {
    const rows = workbench.view.selection();
    action(rows, `${name}, ${many(rows.length)}`);
    workbench.view.selectNone();
  }

  async function empty() {
    const { all } = workbench.state.counts();
    if (!confirm(`Remove ${many(all)} and all decisions from this browser? This cannot be undone.`)) return;
    workbench.files.forgetTitles();
    await workbench.state.clear();
    workbench.view.say("The list is empty.");
  }

  function undo() {
    const step = workbench.state.undo();
    workbench.view.say(step ? `Undone: ${step.name}` : "There is nothing to undo.");
    if (workbench.dialogs.isOpen("large")) workbench.dialogs.follow(workbench.view.current());
  }

  const ACTS = {
    files: () => root.querySelector("input[multiple]").click(),
    folder: () => root.querySelector("input[webkitdirectory]").click(),
    dataset: () => workbench.review.load(),
    again: () => workbench.upload.start(),
    filter: ({ dataset }) => workbench.view.change({ filter: dataset.value, current: null }),
    look: ({ dataset }) => workbench.view.change({ look: dataset.value, page: workbench.view.view.page }),
    turn: ({ dataset }) => workbench.view.turn(Number(dataset.value)),
    "select-page": () => workbench.view.selectPage(true),
    clear: empty,
    undo,
    download: () => workbench.dialogs.download(),
    save: ({ dataset }) => workbench.dialogs.save(dataset.value),
    close: (element) => element.closest("dialog").close(),
    enlarge: (element) => workbench.dialogs.enlarge(rowOf(element)),
    step: ({ dataset }) =>
      workbench.dialogs.enlarge(workbench.state.rows.get(workbench.view.beside(Number(dataset.value)))),
    pick(element) {
      const row = rowOf(element),
        isChosen = element.getAttribute("aria-pressed") === "true";
      if (isChosen)
        workbench.state.reopen([row], named(row)); // once more takes it back
      else workbench.state.pick([row], element.dataset.value, named(row));
      if (!isChosen) decided(row);
    },
    reject(element) {
      const row = rowOf(element);
      workbench.state.reject([row], named(row));
      decided(row);
    },
    same({ dataset }) {
      const row = workbench.view.current();
      workbench.state.pick([row], dataset.value, named(row));
      decided(row);
    },
    choose(element) {
      workbench.view.view.current = rowOf(element).id;
      workbench.view.mark();
      workbench.dialogs.choose([rowOf(element)], pickFor);
    },
    "accept-group"({ dataset }) {
      const rows = workbench.view.acceptable(dataset.value);
      workbench.state.accept(rows, `${dataset.value}, ${many(rows.length)}`);
      workbench.view.markOpen();
    },
    "accept-selected": () => selected("Accepted", workbench.state.accept),
    "choose-selected": () => workbench.dialogs.choose(workbench.view.selection(), pickFor),
    "reject-selected": () => selected("Not usable", workbench.state.reject),
    "reopen-selected": () => selected("Not decided", workbench.state.reopen),
    "remove-selected": () => selected("Removed", workbench.state.remove),
    deselect: () => workbench.view.selectNone(),
  };
  const CHANGES = {
    chosen(field) {
      workbench.add(field.files);
      field.value = ""; // the same files may be chosen again
    },
    model({ value }) {
      workbench.state.useModel(value);
      workbench.upload.start();
    },
    sort: ({ value }) => workbench.view.change({ sort: value }),
    group: ({ checked }) => workbench.view.change({ isGrouped: checked }),
    keys: ({ checked }) => workbench.keys.turn(checked),
  };

  function listen() {
    root.addEventListener("click", (event) => {
      const element = event.target.closest("[data-act]");
      if (element?.dataset.act === "select") workbench.view.select(rowOf(element).id, element.checked, event.shiftKey);
      else if (element && !element.disabled) ACTS[element.dataset.act]?.(element);
    });
    root.addEventListener("change", (event) => CHANGES[event.target.dataset.act]?.(event.target));
    root.addEventListener("input", (event) => {
      if (event.target.dataset.act === "search")
        workbench.view.change({ query: event.target.value.trim().toLowerCase() });
    });
    root.addEventListener("dragover", (event) => {
      event.preventDefault();
      event.stopPropagation();
      root.classList.add("wb-over");
    });
    root.addEventListener("dragleave", () => root.classList.remove("wb-over"));
    root.addEventListener("drop", onDrop);
    root.addEventListener(
      "paste",
      (event) => event.clipboardData.files.length && workbench.add(event.clipboardData.files),
    );
  }

  async function onDrop(event) {
    event.preventDefault();
    event.stopPropagation();
    root.classList.remove("wb-over");
    workbench.add(await workbench.files.dropped(event.dataTransfer));
  }

  // ---- the place

  function place() {
    const there = document.querySelector("#workbench .wb-place");
    if (!there || there.firstChild) return;
    if (root) return void there.append(root);
    const parts = build();
    there.append(root);
    workbench.view.attach(parts);
    workbench.state.ready().then(() => workbench.upload.start());
    snapshelf.names.onChange(() => workbench.view.redraw());
    workbench.store.onFailure = () =>
      workbench.view.say("This browser keeps no copy of the list: a reload would lose it.");
    addEventListener("beforeunload", (leaving) => {
      if (workbench.upload.isRunning() && !workbench.store.works) leaving.preventDefault();
    });
  }

  workbench.page = { undo, moveOn, pickFor, named, root: () => root };
  new MutationObserver(place).observe(document.documentElement, { childList: true, subtree: true });
})();
