// The page of a report. All text of a model goes through textContent: nothing here ever parses a string as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const page = document.getElementById("page");
const SVG = "http://www.w3.org/2000/svg";
const NARROW = matchMedia("(max-width: 640px)");
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
  return number >= 0.001 && number < 10000 ? String(Number(number.toPrecision(3))) : number.toExponential(1);
}

function change(before, after) {
  if (before === after) return "unchanged";
  if (!before) return "";
  const percent = (100 * (after - before)) / before;
  if (Math.abs(percent) < 0.05) return "less than 0.1 %";
  const digits = Math.abs(percent) < 10 ? 1 : 0;
  return `${percent > 0 ? "+" : "−"}${Math.abs(percent).toFixed(digits)} %`;
}

const inWords = (outcome) => (outcome === "settled" ? "as it should be" : outcome);
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
  const badges = ["folded", "fused", "kept", "settled"].filter((outcome) => of(report, outcome)).flatMap((outcome) => {
    const how = outcome === "kept" || outcome === "settled" ? "" : would;
    const word = outcome === "settled" ? "as they should be" : outcome;
    return [make("span", { class: `badge ${outcome}` }, `${of(report, outcome)} ${how}${word}`), " "];
  });
  const proof = { equivalent: "proven equivalent", different: "differs from the original", inconclusive: "not decided" };
  const words = report.proof ? proof[report.proof] : "not proven: nothing was run";
  const kind = report.proof === null ? "plain" : report.proof === "equivalent" ? "folded" : "bad";
  return [`${report.headline.split(" (")[0]} `, ...badges, make("span", { class: `badge ${kind}` }, words)];
}

function errors(report) {
  if (!report.errors.length) return null;
  const list = make("ul", {});
  const remedies = [...new Set(report.errors.map(([code]) => code))].map((code) =>
    make("p", { class: "soft" }, `${code}: ${data.reasons[code][1]}. Remedy: ${data.reasons[code][2]}`));
  const box = section("What fails", counted(report.errors.length, "problem"), ...remedies, list);
  const add = (found) => list.append(...found.map(([, text]) => make("li", {}, text)));
  add(report.errors.slice(0, 8));
  if (report.errors.length > 8) {
    const button = make("button", { type: "button" }, `Show all ${report.errors.length}`);
    button.addEventListener("click", () => { add(report.errors.slice(8)); button.parentElement.remove(); });
    box.append(make("div", { class: "more" }, button));
  }
  box.classList.add("errors");
  return box;
}

// What a reader can act on comes first: how many were kept for each reason, what to do, and the way to those rows.
function reasons(report) {
  const groups = [...report.kept, ...report.settled];
  if (!groups.length) return null;
  const rows = groups.map(([code, count], index) => {
    const [, obstacle, remedy] = data.reasons[code];
    const link = make("button", { type: "button", class: "mono", "data-reason": code, "aria-label": `show the ${count} of ${code}` }, code);
    link.addEventListener("click", () => { only(code); document.getElementById("norms").scrollIntoView(); });
    return make("tr", {}, make("td", { class: "number" }, count.toLocaleString("en")), make("td", { class: "mono" }, link),
      make("td", {}, make("span", { class: `badge ${index < report.kept.length ? "kept" : "settled"}` }, inWords(index < report.kept.length ? "kept" : "settled"))),
      make("td", {}, obstacle, make("div", { class: "soft" }, `Remedy: ${remedy}`)));
  });
  const titles = ["count", "reason", "verdict", "why, and what to do"].map((title, index) =>
    make("th", { class: index ? "" : "number", scope: "col" }, make("span", { class: "title" }, title)));
  return section("Kept, by reason", "a reason leads to its rows in the table below", make("div", { class: "scroll" },
    make("table", { class: "reasons" }, make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...rows))));
}

function tiles(report) {
  const norms = report.rows.length - of(report, "settled");
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

let reveal = () => {};
let only = () => {};

// -- the table of norms ----------------------------------------------------------------------------------------------

const ORDER = { kept: 0, settled: 1, fused: 2, folded: 3 };
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
    firstStop(body);
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
  const table = make("table", { id: "norms", class: report.rows.some((row) => row.error) ? "" : "unmeasured" }, make("colgroup", {}, ...COLUMNS.map(() => make("col"))), make("thead", {}, make("tr", {}, ...headers)), body);
  const box = section("Norms and constant affines", "click a row for its surroundings", filters(report, state, refresh, shown), make("div", { class: "scroll" }, table), more);
  reveal = (index) => {
    state.words = ""; state.reason = ""; state.outcomes = new Set(Object.keys(ORDER)); state.open.add(index);
    box.querySelectorAll("input, select").forEach((field) => { field.value = ""; });
    box.querySelectorAll(".chip").forEach((chip) => chip.setAttribute("aria-pressed", "true"));
    refresh();
    while (state.made < state.rows.length && state.rows.slice(0, state.made).every((row) => row.index !== index)) extend();
    body.querySelector(`[data-row="${index}"]`).scrollIntoView({ block: "center" });
  };
  only = (code) => {
    state.words = ""; state.reason = code; state.outcomes = new Set(Object.keys(ORDER));
    box.querySelectorAll("input").forEach((field) => { field.value = ""; });
    box.querySelectorAll("select").forEach((field) => { field.value = code; });
    box.querySelectorAll(".chip").forEach((chip) => chip.setAttribute("aria-pressed", "true"));
    refresh();
  };
  oneStop(body);
  addEventListener("beforeprint", () => { while (state.made < state.rows.length) extend(); });
  new IntersectionObserver((seen) => { if (seen.some((entry) => entry.isIntersecting) && !more.hidden) extend(); }).observe(more);
  refresh();
  return box;
}

// A table is one tab stop: the arrow keys move between the buttons of its rows.
function oneStop(body) {
  body.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...body.querySelectorAll(".open-row")];
    const next = buttons[buttons.indexOf(document.activeElement) + step];
    if (!step || !next) return;
    event.preventDefault();
    buttons.forEach((button) => { button.tabIndex = -1; });
    next.tabIndex = 0;
    next.focus();
  });
  firstStop(body);
}

function firstStop(body) {
  const first = body.querySelector(".open-row");
  if (first && !body.querySelector('.open-row[tabindex="0"]')) first.tabIndex = 0;
}

function compare(a, b) {
  return typeof a === "number" ? (a === b ? 0 : a - b) : a.localeCompare(b, "en", { numeric: true });
}

function filters(report, state, refresh, shown) {
  const search = make("input", { type: "search", id: "search", placeholder: "Filter by name, operator, reason …", "aria-label": "filter" });
  search.addEventListener("input", () => { state.words = search.value; refresh(); });
  const chips = Object.keys(ORDER).reverse().filter((outcome) => of(report, outcome)).map((outcome) => {
    const chip = make("button", { type: "button", class: `chip ${outcome}`, "data-outcome": outcome, "aria-pressed": "true" }, `${inWords(outcome)} ${of(report, outcome)}`);
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
  const opener = make("button", { type: "button", class: "open-row", tabindex: "-1", "aria-expanded": "false", "aria-label": `row ${row.index + 1}: ${row.name}` }, String(row.index + 1));
  const line = make("tr", { class: "row", "data-row": row.index },
    make("td", { class: "number soft" }, opener),
    make("td", { class: "mono" }, row.graph ? make("span", { class: "soft" }, ...breakable(`${row.graph}/`)) : "", ...breakable(row.name)),
    make("td", {}, ...breakable(row.operator)),
    make("td", {}, make("span", { class: `badge ${row.outcome}` }, inWords(row.outcome))),
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
    opener.setAttribute("aria-expanded", String(Boolean(opened)));
  };
  line.addEventListener("click", () => { if (!String(getSelection())) toggle(); });
  if (!state.open.has(row.index)) return [line];
  opened = make("tr", { class: "opened" }, make("td", { colspan: COLUMNS.length }, detail(row, report)));
  line.classList.add("open");
  opener.setAttribute("aria-expanded", "true");
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

// -- the rest --------------------------------------------------------------------------------------------------------

function outputs(report) {
  if (!report.outputs.length) return null;
  const rows = report.outputs.map((place) => make("tr", {},
    make("td", {}, make("span", { class: `badge ${place.passed ? "folded" : "bad"}` }, place.passed ? "ok" : "differs")),
    make("td", { class: "mono" }, place.value), make("td", {}, place.stage),
    ...[place.relative, place.tolerance, place.absolute].map((number) => make("td", { class: "number" }, small(number)))));
  const titles = ["result", "output", "run", "error", "allowed", "largest absolute"].map((title, index) =>
    make("th", { class: index > 2 ? "number" : "", scope: "col" }, make("span", { class: "title" }, title)));
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
  const chosen = report.options ? `options ${report.options}` : "";
  const original = report.original ? `original SHA-256 ${report.original}` : "";
  return make("footer", {}, [`normfold ${report.command} ${report.model}`, chosen, where, original, ...stages].filter(Boolean).join(" · "));
}

function models(chosen) {
  if (data.reports.length < 2) return null;
  const rows = data.reports.map((report, index) => make("tr", {
    class: "row", "aria-current": String(index === chosen), "data-model": index, onclick: () => show(index),
  },
  make("td", { class: "mono" }, make("button", { type: "button", class: "open-row mono", tabindex: "-1" }, report.model)),
  make("td", {}, report.errors.length ? make("span", { class: "badge bad" }, counted(report.errors.length, "problem")) : make("span", { class: "badge folded" }, "ok")),
  ...[report.rows.length - of(report, "settled"), of(report, "folded"), of(report, "fused"), of(report, "kept")].map((count) => make("td", { class: "number" }, count.toLocaleString("en")))));
  const titles = ["model", "check", "norms and affines", "folded", "fused", "kept"].map((title, index) =>
    make("th", { class: index > 1 ? "number" : "", scope: "col" }, make("span", { class: "title" }, title)));
  const body = make("tbody", {}, ...rows);
  oneStop(body);
  return section("Models", "click one to see it below", make("div", { class: "scroll" },
    make("table", { class: "models" }, make("thead", {}, make("tr", {}, ...titles)), body)));
}

let current = 0;

function show(index) {
  current = index;
  const report = data.reports[index];
  const parts = report ? [...head(report), models(index), errors(report), reasons(report), tiles(report), operators(report), evidence(report), norms(report), outputs(report), notes(report), foot(report)]
    : [make("h1", {}, "No models")];
  page.replaceChildren(...parts.filter(Boolean));
}

NARROW.addEventListener("change", () => show(current)); // charts are drawn for their width
show(0);
