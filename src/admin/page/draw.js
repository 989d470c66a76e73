// Pictures: the breaker's history, and what moved in the last minutes.

const WINDOW_MS = 5 * 60_000;
// A young program's first moments are not drawn at the edge of a pixel.
const WINDOW_MIN_MS = 60_000;
const HISTORY_MS = 60 * 60_000;
const SVG = "http://www.w3.org/2000/svg";
// An outage stands out by its height, too, for eyes to which red and green are one.
const HEIGHTS = { closed: 10, "half-open": 19, open: 28 };

/** The breaker's states from left (an hour ago, or the start) to right (now). Answers where left is. */
function drawTimeline(svg, changes, started, now) {
  const from = Math.max(now - HISTORY_MS, Math.min(started, changes[0].at_ms));
  const span = Math.max(now - from, 1000);
  const parts = changes.map((change, index) => {
    const start = Math.max(change.at_ms, from);
    const end = index + 1 < changes.length ? changes[index + 1].at_ms : now;
    return { state: change.state, start, end };
  }).filter(part => part.end >= from);
  // Trials last a moment: they are drawn last, so that their neighbours don't cover them.
  const drawn = parts.toSorted((left, right) => (left.state === "half-open") - (right.state === "half-open"));
  svg.replaceChildren(...drawn.map(({ state, start, end }) => {
    const part = document.createElementNS(SVG, "rect");
    part.setAttribute("class", state);
    part.setAttribute("x", ((start - from) / span) * 1000);
    part.setAttribute("y", 28 - HEIGHTS[state]);
    // A moment is seen, too.
    part.setAttribute("width", Math.max(((end - start) / span) * 1000, 2));
    part.setAttribute("height", HEIGHTS[state]);
    const title = document.createElementNS(SVG, "title");
    title.textContent = `${state}, ${clock(start)} to ${end === now ? "now" : clock(end)} (${lasted(end - start)})`;
    part.append(title);
    return part;
  }));
  const opened = parts.filter(part => part.state === "open").length;
  svg.setAttribute("aria-label", `The breaker over ${lasted(now - from)}: now ${parts.at(-1).state}, open ${opened} times`);
  return from;
}

/** Lines over the last five minutes; where the pointer is, the value of the first. */
class Plot {
  /** `write` makes a value text; `least`: the scale ends no lower, so that noise near nothing looks like it. */
  constructor(canvas, write, least) {
    Object.assign(this, { canvas, write, least, lines: [[]], pointer: null });
    new ResizeObserver(() => this.draw()).observe(canvas);
    const point = event => { this.pointer = event.offsetX; this.draw(); };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointerleave", () => { this.pointer = null; this.draw(); });
  }

  /** `lines`: of [milliseconds, value or null] each, oldest first. Answers how many milliseconds the picture holds. */
  show(lines, now) {
    this.lines = lines;
    this.now = now;
    this.span = Math.min(WINDOW_MS, Math.max(WINDOW_MIN_MS, lines[0].length ? now - lines[0][0][0] : 0));
    this.draw();
    return this.span;
  }

  draw() {
    const { canvas, lines } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const paint = canvas.getContext("2d");
    paint.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const colour = name => style.getPropertyValue(name);
    const top = ceiling(lines.flat().reduce((most, point) => Math.max(most, point[1] ?? 0), this.least));
    const x = at => width - ((this.now - at) / this.span) * width;
    const y = value => height - 2 - (value / top) * (height - 18);
    paint.lineWidth = 1;
    paint.strokeStyle = colour("--line");
    for (const value of [0, top / 2, top]) {
      const at = Math.round(y(value)) + .5;
      paint.beginPath(); paint.moveTo(0, at); paint.lineTo(width, at); paint.stroke();
    }
    lines.forEach((points, index) => this.drawLine(paint, points, x, y, style.color, index === 0));
    const write = (text, left, base, font, ink) => {
      paint.font = font;
      // Lines stop short of letters.
      paint.strokeStyle = colour("--card");
      paint.lineWidth = 4;
      paint.lineJoin = "round";
      paint.strokeText(text, left, base);
      paint.fillStyle = colour(ink);
      paint.fillText(text, left, base);
    };
    for (const value of [top / 2, top]) write(this.write(value), 2, Math.round(y(value)) - 3, "11px system-ui, sans-serif", "--quiet");
    const known = lines[0].filter(point => point[1] !== null);
    if (this.pointer === null || !known.length) return;
    const near = known.reduce((best, point) => (Math.abs(x(point[0]) - this.pointer) < Math.abs(x(best[0]) - this.pointer) ? point : best));
    paint.fillStyle = style.color;
    paint.beginPath();
    paint.arc(x(near[0]), y(near[1]), 3.5, 0, 7);
    paint.fill();
    paint.font = "600 12px system-ui, sans-serif";
    const text = `${this.write(near[1])} at ${clock(near[0])}`;
    const wide = paint.measureText(text).width;
    write(text, Math.min(Math.max(x(near[0]) - wide / 2, 2), width - wide - 2), 12, paint.font, "--ink");
  }

  drawLine(paint, points, x, y, colour, isMain) {
    paint.strokeStyle = paint.fillStyle = colour;
    paint.lineWidth = isMain ? 1.8 : 1.2;
    paint.lineJoin = "round";
    paint.setLineDash(isMain ? [] : [3, 3]);
    // Where nothing was measured the line is cut.
    const pieces = [];
    points.forEach(([at, value], index) => {
      if (value === null) return;
      if (!index || points[index - 1][1] === null) pieces.push([]);
      pieces.at(-1).push([x(at), y(value)]);
    });
    for (const piece of pieces) {
      paint.beginPath();
      piece.forEach(([left, down], index) => (index ? paint.lineTo(left, down) : paint.moveTo(left, down)));
      paint.stroke();
      if (!isMain) continue;
      paint.lineTo(piece.at(-1)[0], y(0));
      paint.lineTo(piece[0][0], y(0));
      paint.globalAlpha = .13;
      paint.fill();
      paint.globalAlpha = 1;
    }
    paint.setLineDash([]);
  }
}

/** The next round number. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 5, 6, 8, 10].map(step => step * power).find(step => step >= value * .999_999);
}

function short(value) {
  for (const [unit, of] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (value >= (of === 1e3 ? 1e4 : of)) return trimmed(value / of) + unit;
  }
  return value < 10 && value % 1 ? value.toFixed(1) : String(Math.round(value));
}

/** With one decimal, where there is one. */
function trimmed(value) {
  return value.toFixed(1).replace(/\.0$/, "");
}

function size(bytes) {
  for (const [unit, of] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (bytes >= of) return (bytes / of < 100 ? trimmed(bytes / of) : Math.round(bytes / of)) + " " + unit;
  }
  return Math.round(bytes) + " B";
}

/** A moment, in the unit that suits it. */
function moment(seconds) {
  if (seconds >= 1) return trimmed(seconds) + " s";
  if (seconds >= .001) return (seconds < .01 ? trimmed(seconds * 1e3) : Math.round(seconds * 1e3)) + " ms";
  return Math.round(seconds * 1e6) + " µs";
}

function lasted(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return seconds + " s";
  const two = (big, bigName, small, smallName) => big + bigName + (small ? ` ${small}${smallName}` : "");
  if (seconds < 3600) return two(Math.floor(seconds / 60), " min", seconds % 60, " s");
  if (seconds < 86400) return two(Math.floor(seconds / 3600), " h", Math.floor((seconds % 3600) / 60), " min");
  return two(Math.floor(seconds / 86400), " d", Math.floor((seconds % 86400) / 3600), " h");
}

/** In little room: minutes and seconds before now. */
function ago(ms) {
  const seconds = Math.round(ms / 1000);
  return `−${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function clock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour12: false });
}
