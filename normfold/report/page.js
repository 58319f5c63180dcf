"use strict";
// The page of a report. All text of a model goes through textContent: nothing here ever parses a string as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const SVG = "http://www.w3.org/2000/svg";
const CHUNK = 200; // rows that are made at once; more come when the end of the table is in sight

// -- making elements -------------------------------------------------------------------------------------------------

function make(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function draw(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

function section(title, note, ...children) {
  const header = make("header", {}, make("h2", {}, title), note ? make("span", { class: "soft" }, note) : "");
  return make("section", {}, header, ...children);
}

// -- figures ---------------------------------------------------------------------------------------------------------

const counted = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

function small(number) {
  if (number === null) return "not finite";
  if (number === 0) return "0";
  return number >= 0.001 && number < 10000 ? String(Number(number.toPrecision(3))) : number.toExponential(1).replace("e", "e");
}

function change(before, after) {
  if (before === after) return "unchanged";
  if (!before) return "";
  const percent = (100 * (after - before)) / before;
  const digits = Math.abs(percent) < 10 ? 1 : 0;
  return `${percent > 0 ? "+" : "−"}${Math.abs(percent).toFixed(digits)} %`;
}

const of = (report, outcome) => report.rows.filter((row) => row.outcome === outcome).length;
const isDone = (report) => report.command === "optimize" || report.command === "export";
const after = (report) => (isDone(report) ? "after" : "after optimize");

// -- the head --------------------------------------------------------------------------------------------------------

function head(report) {
  const theme = make("button", { id: "theme", type: "button", title: "Switch between light and dark" }, "◐");
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  const about = `normfold ${report.version} · ${report.command} · target ${report.target}`;
  return [
    make("div", { class: "top" }, make("span", { class: "grow" }, about), theme),
    make("h1", {}, report.model),
    make("p", { class: "lead" }, ...sentence(report)),
  ];
}

function sentence(report) {
  const would = isDone(report) ? "" : "would be ";
  const badges = ["folded", "fused", "kept"].filter((outcome) => of(report, outcome)).flatMap((outcome) => {
    const how = outcome === "kept" ? "" : would;
    return [make("span", { class: `badge ${outcome}` }, `${of(report, outcome)} ${how}${outcome}`), " "];
  });
  const proof = { equivalent: "proven equivalent", different: "differs from the original", inconclusive: "not decided" };
  const words = report.proof ? proof[report.proof] : "not proven: nothing was run";
  const kind = report.proof === null ? "plain" : report.proof === "equivalent" ? "folded" : "bad";
  return [`${counted(report.rows.length, "norm")} and constant affine${report.rows.length === 1 ? "" : "s"} `, ...badges, make("span", { class: `badge ${kind}` }, words)];
}

function errors(report) {
  if (!report.errors.length) return null;
  const items = report.errors.map((text) => make("li", {}, text));
  const box = section("What fails", counted(items.length, "problem"), make("ul", {}, ...items));
  box.classList.add("errors");
  return box;
}

function tiles(report) {
  const norms = report.rows.length;
  const kept = of(report, "kept");
  const fused = of(report, "fused");
  const all = report.sizes.map(([label, old, now], index) => tile(label, old, now, label === "opset" ? "" : change(...report.numbers[index])));
  all.splice(1, 0, tile("norms and affines", `${norms}`, `${kept + fused}`, change(norms, kept + fused)));
  if (report.latency) {
    const [old, now] = report.latency;
    all.push(tile("latency", `${small(old)} ms`, `${small(now)} ms`, change(old, now)));
  }
  return make("section", { class: "tiles", "aria-label": "sizes before and after" }, ...all);
}

function tile(label, old, now, difference) {
  const was = old === now ? "unchanged" : `from ${old}${difference ? `, ${difference}` : ""}`;
  return make("div", { class: "tile" },
    make("div", { class: "label" }, label), make("div", { class: "value" }, now), make("div", { class: "was" }, was));
}

// -- operators by type -----------------------------------------------------------------------------------------------

function operators(report) {
  const [old, now] = report.operators.map((pairs) => new Map(pairs));
  const names = [...new Set([...old.keys(), ...now.keys()])];
  const rows = names.map((name) => [name, old.get(name) || 0, now.get(name) || 0]);
  rows.sort((a, b) => Math.max(b[1], b[2]) - Math.max(a[1], a[2]) || (a[0] < b[0] ? -1 : 1));
  const changed = rows.filter((row) => row[1] !== row[2]).length;
  const holder = make("div", {});
  const show = (count) => holder.replaceChildren(
    bars(rows.slice(0, count)),
    rows.length > count ? make("div", { class: "more" }, make("button", { type: "button", onclick: () => show(rows.length) }, `Show all ${rows.length} types`)) : "",
  );
  show(12);
  const box = section("Operators by type", `${changed} of ${counted(rows.length, "type")} changed`, holder);
  box.id = "operators";
  box.firstChild.append(make("span", { class: "legend" },
    make("span", {}, make("i", { class: "key-before" }), "before"), make("span", {}, make("i", { class: "key-after" }), after(report))));
  return box;
}

function bars(rows) {
  const [left, width, step] = [190, 1120, 34];
  const most = Math.max(1, ...rows.flatMap((row) => [row[1], row[2]]));
  const scale = (width - left - 70) / most;
  const chart = draw("svg", { viewBox: `0 0 ${width} ${rows.length * step + 4}`, width: "100%", role: "img", "aria-label": "operators by type, before and after" });
  rows.forEach(([name, old, now], index) => {
    const top = index * step + 4;
    chart.append(draw("text", { x: left - 12, y: top + 17, "text-anchor": "end" }, shortened(name, 26)));
    [[old, "bar-before"], [now, "bar-after"]].forEach(([count, kind], line) => {
      const y = top + line * 12;
      chart.append(
        draw("rect", { class: kind, x: left, y, width: count ? Math.max(1.5, count * scale) : 0, height: 10, rx: 1.5 }),
        draw("text", { class: "small", x: left + count * scale + 7, y: y + 9 }, count.toLocaleString("en")));
    });
  });
  return chart;
}

// -- the error at every site -----------------------------------------------------------------------------------------

function evidence(report) {
  if (!report.sites.length) return null;
  const worst = report.sites.reduce((a, b) => ((b.margin ?? Infinity) > (a.margin ?? Infinity) ? b : a));
  const failing = report.sites.filter((site) => !site.passed).length;
  const text = failing ? `${failing} of ${report.sites.length} above what is allowed`
    : `all ${report.sites.length} within what is allowed; the worst reaches ${small(worst.margin === null ? null : 100 * worst.margin)} % of it`;
  const box = section("Error at every fold site", text, strip(report));
  box.id = "evidence";
  box.firstChild.append(make("span", { class: "legend" },
    make("span", {}, make("i", { class: "key-after" }), "error over the scale of the value"),
    make("span", {}, make("i", { class: "key-allowed" }), "allowed")));
  return box;
}

function strip(report) {
  const [left, right, width, height, foot] = [64, 16, 1120, 280, 30];
  const finite = report.sites.flatMap((site) => [site.relative, site.tolerance]).filter((number) => number > 0);
  const low = Math.floor(Math.log10(Math.min(1e-8, ...finite)));
  const high = Math.ceil(Math.log10(Math.max(1e-6, ...finite)));
  const inner = height - foot - 42;
  const y = (number) => 10 + (inner * (high - Math.log10(number))) / (high - low);
  const zero = height - foot - 2; // its own lane: a logarithm has no place for no error
  const place = (number) => (number === null ? 4 : number > 0 ? y(number) : zero);
  const step = (width - left - right) / report.sites.length;
  const x = (index) => left + (index + 0.5) * step;
  const chart = draw("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img", "aria-label": "error and tolerance of each site, logarithmic" });
  const every = Math.ceil((high - low) / 7);
  for (let power = low; power <= high; power += every) {
    chart.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y(10 ** power), y2: y(10 ** power) }),
      draw("text", { class: "small", x: left - 10, y: y(10 ** power) + 4, "text-anchor": "end" }, `1e${power}`));
  }
  chart.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: zero, y2: zero }),
    draw("text", { class: "small", x: left - 10, y: zero + 4, "text-anchor": "end" }, "exact"),
    draw("text", { class: "small", x: left, y: height - 6 }, "sites in the order of the proof →"));
  const radius = report.sites.length > 1000 ? 2 : report.sites.length > 200 ? 3 : 4.5;
  const tick = Math.max(1, Math.min(10, step * 0.45));
  const dots = report.sites.map((site, index) => {
    if (site.tolerance > 0) {
      chart.append(draw("line", { class: "allowed", x1: x(index) - tick, x2: x(index) + tick, y1: y(site.tolerance), y2: y(site.tolerance) }));
    }
    return draw("circle", { class: site.passed ? "dot" : "dot wrong", cx: x(index), cy: place(site.relative), r: radius });
  });
  chart.append(...dots);
  return hovering(report, chart, dots, (pointer) => Math.floor((pointer * width - left) / step));
}

function hovering(report, chart, dots, nearest) {
  const tip = make("div", { class: "tooltip", hidden: "" });
  const holder = make("div", { class: "strip" }, chart, tip);
  let hot = -1;
  const leave = () => { if (hot >= 0) dots[hot].classList.remove("hot"); hot = -1; tip.hidden = true; };
  chart.addEventListener("mousemove", (event) => {
    const frame = chart.getBoundingClientRect();
    const index = nearest((event.clientX - frame.left) / frame.width);
    if (index === hot) return;
    leave();
    if (index < 0 || index >= dots.length) return;
    hot = index;
    const site = report.sites[index];
    dots[index].classList.add("hot");
    const row = report.rows[site.row];
    tip.replaceChildren(
      make("div", { class: "mono" }, site.value),
      make("div", {}, row && row.name !== site.value ? `${row.operator} ${row.name}` : ""),
      make("div", {}, `error ${small(site.relative)}, allowed ${small(site.tolerance)} · ${small(site.ulps)} ulps`));
    tip.hidden = false;
    const middle = (Number(dots[index].getAttribute("cx")) / 1120) * frame.width;
    tip.style.left = `${Math.max(0, Math.min(middle + 12, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${(Number(dots[index].getAttribute("cy")) / 280) * frame.height + 14}px`;
  });
  chart.addEventListener("mouseleave", leave);
  chart.addEventListener("click", () => { if (hot >= 0 && report.sites[hot].row >= 0) reveal(report.sites[hot].row); });
  return holder;
}

let reveal = () => {};

// -- the table of norms ----------------------------------------------------------------------------------------------

const ORDER = { kept: 0, fused: 1, folded: 2 };
const COLUMNS = [
  ["#", "number", (row) => row.index],
  ["name", "", (row) => `${row.graph} ${row.name}`],
  ["operator", "", (row) => row.operator],
  ["verdict", "", (row) => ORDER[row.outcome]],
  ["how, or why not", "", (row) => reasonOf(row)],
  ["error / allowed", "number", (row) => (row.error ? row.error[2] ?? Infinity : -1)],
];

const reasonOf = (row) => (row.obstacles.length ? `${row.obstacles[0][0]} ${row.obstacles.length}` : row.rule);

function norms(report) {
  report.rows.forEach((row, index) => {
    row.index = index;
    row.text = [row.name, row.graph, row.operator, row.what, row.outcome, row.how, ...row.obstacles.flat(),
      ...row.obstacles.map(([code]) => data.reasons[code].join(" "))].join(" ").toLowerCase();
  });
  const state = { column: 0, down: false, words: "", outcomes: new Set(Object.keys(ORDER)), reason: "", open: new Set(), rows: [], made: 0 };
  const body = make("tbody", {});
  const shown = make("span", { class: "shown", "aria-live": "polite" });
  const more = make("div", { class: "more" }, make("button", { type: "button", onclick: () => extend() }, "Show more"));

  function extend() {
    const next = state.rows.slice(state.made, state.made + CHUNK);
    state.made += next.length;
    body.append(...next.flatMap((row) => lines(row, state, report)));
    more.hidden = state.made >= state.rows.length;
  }

  function refresh() {
    const words = state.words.toLowerCase().split(/\s+/).filter(Boolean);
    const key = COLUMNS[state.column][2];
    state.rows = report.rows.filter((row) => state.outcomes.has(row.outcome)
      && (!state.reason || row.obstacles.some((obstacle) => obstacle[0] === state.reason))
      && words.every((word) => row.text.includes(word)));
    const sign = state.down ? -1 : 1;
    state.rows.sort((a, b) => sign * compare(key(a), key(b)) || a.index - b.index);
    state.made = 0;
    body.replaceChildren();
    extend();
    shown.textContent = `${state.rows.length.toLocaleString("en")} of ${report.rows.length.toLocaleString("en")}`;
    headers.forEach((header, index) => header.setAttribute("aria-sort", index !== state.column ? "none" : state.down ? "descending" : "ascending"));
  }

  const headers = COLUMNS.map(([title, kind], index) => make("th", { class: kind, scope: "col" }, make("button", {
    type: "button",
    onclick: () => { state.down = state.column === index && !state.down; state.column = index; refresh(); },
  }, title)));
  const table = make("table", { id: "norms" }, make("colgroup", {}, ...COLUMNS.map(() => make("col"))), make("thead", {}, make("tr", {}, ...headers)), body);
  const box = section("Norms and constant affines", "click a row for its neighbourhood", filters(report, state, refresh, shown), make("div", { class: "scroll" }, table), more);
  reveal = (index) => {
    state.words = ""; state.reason = ""; state.outcomes = new Set(Object.keys(ORDER)); state.open.add(index);
    box.querySelectorAll("input, select").forEach((field) => { field.value = ""; });
    box.querySelectorAll(".chip").forEach((chip) => chip.setAttribute("aria-pressed", "true"));
    refresh();
    while (state.made < state.rows.length && state.rows.slice(0, state.made).every((row) => row.index !== index)) extend();
    body.querySelector(`[data-row="${index}"]`).scrollIntoView({ block: "center" });
  };
  new IntersectionObserver((seen) => { if (seen.some((entry) => entry.isIntersecting) && !more.hidden) extend(); }).observe(more);
  refresh();
  return box;
}

function compare(a, b) {
  return typeof a === "number" ? (a === b ? 0 : a - b) : a.localeCompare(b, "en", { numeric: true });
}

function filters(report, state, refresh, shown) {
  const search = make("input", { type: "search", id: "search", placeholder: "Filter by name, operator, reason …", "aria-label": "filter" });
  search.addEventListener("input", () => { state.words = search.value; refresh(); });
  const chips = Object.keys(ORDER).reverse().filter((outcome) => of(report, outcome)).map((outcome) => {
    const chip = make("button", { type: "button", class: `chip ${outcome}`, "data-outcome": outcome, "aria-pressed": "true" }, `${outcome} ${of(report, outcome)}`);
    chip.addEventListener("click", () => {
      const on = chip.getAttribute("aria-pressed") !== "true";
      chip.setAttribute("aria-pressed", String(on));
      if (on) state.outcomes.add(outcome); else state.outcomes.delete(outcome);
      refresh();
    });
    return chip;
  });
  const codes = [...new Set(report.rows.flatMap((row) => row.obstacles.map((obstacle) => obstacle[0])))].sort();
  const options = codes.map((code) => make("option", { value: code }, `${code} ${data.reasons[code][0]}`));
  const reason = make("select", { id: "reason", "aria-label": "reason" }, make("option", { value: "" }, "every reason"), ...options);
  reason.addEventListener("change", () => { state.reason = reason.value; refresh(); });
  return make("div", { class: "filters" }, search, ...chips, codes.length ? reason : "", shown);
}

function lines(row, state, report) {
  const line = make("tr", { class: "row", "data-row": row.index, tabindex: "0", "aria-expanded": "false" },
    make("td", { class: "number soft" }, String(row.index + 1)),
    make("td", { class: "mono" }, row.graph ? make("span", { class: "soft" }, ...breakable(`${row.graph}/`)) : "", ...breakable(row.name)),
    make("td", {}, ...breakable(row.operator)),
    make("td", {}, make("span", { class: `badge ${row.outcome}` }, row.outcome)),
    make("td", { class: "reason" }, ...why(row)),
    make("td", { class: "number" }, row.error ? `${small(row.error[0])} / ${small(row.error[1])}` : ""));
  let opened = null;
  const toggle = () => {
    if (opened) {
      opened.remove();
      opened = null;
      state.open.delete(row.index);
    } else {
      opened = make("tr", { class: "opened" }, make("td", { colspan: COLUMNS.length }, detail(row, report)));
      line.after(opened);
      state.open.add(row.index);
    }
    line.classList.toggle("open", Boolean(opened));
    line.setAttribute("aria-expanded", String(Boolean(opened)));
  };
  line.addEventListener("click", () => { if (!String(getSelection())) toggle(); });
  line.addEventListener("keydown", (event) => { if (event.key === "Enter") toggle(); });
  if (!state.open.has(row.index)) return [line];
  opened = make("tr", { class: "opened" }, make("td", { colspan: COLUMNS.length }, detail(row, report)));
  line.classList.add("open");
  line.setAttribute("aria-expanded", "true");
  return [line, opened];
}

// A line may end behind a slash or a dot of a name, or between the words of CamelCase.
const breakable = (text) => text.split(/(?<=[/.])|(?<=[a-z])(?=[A-Z])/).flatMap((part) => [make("wbr"), part]);

function why(row) {
  if (!row.obstacles.length) return breakable(row.how);
  const [code] = row.obstacles[0];
  const [, obstacle, remedy] = data.reasons[code];
  return [make("span", { class: "mono" }, code), ` ${obstacle}`, make("div", { class: "soft" }, `Remedy: ${remedy}`)];
}

function detail(row, report) {
  const facts = [];
  const fact = (term, ...words) => facts.push(make("dt", {}, term), make("dd", {}, ...words));
  if (row.what) fact("recognized", row.what);
  if (row.how) fact(isDone(report) ? "how" : "would be", row.how);
  for (const [code, direction, node, value, figures] of row.obstacles) {
    const at = [node && `at ${node}`, value && value !== node && `value ${value}`, figures].filter(Boolean).join(", ");
    fact(direction || "obstacle", `${code} ${data.reasons[code][1]}`, at ? make("span", { class: "soft" }, ` (${at})`) : "");
  }
  for (const remedy of new Set(row.obstacles.map(([code]) => data.reasons[code][2]))) fact("remedy", remedy);
  if (row.error) fact("error", `${small(row.error[0])} of the scale of the value; ${small(row.error[1])} is allowed`);
  const box = make("div", { class: "detail" }, facts.length ? make("dl", {}, ...facts) : "");
  if (row.drawings && row.drawings.some(([boxes]) => boxes.length)) {
    box.append(make("div", { class: "pair" }, ...["before", after(report)].map((title, index) =>
      make("figure", {}, make("figcaption", {}, title, keys(row.drawings[index][0])), graph(...row.drawings[index])))));
  }
  return box;
}

const ROLES = { finding: "this one", gone: "goes", into: "takes it over", new: "is new" };

function keys(boxes) {
  const present = Object.keys(ROLES).filter((role) => boxes.some((box) => box[2] === role));
  return make("span", { class: "keys" }, ...present.map((role) => make("span", { class: `key ${role}` }, ROLES[role])));
}

// -- a neighbourhood as a graph: layers from top to bottom -----------------------------------------------------------

const [BOX, HIGH, GAP, RISE] = [178, 38, 22, 30];

function graph(boxes, arrows) {
  const { layers, chains } = layered(boxes, arrows);
  const wide = Math.max(1, ...layers.map((layer) => layer.reduce((sum, cell) => sum + cell.width + GAP, -GAP)));
  const tall = layers.length * (HIGH + RISE) - RISE;
  layers.forEach((layer, depth) => {
    let x = (wide - layer.reduce((sum, cell) => sum + cell.width + GAP, -GAP)) / 2;
    for (const cell of layer) {
      Object.assign(cell, { x: x + cell.width / 2, y: depth * (HIGH + RISE) });
      x += cell.width + GAP;
    }
  });
  const picture = draw("svg", { viewBox: `-2 -2 ${wide + 4} ${tall + 4}`, width: wide + 4, height: tall + 4, role: "img",
    "aria-label": boxes.map((box) => box[0]).join(", ") });
  for (const chain of chains) picture.append(...arrow(chain));
  for (const cell of layers.flat()) if (cell.box) picture.append(boxed(cell));
  return picture;
}

function layered(boxes, arrows) {
  const depth = boxes.map(() => 0);
  for (let round = 0; round < boxes.length; round += 1) { // longest way from the top; a graph of operators has no cycle
    for (const [from, to] of arrows) if (depth[to] <= depth[from] && depth[from] < boxes.length) depth[to] = depth[from] + 1;
  }
  for (let round = 0; round < boxes.length; round += 1) { // what only feeds something deeper moves down to it
    boxes.forEach((_, index) => {
      const below = arrows.filter(([from]) => from === index).map(([, to]) => depth[to]);
      if (below.length && !arrows.some(([, to]) => to === index)) depth[index] = Math.min(...below) - 1;
    });
  }
  const layers = Array.from({ length: Math.max(0, ...depth) + 1 }, () => []);
  const cells = boxes.map((box, index) => {
    const cell = { box, width: BOX, above: [] };
    layers[depth[index]].push(cell);
    return cell;
  });
  const chains = arrows.map(([from, to]) => {
    const chain = [cells[from]];
    for (let layer = depth[from] + 1; layer < depth[to]; layer += 1) {
      const bend = { box: null, width: 10, above: [chain.at(-1)] };
      layers[layer].push(bend);
      chain.push(bend);
    }
    cells[to].above.push(chain.at(-1));
    chain.push(cells[to]);
    return chain;
  });
  for (const layer of layers) {
    layer.forEach((cell, index) => { cell.rank = cell.above.length ? cell.above.reduce((sum, other) => sum + other.place, 0) / cell.above.length : index; });
    layer.sort((a, b) => a.rank - b.rank);
    layer.forEach((cell, index) => { cell.place = index - (layer.length - 1) / 2; });
  }
  return { layers, chains };
}

function arrow(chain) {
  let path = "";
  chain.slice(1).forEach((cell, index) => {
    const from = chain[index];
    const [top, bottom] = [from.y + HIGH, cell.y - (cell.box ? 5 : 0)];
    const middle = (top + bottom) / 2;
    path += `${index ? "" : `M${from.x} ${top}`} C${from.x} ${middle} ${cell.x} ${middle} ${cell.x} ${bottom}`;
    if (!cell.box) path += ` L${cell.x} ${cell.y + HIGH}`;
  });
  const end = chain.at(-1);
  return [draw("path", { class: "arrow", d: path }), draw("path", { class: "tip", d: `M${end.x - 4} ${end.y - 7} L${end.x + 4} ${end.y - 7} L${end.x} ${end.y} Z` })];
}

function boxed({ box: [operator, name, role, weight], x, y }) {
  const text = weight ? `${operator}  ${weight}` : operator;
  return draw("g", { class: `box ${role}` },
    draw("title", {}, `${operator} ${name}`),
    draw("rect", { x: x - BOX / 2, y, width: BOX, height: HIGH, rx: 6 }),
    draw("text", { x, y: y + 16, "text-anchor": "middle" }, shortened(text, 26)),
    draw("text", { class: "mono", x, y: y + 30, "text-anchor": "middle" }, tail(name, 26)));
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const tail = (text, most) => (text.length > most ? `…${text.slice(1 - most)}` : text);

// -- the rest --------------------------------------------------------------------------------------------------------

function outputs(report) {
  if (!report.outputs.length) return null;
  const rows = report.outputs.map((place) => make("tr", {},
    make("td", {}, make("span", { class: `badge ${place.passed ? "folded" : "bad"}` }, place.passed ? "ok" : "differs")),
    make("td", { class: "mono" }, place.value), make("td", {}, place.witness),
    ...[place.relative, place.tolerance, place.absolute].map((number) => make("td", { class: "number" }, small(number)))));
  const titles = ["", "output", "run", "error", "allowed", "largest absolute"].map((title, index) =>
    make("th", { class: index > 2 ? "number" : "", scope: "col", style: null }, make("span", { class: "title" }, title)));
  return section("Outputs of the model", "against the original, both run in ONNX Runtime",
    make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...rows))));
}

function notes(report) {
  const all = [...report.notes, ...report.proofNotes];
  return all.length ? section("Notes", "", make("ul", {}, ...all.map((note) => make("li", {}, note)))) : null;
}

function foot(report) {
  const stages = Object.entries(report.seconds).map(([stage, seconds]) => `${stage} ${small(seconds)} s`);
  const where = report.output ? `written to ${report.output}` : "";
  return make("footer", {}, [where, ...stages].filter(Boolean).join(" · "));
}

function models(chosen) {
  if (data.reports.length < 2) return null;
  const rows = data.reports.map((report, index) => make("tr", {
    class: "row", tabindex: "0", "aria-selected": String(index === chosen), "data-model": index,
    onclick: () => show(index), onkeydown: (event) => { if (event.key === "Enter") show(index); },
  },
  make("td", { class: "mono" }, report.model),
  make("td", {}, report.errors.length ? make("span", { class: "badge bad" }, counted(report.errors.length, "problem")) : make("span", { class: "badge folded" }, "ok")),
  ...[report.rows.length, of(report, "folded"), of(report, "fused"), of(report, "kept")].map((count) => make("td", { class: "number" }, count.toLocaleString("en")))));
  const titles = ["model", "", "norms", "folded", "fused", "kept"].map((title, index) =>
    make("th", { class: index > 1 ? "number" : "", scope: "col" }, make("span", { class: "title" }, title)));
  return section("Models", "click one to see it below", make("div", { class: "scroll" },
    make("table", { class: "models" }, make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...rows))));
}

function show(index) {
  const report = data.reports[index];
  const parts = report ? [...head(report), models(index), errors(report), tiles(report), operators(report), evidence(report), norms(report), outputs(report), notes(report), foot(report)]
    : [make("h1", {}, "No models")];
  page.replaceChildren(...parts.filter(Boolean));
}

show(0);
