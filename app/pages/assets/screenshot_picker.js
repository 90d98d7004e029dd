// Screenshot, 4 of 4: the dialog with the candidates of one product and all categories.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const screenshot = (snapshelf.screenshot ??= {});

  const LARGE = 150; // pixels of the product's longest side
  let dialog = null,
    picked = null; // {page, number}

  const state = () => screenshot.state;
  const h = (...all) => snapshelf.workbench.cards.h(...all);

  function build() {
    dialog = h("dialog", { class: "shot-picker", "aria-labelledby": "shot-title" });
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close()); // beside it
    dialog.addEventListener("input", ({ target }) => list(target.value));
    dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.target.matches("input")) return;
      event.preventDefault();
      dialog.querySelector(".shot-all button")?.click();
    });
    return dialog;
  }

  function open(page, number) {
    picked = { page, number };
    const { button, crop, describe, likely, percent } = screenshot.view;
    const product = state().productsOf(page)[number - 1];
    const candidates = likely(product).map(({ label, confidence }) => {
      const one = button("take", state().display(label), { "data-value": label });
      one.append(h("span", { class: "shot-percent" }, percent(confidence)));
      return one;
    });
    const group = h(
      "div",
      { class: "shot-candidates", role: "group", "aria-label": "Likely categories" },
      ...candidates,
    );
    const head = h("h2", { id: "shot-title" }, `Product ${number}`);
    dialog.replaceChildren(
      h("div", { class: "shot-head" }, head, button("close", "×", { "aria-label": "Close", class: "shot-close" })),
      h(
        "div",
        { class: "shot-dialog-sides" },
        crop(page, state().answerOf(page), product.box, LARGE),
        h(
          "div",
          {},
          h("p", {}, describe(page, product, number).verdict),
          group,
          button("take-none", "Not usable", { class: "shot-dashed" }),
        ),
      ),
      h("input", {
        type: "search",
        placeholder: "Search all categories",
        "aria-label": "Search all categories",
        autocomplete: "off",
      }),
      h("div", { class: "shot-all", role: "group", "aria-label": "All categories" }),
      h("p", { class: "shot-none", role: "status" }),
    );
    list("");
    dialog.showModal();
    candidates[0].focus();
  }

  function list(query) {
    const wanted = query.trim().toLowerCase();
    const named = snapshelf.names.all(state().model());
    const found = named.filter(({ label, name }) => [label, name].some((text) => text.toLowerCase().includes(wanted)));
    const starts = ({ name }) => name.toLowerCase().startsWith(wanted);
    found.sort((one, other) => starts(other) - starts(one));
    const buttons = found.map(({ label, name }) => screenshot.view.button("take", name, { "data-value": label }));
    dialog.querySelector(".shot-all").replaceChildren(...buttons);
    dialog.querySelector(".shot-none").textContent = found.length ? "" : `No category is called “${query.trim()}”.`;
  }

  // label: null for what is not usable
  function take(label) {
    const { page, number } = picked;
    dialog.close();
    if (label) state().pick(page, number, label);
    else state().reject(page, number);
  }

  screenshot.picker = { build, open, take, close: () => dialog.close() };
})();
