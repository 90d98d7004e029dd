// The frame: tabs by arrow keys, dropdowns that close, and names for what Gradio leaves without. Gradio redraws its parts,
// so everything listens at the document.
(() => {
  "use strict";
  window.snapshelf ??= {};

  const STEPS = { ArrowRight: 1, ArrowLeft: -1 };

  // ---- tabs

  function moveTab(event) {
    const tab = event.target.closest?.('[role="tab"]');
    if (!tab) return;
    const tabs = [...tab.parentNode.querySelectorAll('[role="tab"]')].filter((one) => one.checkVisibility());
    const at = tabs.indexOf(tab);
    const wanted = { Home: 0, End: tabs.length - 1 }[event.key] ?? at + STEPS[event.key];
    if (Number.isNaN(wanted)) return;
    event.preventDefault();
    const next = tabs[(wanted + tabs.length) % tabs.length];
    next.click();
    next.focus();
  }

  // ---- dropdowns: Escape and a choice close them

  function closeDropdown(event) {
    if (event.key === "Escape") event.target.closest?.('input[role="combobox"]')?.blur();
  }

  document.addEventListener("keydown", (event) => {
    moveTab(event);
    closeDropdown(event);
  });

  // ---- names

  function mend() {
    for (const button of document.querySelectorAll("button.gallery-item:not([aria-label])")) {
      const file = button.querySelector("img")?.src.split("/").pop().replace(/\.\w+$/, "");
      if (file) button.setAttribute("aria-label", `Example: ${decodeURIComponent(file).replaceAll("_", " ")}`);
    }
    for (const button of document.querySelectorAll("button[aria-dropeffect][aria-label]")) {
      const text = button.querySelector('[data-testid="upload-text"]')?.innerText.replace(/\s+/g, " ").trim();
      if (text && button.getAttribute("aria-label") !== text) button.setAttribute("aria-label", text);
    }
    for (const image of document.querySelectorAll("footer button img[alt]:not([alt=''])")) image.alt = "";
    for (const area of document.querySelectorAll("[data-live]:not([aria-live])")) area.setAttribute("aria-live", "polite");
  }

  new MutationObserver(mend).observe(document.documentElement, { childList: true, subtree: true });
})();
