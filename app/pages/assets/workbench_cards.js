// Sort: one card per image. Every text from data goes in as text, never as markup.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const VERDICTS = {
    ok: "Ready to publish",
    review: "Please check",
    unknown: "Not sure what this is",
    error: "Couldn't be read",
    waiting: "Waiting",
  };
  const DECIDED = { accepted: "Accepted by you", changed: "Changed by you", "not usable": "Not usable, you say" };
  const addresses = new Map(); // object URLs by row and size

  // h("button", { class: "x", "data-act": "undo" }, "Undo")
  function h(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  const display = (label) => snapshelf.names.display(label);

  // "62%"; never 100% unless it is, and nothing below 1%.
  function percent(confidence) {
    if (!(confidence >= 0.01)) return "";
    return confidence === 1 ? "100%" : `${Math.min(99, Math.round(100 * confidence))}%`;
  }

  // A category inside a sentence: "It's topwear", "casual shoes", but "T-shirts" and "USB cables".
  function inSentence(label) {
    const name = /wear$/.test(label) ? label : display(label);
    return name.replace(/\b[A-Z][a-z]+/g, (word) => word.toLowerCase());
  }

  function address(row, size = "thumbnail") {
    const blob = row[size] ?? row.thumbnail ?? row.image;
    const key = `${size} ${row.id}`;
    if (!blob) return "";
    if (addresses.get(key)?.blob !== blob) {
      if (addresses.has(key)) URL.revokeObjectURL(addresses.get(key).url);
      addresses.set(key, { blob, url: URL.createObjectURL(blob) });
    }
    return addresses.get(key).url;
  }

  const picture = (row) => (row.thumbnail ? address(row, "image") : "");

  function forgetAddresses(ids) {
    for (const [key, { url }] of addresses) {
      if (ids.has(key.slice(key.indexOf(" ") + 1))) continue;
      URL.revokeObjectURL(url);
      addresses.delete(key);
    }
  }

  // Why a person is asked, in words.
  function reason(row) {
    const { answer, review } = row;
    if (review) return review.reason;
    if (answer?.status === "error") return snapshelf.intake.UNREADABLE;
    if (answer?.status === "unknown") return answer.label ? `Closest match: ${display(answer.label)}` : "";
    if (answer?.status !== "review") return "";
    const paths = new Map(workbench.state.modelSettings().labels);
    const certain = answer.published_path;
    const inside = workbench.state
      .candidates(row)
      .map(({ label }) => label)
      .filter((label) => certain.every((name, at) => paths.get(label)?.[at] === name))
      .slice(0, 2)
      .map(inSentence);
    const question = inside.length ? `${inside.join(" or ")}?` : "";
    const asked = question.charAt(0).toUpperCase() + question.slice(1);
    const isSame = inside.length === 1 && inside[0] === inSentence(certain.at(-1) ?? "");
    return certain.length && !isSame ? `It's ${inSentence(certain.at(-1))}. ${asked}` : asked;
  }

  function attributes(row) {
    const entries = Object.entries(row.answer?.attributes ?? {});
    if (!entries.length) return null;
    const items = entries.map(([name, { label, status }]) =>
      h("li", { class: status }, h("span", { class: "of" }, name), ` ${label}${status === "ok" ? "" : "?"}`),
    );
    return h("ul", { class: "chips", "aria-label": "Attributes" }, ...items);
  }

  function choices(row) {
    const group = h("div", { class: "wb-choices", role: "group", "aria-label": `Category of ${row.name}` });
    workbench.state.candidates(row).forEach(({ label, confidence }, at) => {
      group.append(
        h(
          "button",
          { type: "button", "data-act": "pick", "data-value": label, "aria-pressed": "false" },
          h("kbd", { "aria-hidden": "true" }, `${at + 1}`),
          h("span", { class: "wb-name" }, display(label)),
          h("span", { class: "wb-percent" }, percent(confidence)),
        ),
      );
    });
    group.append(
      h("button", { type: "button", "data-act": "choose" }, h("kbd", { "aria-hidden": "true" }, "L"), "Other…"),
      h(
        "button",
        { type: "button", "data-act": "reject", "aria-pressed": "false" },
        h("kbd", { "aria-hidden": "true" }, "X"),
        "Not usable",
      ),
    );
    return group;
  }

  function image(row) {
    if (!row.thumbnail) return h("span", { class: "wb-none" }, row.answer ? "No preview" : "…");
    const shown = h("img", { src: address(row), alt: "", decoding: "async" });
    return h(
      "button",
      { type: "button", class: "wb-enlarge", "data-act": "enlarge", "aria-label": `Enlarge ${row.name}` },
      shown,
    );
  }

  function card(row, isSelected) {
    const kind = workbench.state.kind(row),
      details = row.answer?.error;
    const box = h("input", { type: "checkbox", "data-act": "select", "aria-label": `Select ${row.name}` });
    box.checked = isSelected;
    const isUsable = !["error", "waiting"].includes(kind);
    const element = h(
      "li",
      { class: `wb-card wb-${kind}`, "data-id": row.id, "aria-label": row.name, tabindex: "-1" },
      h("div", { class: "wb-photo" }, image(row), h("label", { class: "wb-select" }, box)),
      h(
        "div",
        { class: "wb-text" },
        h("p", { class: "wb-category" }),
        h("p", { class: "wb-verdict" }, h("span", { class: `badge ${kind === "waiting" ? "unknown" : kind}` })),
        h("p", { class: "wb-file" }, row.name),
        row.title ? h("p", { class: "wb-title" }, row.title) : null,
        h("p", { class: "wb-reason" }, reason(row)),
        details ? h("details", {}, h("summary", {}, "Details"), h("span", {}, details)) : null,
        attributes(row),
      ),
      isUsable ? choices(row) : h("div", { class: "wb-choices" }),
    );
    update(element, row);
    return element;
  }

  // What changes with a decision.
  function update(element, row) {
    const { state } = workbench;
    const kind = state.kind(row),
      decision = state.decisionOf(row),
      category = state.category(row);
    const heading = element.querySelector(".wb-category"),
      badge = element.querySelector(".wb-verdict .badge");
    const isLikely = category && category === row.answer?.label;
    heading.replaceChildren(...(category ? [h("strong", {}, display(category))] : []));
    if (isLikely && !decision) heading.append(" ", h("span", { class: "wb-percent" }, percent(row.answer.confidence)));
    badge.textContent = decision ? `✓ ${DECIDED[decision.how]}` : VERDICTS[kind];
    badge.className = `badge ${decision ? "wb-done" : kind === "waiting" ? "unknown" : kind}`;
    element.classList.toggle("wb-decided", Boolean(decision));
    for (const button of element.querySelectorAll("[aria-pressed]")) {
      const isChosen =
        button.dataset.act === "reject" ? decision && !decision.label : decision?.label === button.dataset.value;
      button.setAttribute("aria-pressed", String(Boolean(isChosen)));
    }
  }

  workbench.cards = { h, card, update, percent, display, address, picture, forgetAddresses, VERDICTS, DECIDED };
})();
