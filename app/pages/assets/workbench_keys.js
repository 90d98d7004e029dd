// Sort, the keyboard: each key is decided here at once, so none is lost at typing speed. Single keys can be turned off.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const OFF = "snapshelf.keys"; // in localStorage
  const TYPED_INTO = "input:not([type=checkbox]), textarea, select, [contenteditable=true]";
  const PRESSED = "a[href], button, summary, label, select"; // Enter and Space belong to these
  let isOn = true;

  try {
    isOn = localStorage.getItem(OFF) !== "off";
  } catch {
    // storage is off
  }

  function turn(on) {
    isOn = on;
    workbench.page.root().classList.toggle("wb-quiet", !on);
    try {
      localStorage.setItem(OFF, on ? "on" : "off");
    } catch {
      // until the next reload then
    }
  }

  // Decide on the current image and go to the next one that waits.
  function decide(act) {
    const row = workbench.view.current();
    if (!row?.answer || workbench.state.kind(row) === "error") return;
    act(row);
    workbench.page.moveOn(row);
  }

  function pick(at) {
    decide((row) => {
      const candidate = workbench.state.candidates(row)[at];
      if (candidate) workbench.state.pick([row], candidate.label, workbench.page.named(row));
    });
  }

  function step(by) {
    const id = workbench.view.beside(by);
    if (!id) return;
    workbench.view.goTo(id, !workbench.dialogs.isOpen("large"));
    workbench.dialogs.follow(workbench.view.current());
  }

  const accept = () => decide((row) => workbench.state.accept([row], workbench.page.named(row)));
  const current = () => workbench.view.current();
  const KEYS = {
    a: accept,
    enter: accept,
    x: () => decide((row) => workbench.state.reject([row], workbench.page.named(row))),
    s: () => step(1),
    u: () => workbench.page.undo(),
    b: () => step(-1),
    l: () =>
      workbench.dialogs.choose(
        [current()].filter((row) => row?.answer),
        workbench.page.pickFor,
      ),
    o: () => (workbench.dialogs.isOpen("large") ? workbench.dialogs.closeAll() : workbench.dialogs.enlarge(current())),
    " ": () => current() && workbench.view.select(current().id, !workbench.view.view.selected.has(current().id)),
    arrowright: () => step(1),
    arrowleft: () => step(-1),
    arrowdown: () => step(1),
    arrowup: () => step(-1),
  };

  document.addEventListener("keydown", (event) => {
    const root = workbench.page.root();
    if (!root?.isConnected || !root.offsetParent || event.defaultPrevented || event.altKey) return;
    if (workbench.dialogs.isOpen("choose") || workbench.dialogs.isOpen("download")) return;
    const target = event.target.closest?.("*") ?? document.body;
    const key = event.key.toLowerCase();
    if (target.closest(TYPED_INTO)) return;
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" && !event.shiftKey && root.contains(target)) run(event, () => workbench.page.undo());
      return;
    }
    if (!isOn || event.shiftKey || (target !== document.body && !root.contains(target))) return;
    if (["enter", " "].includes(key) && target.closest(`${PRESSED}, input`)) return;
    if (/^[1-5]$/.test(key)) run(event, () => pick(Number(key) - 1));
    else if (KEYS[key]) run(event, KEYS[key]);
  });

  // A key that is held down moves on, but decides once.
  function run(event, act) {
    event.preventDefault();
    if (!event.repeat || event.key.startsWith("Arrow")) act();
  }

  workbench.keys = { turn, isOn: () => isOn };
})();
