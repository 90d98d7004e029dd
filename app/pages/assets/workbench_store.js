// Sort: what this browser keeps of the list, so that it survives a reload. Nothing of it leaves the browser.
//   read(store) → Map   write(store, key, value), undefined deletes   clear()   settled(), when all of it is written
// Without IndexedDB, or where the disk is full, the list works and says that a reload would lose it.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  const STORES = ["rows", "decisions", "memory"]; // images with their answers; decisions by content; undo and view
  const pending = new Map(STORES.map((name) => [name, new Map()]));
  let database,
    flushing = null;

  const name = () => `snapshelf-sort ${workbench.server.root()}`; // two servers may share a host

  function open() {
    database ??= new Promise((resolve) => {
      try {
        const request = indexedDB.open(name(), 1);
        request.onupgradeneeded = () => STORES.forEach((store) => request.result.createObjectStore(store));
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => fail(resolve);
        request.onblocked = () => fail(resolve);
      } catch {
        fail(resolve); // it is switched off
      }
    });
    return database;
  }

  function fail(resolve) {
    store.works = false;
    resolve?.(null);
    store.onFailure?.();
  }

  async function read(from) {
    const opened = await open();
    if (!opened) return new Map();
    return new Promise((resolve) => {
      const found = new Map();
      const request = opened.transaction(from).objectStore(from).openCursor();
      request.onerror = () => fail(() => resolve(found));
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return resolve(found);
        found.set(cursor.key, cursor.value);
        cursor.continue();
      };
    });
  }

  function write(to, key, value) {
    pending.get(to).set(key, value);
    flushing ??= Promise.resolve().then(flush);
  }

  // All that has been asked for until now in one transaction.
  async function flush() {
    const opened = await open();
    flushing = null;
    const batch = STORES.filter((store) => pending.get(store).size).map((store) => [
      store,
      new Map(pending.get(store)),
    ]);
    for (const store of pending.values()) store.clear();
    if (!opened || !batch.length) return;
    await new Promise((resolve) => {
      const transaction = opened.transaction(
        batch.map(([store]) => store),
        "readwrite",
      );
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => fail(resolve);
      for (const [store, entries] of batch) {
        for (const [key, value] of entries) {
          if (value === undefined) transaction.objectStore(store).delete(key);
          else transaction.objectStore(store).put(value, key);
        }
      }
    });
  }

  async function clear() {
    const opened = await open();
    for (const store of pending.values()) store.clear();
    if (!opened) return;
    await new Promise((resolve) => {
      const transaction = opened.transaction(STORES, "readwrite");
      transaction.oncomplete = transaction.onabort = resolve;
      STORES.forEach((store) => transaction.objectStore(store).clear());
    });
  }

  const store = { works: true, onFailure: null, read, write, clear, settled: () => flushing ?? Promise.resolve() };
  workbench.store = store;
})();
