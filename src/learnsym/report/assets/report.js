"use strict";
// The page's training curves: seeds as thin lines, the mean of a row of the table as a thick one. No library, nothing is loaded.
// Data (from learnsym.report.curves): {metrics: [name], start: name, groups: [label], runs: [{group, name, seed, status, x: [epoch],
// y: {metric: [number or null]}}]}.
(() => {
  const data = JSON.parse(document.getElementById("curves-data").textContent);
  const find = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const COLOURS = 8;
  const DASHES = ["", "7 3", "2 3", "9 3 2 3"];

  // --- everything else on the page: commands to copy, and what is folded away is printed ---

  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", async () => {
      const code = find(button.getAttribute("aria-controls"));
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "copied";
      } catch { // no permission: select it, so that the keyboard can
        getSelection().selectAllChildren(code);
        button.textContent = "selected";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => {
    for (const part of folded) part.open = false;
  });
  if (!data.runs.length) return;

  // --- what is drawn: lines of the chosen metric whose runs pass the filter ---

  const hidden = new Set(); // groups that the legend has switched off
  const chart = find("chart");
  const tip = find("tip");
  let lines = []; // {group, label, mean, points: [[epoch, value]]}
  let frame = null; // scales of the last drawing: {x, y, width, height}
  let hot = null; // {line, index}

  const matches = (run, words) => {
    const text = `${data.groups[run.group]} seed ${run.seed} ${run.name} ${run.status}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };

  function chosen() {
    const metric = find("metric").value;
    const words = find("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const log = find("log").checked;
    const runs = data.runs.filter((run) => run.y[metric] && !hidden.has(run.group) && matches(run, words));
    const drawable = (value) => value !== null && (!log || value > 0);
    const points = (run) => run.x.map((x, i) => [x, run.y[metric][i]]).filter(([, y]) => drawable(y));
    const found = [];
    let left_out = 0;
    data.groups.forEach((label, group) => {
      const own = runs.filter((run) => run.group === group);
      for (const run of own) {
        const kept = points(run);
        left_out += run.y[metric].length - kept.length;
        found.push({group, label: `${label}, seed ${run.seed}`, detail: run.name, mean: false, alone: own.length === 1, points: kept});
      }
      const finished = own.filter((run) => run.status === "finished");
      if (finished.length > 1) {
        const mean = points(mean_of(finished, metric));
        found.push({group, label, detail: `mean of ${finished.length} runs`, mean: true, points: mean});
      }
    });
    return {metric, log, left_out, runs: runs.length, lines: found.filter((line) => line.points.length)};
  }

  // The mean at those epochs that all of the runs have.
  function mean_of(runs, metric) {
    const tables = runs.map((run) => new Map(run.x.map((x, i) => [x, run.y[metric][i]])));
    const common = runs[0].x.filter((x) => tables.every((t) => t.has(x) && t.get(x) !== null));
    const values = common.map((x) => tables.reduce((sum, t) => sum + t.get(x), 0) / runs.length);
    return {x: common, y: {[metric]: values}};
  }

  // --- scales and ticks ---

  const shown = (value) => (value === 0 ? "0" : Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3
    ? value.toExponential(3).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(5))));

  function ticks(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) found.push(Number((k * step).toPrecision(12)));
    return found;
  }

  function log_ticks(low, high) {
    const from = Math.floor(Math.log10(low));
    const to = Math.ceil(Math.log10(high));
    const every = Math.ceil((to - from) / 8);
    const found = [];
    for (let k = from; k <= to; k += every) for (const m of to - from <= 2 ? [1, 2, 5] : [1]) found.push(m * 10 ** k);
    return found.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  }

  function scales(log) {
    const xs = lines.flatMap((line) => line.points.map(([x]) => x));
    const ys = lines.flatMap((line) => line.points.map(([, y]) => y));
    const extent = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
    let [x0, x1] = extent(xs);
    let [y0, y1] = extent(ys);
    if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
    if (log) [y0, y1] = y0 === y1 ? [y0 / 2, y1 * 2] : [y0, y1];
    else {
      const room = y1 - y0 > 1e-12 * Math.abs(y1) ? 0.04 * (y1 - y0) : Math.abs(y1) / 2 || 1;
      [y0, y1] = [y0 - room, y1 + room];
    }
    const width = Math.max(chart.clientWidth, 260);
    const height = Math.min(Math.max(width * 0.5, 240), 420);
    const box = {left: 64, right: width - 12, top: 28, bottom: height - 40};
    const part = log ? (y) => Math.log(y / y0) / Math.log(y1 / y0) : (y) => (y - y0) / (y1 - y0);
    return {
      width, height, box, xs: ticks(x0, x1, Math.max(2, width / 110)).filter(Number.isInteger), ys: log ? log_ticks(y0, y1) : ticks(y0, y1, 6),
      x: (x) => box.left + ((x - x0) / (x1 - x0)) * (box.right - box.left),
      y: (y) => box.bottom - part(y) * (box.bottom - box.top),
    };
  }

  // --- drawing ---

  function element(name, attributes, parent, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  const look = (group) => ({stroke: `var(--c${group % COLOURS})`, "stroke-dasharray": DASHES[Math.floor(group / COLOURS) % DASHES.length]});

  function draw() {
    const choice = chosen();
    lines = choice.lines;
    unhover();
    chart.querySelector("svg")?.remove();
    const remark = choice.left_out ? ` ${choice.left_out} values are not drawn: absent or not finite${choice.log ? ", or not above zero" : ""}.` : "";
    find("count").textContent = `${choice.runs} of ${data.runs.length} runs.${remark}`;
    if (!lines.length) return;
    frame = scales(choice.log);
    const {box} = frame;
    const label = `${choice.metric} over epochs, ${choice.runs} runs`;
    const svg = element("svg", {viewBox: `0 0 ${frame.width} ${frame.height}`, height: frame.height, role: "img", "aria-label": label});
    for (const y of frame.ys) {
      element("line", {class: "grid", x1: box.left, x2: box.right, y1: frame.y(y), y2: frame.y(y)}, svg);
      element("text", {x: box.left - 8, y: frame.y(y) + 4, "text-anchor": "end"}, svg, shown(y));
    }
    for (const x of frame.xs) element("text", {x: frame.x(x), y: box.bottom + 18, "text-anchor": "middle"}, svg, x);
    element("line", {class: "grid", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom}, svg);
    element("text", {x: box.right, y: box.bottom + 34, "text-anchor": "end"}, svg, "epoch");
    element("text", {x: 0, y: 12}, svg, choice.metric);
    for (const line of [...lines].sort((a, b) => a.mean - b.mean)) {
      const d = line.points.map(([x, y], i) => `${i ? "L" : "M"}${frame.x(x).toFixed(1)} ${frame.y(y).toFixed(1)}`).join("");
      line.path = element("path", {d, class: line.mean ? "mean" : line.alone ? "run alone" : "run", ...look(line.group)}, svg);
      if (line.points.length === 1) line.path.setAttribute("d", `${d}h4`); // one epoch is seen as well
    }
    element("circle", {id: "dot", r: 4, visibility: "hidden"}, svg);
    chart.prepend(svg);
  }

  // --- a point under the pointer, or chosen with the arrow keys ---

  function hover(line, index) {
    unhover();
    hot = {line, index};
    const [epoch, value] = line.points[index];
    chart.classList.add("hovered");
    line.path.classList.add("hot");
    const [x, y] = [frame.x(epoch), frame.y(value)];
    const dot = chart.querySelector("#dot");
    for (const [key, v] of Object.entries({cx: x, cy: y, fill: look(line.group).stroke, visibility: "visible"})) dot.setAttribute(key, v);
    const title = document.createElement("strong");
    title.textContent = line.label;
    tip.replaceChildren(title, `epoch ${epoch}: ${shown(value)}`, document.createElement("br"), line.detail);
    tip.hidden = false;
    tip.style.left = `${Math.min(Math.max(x + 14, 0), Math.max(frame.width - tip.offsetWidth, 0))}px`;
    tip.style.top = `${y > frame.height / 2 ? y - tip.offsetHeight - 12 : y + 14}px`;
  }

  function unhover() {
    hot?.line.path?.classList.remove("hot");
    hot = null;
    chart.classList.remove("hovered");
    chart.querySelector("#dot")?.setAttribute("visibility", "hidden");
    tip.hidden = true;
  }

  function nearest(px, py) {
    let best = null;
    for (const line of lines) {
      line.points.forEach(([x, y], index) => {
        const far = Math.hypot(frame.x(x) - px, frame.y(y) - py);
        if (!best || far < best.far) best = {line, index, far};
      });
    }
    return best;
  }

  chart.addEventListener("pointermove", (event) => {
    if (!lines.length) return;
    const at = chart.getBoundingClientRect();
    const found = nearest(event.clientX - at.left, event.clientY - at.top);
    if (found.far < 60) hover(found.line, found.index);
    else unhover();
  });
  chart.addEventListener("pointerleave", unhover);
  chart.addEventListener("blur", unhover);
  chart.addEventListener("keydown", (event) => {
    const along = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    const across = {ArrowUp: -1, ArrowDown: 1}[event.key];
    if (event.key === "Escape") unhover();
    if (!lines.length || (!along && !across)) return;
    event.preventDefault();
    if (!hot) {
      hover(lines[0], lines[0].points.length - 1);
      return;
    }
    const place = lines.indexOf(hot.line);
    const line = lines[(place + (across ?? 0) + lines.length) % lines.length];
    hover(line, Math.min(Math.max(hot.index + (along ?? 0), 0), line.points.length - 1));
  });

  // --- controls and legend ---

  for (const metric of data.metrics) find("metric").add(new Option(metric, metric, false, metric === data.start));
  for (const id of ["metric", "filter", "log"]) find(id).addEventListener("input", draw);
  data.groups.forEach((label, group) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    const swatch = element("svg", {width: 22, height: 8, "aria-hidden": "true"});
    element("path", {d: "M0 4h22", "stroke-width": 3, ...look(group)}, swatch);
    button.append(swatch, label);
    button.addEventListener("click", () => {
      if (!hidden.delete(group)) hidden.add(group);
      button.setAttribute("aria-pressed", String(!hidden.has(group)));
      draw();
    });
    find("legend").append(button);
  });
  let width = 0;
  new ResizeObserver(() => {
    if (chart.clientWidth !== width) {
      width = chart.clientWidth;
      draw();
    }
  }).observe(chart);
  draw();
})();
