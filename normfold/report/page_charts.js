// The two charts: operators by type, and the error at every site. One program with page.js.

const chartWidth = () => (NARROW.matches ? 420 : 1120); // so that letters keep their size

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
  const [left, width, step] = [NARROW.matches ? 140 : 190, chartWidth(), 34];
  const most = Math.max(1, ...rows.flatMap((row) => [row[1], row[2]]));
  const scale = (width - left - 70) / most;
  const chart = draw("svg", { viewBox: `0 0 ${width} ${rows.length * step + 4}`, width: "100%", role: "img", "aria-label": "operators by type, before and after" });
  rows.forEach(([name, old, now], index) => {
    const top = index * step + 4;
    chart.append(draw("text", { x: left - 12, y: top + 17, "text-anchor": "end" }, shortened(name, NARROW.matches ? 18 : 26)));
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
  const [left, right, width, height, foot] = [64, 16, chartWidth(), 280, 30];
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
    const middle = (Number(dots[index].getAttribute("cx")) / chartWidth()) * frame.width;
    tip.style.left = `${Math.max(0, Math.min(middle + 12, frame.width - tip.offsetWidth))}px`;
    tip.style.top = `${(Number(dots[index].getAttribute("cy")) / 280) * frame.height + 14}px`;
  });
  chart.addEventListener("mouseleave", leave);
  chart.addEventListener("click", () => { if (hot >= 0 && report.sites[hot].row >= 0) reveal(report.sites[hot].row); });
  return holder;
}
