// Sort, on an operator's own server only: the rows of a prepared dataset, whose decisions go to that server's file.
(() => {
  "use strict";
  window.snapshelf ??= {};
  const workbench = (snapshelf.workbench ??= {});

  let loaded = 0,
    isOver = false,
    isLoading = false;

  async function load() {
    if (isLoading) return;
    isLoading = true;
    try {
      const { rows } = await workbench.server.call("workbench_review", [loaded]);
      isOver = !rows.length;
      for (const row of rows) await add(row);
      if (isOver && !loaded) workbench.view.say("Nothing in this dataset needs a person.");
      loaded += rows.length;
    } catch (error) {
      workbench.view.say(error.message, "error");
    } finally {
      isLoading = false;
      workbench.view.refresh();
    }
  }

  async function add({ sha256, file, thumbnail, late, review, ...answer }) {
    const image = await (await fetch(thumbnail)).blob();
    const row = { id: `dataset/${review.id}`, content: sha256, name: file, order: 1e9 + workbench.state.rows.size };
    workbench.state.addRow({ ...row, image, thumbnail: image, title: "", answer, review });
  }

  // Write down what is decided now, or that nothing is.
  async function send(rows) {
    if (!rows.length) return;
    const decisions = rows.map((row) => {
      const decision = workbench.state.decisionOf(row);
      const action = !decision ? "" : decision.label ? "relabel" : "quarantine";
      return { id: row.review.id, action, label: decision?.label ?? "" };
    });
    try {
      await workbench.server.call("workbench_correct", [decisions]);
    } catch (error) {
      workbench.view.say(error.message, "error");
    }
  }

  workbench.review = { load, send, isOn: () => Boolean(workbench.server.settings().dataset), isOver: () => isOver };
})();
