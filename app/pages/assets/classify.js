// Classify: the candidates are buttons, every category can be searched for, and what a person
// picks is kept in this browser, for the file of corrections and for the same photo in Sort.
(() => {
  "use strict";
  window.snapshelf ??= {};

  const KEY = "snapshelf.corrections";
  const MOST = 500; // corrections that are kept
  const FOUND = 8; // categories that a search lists

  const nameOf = (label) => snapshelf.names.display(label);
  const photo = () => document.querySelector("#classify-image img")?.src ?? "";
  const fileName = () => snapshelf.intake.nameAt(photo()) ?? decodeURIComponent(photo().split("/").pop() || "photo");

  // ---- what is kept

  function corrections() {
    try {
      const list = JSON.parse(localStorage.getItem(KEY));
      return Array.isArray(list) ? list : [];
    } catch {
      return []; // storage is off, or holds something else
    }
  }

  function keep(list) {
    try {
      localStorage.setItem(KEY, JSON.stringify(list.slice(-MOST)));
    } catch {
      // then it lasts as long as the card
    }
  }

  // ---- one card

  const answerOf = (card) => JSON.parse(card.dataset.answer);

  // A person's pick, or null to take it back.
  function pick(card, label) {
    const answer = answerOf(card), chosen = card.querySelector(".chosen");
    card.dataset.picked = label ?? "";
    chosen.hidden = label === null;
    chosen.querySelector("strong").textContent = label === null ? "" : `You chose ${nameOf(label)}.`;
    for (const button of card.querySelectorAll("[data-pick]")) {
      button.setAttribute("aria-pressed", String(button.dataset.pick === label));
    }
    const entry = { photo: photo(), file: fileName(), model: card.dataset.model, answered: answer.label, label };
    const others = corrections().filter(({ photo, model }) => photo !== entry.photo || model !== entry.model);
    const isCorrection = label !== null && label !== answer.label;
    keep(isCorrection ? [...others, entry] : others);
    showKept();
    if (isCorrection) noteContent(entry);
  }

  // By its content Sort knows the photo again. It is fetched once more, as an example or the camera gave no file here.
  async function noteContent({ photo, model }) {
    const image = await fetch(photo).then((answer) => (answer.ok ? answer.blob() : null), () => null);
    if (!image) return;
    const content = await snapshelf.workbench.files.contentOf(image);
    keep(corrections().map((one) => (one.photo === photo && one.model === model ? { ...one, content } : one)));
  }

  // The category that a person picked here for the same photo, or null. image: as it is sent, small.
  async function correctionOf(image, model) {
    const known = corrections().filter((one) => one.content && one.model === model);
    if (!known.length) return null;
    const content = await snapshelf.workbench.files.contentOf(image);
    return known.findLast((one) => one.content === content)?.label ?? null;
  }

  snapshelf.classify = { correctionOf };

  function search(field) {
    const card = field.closest(".answer"), list = card.querySelector(".found");
    const wanted = field.value.trim().toLowerCase();
    const all = wanted ? snapshelf.names.all(card.dataset.model) : [];
    const found = all.filter(({ name, label }) => `${name} ${label}`.toLowerCase().includes(wanted));
    const starts = ({ name }) => !name.toLowerCase().startsWith(wanted);
    found.sort((one, other) => starts(one) - starts(other));
    list.replaceChildren(...found.slice(0, FOUND).map(({ label, name }) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
      button.dataset.pick = label;
      button.setAttribute("aria-pressed", String(card.dataset.picked === label));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
    const none = wanted && !found.length ? `No category is called “${field.value.trim()}”.` : "";
    const more = found.length > FOUND ? `${found.length - FOUND} more; type on to narrow them down.` : "";
    card.querySelector(".found-none").textContent = none || more;
  }

  // ---- copy

  function textOf(card) {
    const answer = answerOf(card), picked = card.dataset.picked;
    if (picked) return nameOf(picked);
    const { path } = snapshelf.names;
    return answer.status === "ok" ? path(answer.category_path) : path(answer.published_path) || nameOf(answer.label);
  }

  function jsonOf(card) {
    const answer = answerOf(card), picked = card.dataset.picked;
    const final = picked || (answer.status === "ok" ? answer.label : null);
    const by = picked ? "person" : final ? "model" : null;
    const path = final && snapshelf.workbench.server.pathTo(final, card.dataset.model).map(nameOf);
    const more = { final_category: final && nameOf(final), final_path: path, decided_by: by };
    return JSON.stringify({ ...answer, ...more }, null, 2);
  }

  async function copy(card, text) {
    const said = card.querySelector(".copied");
    try {
      if (navigator.clipboard) await navigator.clipboard.writeText(text);
      else copyByHand(text); // plain http of another host
      said.textContent = "Copied";
    } catch {
      said.textContent = "This browser does not allow copying.";
    }
    setTimeout(() => (said.textContent = ""), 4000);
  }

  function copyByHand(text) {
    const area = Object.assign(document.createElement("textarea"), { value: text, ariaLabel: "Text to copy" });
    document.body.append(area);
    area.select();
    const works = document.execCommand("copy");
    area.remove();
    if (!works) throw new Error("not allowed");
  }

  // ---- the corrections of this browser, as a file

  function showKept() {
    const line = document.querySelector("#classify-answer .kept"), list = corrections();
    if (!line || line.dataset.number === String(list.length)) return;
    line.dataset.number = list.length;
    line.hidden = !list.length;
    const button = (text, act) => Object.assign(document.createElement("button"), {
      type: "button", className: "quiet", textContent: text, onclick: act });
    line.replaceChildren(
      `${list.length} ${list.length === 1 ? "correction" : "corrections"} kept in this browser. `,
      button("Download corrections.csv", download), " ",
      button("Forget them", () => { keep([]); showKept(); }),
    );
  }

  // As data_prep --corrections reads them.
  function download() {
    const rows = corrections().map(({ file, answered, label }) =>
      [file, "relabel", "", label, `picked by a person instead of ${answered}`]);
    snapshelf.sheets.save(snapshelf.sheets.csv([["id", "action", "column", "label", "reason"], ...rows]), "corrections.csv");
  }

  // ---- listening at the document, as Gradio redraws its parts

  const ACTIONS = {
    undo: (card) => pick(card, null),
    "copy-text": (card) => copy(card, textOf(card)),
    "copy-json": (card) => copy(card, jsonOf(card)),
    wrong: (card, button) => {
      const choices = card.querySelector(".choices");
      choices.hidden = !choices.hidden;
      button.setAttribute("aria-expanded", String(!choices.hidden));
    },
  };

  document.addEventListener("click", (event) => {
    const card = event.target.closest?.("#classify-answer .answer");
    const button = card && event.target.closest("button");
    if (button?.dataset.pick) pick(card, card.dataset.picked === button.dataset.pick ? null : button.dataset.pick);
    else if (button?.dataset.do) ACTIONS[button.dataset.do]?.(card, button);
  });

  document.addEventListener("input", (event) => {
    if (event.target.matches?.("#classify-answer .search input")) search(event.target);
  });

  document.addEventListener("keydown", (event) => {
    if (!event.target.matches?.("#classify-answer .search input") || event.isComposing) return;
    const first = event.target.closest(".answer").querySelector(".found [data-pick]");
    if (event.key === "Enter" && first) first.click();
    if (event.key === "Escape" && event.target.value) {
      event.target.value = "";
      search(event.target);
    }
  });

  new MutationObserver(() => {
    const place = document.querySelector("#classify-answer");
    if (!place) return;
    if (!place.hasAttribute("aria-live")) place.setAttribute("aria-live", "polite");
    if (place.querySelector(".kept:not([data-number])")) showKept();
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
