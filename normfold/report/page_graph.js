// The surroundings of a norm as a small graph. One program with page.js, which has make() and draw().

const ROLES = { finding: "this one", gone: "goes", obstacle: "in the way", into: "takes it over", new: "is new" };

function keys(boxes) {
  const present = Object.keys(ROLES).filter((role) => boxes.some((box) => box[2] === role));
  return make("span", { class: "keys" }, ...present.map((role) => make("span", { class: `key ${role}` }, ROLES[role])));
}

// -- the surroundings as a graph: layers from top to bottom ----------------------------------------------------------

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
