// Screenshot, 3 of 4: each page beside the list of its products. Every text from data goes in as text, never as markup.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const screenshot = (snapshelf.screenshot ??= {});

  const OFFERED = 3, LEAST = 0.01; // candidates in a row, and the confidence of the least likely one
  const THUMB = 76; // pixels of a product's longest side
  const addresses = new Map(); // object URLs by page
  let root = null,
    parts = null;

  const state = () => screenshot.state;
  const h = (...all) => snapshelf.workbench.cards.h(...all);
  const percent = (confidence) => snapshelf.workbench.cards.percent(confidence);
  const many = (number, thing) => `${number} ${number === 1 ? thing : `${thing}s`}`;
  const button = (act, text, more = {}) => h("button", { type: "button", "data-act": act, ...more }, text);
  const hidden = (text) => h("span", { class: "shot-hidden" }, text);

  const download = (act, what, more) => {
    const made = button(act, "", more);
    made.append(h("span", { class: "shot-word" }, "Download "), what);
    return made;
  };

  function addressOf(page) {
    if (!addresses.has(page.id)) addresses.set(page.id, URL.createObjectURL(page.image));
    return addresses.get(page.id);
  }

  // ---- the frame

  function mount(element) {
    root = element;
    const { models } = snapshelf.workbench.server.settings();
    const choose = h(
      "label",
      { class: "shot-choose" },
      h("input", { type: "file", accept: "image/*", multiple: true }),
      "Choose screenshots",
    );
    const model = h("select", {}, ...models.map(({ name, title }) => h("option", { value: name }, title)));
    parts = {
      message: h("p", { class: "shot-message", role: "status" }),
      progress: h("p", { class: "shot-progress", role: "status" }),
      pages: h("div", { class: "shot-pages", "data-live": "" }),
      count: h("strong", { role: "status" }),
      undo: button("undo", "Undo"),
      model,
    };
    parts.bar = h(
      "div",
      { class: "shot-bar", role: "region", "aria-label": "Progress and download", hidden: true },
      parts.count,
      h(
        "div",
        { class: "shot-buttons" },
        parts.undo,
        download("zip", "crops"),
        download("csv", "CSV", { class: "shot-main" }),
      ),
    );
    const example = root.dataset.example ? button("example", "Try an example") : null;
    parts.clear = button("clear", "Empty the list", { hidden: true });
    const choice = models.length > 1 ? h("label", { class: "shot-model" }, "Model ", model) : null;
    const above = h("div", { class: "shot-head" }, ...[choice, parts.clear].filter(Boolean));
    root.replaceChildren(
      h(
        "div",
        { class: "shot-drop" },
        h(
          "p",
          {},
          h("strong", {}, "Find every product on a page of a shopping app"),
          h("span", {}, "Drop or paste screenshots here, several at once if you like."),
        ),
        h("div", { class: "shot-buttons" }, choose, example),
      ),
      above,
      parts.message,
      parts.progress,
      parts.pages,
      parts.bar,
      screenshot.picker.build(),
    );
    root.addEventListener("click", onClick);
    root.addEventListener("change", onChange);
    root.addEventListener("mouseover", ({ target }) => link("pointer", target));
    root.addEventListener("mouseleave", () => link("pointer", null));
    root.addEventListener("focusin", ({ target }) => link("focus", target));
    root.addEventListener("focusout", () => link("focus", null));
    state().onChange(refresh);
    snapshelf.names.onChange(() => refresh("names"));
    state().ready().then(() => refresh("pages"));
  }

  function say(text) {
    if (parts) parts.message.textContent = text;
  }

  // ---- what changes

  function refresh(what, page) {
    if (!parts) return;
    parts.model.value = state().model();
    if (what === "progress") return progress(page);
    if (what === "decisions") updatePage(page);
    else if (what === "names") state().sorted().forEach(updatePage);
    else drawPages(page);
    count();
    if (what === "answer") progress(null);
  }

  function progress(page) {
    const left = state().waiting().length;
    const sent = page?.share < 1 ? `Sending ${page.name}: ${Math.floor(100 * page.share)}%` : null;
    const of = left > 1 ? `, ${left} pages to go` : "";
    parts.progress.textContent = page && left ? (sent ?? `Looking for products on ${page.name}${of}…`) : "";
  }

  function count() {
    const all = state().all(), open = all.filter(state().isOpen).length, { size } = state().pages;
    const left = all.length ? (open ? `${open} to check` : "all checked") : "";
    parts.count.textContent = `${many(all.length, "product")} on ${many(size, "page")}${left && `, ${left}`}`;
    parts.bar.hidden = parts.clear.hidden = !size;
    parts.undo.disabled = !state().canUndo();
    for (const name of ["csv", "zip"]) parts.bar.querySelector(`[data-act=${name}]`).disabled = !all.length;
    root.classList.toggle("shot-empty", !size);
  }

  // changed: is drawn anew, like those that are not there yet.
  function drawPages(changed) {
    const before = new Map([...parts.pages.children].map((section) => [section.dataset.page, section]));
    const sections = state()
      .sorted()
      .map((page) => {
        const old = before.get(page.id);
        const key = `${state().model()} ${Boolean(state().answerOf(page))}`;
        if (old && old.dataset.key === key && changed !== page) return old;
        return h(
          "section",
          { class: "shot-page", "data-page": page.id, "data-key": key, "aria-label": page.name },
          ...contentOf(page),
        );
      });
    for (const [id, address] of addresses) {
      if (state().pages.has(id)) continue;
      URL.revokeObjectURL(address);
      addresses.delete(id);
    }
    for (const old of before.values()) if (!sections.includes(old)) old.remove();
    sections.forEach((section, at) => {
      const there = parts.pages.children[at]; // what stays is not moved: it would lose the focus
      if (there !== section) parts.pages.insertBefore(section, there ?? null);
    });
    for (const page of state().sorted()) updatePage(page);
  }

  function contentOf(page) {
    const answer = state().answerOf(page);
    const found = answer?.products?.length;
    const head = h(
      "div",
      { class: "shot-head" },
      h("h2", {}, page.name, found ? h("span", {}, many(found, "product")) : null),
      h(
        "div",
        { class: "shot-buttons" },
        found ? button("accept", "") : null,
        button("remove", "Remove", { "aria-label": `Remove ${page.name}` }),
      ),
    );
    const waiting = h("p", { class: "shot-waiting" }, "Waiting…");
    if (!answer) return [head, h("div", { class: "shot-sides" }, figure(page, []), waiting)];
    if (answer.error) return [head, problem(answer)];
    if (!found) return [head, nothing(page)];
    const rows = answer.products.map((product, at) => row(page, answer, product, at + 1));
    const list = h("ol", { class: "shot-rows", "aria-label": `Products on ${page.name}` }, ...rows);
    return [head, h("div", { class: "shot-sides" }, figure(page, answer.products), list)];
  }

  function problem({ error, details, passing }) {
    const more =
      details && details !== error ? h("details", {}, h("summary", {}, "Details"), h("span", {}, details)) : null;
    return h(
      "div",
      { class: "message error", role: "alert" },
      h("strong", {}, error),
      ...[more, passing ? button("again", "Try again") : null].filter(Boolean),
    );
  }

  function nothing(page) {
    return h(
      "div",
      { class: "shot-sides" },
      figure(page, []),
      h(
        "div",
        { class: "message empty", role: "status" },
        h("strong", {}, "No products found"),
        h("span", {}, "This works with pages that show products in columns, or one product large."),
        button("classify", "Classify it as one photo"),
      ),
    );
  }

  // ---- a page and its boxes

  function figure(page, products) {
    const answer = state().answerOf(page);
    const text = products.length ? `${page.name}, with ${many(products.length, "product")} marked` : page.name;
    const image = h("img", { src: addressOf(page), alt: text });
    image.addEventListener("error", () => image.parentNode?.classList.add("shot-unseen")); // HEIC in most browsers
    const boxes = products.map(({ box: [x, y, width, height] }, at) => {
      const place = [
        ["left", x / answer.width],
        ["top", y / answer.height],
        ["width", width / answer.width],
        ["height", height / answer.height],
      ];
      return h("button", {
        type: "button",
        class: "shot-box",
        "data-act": "open",
        "data-number": at + 1,
        "aria-haspopup": "dialog",
        style: place.map(([name, share]) => `${name}:${(100 * share).toFixed(3)}%`).join(";"),
      });
    });
    return h(
      "div",
      { class: "shot-figure" },
      image,
      ...boxes,
      h("p", { class: "shot-no-image" }, "This browser cannot show this image."),
    );
  }

  const likely = ({ top_k: all }) => all.filter(({ confidence }, at) => !at || confidence >= LEAST);

  // The part of the page that shows a product. side: of the longest side, in pixels.
  function crop(page, answer, [x, y, width, height], side) {
    const style = `width:${(100 * answer.width) / width}%;left:${(-100 * x) / width}%;top:${(-100 * y) / height}%`;
    const image = h("img", { src: addressOf(page), alt: "", style });
    const factor = side / Math.max(width, height);
    return h("span", { class: "shot-crop", style: `width:${factor * width}px;height:${factor * height}px` }, image);
  }

  function row(page, answer, product, number) {
    const shown = likely(product).slice(0, OFFERED);
    const choices = shown.map(({ label, confidence }) =>
      button("pick", "", { "data-value": label, "aria-pressed": "false" }),
    );
    return h(
      "li",
      { class: "shot-row", "data-number": number },
      h("div", { class: "shot-thumb" }, crop(page, answer, product.box, THUMB)),
      h("div", { class: "shot-text" }, h("p", { class: "shot-category" }), h("p", { class: "shot-verdict" })),
      h(
        "div",
        { class: "shot-choices", role: "group", "aria-label": `Category of product ${number}` },
        ...choices,
        button("open", "Other…", { "aria-haspopup": "dialog" }),
        button("reject", "Not usable", { "aria-pressed": "false" }),
      ),
    );
  }

  function updatePage(page) {
    const section = [...parts.pages.children].find(({ dataset }) => dataset.page === page.id);
    const products = state().productsOf(page);
    if (!section) return;
    for (const [at, product] of products.entries()) {
      const shown = describe(page, product, at + 1);
      updateBox(section.querySelector(`.shot-box[data-number="${at + 1}"]`), at + 1, product, shown);
      updateRow(section.querySelector(`.shot-row[data-number="${at + 1}"]`), at + 1, product, shown);
    }
    const accept = section.querySelector("[data-act=accept]");
    const open = products.filter((product, at) => state().isOpen({ page, product, number: at + 1 })).length;
    if (accept) accept.hidden = open < 2;
    if (accept) accept.textContent = `Accept all ${open} guesses`;
  }

  // {name, kind, verdict, decision}: the category and the verdict in words
  function describe(page, product, number) {
    const { VERDICTS, DECIDED } = snapshelf.workbench.cards;
    const decision = state().decisionOf(page, number);
    const label = decision ? decision.label : product.label;
    const verdict = decision ? `✓ ${DECIDED[decision.how]}` : VERDICTS[product.status];
    return {
      name: label ? state().display(label) : "",
      kind: decision ? "decided" : product.status,
      verdict,
      decision,
    };
  }

  function updateBox(box, number, product, { name, kind, verdict }) {
    const words = { ok: name, review: `${name}?`, unknown: "Not sure", decided: name ? `✓ ${name}` : "Not usable" }[
      kind
    ];
    box.className = `shot-box shot-${kind}${box.classList.contains("shot-linked") ? " shot-linked" : ""}`;
    box.replaceChildren(
      hidden("Product "),
      h("span", { class: "shot-tag" }, h("b", {}, number), ` ${words}`),
      hidden(`, ${verdict}`),
    );
  }

  function updateRow(element, number, product, { name, kind, verdict, decision }) {
    const isGuess = kind === "unknown";
    element
      .querySelector(".shot-category")
      .replaceChildren(
        h("b", { class: "shot-number" }, hidden("Product "), number),
        " ",
        ...(isGuess ? ["Closest match: "] : []),
        h("strong", {}, name || "No category"),
        ...(decision ? [] : [" ", h("span", { class: "shot-percent" }, percent(product.confidence))]),
      );
    const badge = h("span", { class: `badge ${decision ? "shot-done" : kind}` }, verdict);
    const stock = product.out_of_stock ? h("span", { class: "badge unknown" }, "Out of stock") : null;
    element.querySelector(".shot-verdict").replaceChildren(...[badge, stock].filter(Boolean));
    element.classList.toggle("shot-sure", kind === "ok");
    for (const choice of element.querySelectorAll("[data-act=pick]")) {
      const label = choice.dataset.value,
        { confidence } = product.top_k.find((one) => one.label === label);
      choice.replaceChildren(state().display(label), " ", h("span", { class: "shot-percent" }, percent(confidence)));
      choice.setAttribute("aria-pressed", String(decision?.label === label));
    }
    element.querySelector("[data-act=open]").textContent = kind === "ok" ? "Change…" : "Other…";
    element.querySelector("[data-act=reject]").setAttribute("aria-pressed", String(decision?.how === "not usable"));
  }

  // A row and its box, both while the pointer or the focus is on one of them.
  const linked = new Map();

  function link(how, target) {
    linked.set(how, target?.closest?.("[data-number]"));
    for (const one of root.querySelectorAll(".shot-linked")) one.classList.remove("shot-linked");
    for (const one of linked.values()) {
      const same = one?.closest(".shot-page")?.querySelectorAll(`[data-number="${one.dataset.number}"]`) ?? [];
      for (const part of same) part.classList.add("shot-linked");
    }
  }

  // ---- what buttons do

  const ACTS = {
    example: () =>
      state()
        .example()
        .catch((error) => say(error.message)),
    csv: () => screenshot.download.csv(),
    zip: () => screenshot.download.zip(),
    undo: () => say(`Undone: ${state().undo()}`),
    clear: () => {
      if (confirm("Remove all pages and decisions from this browser? This cannot be undone.")) state().clear();
    },
    remove: (_, page) => state().remove(page),
    again: (_, page) => state().again(page),
    classify: (_, page) =>
      snapshelf.intake.receive([new File([page.image], page.name, { type: page.image.type })], "classify"),
    accept: (_, page) => state().acceptAll(page),
    open: (_, page, number) => screenshot.picker.open(page, number),
    pick: ({ dataset }, page, number) => state().pick(page, number, dataset.value),
    reject: (_, page, number) => state().reject(page, number),
    take: ({ dataset }) => screenshot.picker.take(dataset.value),
    "take-none": () => screenshot.picker.take(null),
    close: () => screenshot.picker.close(),
  };

  function onClick(event) {
    const acting = event.target.closest("[data-act]");
    if (!acting) return;
    say("");
    const page = state().pages.get(acting.closest("[data-page]")?.dataset.page);
    ACTS[acting.dataset.act](acting, page, Number(acting.closest("[data-number]")?.dataset.number));
  }

  function onChange({ target }) {
    if (target === parts.model) state().useModel(target.value);
    if (target.type !== "file" || !target.files.length) return;
    const files = [...target.files];
    target.value = "";
    snapshelf.intake.receive(files, "screenshot");
  }

  new MutationObserver(() => {
    const place = document.querySelector("#screenshot .shot");
    if (place && place !== root) mount(place);
  }).observe(document.documentElement, { childList: true, subtree: true });

  screenshot.view = { say, button, crop, describe, likely, percent };
})();
