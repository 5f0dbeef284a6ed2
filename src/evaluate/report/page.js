"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const { summary, scores, classes, order, views } = data;
const $ = (id) => document.getElementById(id);

function element(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  Object.entries(attributes || {}).forEach(([key, value]) => made.setAttribute(key, value));
  return made;
}

// Counts are whole; scores have three digits behind the point.
function shown(value, score) {
  if (value === null || value === undefined) return "–";
  if (score && score.better === "" && Number.isInteger(value)) return String(value);
  return value.toFixed(3);
}

function row(table, cells, kind) {
  const made = element("tr");
  cells.forEach((cell) => {
    if (cell instanceof Node) made.append(cell);
    else made.append(element(kind || "td", cell));
  });
  table.append(made);
  return made;
}

function interval(entry, score) {
  const cell = element("td", shown(entry.mean, score));
  if (entry.mean === null) cell.className = "none";
  if (entry.low !== null) {
    cell.append(" ", element("small", `[${shown(entry.low, score)}, ${shown(entry.high, score)}]`));
  }
  return cell;
}

const files = summary.files;
const kinds = { semantic: "Classes of voxels", instances: "Objects", names: "Names of cells" };
$("subtitle").textContent =
  `${kinds[summary.kind]}, ` +
  `${files.length} file${files.length === 1 ? "" : "s"}, unet3d ${summary.unet3d_version}`;

if (summary.failed.length) {
  $("failed").hidden = false;
  summary.failed.forEach((one) => $("failed").querySelector("ul").append(element("li", `${one.file}: ${one.error}`)));
}

// Means and differences: a row a score, a column a class.
row($("means"), ["score", ...classes], "th");
scores.forEach((score) =>
  row($("means"), [score.name, ...classes.map((name) => interval(summary.mean[name][score.name], score))]));
if (summary.against) {
  $("against").hidden = false;
  row($("differences"), ["score", ...classes.flatMap((name) => [name, "p"])], "th");
  scores.filter((score) => score.better).forEach((score) =>
    row($("differences"), [score.name, ...classes.flatMap((name) => {
      const entry = summary.against[name][score.name];
      return [interval(entry, score), entry.p === null ? "–" : entry.p.toPrecision(2)];
    })]));
}

// Files, worst first.
const viewed = new Map(views.map((view, index) => [view.name, index]));
function fileRows(sequence) {
  const table = $("files");
  table.replaceChildren();
  const heading = row(table, ["file", "class", ...scores.map((score) => score.name)], "th");
  sequence.forEach((line) => {
    const name = element("td");
    if (viewed.has(line.file)) {
      const link = element("a", line.file, { href: "#viewer" });
      link.addEventListener("click", () => open(viewed.get(line.file)));
      name.append(link);
    } else name.textContent = line.file;
    row(table, [name, line.name, ...scores.map((score) => shown(line.values[score.name], score))]);
  });
  [...heading.children].forEach((cell, column) => cell.addEventListener("click", () => {
    const key = (line) => column === 0 ? line.file : column === 1 ? line.name : line.values[scores[column - 2].name];
    const good = column > 1 && scores[column - 2].better === "lower" ? -1 : 1;
    const sorted = [...sequence].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === null || y === null) return (x === null) - (y === null);
      return typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : good * (x - y);
    });
    fileRows(sorted);
  }));
}
fileRows(order.flatMap((index) => Object.entries(files[index].classes)
  .sort(([a], [b]) => classes.indexOf(a) - classes.indexOf(b))
  .map(([name, values]) => ({ file: files[index].file, name, values }))));

scores.forEach((score) => $("meanings").append(element("dt", score.name), element("dd", score.meaning)));

// Curves.
const SVG = "http://www.w3.org/2000/svg";
function draw(parent, name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [640, 300, 58, 34];
function chart(xTitle, yTitle, labels) {
  const svg = draw($("curve"), "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": $("curve-title").textContent });
  const y = (value) => 12 + (1 - value) * (HEIGHT - BOTTOM - 12);
  const x = (share) => LEFT + 10 + share * (WIDTH - LEFT - 30);
  [0, 0.25, 0.5, 0.75, 1].forEach((value) => {
    draw(svg, "line", { class: "axis", x1: LEFT, x2: WIDTH - 10, y1: y(value), y2: y(value) });
    draw(svg, "text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value);
  });
  labels.forEach(([share, text]) => draw(svg, "text", { x: x(share), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, text));
  draw(svg, "text", { x: (WIDTH + LEFT) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, xTitle);
  draw(svg, "text", { x: 12, y: HEIGHT / 2, transform: `rotate(-90 12 ${HEIGHT / 2})`, "text-anchor": "middle" }, yTitle);
  return { svg, x, y };
}
function line({ svg, x, y }, points, name) {
  const there = points.filter((point) => point[1] !== null);
  if (there.length) draw(svg, "polyline", { class: name, points: there.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") });
}
if (summary.kind === "instances") {
  $("curve-title").textContent = "Average precision by overlap";
  const levels = Array.from({ length: 10 }, (_, i) => 50 + 5 * i);
  const plot = chart("IoU from which on objects match", "average precision", levels.map((level, i) => [i / 9, (level / 100).toFixed(2)]));
  files.forEach((file) => line(plot, levels.map((level, i) => [i / 9, file.classes.objects[`ap_${level}`]]), "one"));
  line(plot, levels.map((level, i) => [i / 9, summary.mean.objects[`ap_${level}`].mean]), "mean");
} else if (summary.kind === "semantic") {
  $("curve-title").textContent = "Dice of all files, worst first";
  const plot = chart("files", "Dice", [[0, "worst"], [1, "best"]]);
  classes.forEach((name) => {
    const values = files.map((file) => file.classes[name] && file.classes[name].dice)
      .filter((value) => value !== null && value !== undefined).sort((a, b) => a - b);
    const place = (i) => values.length > 1 ? i / (values.length - 1) : 0.5;
    line(plot, values.map((value, i) => [place(i), value]), name === classes[classes.length - 1] ? "mean" : "one");
    values.forEach((value, i) => draw(plot.svg, "circle", { class: "dot", r: 2.5, cx: plot.x(place(i)), cy: plot.y(value) })
      .append(draw(plot.svg, "title", {}, `class ${name}: ${value.toFixed(3)}`)));
  });
} else if (summary.names) {
  $("curve-title").textContent = "Agreement by confidence of the prediction";
  const levels = Object.entries(summary.names.by_confidence).sort(([a], [b]) => a - b);
  const place = (i) => (i + 0.5) / levels.length;
  const plot = chart("confidence (number of regions)", "share that agrees", levels.map(([level, one], i) => [place(i), `${level} (${one.compared})`]));
  const width = 0.6 * (WIDTH - LEFT - 30) / levels.length;
  levels.forEach(([, one], i) => draw(plot.svg, "rect", {
    class: "bar", x: plot.x(place(i)) - width / 2, width, y: plot.y(one.share), height: plot.y(0) - plot.y(one.share) }));
  $("names").hidden = false;
  row($("by-name"), ["name", "regions", "agree", "share"], "th");
  Object.entries(summary.names.by_name).sort(([, a], [, b]) => a.share - b.share)
    .forEach(([name, one]) => row($("by-name"), [name, one.compared, one.agree, shown(one.share)]));
  row($("confusion"), ["human", "predicted", "regions"], "th");
  summary.names.confusion.forEach((one) => row($("confusion"), [one.human, one.predicted, one.regions]));
}

// The viewer. A picture holds brightness, truth and prediction in its three colours.
const state = { file: 0, slice: 0, pictures: new Map() };
function colour(index) {
  const hue = (index * 137.508) % 360;
  const part = (offset) => {
    const k = (offset + hue / 30) % 12;
    return Math.round(255 * (0.6 - 0.4 * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}
const palette = Array.from({ length: 128 }, (_, index) => colour(index));
async function pixels(file, slice) {
  const key = `${file}/${slice}`;
  if (!state.pictures.has(key)) {
    const view = views[file];
    const image = new Image();
    image.src = `data:image/png;base64,${view.pictures[slice]}`;
    await image.decode();
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [view.width, view.height];
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    state.pictures.set(key, context.getImageData(0, 0, view.width, view.height).data);
  }
  return state.pictures.get(key);
}
async function show() {
  const { file, slice } = state;
  const view = views[file];
  const source = await pixels(file, slice);
  if (file !== state.file || slice !== state.slice) return;
  const on = (id) => $(id).checked;
  const [raw, truth, found, wrong] = ["show-raw", "show-truth", "show-found", "show-wrong"].map(on);
  const opacity = $("opacity").value / 100;
  const { width, height } = view;
  const canvas = $("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const out = context.createImageData(width, height);
  let disagreeing = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 4 * (y * width + x);
      const [trueColour, foundColour, differs] = [source[at + 1], source[at + 2] & 127, source[at + 2] & 128];
      if (differs) disagreeing++;
      let pixel = raw ? [source[at], source[at], source[at]] : [0, 0, 0];
      const mix = (other, share) => { pixel = pixel.map((part, i) => part + (other[i] - part) * share); };
      if (found && foundColour) mix(palette[foundColour], opacity);
      if (wrong && differs) mix([255, 40, 140], Math.max(0.55, opacity));
      const edge = trueColour && (
        x === 0 || y === 0 || x === width - 1 || y === height - 1 ||
        source[at - 3] !== trueColour || source[at + 5] !== trueColour ||
        source[at + 1 - 4 * width] !== trueColour || source[at + 1 + 4 * width] !== trueColour);
      if (truth && edge) mix(palette[trueColour], 1);
      out.data.set([pixel[0], pixel[1], pixel[2], 255], at);
    }
  }
  context.putImageData(out, 0, 0);
  $("place").textContent = `slice ${view.slices[slice] + 1}, ${disagreeing} of ${width * height} pixels disagree`;
  canvas.dataset.shown = `${file}/${slice}`;
}
function move(slice) {
  state.slice = Math.max(0, Math.min(views[state.file].slices.length - 1, slice));
  $("slice").value = state.slice;
  show();
}
function open(file) {
  state.file = file;
  $("file").value = file;
  $("slice").max = views[file].slices.length - 1;
  $("show-raw").disabled = !views[file].raw;
  move(Math.floor(views[file].slices.length / 2));
}
if (views.length) {
  $("viewer").hidden = false;
  views.forEach((view, index) => $("file").append(element("option", view.name, { value: index })));
  $("file").addEventListener("change", () => open(Number($("file").value)));
  $("slice").addEventListener("input", () => move(Number($("slice").value)));
  $("previous").addEventListener("click", () => move(state.slice - 1));
  $("next").addEventListener("click", () => move(state.slice + 1));
  ["show-raw", "show-truth", "show-found", "show-wrong", "opacity"].forEach((id) => $(id).addEventListener("input", show));
  $("canvas").addEventListener("wheel", (event) => {
    event.preventDefault();
    move(state.slice + Math.sign(event.deltaY));
  }, { passive: false });
  $("canvas").addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1 }[event.key];
    if (step) {
      event.preventDefault();
      move(state.slice + step);
    }
  });
  open(0);
}
