// Sort and filter the batch's table, and review with the keyboard. Gradio redraws its parts, so listen at the document.
"use strict";

const ORDER = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const REVIEW_KEYS = {
  a: "accept", s: "skip", x: "reject", b: "back", 1: "accept", 2: "pick-2", 3: "pick-3", 4: "pick-4", 5: "pick-5",
};

function sortTable(button) {
  const head = button.closest("th");
  const column = [...head.parentNode.children].indexOf(head);
  const direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of head.parentNode.children) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  head.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  const value = (row) => row.children[column].dataset.value;
  const compare = button.dataset.sort === "number"
    ? (one, other) => value(one) - value(other)
    : (one, other) => ORDER.compare(value(one), value(other));
  const body = head.closest("table").tBodies[0];
  body.append(...[...body.rows].sort((one, other) => direction * compare(one, other)));
}

function filterTable(button) {
  for (const other of button.parentNode.children) other.setAttribute("aria-pressed", String(other === button));
  const table = button.parentNode.parentNode.querySelector("table.sortable");
  for (const row of table.tBodies[0].rows) {
    row.hidden = button.dataset.filter !== "" && row.dataset.status !== button.dataset.filter;
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("button[data-sort], button[data-filter]");
  if (button?.dataset.sort) sortTable(button);
  else if (button) filterTable(button);
});

document.addEventListener("keydown", (event) => {
  const visible = document.querySelector("#review-view")?.offsetParent;
  const typing = event.target.closest?.("input, textarea, select, [contenteditable=true]");
  if (!visible || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "l") {
    event.preventDefault();
    document.querySelector("#review-label input")?.focus();
  } else if (REVIEW_KEYS[key]) {
    event.preventDefault();
    document.querySelector(`#review-${REVIEW_KEYS[key]}`)?.click();
  }
});

// Gradio's examples have no name for screen readers: take the image's file name.
function nameExamples() {
  for (const button of document.querySelectorAll("button.gallery-item:not([aria-label])")) {
    const file = button.querySelector("img")?.src.split("/").pop().replace(/\.\w+$/, "");
    if (file) button.setAttribute("aria-label", `Example: ${decodeURIComponent(file).replaceAll("_", " ")}`);
  }
}

new MutationObserver(nameExamples).observe(document.documentElement, { childList: true, subtree: true });
